"""A Relu of what is read elsewhere too is dropped in QOperator form; an output that a Relu reads is clipped."""

import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
print("expected: x, 2x = x + x, and the sum of max(x, 0) over channels, within their 8 bits (steps below 0.03)")
x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
fp32 = {"x": x, "2x": x + x, "sum": np.maximum(x, 0).sum(1, keepdims=True)}
weights = {"one": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "ones": np.ones((1, 3, 1, 1), np.float32)}
held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
conv = helper.make_node("Conv", ["in", "one"], ["x"], name="conv")
nodes = [conv, helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Conv", ["r", "ones"], ["sum"], name="last")]
added = [*nodes, helper.make_node("Add", ["x", "x"], ["2x"], name="add")]
for case, chain, results in [("x read by an Add", added, ["sum", "2x"]), ("x returned", nodes, ["sum", "x"])]:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, 8, 8]) for name in ["in", *results]]
    model = helper.make_model(helper.make_graph(chain, "forked", values[:1], values[1:], held), ir_version=8)
    model.opset_import[0].version = 13
    for form in (QuantFormat.QOperator, QuantFormat.QDQ):
        with tempfile.TemporaryDirectory() as folder:
            reader = type("Reader", (), {"get_next": [None, {"in": x}].pop})()
            quantize_static(model, f"{folder}/int8.onnx", reader, form, activation_type=QuantType.QUInt8)
            session = ort.InferenceSession(f"{folder}/int8.onnx", providers=["CPUExecutionProvider"])
        off = [f"{name} {np.abs(session.run([name], {'in': x})[0] - fp32[name]).max():.2f}" for name in results]
        print(f"found, {case}, {form.name}: at most", *off, "off")
