"""What rounding each activation and each weight costs, and what each node takes: measured once, for `regions`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper

from fcn_onnx.model.shapes import tensor_types
from fcn_onnx.quantization.reference import Reference
from fcn_onnx.quantization.regions import Flow, Prices, Step, path
from fcn_onnx.quantization.rounded import activation_steps, with_rounded, with_rounded_weight
from fcn_onnx.quantization.trials import Trials
from fcn_onnx.quantization.unrounded import pointwise_convs
from fcn_onnx.runtime.profile import node_times
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME

PASS_SIDE = 512


def measured_prices(trials: Trials, reference: Reference, images: int) -> Prices:
    """The prices of the all-int8 model, by the error of the logits on some images, the first of the reference.

    A model that returns labels has no error: the square of the share that flips stands for it. Where what will run the
    model is not what was measured here, every convolution costs the same.
    """
    maker, progress = trials.maker, trials.progress
    fp32, whole = maker.fp32.taken.model, trials.made(()).int8
    steps = activation_steps(fp32, whole)

    def error(key: str, model: Callable[[], onnx.ModelProto]) -> float:
        found = trials.deviation(key, reference, model, images)
        return found.flipped**2 if found.logits_error is None else found.logits_error

    activations = {
        step.name: error(f"tensor:{step.name}", partial(with_rounded, fp32, step))
        for step in progress.track(steps, total=len(steps), label="pricing activations")
    }
    rounding = maker.rounding(trials.plan, trials.table)
    weights = {
        name: error(f"weight:{name}", partial(with_rounded_weight, fp32, name, *rounding[name]))
        for name in progress.track(rounding, total=len(rounding), label="pricing weights")
    }
    nodes = [n for n in fp32.graph.node if n.op_type in trials.plan.op_types and n.name not in trials.plan.float_nodes]
    int8 = [node.name for node in nodes if node.op_type != "Conv" or node.name in rounding]
    flow = Flow.of(fp32.graph, int8, list(activations))
    if maker.runtime != DEFAULT_RUNTIME or trials.plan.symmetric:
        return Prices(flow, activations, weights, fp32_ms=dict.fromkeys(flow.convs, 1.0))
    return _timed(trials, reference, Prices(flow, activations, weights), whole)


def way(prices: Prices, trials: Trials) -> list[Step]:
    """From all int8 to all fp32, see `regions.path`; sums stay float32 where the target's kernels can do that."""
    legal = prices.int8_ms and not trials.plan.power_of_two
    pointwise = pointwise_convs(trials.maker.fp32.taken.model.graph) if legal else ()
    return path(prices, prices.flow.regions(pointwise))


def _timed(trials: Trials, reference: Reference, prices: Prices, whole: onnx.ModelProto) -> Prices:
    """The prices with what nodes take on the first image; times are in the journal, as errors are."""
    maker, flow = trials.maker, prices.flow
    fp32 = maker.fp32.taken.model

    def times(key: str, model: onnx.ModelProto) -> dict[str, float]:
        measured = cache(
            lambda: node_times(model, reference.batch, maker.config, maker.images.preprocessing.multiple_of)
        )

        def of(name: str) -> float:
            return trials.journal.memo(f"{key}:{name}", lambda: measured().get(name, 0.0))

        return {name: of(name) for name in (*flow.convs, *flow.between)}

    height, width = reference.batch.shape[2:]
    types = tensor_types(fp32, (height, width))
    sizes = {name: types[name].known for name in flow.activations if name in types}
    return Prices(
        flow,
        prices.activations,
        prices.weights,
        times("fp32 ms", fp32),
        times("int8 ms", whole),
        {name: prod(shape) for name, shape in sizes.items() if shape},
        trials.journal.memo("pass ms", lambda: pass_ms(trials)),
    )


def pass_ms(trials: Trials) -> float:
    """What it takes to read and write one float32, in a tensor that is in no cache of its own."""
    shape = [1, 3, PASS_SIDE, PASS_SIDE]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("LeakyRelu", ["x"], ["y"], "pass", alpha=1.0)],
        "pass",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    took = node_times(model, np.zeros(shape, np.float32), trials.maker.config)
    return took["pass"] / prod(shape)
