"""A profile beside the runtime's own file, and beside multiply-accumulates counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from toys import MIXED_MACS, mixed_products, residual_network, save, write_coco

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.evaluation.profiling import made_of, profile, told
from fcn_onnx.report.profile import Profile, layer_rows, operator_rows
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.roofline import WORKS, Peak, in_fp32, in_int8
from fcn_onnx.runtime.seam import RUNTIMES, Layer, Profiled, SessionConfig, get_runtime
from fcn_onnx.runtime.trace import read_trace
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

PEAK = Peak(fp32=50.0, int8=200.0)
EVERY = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(not RUNTIMES["openvino"].installed, reason="OpenVINO is not installed"),
    ),
]
SIDE = 64
RESIDUAL = {
    "/stem": 32 * 32 * 8 * 3 * 9,
    "/inner": 16 * 16 * 8 * 8 * 9,
    "/branch": 16 * 16 * 8 * 8,
    "/logits": 16 * 16 * 21 * 8,
}
"""Multiply-accumulates of `residual_network` at 64×64: pixels of the result × outputs × inputs × kernel."""


def profiled(model: onnx.ModelProto, runtime: str, side: int = SIDE) -> Profile:
    network, config = Network(model, runtime=runtime), SessionConfig()
    return profile(model, network, network.form.noise((side, side)), PEAK, runtime=runtime, config=config, runs=2)


def require_whole(found: Profile) -> None:
    """Parts add up to the whole, in time and in work."""
    for parts in (found.operators, found.layers):
        assert sum(part.milliseconds for part in parts) + found.between_ms == pytest.approx(found.milliseconds)
        assert sum(part.share for part in parts) + found.between_ms / found.milliseconds == pytest.approx(1)
    assert sum(operator.layers for operator in found.operators) == len(found.layers)
    assert found.between_ms > 0
    for part in (*found.layers, *found.operators):
        if part.gmacs is not None and part.milliseconds > 0:
            assert part.gmacs_per_second == pytest.approx(1e3 * part.gmacs / part.milliseconds)
            assert part.share_of_peak == pytest.approx(part.gmacs_per_second / (200 if part.int8 else 50))
        else:
            assert part.gmacs_per_second is None


@pytest.mark.parametrize("runtime", EVERY)
def test_work_is_that_of_the_file_layer_by_layer(runtime: str) -> None:
    """However the runtime names what it fused: onnxruntime by tensors in fp32, OpenVINO by lists of nodes."""
    found = profiled(residual_network(opset=13), runtime)
    require_whole(found)
    assert {one.name: round(1e9 * one.gmacs) for one in found.layers if one.gmacs is not None} == RESIDUAL
    assert not any(one.int8 for one in found.layers)
    assert found.size == (SIDE, SIDE)
    rows = operator_rows(found)
    assert rows[-1][2:4] == (f"{found.milliseconds:.2f}", "100.0 %")
    assert len(layer_rows(found, 3)) == 3


@pytest.mark.parametrize("runtime", EVERY)
def test_products_and_transposed_convolutions_are_counted_too(runtime: str) -> None:
    found = profiled(mixed_products(), runtime, side=16)
    require_whole(found)
    macs = {one.name: round(1e9 * one.gmacs) for one in found.layers if one.gmacs is not None}
    pixels = 16 * 16
    assert macs == {name: count * pixels for name, count in MIXED_MACS.items() if name in macs}
    assert {"conv", "transposed", "last"} <= macs.keys()


@pytest.mark.parametrize("runtime", EVERY)
def test_int8_layers_are_told_and_held_against_the_int8_peak(runtime: str, tmp_path: Path) -> None:
    path = save(residual_network(opset=13), tmp_path / "m.onnx")
    options = QuantizeOptions(
        model=path,
        choice=ImageChoice(write_coco(tmp_path / "coco"), limit=2),
        target="openvino",
        output=tmp_path / "i.onnx",
    )
    found = profiled(onnx.load(quantize(options).path), runtime)
    require_whole(found)
    macs = {one.name: round(1e9 * one.gmacs) for one in found.layers if one.gmacs is not None}
    assert list(macs.values()) == list(RESIDUAL.values())
    executed = get_runtime(runtime).int8_nodes(tmp_path / "i.onnx")
    assert {one.name for one in found.layers if one.int8} == macs.keys() & executed
    assert any(one.int8 for one in found.layers)


def test_the_times_are_those_of_onnxruntimes_own_file(tmp_path: Path) -> None:
    """Summed here from the JSON in another way: all runs but the first, whatever their nodes."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "trace")
    path = save(residual_network(), tmp_path / "m.onnx")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.zeros((1, 3, SIDE, SIDE), np.float32)
    for _ in range(4):
        session.run(None, {"input": image})
    events = json.loads(Path(session.end_profiling()).read_text())
    runs = [event for event in events if event["name"] == "model_run"][1:]
    inside = [
        event
        for event in events
        if event["cat"] == "Node" and any(run["ts"] <= event["ts"] < run["ts"] + run["dur"] for run in runs)
    ]
    found = read_trace(events, 3)
    assert found.milliseconds == pytest.approx(sum(run["dur"] for run in runs) / 3000)
    assert sum(layer.milliseconds for layer in found.layers) == pytest.approx(sum(e["dur"] for e in inside) / 3000)
    assert len(found.layers) == len(inside) / 3


