"""onnxruntime's own profile of a session, as layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.macs import INTEGER_OPS, OPERATORS
from fcn_onnx.runtime.seam import Layer, Profiled
from fcn_onnx.runtime.session import CPU, Session

MOVED = re.compile(r"(_token_\d+)+$|/MatMulAddFusion$")
"""What onnxruntime appends to the names of nodes that it moves to channels-last, or makes a Gemm of."""

BLOCKED = "_nchwc"
"""What it appends to the name of what a node returns, to name the node that computes the same in blocks of channels."""

KERNEL, RUN = "_kernel_time", "model_run"
Event = Mapping[str, Any]


def traced(
    source: str | bytes,
    options: ort.SessionOptions,
    feeds: Mapping[str, NDArray[Any]],
    runs: int,
    *,
    name: str,
    provider: str,
) -> Profiled:
    """Run a model `runs` times after a first, and read what onnxruntime wrote about it; see `seam.Runtime.profile`."""
    return read_trace(events_of(source, options, feeds, 1 + runs, name=name, provider=provider), runs, provider)


def events_of(
    source: str | bytes,
    options: ort.SessionOptions,
    feeds: Mapping[str, NDArray[Any]],
    runs: int,
    *,
    name: str,
    provider: str = CPU,
) -> list[dict[str, Any]]:
    """What onnxruntime writes of a session that runs a model `runs` times; see `Session.profile`."""
    with scratch() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "trace")
        session = Session(source, options, name=name, provider=provider)
        for _ in range(runs):
            session.run(None, feeds)
        return session.profile()


def read_trace(events: Sequence[Event], runs: int, provider: str = CPU) -> Profiled:
    """The last `runs` runs of a profile, in which the events of a run come before its own.

    What another provider than `provider` ran is marked so.
    What a node with a graph inside it (If, Loop) runs there is part of its time, and no layer beside it.
    """
    ends = [index for index, event in enumerate(events) if event["name"] == RUN]
    first, last = ends[-1 - runs], ends[-1]
    found: dict[tuple[str, str, str, str], list[int]] = {}
    for event in _outermost(events[first + 1 : last]):
        told = event["args"]
        elsewhere = "" if told.get("provider") in (None, provider) else f" ({told['provider']})"
        key = told.get("node_index", ""), event["name"].removesuffix(KERNEL), told["op_name"], elsewhere
        found.setdefault(key, []).append(event["dur"])
    layers = []
    for (_, name, op_type, elsewhere), microseconds in found.items():
        nodes = tuple(dict.fromkeys((name, MOVED.sub("", name), name.removesuffix(BLOCKED))))
        layers.append(
            Layer(
                name=MOVED.sub("", name).removesuffix(BLOCKED),
                op_type=op_type + elsewhere,
                milliseconds=sum(microseconds) / 1e3 / runs,
                int8=op_type in INTEGER_OPS,
                nodes=nodes if op_type in OPERATORS else (),
            )
        )
    return Profiled(sum(events[end]["dur"] for end in ends[-runs:]) / 1e3 / runs, tuple(layers))


def _outermost(events: Sequence[Event]) -> Iterator[Event]:
    kernels = [event for event in events if event["cat"] == "Node" and event["name"].endswith(KERNEL)]
    end = 0
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] < end and event["ts"] + event["dur"] <= end:
            continue
        end = event["ts"] + event["dur"]
        yield event
