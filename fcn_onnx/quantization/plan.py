"""opset × format × target CPU → the one legal, fast form of the int8 model, decided before any work."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import onnx

from fcn_onnx.calibration.clips import Clips
from fcn_onnx.calibration.levels import SYMMETRIC, UNSIGNED
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.jobs.text import listed
from fcn_onnx.model.graph import Graph, is_quantized
from fcn_onnx.model.logits import logits_nodes
from fcn_onnx.model.products import PRODUCT_OPS, stored_products
from fcn_onnx.quantization.islands import float_islands
from fcn_onnx.quantization.named import named_layers
from fcn_onnx.quantization.targets import KERNELS, TARGETS, Target
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, RUNTIMES

MIN_OPSET = 11
QDQ_PER_CHANNEL_OPSET = 13
INT8_MAXPOOL_OPSET = 12
NAMES_LISTED = 8

INT8_OPS = (
    *("Conv", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid"),
    *("Add", "Mul", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat"),
)
SYMMETRIC_OPS = frozenset({"Conv", "MaxPool"})
"""With zero point 0 a rectifier is no clipping, so it is fused behind the convolution that it follows, and so is an
addition of which the other operand is quantized already."""


FORMATS = ("auto", "qoperator", "qdq")


@dataclass(frozen=True)
class Plan:
    """The form of the int8 model.

    Attributes:
        opset: of the default domain, the fp32 model's own.
        quant_format: `qoperator` or `qdq`.
        per_channel: a weight scale per output channel rather than per tensor.
        target: name in `TARGETS`.
        pair_safe, symmetric: the target's.
        bias_correction: what rounding the weights adds to the mean of a channel is taken off its bias.
        activation_type, weight_type: `uint8` or `int8`.
        op_types: operators that are quantized.
        float_nodes: nodes that stay fp32 although a backend quantizes their operator: first of all those of the logits.
        reasons: one sentence for each choice that was made for the user.
        kept: the layers among `float_nodes` that the user named, or that a search found.
        power_of_two: weights and biases are rounded as in training for int8, see `fixed_point`.
        unrounded: pointwise convolutions, among `float_nodes` too as no backend is to write them, that multiply in int8
            and whose sums stay float32, see `products`.
    """

    opset: int
    quant_format: str
    per_channel: bool
    target: str
    pair_safe: bool
    symmetric: bool
    bias_correction: bool
    activation_type: str
    weight_type: str
    op_types: tuple[str, ...]
    float_nodes: tuple[str, ...]
    reasons: tuple[str, ...]
    kept: tuple[str, ...] = ()
    power_of_two: bool = False
    unrounded: tuple[str, ...] = ()

    @property
    def levels(self) -> str:
        """Name in `LEVELS` of those that activations have."""
        return (SYMMETRIC if self.symmetric else UNSIGNED).name

    def to_json(self) -> dict[str, Any]:
        """As recorded in the model."""
        value = asdict(self)
        if not self.power_of_two:
            del value["power_of_two"]
        if not self.unrounded:
            del value["unrounded"]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The plan as recorded in a model, beside whatever else was recorded there.

        Raises:
            KeyError: a part of it is missing.
        """
        value = {"power_of_two": False, "unrounded": (), **value}
        own: dict[str, Any] = {field.name: value[field.name] for field in fields(cls)}
        own = {name: tuple(part) if isinstance(part, list) else part for name, part in own.items()}
        return cls(**own)

    def decided(self) -> dict[str, Any]:
        """All but the reasons: what the int8 model depends on, whether it was asked for or chosen."""
        return {name: value for name, value in self.to_json().items() if name != "reasons"}

    def __str__(self) -> str:
        scales = "per-channel" if self.per_channel else "per-tensor"
        pairs = "pair-safe " if self.pair_safe else ""
        pairs += "power-of-two " if self.power_of_two else ""
        kind = "symmetric s8" if self.symmetric else "u8"
        return (
            f"opset {self.opset}, {self.quant_format}, {kind} activations, {scales} {pairs}8-bit weights, "
            f"for {self.target}; {', '.join(self.op_types)} int8, {len(self.float_nodes)} nodes fp32"
        )