def event(name: str, ts: int, dur: int, op: str = "Conv", cat: str = "Node", **more: Any) -> dict[str, Any]:
    return {"name": name, "ts": ts, "dur": dur, "cat": cat, "args": {"op_name": op, **more}}


def test_what_a_branch_runs_is_part_of_it_and_another_provider_is_named() -> None:
    events = [
        event("model_run", 0, 9, cat="Session"),
        event("a_kernel_time", 100, 10, provider="CUDAExecutionProvider"),
        event("inner_kernel_time", 112, 5, provider="CUDAExecutionProvider"),
        event("branch_kernel_time", 110, 20, op="If", provider="CPUExecutionProvider"),
        event("model_run", 95, 40, cat="Session"),
    ]
    found = read_trace(events, 1, "CUDAExecutionProvider")
    assert [(layer.name, layer.op_type, layer.milliseconds) for layer in found.layers] == [
        ("a", "Conv", 0.01),
        ("branch", "If (CPUExecutionProvider)", 0.02),
    ]
    assert found.milliseconds == 0.04


def test_behind_an_add_a_layer_is_the_convolution_that_no_other_layer_is() -> None:
    def conv(source: str, name: str) -> onnx.NodeProto:
        return helper.make_node("Conv", [source, "w"], [name], name=f"/{name}")

    nodes = [
        conv("x", "a"),
        helper.make_node("Relu", ["a"], ["ra"], name="/ra"),
        conv("ra", "b"),
        conv("ra", "c"),
        helper.make_node("Add", ["b", "c"], ["sum"], name="/sum"),
        helper.make_node("Relu", ["sum"], ["out"], name="/out"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "out")]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))

    def layer(*names: str) -> Layer:
        return Layer(names[0] if names else "mover", "Conv", 1.0, False, names)

    layers = [layer("ra"), layer("b_nchwc", "b"), layer(), layer("out")]
    assert made_of(model, layers) == [("/a",), ("/b",), (), ("/c",)]
    assert made_of(model, [layer("out")]) == [()]  # either of two: not known
    assert made_of(model, [layer("/b", "/c", "/out")]) == [("/b", "/c")]  # a list of what was fused


def test_a_batch_is_counted_whole_and_an_operator_with_an_unknown_layer_has_no_speed() -> None:
    layers = (
        Layer("a", "Conv", 2.0, False, ()),
        Layer("b", "Conv", 2.0, False, ()),
        Layer("c", "QConv", 1.0, True, ()),
    )
    found = told(Profiled(6.0, layers), [10**8, None, 10**8], 4, PEAK, (8, 8), 1)
    first, _, last = found.layers
    assert (first.gmacs, first.gmacs_per_second, first.share_of_peak) == pytest.approx((0.4, 200.0, 4.0))
    assert (last.gmacs_per_second, last.share_of_peak) == pytest.approx((400.0, 2.0))
    assert [(one.op_type, one.layers, one.gmacs) for one in found.operators] == [("Conv", 2, None), ("QConv", 1, 0.4)]
    assert found.between_ms == pytest.approx(1.0)


@pytest.mark.parametrize("runtime", EVERY)
def test_the_peak_is_measured_on_what_it_says(runtime: str, tmp_path: Path) -> None:
    """The int8 models run in int8; both kinds compute the product, as numpy does it on small numbers."""
    for work in WORKS:
        path = save(in_int8(work), tmp_path / f"{work.op_type}.onnx")
        assert "work" in get_runtime(runtime).int8_nodes(path)
    product = WORKS[0]
    assert product.macs == 1536**3
    assert WORKS[1].macs == 56 * 56 * 256 * 256 * 9
    x = np.random.default_rng(0).integers(0, 4, product.data).astype(np.float32)
    session = get_runtime(runtime).open(in_fp32(product).SerializeToString(), SessionConfig(), name="m", fix="")
    weight = onnx.numpy_helper.to_array(in_fp32(product).graph.initializer[0])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ weight, atol=1e-2)
