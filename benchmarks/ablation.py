"""What each step of our quantizer is worth, and where the floor lies.

    python benchmarks/ablation.py --model fcn-resnet50-13.onnx --calibrate coco/train2017 --validate coco/val2017

One pass over the calibration images; each row leaves one step out, or leaves weights or activations in fp32 altogether.
The model must have opset 13 or newer, as QDQ is the form in which either can stay fp32. Scores are on the kernel that
cannot saturate, except in the rows that say so. (Label agreement with fp32 is the sharper measure.)
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
from peers import Job, Row, parser_of, score, show

from fcn_onnx.calibration.methods import METHODS
from fcn_onnx.calibration.observing import observe_images, tabulate
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.backends.draft import Draft
from fcn_onnx.quantization.backends.onnxruntime import quantize as quantize_by_onnxruntime
from fcn_onnx.quantization.corrections import correct_biases, mean_shifts
from fcn_onnx.quantization.making import Calibrated, Maker
from fcn_onnx.quantization.plan import Plan, make_plan
from fcn_onnx.quantization.weights import quantize_weights
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.onnxruntime import measured_cpu


def int8_weights_only(model: onnx.ModelProto, table: RangeTable, plan: Plan) -> onnx.ModelProto:
    """The fp32 model with the weights that int8 can hold, and the biases that go with them."""
    convs = frozenset(node.name for node in model.graph.node if node.op_type == "Conv") - set(plan.float_nodes)
    weights = quantize_weights(model, table, convs, per_channel=True, pair_safe=plan.pair_safe)
    placed = onnx.ModelProto()
    placed.CopyFrom(model)
    for tensor in placed.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name].values(), tensor.name))
    correct_biases(placed, mean_shifts(model, weights, table.means))
    return placed


def int8_activations_only(int8: onnx.ModelProto, fp32: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ model whose weights are fp32's again."""
    originals = {tensor.name: tensor for tensor in fp32.graph.initializer}
    mixed = onnx.ModelProto()
    mixed.CopyFrom(int8)
    restored = {}
    for node in list(mixed.graph.node):
        name = node.input[0].removesuffix("_quantized") if node.op_type == "DequantizeLinear" else ""
        if name in originals and len(originals[name].dims) == 4:
            restored[node.output[0]] = name
            mixed.graph.node.remove(node)
    for node in mixed.graph.node:
        for index, name in enumerate(node.input):
            if name in restored:
                node.input[index] = restored[name]
    mixed.graph.initializer.extend(originals[name] for name in restored.values())
    return mixed


def plain(fp32: Graph, table: RangeTable, plan: Plan) -> onnx.ModelProto:
    """onnxruntime's own weights: the largest of each channel is 127, no bias correction."""
    typed = fp32.typed()
    typed.graph.initializer.extend(fp32.model.graph.initializer)
    return quantize_by_onnxruntime(Draft(typed, table.method, Path("unused.log"), table), plan)


def main() -> None:
    options = parser_of(__doc__).parse_args()
    interface = Interface(options.mean, options.std)
    job = Job(options.model, options.calibrate, options.images, interface, "vnni")
    original = Model.open(options.model)
    fp32 = original.taken.model
    preprocessing = preprocessing_of(fp32, str(options.model), interface)
    maker = Maker(original, Calibrated((), preprocessing, {}))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        observation = observe_images(original, job.choice().choose().samples, preprocessing).observation
        tables = {name: tabulate(observation, method) for name, method in METHODS.items()}
        table = tables["mse"]
        whole = make_plan(original.taken, measured_cpu(), quant_format="qdq", target="vnni")
        safe = replace(whole, pair_safe=True)
        rows: list[Row] = []

        def add(label: str, plan: Plan, ranges: RangeTable) -> Path:
            path = folder / f"{len(rows):02d}.onnx"
            onnx.save(maker.make(plan, ranges).int8, path)
            rows.append(Row(label, path, 0, 0))
            return path

        def add_model(label: str, model: onnx.ModelProto) -> None:
            path = folder / f"{len(rows):02d}.onnx"
            onnx.save(model, path)
            rows.append(Row(label, path, 0, 0))

        add("everything, for VNNI", whole, table)
        uncorrected = add("no bias correction", replace(whole, bias_correction=False), table)
        add_model("int8 weights, fp32 activations", int8_weights_only(fp32, table, whole))
        add_model("fp32 weights, int8 activations", int8_activations_only(onnx.load(uncorrected), fp32))
        add("everything, pair-safe (for AVX2)", safe, table)
        add("pair-safe, no bias correction", replace(safe, bias_correction=False), table)
        add_model("onnxruntime's weights, our ranges", plain(original.taken, table, whole))
        add("min/max ranges", whole, tables["minmax"])
        add("logits in int8 too", replace(whole, float_nodes=()), table)
        fp32_row = score(job, rows, open_dataset(options.validate), options.protocol, options.limit, exact=True)
        show(rows, fp32_row, options.protocol, "exact kernel")


if __name__ == "__main__":
    main()