def make_plan(
    fp32: Graph,
    cpu: Cpu,
    *,
    quant_format: str = "auto",
    target: str = "auto",
    runtime: str = DEFAULT_RUNTIME,
    per_channel: bool | None = None,
    bias_correction: bool = True,
    keep: Sequence[str] = (),
    clips: Clips | None = None,
) -> Plan:
    """Decide the form of an int8 model.

    Args:
        fp32: the fp32 model, after intake.
        cpu: what `target="auto"` means, where the runtime does not say it.
        quant_format: `auto`, `qoperator` or `qdq`.
        target: `auto` or a name in `TARGETS`.
        runtime: what is to run the int8 model.
        per_channel: None chooses: per channel wherever the opset allows it.
        bias_correction: see `Plan`.
        keep: regular expressions; layers (convolutions, products with a stored matrix) in whose names one is found stay
            fp32.
        clips: of a model trained for int8, which is to mean what it meant in training: its logits have 8 bits, scales
            are powers of two, one a weight unless `per_channel` is asked for, and no bias is corrected.

    Raises:
        ModelError: the model is quantized already, holds no convolution, or its opset is below 11.
        UsageError: a request that this opset cannot meet, the message names the ways out; or one of `keep` is no
            regular expression, or is found in no name.
    """
    model, opset, (chosen, why) = fp32.model, _quantizable_opset(fp32.model), _target(target, cpu, runtime)
    if clips is not None:
        _require_unsigned(chosen)
        per_channel, bias_correction = bool(per_channel), False
    floats, reasons = _never_int8(model, clips)
    quant_format, whys = _format(quant_format, per_channel, opset, chosen)
    reasons += [*why, *whys, *_no_int8_maxpool(model, opset)]
    products = () if chosen.symmetric or clips is not None else _products(model, floats)
    op_types = (*_op_types(fp32, opset, chosen, floats), *products)
    islands = _islands(fp32, op_types, floats, chosen) if clips is None else ()
    others = _other_products(model, products, floats)
    reasons += _stay("as all around them", islands) + _stay("as no stored weight is multiplied", others)
    plan = Plan(
        opset=opset,
        quant_format=quant_format,
        per_channel=_many_scales(quant_format, opset) if per_channel is None else per_channel,
        target=chosen.name,
        pair_safe=chosen.pair_safe,
        symmetric=chosen.symmetric,
        bias_correction=bias_correction,
        activation_type="int8" if chosen.symmetric else "uint8",
        weight_type="int8",
        op_types=op_types,
        float_nodes=(*floats, *islands, *others),
        reasons=tuple(reasons),
        power_of_two=clips is not None,
    )
    return keep_float(plan, fp32, named_layers(model, keep))


def _never_int8(model: onnx.ModelProto, clips: Clips | None) -> tuple[tuple[str, ...], list[str]]:
    """Nodes that stay fp32 whatever is asked for, and why."""
    if clips is None:
        nodes, why = logits_nodes(model), "for the logits"
    else:
        nodes, why = clips.float_nodes, "as in training"
    return nodes, _stay(why, nodes)


def _stay(why: str, nodes: Sequence[str]) -> list[str]:
    """The reason that these nodes stay fp32; none where there are none."""
    return [f"fp32 {why}: {listed(nodes, NAMES_LISTED)}"] if nodes else []


def _no_int8_maxpool(model: onnx.ModelProto, opset: int) -> list[str]:
    """The reason that a MaxPool stays fp32, where there is one and it does."""
    if opset >= INT8_MAXPOOL_OPSET or all(node.op_type != "MaxPool" for node in model.graph.node):
        return []
    return [f"MaxPool stays fp32: it takes 8-bit integers from opset {INT8_MAXPOOL_OPSET}"]


def _many_scales(quant_format: str, opset: int) -> bool:
    """Whether weights may have a scale for each channel."""
    return quant_format == "qoperator" or opset >= QDQ_PER_CHANNEL_OPSET


def _format(quant_format: str, per_channel: bool | None, opset: int, target: Target) -> tuple[str, list[str]]:
    """The format to write, and why, where the user leaves something open.

    Raises:
        UsageError: a format that does not exist, or that the target or the opset does not allow.
    """
    reasons = []
    if quant_format == "auto":
        quant_format, reason = _best_format(opset, target, per_channel is not False)
        reasons.append(reason)
    _require_form(quant_format, per_channel, opset, target)
    if per_channel is None and not _many_scales(quant_format, opset):
        reasons.append(f"per-tensor weights: per-channel qdq needs opset {QDQ_PER_CHANNEL_OPSET}")
    return quant_format, reasons


def _best_format(opset: int, target: Target, per_channel: bool) -> tuple[str, str]:
    """The format to write where the user names none, and why; `per_channel` is refused or not."""
    if opset < QDQ_PER_CHANNEL_OPSET and per_channel and "qoperator" in target.formats:
        return "qoperator", f"qoperator: at opset {opset} only it has per-channel weights"
    if len(target.formats) > 1:
        return "qdq", "qdq: the portable form, and onnxruntime fuses it into the same kernels"
    return "qdq", f"qdq: what {target.name} reads"


