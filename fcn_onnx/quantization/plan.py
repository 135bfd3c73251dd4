"""opset × format × target CPU → the one legal, fast form of the int8 model, decided before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from fcn_onnx.cpu import Cpu
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.graph import is_quantized

MIN_OPSET = 11
QDQ_PER_CHANNEL_OPSET = 13
INT8_MAXPOOL_OPSET = 12

OUTPUT_OPS = frozenset({"Resize", "Identity", "Transpose", "Cast", "Softmax", "ArgMax", "Shape"})
"""Operators that may stand between the convolution that makes the logits and the model's outputs."""


@dataclass(frozen=True)
class Target:
    """A kind of machine that the int8 model is for.

    Attributes:
        name: as `quantize --target` takes it.
        description: one line for `--help`.
        reduce_range: weights get 7 bits, because its u8·s8 kernels saturate with 8 (`vpmaddubsw`).
    """

    name: str
    description: str
    reduce_range: bool


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("avx2", "x86-64 without VNNI (AVX2, AVX-512): 7-bit weights, exact on the fast kernel", True),
        Target("vnni", "x86-64 with VNNI or AMX: 8-bit weights, exact", False),
    )
}
FORMATS = ("auto", "qoperator", "qdq")


@dataclass(frozen=True)
class Plan:
    """The form of the int8 model.

    Attributes:
        opset: of the default domain, the fp32 model's own.
        quant_format: `qoperator` or `qdq`.
        per_channel: a weight scale per output channel rather than per tensor.
        target: name in `TARGETS`.
        reduce_range: 7-bit weights.
        activation_type, weight_type: `uint8` and `int8`.
        op_types: operators that are quantized.
        float_nodes: nodes that stay fp32 although their operator is quantized: those that make the logits.
        reasons: one sentence for each choice that was made for the user.
    """

    opset: int
    quant_format: str
    per_channel: bool
    target: str
    reduce_range: bool
    activation_type: str
    weight_type: str
    op_types: tuple[str, ...]
    float_nodes: tuple[str, ...]
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As recorded in the model."""
        return asdict(self)

    def __str__(self) -> str:
        bits = 7 if self.reduce_range else 8
        scales = "per-channel" if self.per_channel else "per-tensor"
        return (
            f"opset {self.opset}, {self.quant_format}, u8 activations, {scales} {bits}-bit weights, "
            f"for {self.target}; {', '.join(self.op_types)} int8, {len(self.float_nodes)} logits convs fp32"
        )


def make_plan(
    model: onnx.ModelProto,
    cpu: Cpu,
    *,
    quant_format: str = "auto",
    target: str = "auto",
    per_channel: bool | None = None,
) -> Plan:
    """Decide the form for `model`.

    Args:
        model: the fp32 model.
        cpu: what `target="auto"` means.
        quant_format: `auto`, `qoperator` or `qdq`.
        target: `auto` or a name in `TARGETS`.
        per_channel: None chooses: per channel wherever the opset allows it.

    Raises:
        ModelError: the model is quantized already, holds no convolution, or its opset is below 11.
        UsageError: a request that this opset cannot meet; the message names the ways out.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    _require_quantizable(model, opset)
    chosen = _target(target, cpu)
    reasons = []
    if target == "auto":
        reasons.append(f"target {chosen.name}: this CPU's int8 kernels are {cpu.int8_kernel}")
    if quant_format == "auto":
        quant_format = "qdq" if opset >= QDQ_PER_CHANNEL_OPSET else "qoperator"
        reasons.append(
            "qdq: the portable form, and onnxruntime fuses it into the same kernels"
            if quant_format == "qdq"
            else f"qoperator: at opset {opset} only it has per-channel weights"
        )
    elif quant_format not in FORMATS:
        raise UsageError(f"no format is called {quant_format!r}", fix=f"choose one of: {', '.join(FORMATS)}")
    legal = quant_format == "qoperator" or opset >= QDQ_PER_CHANNEL_OPSET
    if per_channel and not legal:
        raise UsageError(
            f"per-channel weights in qdq form need opset {QDQ_PER_CHANNEL_OPSET}, and the model has opset {opset}",
            fix=f"use --format qoperator, or export with --opset {QDQ_PER_CHANNEL_OPSET} or newer",
        )
    if per_channel is None and not legal:
        reasons.append(f"per-tensor weights: per-channel qdq needs opset {QDQ_PER_CHANNEL_OPSET}")
    if opset < INT8_MAXPOOL_OPSET:
        reasons.append(f"MaxPool stays fp32: it takes 8-bit integers from opset {INT8_MAXPOOL_OPSET}")
    pool = ("MaxPool",) if opset >= INT8_MAXPOOL_OPSET else ()
    return Plan(
        opset=opset,
        quant_format=quant_format,
        per_channel=legal if per_channel is None else per_channel,
        target=chosen.name,
        reduce_range=chosen.reduce_range,
        activation_type="uint8",
        weight_type="int8",
        op_types=("Conv", "Relu", "Add", *pool),
        float_nodes=logits_nodes(model),
        reasons=tuple(reasons),
    )


def logits_nodes(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the convolutions whose results are the model's logits: nothing but resizing follows them.

    They cost next to nothing (0.03 % of an FCN's work), and 8-bit logits flip labels.
    """
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)

    def only_shown(tensor: str) -> bool:
        return all(
            node.op_type in OUTPUT_OPS
            and (node.op_type == "Shape" or all(only_shown(output) for output in node.output))
            for node in consumers.get(tensor, [])
        )

    return tuple(n.name for n in model.graph.node if n.op_type == "Conv" and only_shown(n.output[0]))


def _target(name: str, cpu: Cpu) -> Target:
    if name == "auto":
        return TARGETS["vnni" if cpu.exact_u8s8 else "avx2"]
    if name not in TARGETS:
        raise UsageError(f"no target is called {name!r}", fix=f"choose one of: auto, {', '.join(TARGETS)}")
    return TARGETS[name]


def _require_quantizable(model: onnx.ModelProto, opset: int) -> None:
    if is_quantized(model):
        raise ModelError("the model is quantized already", fix="name the fp32 model it was made from")
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ModelError("the model has no convolution to quantize", fix="name an exported network")
    if opset < MIN_OPSET:
        raise ModelError(
            f"the model has opset {opset}; quantized operators are complete from {MIN_OPSET}",
            fix=f"export it with --opset {MIN_OPSET} or newer",
        )
