"""onnxruntime's door: what it raises leaves this module as an error of ours, and it tells nobody what it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from fcn_onnx.errors import first_line
from fcn_onnx.runtime.seam import SessionConfig, Value
from fcn_onnx.runtime.telling import told

ort.disable_telemetry_events()  # `fcn_onnx/__init__.py` does more, unless onnxruntime was imported before it

NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation")
"""How onnxruntime says that memory is short."""


TYPES = {"float": "float32", "double": "float64"}
"""onnxruntime's names of types that numpy calls otherwise."""


def options_of(config: SessionConfig) -> ort.SessionOptions:
    """A session's settings as onnxruntime's own object."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = config.thread_count
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # plans memory per input shape; shapes vary here
    options.log_severity_level = 4  # an error is raised, and what is tried out may raise one: not logged as well
    if not config.optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if config.exact_int8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


_told = partial(told, raised=(Exception,), said=first_line, no_memory=NO_MEMORY)
"""Errors of onnxruntime, of many unrelated types, as errors of ours."""


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
        self.inputs = tuple(map(_value, self._session.get_inputs()))
        self.outputs = tuple(map(_value, self._session.get_outputs()))

    def run(
        self, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]], *, of: str = "", fix: str = ""
    ) -> list[NDArray[Any]]:
        """See `seam.Session`."""
        with _told(f"{self._name} does not run" + (f" on {of}" if of else ""), fix or "make the file again"):
            values: list[NDArray[Any]] = self._session.run(outputs, feeds)
        return values


def _value(found: ort.NodeArg) -> Value:
    kind = found.type.removeprefix("tensor(").removesuffix(")")
    return Value(found.name, TYPES.get(kind, kind), tuple(found.shape or ()))
