"""What must hold of an int8 file before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from fcn_onnx.errors import FcnOnnxError, QuantizationError
from fcn_onnx.quantization.keeping import kept_layers, require_kept, undone
from fcn_onnx.quantization.making import Made
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.saturation import Pairs, read_pairs, require_pair_safe
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME

PROBE_SIZE = (64, 80)


@dataclass(frozen=True)
class Proof:
    """What was found of an int8 file.

    Attributes:
        pairs: of its weights; for a target that may run without VNNI none can saturate, unless the backend is another.
        undone: layers that another backend kept in fp32, and that onnxruntime rounds all the same.
    """

    pairs: Pairs
    undone: tuple[str, ...]


def prove(made: Made, path: Path, name: Path) -> Proof:
    """Check the file at `path`, which is to be called `name`.

    It is sound by onnx's checker, loads in onnxruntime and in what is to run it, and runs once in each; every domain
    has its opset. Of a file whose weights are ours: no pair of them saturates where the target may lack VNNI, and what
    the plan keeps runs in fp32, with its weights bit for bit. Of another backend's file both are measured.

    Raises:
        QuantizationError: something does not hold.
    """
    fp32 = made.fp32.taken.model
    _require_opsets(fp32, made.int8, made.plan)
    pairs = read_pairs(made.int8)
    if made.plan.pair_safe and not made.tuned:
        require_pair_safe(pairs)
    for runtime in dict.fromkeys((DEFAULT_RUNTIME, made.runtime)):
        _require_sound(path, name, made.multiple_of, runtime)
    if made.tuned:
        return Proof(pairs, undone(fp32, path))
    require_kept(fp32, path, kept_layers(fp32, made.plan), made.plan.unrounded)
    return Proof(pairs, ())


def _require_opsets(fp32: onnx.ModelProto, int8: onnx.ModelProto, plan: Plan) -> None:
    """The default domain keeps its opset; the only other domain is onnxruntime's, for QOperator's Add."""
    expected = {entry.domain: entry.version for entry in fp32.opset_import}
    found = {entry.domain: entry.version for entry in int8.opset_import}
    used = {node.domain for node in int8.graph.node}
    allowed = {"com.microsoft": 1} if plan.quant_format == "qoperator" else {}
    surplus = {d: v for d, v in found.items() if d in used and (expected | allowed).get(d) != v}
    if surplus or found.get("") != plan.opset:
        raise QuantizationError(
            f"the quantizer wrote the opsets {found}, not {expected | allowed}",
            fix="report this with the model; another --opset may do",
        )


def _require_sound(path: Path, name: Path, multiple_of: int | None, runtime: str) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
        network = Network(path, name=str(name), multiple_of=multiple_of, runtime=runtime)
        height, width = (own or size for own, size in zip(network.input_size, PROBE_SIZE, strict=True))
        outputs = network.run(network.form.noise((height, width)))
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        FcnOnnxError,
        RuntimeError,
    ) as error:
        raise QuantizationError(
            f"the quantized model is not sound: {error}",
            fix="report this with the model; another --format or --opset may do",
        ) from error
    broken = [n for n, value in outputs.items() if not np.isfinite(value).all()]
    if broken:
        raise QuantizationError(
            f"the quantized model returns values that are not finite in {', '.join(broken)}",
            fix="check the range table",
        )
