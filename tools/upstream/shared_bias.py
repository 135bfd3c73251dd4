"""In QOperator form, two convolutions that share a bias get it in int32 once, at the scale of the first."""

import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
print("expected: the second convolution's output, 1 + 0.1 x for x in 0 … 1, with either form")
weights = {"w0": 10 * np.eye(3), "w1": 0.1 * np.eye(3)}
held = [numpy_helper.from_array(w.astype(np.float32).reshape(3, 3, 1, 1), name) for name, w in weights.items()]
held.append(numpy_helper.from_array(np.ones(3, np.float32), "bias"))
nodes = [helper.make_node("Conv", ["x", f"w{i}", "bias"], [f"y{i}"], name=f"conv{i}") for i in (0, 1)]
names = ("x", "y0", "y1")
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in names]
graph = helper.make_graph(nodes, "shared", values[:1], values[1:], held)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
x = np.linspace(0, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)
for form in (QuantFormat.QOperator, QuantFormat.QDQ):
    with tempfile.TemporaryDirectory() as folder:
        reader = type("Reader", (), {"get_next": [None, {"x": x}].pop})()
        quantize_static(model, f"{folder}/int8.onnx", reader, form, activation_type=QuantType.QUInt8)
        y = ort.InferenceSession(f"{folder}/int8.onnx", providers=["CPUExecutionProvider"]).run(["y1"], {"x": x})[0]
    print(f"found, {form.name}: {y.min():.2f} … {y.max():.2f}, at most {np.abs(y - (1 + 0.1 * x)).max():.2f} off")
