"""onnxruntime's door: what it raises leaves this module as an error of ours, and it tells nobody what it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from fcn_onnx.errors import first_line
from fcn_onnx.jobs.files import unwritable
from fcn_onnx.runtime.seam import SessionConfig, Value
from fcn_onnx.runtime.telling import told

ort.disable_telemetry_events()  # `fcn_onnx/__init__.py` does more, unless onnxruntime was imported before it

NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation")
"""How onnxruntime says that memory is short."""


CPU = "CPUExecutionProvider"

TYPES = {"float": "float32", "double": "float64"}
"""onnxruntime's names of types that numpy calls otherwise."""


def options_of(config: SessionConfig) -> ort.SessionOptions:
    """A session's settings as onnxruntime's own object."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = config.thread_count
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = config.memory_pattern  # plans memory per input shape; shapes vary here
    options.log_severity_level = 4  # an error is raised, and what is tried out may raise one: not logged as well
    if not config.optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if not config.spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if config.exact_int8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def python_of(path: str, config: SessionConfig, provider: str = "CPUExecutionProvider") -> str:
    """See `seam.Runtime.python`: `options_of` as the lines that it is."""
    lines = [
        "import onnxruntime",
        "options = onnxruntime.SessionOptions()",
        f"options.intra_op_num_threads = {config.thread_count}",
        f"options.enable_mem_pattern = {config.memory_pattern}",
    ]
    if not config.spinning:
        lines.append('options.add_session_config_entry("session.intra_op.allow_spinning", "0")')
    return "\n".join([*lines, f"session = onnxruntime.InferenceSession({path!r}, options, providers=[{provider!r}])"])


_told = partial(told, raised=(Exception,), said=first_line, no_memory=NO_MEMORY)
"""Errors of onnxruntime, of many unrelated types, as errors of ours."""


class Session:
    """A model in onnxruntime.

    Args:
        source: a file's name, or a model's bytes.
        options: how it runs.
        name: what errors call it.
        fix: what to do about a model that does not load.
        provider: onnxruntime's name of what runs it; the CPU runs what that does not take.

    Raises:
        ModelError: it does not load.
        MemoryError: not for what the model is, but for want of memory.
    """

    def __init__(
        self,
        source: str | bytes,
        options: ort.SessionOptions,
        *,
        name: str,
        fix: str = "make the file again",
        provider: str = CPU,
    ) -> None:
        self._name = name
        with _told(f"onnxruntime cannot load {name}", fix):
            providers = list(dict.fromkeys((provider, CPU)))
            self._session = ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
        self.inputs = tuple(map(_value, self._session.get_inputs()))
        self.outputs = tuple(map(_value, self._session.get_outputs()))

    def run(
        self, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]], *, of: str = "", fix: str = ""
    ) -> list[NDArray[Any]]:
        """See `seam.Session`."""
        with _told(f"{self._name} does not run" + (f" on {of}" if of else ""), fix or "make the file again"):
            values: list[NDArray[Any]] = self._session.run(outputs, feeds)
        return values

    @property
    def providers(self) -> tuple[str, ...]:
        """What it really runs on: one that does not start is left out by onnxruntime, without an error."""
        return tuple(self._session.get_providers())

    @property
    def assignment(self) -> Iterator[tuple[str, str, str]]:
        """(provider, node, operator) of each node, where the options asked for that to be recorded."""
        for part in self._session.get_provider_graph_assignment_info():
            yield from ((part.ep_name, node.name, node.op_type) for node in part.get_nodes())

    def profile(self) -> list[dict[str, Any]]:
        """The events of the profile that the options asked for, which ends here.

        Raises:
            OutputError: it is not whole, or not there. onnxruntime does not say why; it is so where the disk is full.
        """
        path = Path(self._session.end_profiling())
        try:
            events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            raise unwritable(path, OSError("onnxruntime's profile is not whole (is the disk full?)")) from error
        return events


def _value(found: ort.NodeArg) -> Value:
    kind = found.type.removeprefix("tensor(").removesuffix(")")
    return Value(found.name, TYPES.get(kind, kind), tuple(found.shape or ()))
