"""Which operators onnxruntime computes in int8, what that gains, and what it costs in accuracy.

    python benchmarks/operators.py [NAME …]

Each operator stands between two convolutions, at a size that MobileNetV3 has at 520². Four models of it: fp32; by
onnxruntime's quantizer the convolutions alone (the operator between DequantizeLinear and QuantizeLinear), and the
operator too; and ours. Both forms: QOperator at opset 12 and QDQ at opset 13 (14 where the operator is newer). u8·s8
per channel, ranges from the picture that is run (onnxruntime's MinMax, our default), the logits fp32. Printed as a
Markdown table: what stands between the two convolutions in the graph that onnxruntime executes of ours, median CPU
times of single-threaded runs taken in turn, and the ratio of signal to noise of the logits, in dB.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from PIL import Image

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.runtime.onnxruntime import executed_graph
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

CHANNELS, SIDE, CLASSES = 240, 65, 8
RUNS = 15
CONVOLUTIONS = frozenset({"QLinearConv", "Conv", "FusedConv"})
PLUMBING = frozenset({"QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput", "ReorderOutput", "LeakyRelu"})


class Draft:
    """A graph under construction, of `opset`, whose input `x` is (1, 3, SIDE, SIDE)."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        name = f"{kind}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, **attributes))
        return name if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])))

    def conv(self, x: str, inputs: int = CHANNELS, outputs: int = CHANNELS) -> str:
        bias = self.constant(0.3 * self.rng.standard_normal(outputs))
        return str(self.op("Conv", x, self.weight(outputs, inputs, 1, 1), bias, kernel_shape=[1, 1]))

    def squeezed(self, x: str) -> str:
        pooled = self.op("GlobalAveragePool", x)
        return self.conv(self.op("Relu", self.conv(pooled, outputs=64)), 64)

    def model(self, output: str) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "operator", [image], [result], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def _hard_swish(d: Draft, x: str) -> str:
    if d.opset >= 14:
        return str(d.op("HardSwish", x))
    return str(d.op("Mul", x, d.op("HardSigmoid", x, alpha=1 / 6)))


def _primitive_hard_swish(d: Draft, x: str) -> str:
    moved = d.op("Clip", d.op("Add", x, d.constant(3)), d.constant(0), d.constant(6))
    return str(d.op("Mul", d.op("Mul", x, moved), d.constant(1 / 6)))


def _product_over_channels(d: Draft, x: str) -> str:
    last = d.op("Transpose", x, perm=[0, 2, 3, 1])
    product = d.op("MatMul", last, d.weight(CHANNELS, CHANNELS))
    return str(d.op("Transpose", product, perm=[0, 3, 1, 2]))


def _attention(d: Draft, x: str) -> str:
    rows = d.op("Reshape", x, d.constant([1, CHANNELS, -1], np.int64))
    similar = d.op("MatMul", rows, d.op("Transpose", rows, perm=[0, 2, 1]))
    scaled = d.op("Mul", similar, d.constant(1 / SIDE**2))
    back = d.op("MatMul", scaled, rows)
    return str(d.op("Reshape", back, d.constant([1, CHANNELS, SIDE, SIDE], np.int64)))


def _gemm(d: Draft, x: str) -> str:
    rows = d.op("Reshape", x, d.constant([SIDE * SIDE, CHANNELS], np.int64))
    made = d.op("Gemm", rows, d.weight(CHANNELS, CHANNELS), d.constant(np.zeros(CHANNELS)), transB=1)
    return str(d.op("Reshape", made, d.constant([1, CHANNELS, SIDE, SIDE], np.int64)))


def _transposed(kernel: int) -> Callable[[Draft, str], str]:
    def build(d: Draft, x: str) -> str:
        pads, more = ([0] * 4, 0) if kernel == 2 else ([1] * 4, kernel % 2)
        sizes: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [2, 2], "pads": pads}
        weight = d.weight(CHANNELS, 64, kernel, kernel)
        return str(d.op("ConvTranspose", x, weight, output_padding=[more] * 2, **sizes))

    return build


def _split(d: Draft, x: str) -> str:
    half = CHANNELS // 2
    sizes = {"split": [half, half]} if d.opset < 13 else {}
    given = [d.constant([half, half], np.int64)] if d.opset >= 13 else []
    first, second = d.op("Split", x, *given, outputs=2, axis=1, **sizes)
    return str(d.op("Concat", second, first, axis=1))


def _slice(d: Draft, x: str) -> str:
    return str(d.op("Slice", x, *(d.constant([value], np.int64) for value in (1, SIDE - 1, 2))))


def _pad(d: Draft, x: str) -> str:
    return str(d.op("Pad", x, d.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), d.constant(0.0)))


