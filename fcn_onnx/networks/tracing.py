"""torch → ONNX, by the exporter that is right for the opset.

The dynamo exporter makes the cleaner graph and cannot go below opset 18: asked for 11 it quietly writes 18.
The TorchScript exporter writes a correct 11 to 17. So there are two paths, and whatever came out is checked.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from fcn_onnx.errors import ExportError, OutputError, UsageError, first_line
from fcn_onnx.jobs.artifact import versions
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.networks.attention import plain_attention
from fcn_onnx.networks.compiler_cache import no_compiler_cache

if TYPE_CHECKING:
    import torch

MIN_OPSET = 11
FIRST_DYNAMO_OPSET = 18
EXAMPLE_SIZE = (97, 129)
BATCH, HEIGHT, WIDTH = "batch", "height", "width"


def supported_opsets() -> range:
    """Opsets that the installed torch can write and the installed onnx knows."""
    from torch.onnx import _constants  # torch states its limit nowhere else

    return range(MIN_OPSET, min(_constants.ONNX_MAX_OPSET, onnx.defs.onnx_opset_version()) + 1)


def require_opset(opset: int) -> None:
    """Raise UsageError unless `opset` can be exported here."""
    supported = supported_opsets()
    if opset not in supported:
        raise UsageError(
            f"opset {opset} cannot be exported here",
            fix=f"use --opset {supported.start} to {supported.stop - 1} "
            f"(the installed torch and onnx {versions()['onnx']} set the upper end)",
        )


def legal_size(size: tuple[int, int], multiple_of: int | None) -> tuple[int, int]:
    """(height, width) rounded up to what a network's sides must be multiples of."""
    multiple = multiple_of or 1
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def trace(
    network: torch.nn.Module,
    opset: int,
    *,
    outputs: tuple[str, ...],
    size: tuple[int, int] | None,
    multiple_of: int | None = None,
) -> onnx.ModelProto:
    """The network as ONNX: input `input` (batch, 3, height, width), outputs as named.

    Args:
        network: in evaluation mode; forward returns a mapping that holds `outputs`.
        size: fixes (height, width); the batch stays dynamic.
        multiple_of: what the network's sides must be multiples of.

    Raises:
        ExportError: torch fails, or wrote another opset or domain than it was asked for.
    """
    import torch

    wrapped = _tuple_outputs(network, outputs)
    example = torch.zeros(2, 3, *(size or legal_size(EXAMPLE_SIZE, multiple_of)))
    path = _with_dynamo if opset >= FIRST_DYNAMO_OPSET else _with_torchscript
    try:
        with _quiet(), no_compiler_cache(), plain_attention(opset), torch.no_grad():
            model = path(wrapped, example, opset, outputs, size is None)
    except OutputError:  # of $TMPDIR
        raise
    except Exception as error:  # either exporter raises whatever its passes raise
        raise ExportError(
            f"torch cannot export the network at opset {opset}: {type(error).__name__}: {_reason(error)}",
            fix="try another opset, 12 and 17 are the most used"
            + ("" if size else "; or one size with --size HxW: what pools to a fixed number of places needs one"),
        ) from error
    domains = {entry.domain: entry.version for entry in model.opset_import}
    used = {node.domain for node in model.graph.node}
    if domains.get("") != opset or used - {""}:
        raise ExportError(
            f"torch wrote the opsets {domains}, not {opset}",
            fix="install the torch that pyproject.toml asks for",
        )
    return model


def _reason(error: Exception) -> str:
    """What torch says, without its wish for a pull request and the graph that it found at fault."""
    return first_line(error).partition(" Please feel free")[0].partition("  [Caused by")[0].rstrip(".")


def _with_torchscript(
    network: torch.nn.Module, example: torch.Tensor, opset: int, outputs: tuple[str, ...], dynamic: bool
) -> onnx.ModelProto:
    import torch

    axes = {0: BATCH} | ({2: HEIGHT, 3: WIDTH} if dynamic else {})
    with scratch() as folder:
        path = Path(folder, "model.onnx")
        torch.onnx.export(
            network,
            (example,),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=list(outputs),
            dynamic_axes=dict.fromkeys(("input", *outputs), axes),
        )
        return onnx.load(path)


def _with_dynamo(
    network: torch.nn.Module, example: torch.Tensor, opset: int, outputs: tuple[str, ...], dynamic: bool
) -> onnx.ModelProto:
    import torch

    axes = {0: BATCH} | ({2: HEIGHT, 3: WIDTH} if dynamic else {})
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=opset,
        input_names=["input"],
        output_names=list(outputs),
        dynamic_shapes=(axes,),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned nothing")
    return program.model_proto


def _tuple_outputs(network: torch.nn.Module, outputs: tuple[str, ...]) -> torch.nn.Module:
    """Both exporters name the members of a tuple in order; a mapping's keys they ignore or refuse."""
    import torch

    class TupleOutputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fcn = network

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            values = self.fcn(x)
            return tuple(values[name] for name in outputs)

    return TupleOutputs().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters say about themselves.

    Their warnings announce their own deprecation, or constants that tracing fixes; that the result is right is
    not taken from their silence but proved by the opset check and the parity runs.
    """
    import torch

    logger = logging.getLogger("torch.onnx")
    level, dumps = logger.level, torch._C._jit_is_onnx_log_enabled
    logger.setLevel(logging.ERROR)
    # on an error the exporter prints the whole graph to stdout, unless this function is false: it is meant to be called
    setattr(torch._C, "_jit_is_onnx_log_enabled", None)  # noqa: B010  # mypy will not have a function replaced
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        setattr(torch._C, "_jit_is_onnx_log_enabled", dumps)  # noqa: B010
