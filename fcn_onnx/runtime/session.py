"""onnxruntime's door: what it raises leaves this module as an error of ours, and it tells nobody what it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from fcn_onnx.errors import ModelError, first_line

ort.disable_telemetry_events()  # `fcn_onnx/__init__.py` does more, unless onnxruntime was imported before it

NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation")
"""How onnxruntime says that memory is short."""


class Session:
    """A model in onnxruntime, on the CPU.

    Args:
        source: a file's name, or a model's bytes.
        options: how it runs.
        name: what errors call it.
        fix: what to do about a model that does not load.

    Raises:
        ModelError: it does not load.
        MemoryError: not for what the model is, but for want of memory.
    """

    def __init__(
        self, source: str | bytes, options: ort.SessionOptions, *, name: str, fix: str = "make the file again"
    ) -> None:
        self._name = name
        with _told(f"onnxruntime cannot load {name}", fix):
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.inputs: Sequence[ort.NodeArg] = self._session.get_inputs()
        self.outputs: Sequence[ort.NodeArg] = self._session.get_outputs()

    def run(
        self, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]], *, of: str = "", fix: str = ""
    ) -> list[NDArray[Any]]:
        """The values of `outputs`, or of all.

        Args:
            of: what errors call the input, such as `an image of 520×520`.
            fix: what to do where it does not run.

        Raises:
            ModelError: it does not run on this input.
            MemoryError: not for what the model is, but for want of memory.
        """
        with _told(f"{self._name} does not run" + (f" on {of}" if of else ""), fix or "make the file again"):
            values: list[NDArray[Any]] = self._session.run(outputs, feeds)
        return values


@contextmanager
def _told(what: str, fix: str) -> Iterator[None]:
    """Errors of onnxruntime, of many unrelated types, as errors of ours."""
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{what}: memory is short") from error
    except Exception as error:
        line = first_line(error)
        if any(words in str(error) for words in NO_MEMORY):
            raise MemoryError(f"{what}: {line}") from error
        raise ModelError(f"{what}: {line}", fix=fix) from error