def _resize(mode: str) -> Callable[[Draft, str], str]:
    coordinates = "asymmetric" if mode == "nearest" else "half_pixel"

    def build(d: Draft, x: str) -> str:
        scales = d.constant([1, 1, 2, 2])
        options = {"mode": mode, "coordinate_transformation_mode": coordinates}
        return str(d.op("Resize", x, d.constant([]), scales, **options, **_floor(mode)))

    return build


def _floor(mode: str) -> dict[str, str]:
    return {"nearest_mode": "floor"} if mode == "nearest" else {}


@dataclass(frozen=True)
class Case:
    """An operator between two convolutions.

    Attributes:
        build: appends it to a draft.
        quantized: operators that are int8 in the third model, beside Conv.
        outputs: channels that it makes.
        newest: opset of the QDQ form.
    """

    build: Callable[[Draft, str], str]
    quantized: tuple[str, ...]
    outputs: int = CHANNELS
    newest: int = 13


CASES: Mapping[str, Case] = {
    "Relu": Case(lambda d, x: d.op("Relu", x), ("Relu",)),
    "Add": Case(lambda d, x: d.op("Add", x, d.op("Relu", x)), ("Add",)),
    "Sigmoid": Case(lambda d, x: d.op("Sigmoid", x), ("Sigmoid",)),
    "LeakyRelu": Case(lambda d, x: d.op("LeakyRelu", x, alpha=0.1), ("LeakyRelu",)),
    "PRelu": Case(lambda d, x: d.op("PRelu", x, d.constant(np.full((CHANNELS, 1, 1), 0.1))), ("PRelu",)),
    "HardSigmoid": Case(lambda d, x: d.op("HardSigmoid", x, alpha=1 / 6), ("HardSigmoid",)),
    "SiLU: x · Sigmoid": Case(lambda d, x: d.op("Mul", x, d.op("Sigmoid", x)), ("Mul", "Sigmoid")),
    "HardSwish: x · HardSigmoid, Mul int8": Case(_hard_swish, ("Mul",)),
    "HardSwish (opset 14)": Case(_hard_swish, ("HardSwish", "HardSigmoid", "Mul"), newest=14),
    "HardSwish: x · Clip(x + 3) / 6": Case(_primitive_hard_swish, ("Add", "Clip", "Mul")),
    "gate: x · Sigmoid(squeeze)": Case(
        lambda d, x: d.op("Mul", x, d.op("Sigmoid", d.squeezed(x))), ("GlobalAveragePool", "Relu", "Sigmoid", "Mul")
    ),
    "gate: x · HardSigmoid(squeeze)": Case(
        lambda d, x: d.op("Mul", x, d.op("HardSigmoid", d.squeezed(x), alpha=1 / 6)),
        ("GlobalAveragePool", "Relu", "Mul"),
    ),
    "GlobalAveragePool": Case(lambda d, x: d.op("GlobalAveragePool", x), ("GlobalAveragePool",)),
    "AveragePool": Case(lambda d, x: d.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), ("AveragePool",)),
    "ReduceMean": Case(lambda d, x: d.op("ReduceMean", x, axes=[2, 3]), ("ReduceMean",)),
    "MaxPool": Case(lambda d, x: d.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), ("MaxPool",)),
    "Concat": Case(lambda d, x: d.op("Concat", x, d.op("Relu", x), axis=1), ("Relu", "Concat"), 2 * CHANNELS),
    "Split, Concat": Case(_split, ("Split", "Concat")),
    "Slice": Case(_slice, ("Slice",)),
    "Pad": Case(_pad, ("Pad",)),
    "Transpose, Transpose": Case(
        lambda d, x: d.op("Transpose", d.op("Transpose", x, perm=[0, 1, 3, 2]), perm=[0, 1, 3, 2]), ("Transpose",)
    ),
    "Resize nearest": Case(_resize("nearest"), ("Resize",)),
    "Resize linear": Case(_resize("linear"), ("Resize",)),
    "Softmax": Case(lambda d, x: d.op("Softmax", x, axis=1), ("Softmax",)),
    "ConvTranspose 2×2, stride 2": Case(_transposed(2), ("ConvTranspose",), 64),
    "ConvTranspose 3×3, stride 2": Case(_transposed(3), ("ConvTranspose",), 64),
    "ConvTranspose 4×4, stride 2": Case(_transposed(4), ("ConvTranspose",), 64),
    "MatMul with a weight": Case(_product_over_channels, ("MatMul", "Transpose")),
    "MatMul of two activations": Case(_attention, ("MatMul", "Mul", "Reshape", "Transpose")),
    "Gemm": Case(_gemm, ("Gemm", "Reshape")),
}