def _require_form(quant_format: str, per_channel: bool | None, opset: int, target: Target) -> None:
    """Raise UsageError on a format that does not exist or that the target or the opset does not allow."""
    if quant_format not in FORMATS:
        raise UsageError(f"no format is called {quant_format!r}", fix=f"choose one of: {', '.join(FORMATS)}")
    if quant_format not in target.formats:
        raise UsageError(
            f"{target.name} does not read the {quant_format} form", fix="use --format qdq, or another --target"
        )
    legal = _many_scales(quant_format, opset)
    if per_channel and not legal:
        raise UsageError(
            f"per-channel weights in qdq form need opset {QDQ_PER_CHANNEL_OPSET}, and the model has opset {opset}",
            fix=f"use --format qoperator, or export with --opset {QDQ_PER_CHANNEL_OPSET} or newer",
        )
    if target.symmetric and (not legal or per_channel is False):
        raise UsageError(
            f"{target.name} wants per-channel weights, which qdq has from opset {QDQ_PER_CHANNEL_OPSET}; "
            f"this is opset {opset}{', --per-tensor' if per_channel is False else ''}",
            fix=f"export with --opset {QDQ_PER_CHANNEL_OPSET} or newer, without --per-tensor; or use another --target",
        )


def _require_unsigned(target: Target) -> None:
    """Raise UsageError where the target has no place for the unsigned ranges that a model trained for int8 brings."""
    if target.symmetric:
        raise UsageError(
            f"{target.name} wants activations of zero point 0, and the model's own are unsigned behind a rectifier",
            fix="use another --target, or give it --data instead of its own ranges",
        )


def keep_float(plan: Plan, fp32: Graph, convs: Sequence[str], unrounded: Sequence[str] = ()) -> Plan:
    """The plan with these layers of the fp32 model in fp32 too, and what would be int8 alone because of them.

    Args:
        unrounded: convolutions, see `Plan`.
    """
    chosen = dict.fromkeys((*plan.float_nodes, *convs, *unrounded))
    alone = (convs or unrounded) and not plan.power_of_two  # what training rounded is rounded, whatever it gains
    islands = _islands(fp32, plan.op_types, chosen, TARGETS[plan.target]) if alone else ()
    return replace(
        plan,
        float_nodes=(*chosen, *islands),
        kept=(*plan.kept, *convs),
        unrounded=(*plan.unrounded, *unrounded),
    )


def _islands(fp32: Graph, op_types: Collection[str], float_nodes: Collection[str], target: Target) -> tuple[str, ...]:
    """Of the nodes to be quantized, those that gain nothing from it. What a symmetric target fuses counts as int8."""
    between = [op for op in (INT8_OPS if target.symmetric else op_types) if op not in PRODUCT_OPS]
    found = float_islands(fp32, between, float_nodes)
    quantized = {node.name for node in fp32.model.graph.node if node.op_type in op_types}
    return tuple(name for name in found if name in quantized)


def _op_types(fp32: Graph, opset: int, target: Target, logits: Sequence[str]) -> tuple[str, ...]:
    """Operators, in the order of `INT8_OPS`, that the target computes in int8 somewhere else than in the logits."""
    legal = [op for op in INT8_OPS if op != "MaxPool" or opset >= INT8_MAXPOOL_OPSET]
    if target.symmetric:
        legal = [op for op in legal if op in SYMMETRIC_OPS]
    nodes = fp32.model.graph.node
    present = {node.op_type for node in nodes if node.output[0] in fp32.floats and node.name not in logits}
    return tuple(op for op in legal if op in present)


def _products(model: onnx.ModelProto, logits: Sequence[str]) -> tuple[str, ...]:
    """Operators of the matrix products with a stored weight that make no logits."""
    present = {p.node.op_type for name, p in stored_products(model.graph).items() if name not in logits}
    return tuple(op for op in PRODUCT_OPS if op in present)


def _other_products(model: onnx.ModelProto, op_types: Sequence[str], logits: Sequence[str]) -> tuple[str, ...]:
    """Nodes of these operators that multiply two activations, or by more than a stored weight: they stay fp32."""
    ours = {*stored_products(model.graph), *logits}
    return tuple(node.name for node in model.graph.node if node.op_type in op_types and node.name not in ours)


def _target(name: str, cpu: Cpu, runtime: str) -> tuple[Target, list[str]]:
    """The target, and why, where the user leaves it open. Raises UsageError if there is none of that name."""
    if name == "auto":
        if own := RUNTIMES[runtime].target:
            return TARGETS[own], [f"target {own}: what {runtime} reads"]
        by_cpu = KERNELS.get(cpu.int8_kernel, "vnni") if cpu.exact_u8s8 else "avx2"
        return TARGETS[by_cpu], [f"target {by_cpu}: this CPU's int8 kernels are {cpu.int8_kernel}"]
    if name not in TARGETS:
        raise UsageError(f"no target is called {name!r}", fix=f"choose one of: auto, {', '.join(TARGETS)}")
    return TARGETS[name], []


def _quantizable_opset(model: onnx.ModelProto) -> int:
    """The model's opset. Raises ModelError if it cannot be quantized."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if is_quantized(model):
        raise ModelError("the model is quantized already", fix="name the fp32 model it was made from")
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ModelError("the model has no convolution to quantize", fix="name an exported network")
    if opset < MIN_OPSET:
        raise ModelError(
            f"the model has opset {opset}; quantized operators are complete from {MIN_OPSET}",
            fix=f"export it with --opset {MIN_OPSET} or newer",
        )
    return opset