def network(case: Case, opset: int) -> onnx.ModelProto:
    """conv, operator, conv, Relu, logits."""
    draft = Draft(opset)
    made = case.build(draft, draft.conv("x", 3))
    last = draft.op("Relu", draft.conv(made, case.outputs, 64))
    return draft.model(draft.conv(last, 64, CLASSES))


class _Reader:
    def __init__(self, batch: NDArray[np.float32]) -> None:
        self._left = [{"x": batch}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def _quantized(path: Path, form: QuantFormat, ops: tuple[str, ...], batch: NDArray[np.float32]) -> Path:
    """By onnxruntime's quantizer."""
    output = path.with_name(f"{path.stem}-{len(ops)}.onnx")
    quantize_static(
        str(path),
        str(output),
        _Reader(batch),
        quant_format=form,
        op_types_to_quantize=["Conv", *ops],
        nodes_to_exclude=[onnx.load(path).graph.node[-1].name],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return output


def _ours(path: Path, form: QuantFormat, pictures: Path) -> Path:
    output = path.with_name(f"{path.stem}-ours.onnx")
    name = "qdq" if form is QuantFormat.QDQ else "qoperator"
    quantize(QuantizeOptions(model=path, choice=ImageChoice(pictures), format=name, output=output))
    return output


def _executed(path: Path) -> str:
    """What onnxruntime runs of ours but for the three convolutions, and how often it converts to 8 bits."""
    ops = [node.op_type for node in executed_graph(path).graph.node]
    inner = Counter(op for op in ops if op not in PLUMBING)
    inner.subtract({"QLinearConv": 2, "Conv": 1})
    pairs = ops.count("QuantizeLinear") - 1
    named = [f"{count} {op}" if count > 1 else op for op, count in inner.items() if count > 0]
    return ", ".join(named) + (f" ({pairs} × DQ, Q)" if pairs > 0 else "")


def _milliseconds(paths: list[Path], batch: NDArray[np.float32]) -> list[float]:
    sessions = [ort.InferenceSession(str(path), options_of(SessionConfig(threads=1))) for path in paths]
    taken: list[list[float]] = [[] for _ in paths]
    for _ in range(RUNS):
        for session, times in zip(sessions, taken, strict=True):
            started = time.process_time()
            session.run(None, {"x": batch})
            times.append(1e3 * (time.process_time() - started))
    return [float(np.median(times)) for times in taken]


def _outputs(path: Path, batch: NDArray[np.float32]) -> NDArray[np.float64]:
    session = ort.InferenceSession(str(path), options_of(SessionConfig(threads=1, exact_int8=True)))
    found: NDArray[np.float64] = session.run(None, {"x": batch})[0].astype(np.float64)
    return found


def rows(name: str, case: Case, folder: Path) -> Iterator[str]:
    """A row of the table for each form."""
    pictures = folder / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(noise).save(pictures / "noise.png")
    batch = Preprocessing(Resize())(Image.fromarray(noise))
    for form, opset in ((QuantFormat.QOperator, 12), (QuantFormat.QDQ, case.newest)):
        path = folder / f"{form.name}.onnx"
        onnx.save(network(case, opset), path)
        made: list[Path | None] = [path]
        for make in (
            lambda path=path, form=form: _quantized(path, form, (), batch),
            lambda path=path, form=form: _quantized(path, form, case.quantized, batch),
            lambda path=path, form=form: _ours(path, form, pictures),
        ):
            made.append(_loadable(make))
        models = [model for model in made if model is not None]
        spent = dict(zip(models, _milliseconds(models, batch), strict=True))
        exact, *found = (_outputs(model, batch) for model in models)
        decibels = {
            m: 10 * np.log10((exact**2).sum() / ((exact - f) ** 2).sum())
            for m, f in zip(models[1:], found, strict=True)
        }
        cells = ["–" if m is None else f"{spent[m]:.2f}" for m in made]
        cells += ["–" if m is None else f"{decibels[m]:.1f}" for m in made[1:]]
        executed = "–" if made[-1] is None else _executed(made[-1])
        yield f"| {name} | {form.name} | {executed} | {' | '.join(cells)} |"


def _loadable(make: Callable[[], Path]) -> Path | None:
    """A model, or None where there is none or no session loads it, which is a result."""
    try:
        path = make()
        ort.InferenceSession(str(path), options_of(SessionConfig(threads=1)))
    except Exception as error:  # whatever a quantizer raises
        print(f"{type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        return None
    return path


def main() -> None:
    """Print the table of the operators named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    logging.disable(logging.WARNING)
    print("| operator | form | executed of ours | fp32, ms | op fp32 | op int8 | ours | op fp32, dB | op int8 | ours |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in parser.parse_args().names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            for row in rows(name, CASES[name], Path(folder)):
                print(row, flush=True)


if __name__ == "__main__":
    main()
