"""Convolutions that `nodes_to_exclude` keeps out of quantization run in int8 all the same."""

import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
how = {"activation_type": QuantType.QUInt8, "nodes_to_exclude": ["conv0", "conv2", "conv4", "conv6"]}
weights = {"w": np.linspace(-1, 2, 9, dtype=np.float32).reshape(3, 3, 1, 1), "b": np.ones(3, np.float32)}
held = [numpy_helper.from_array(value, f"{name}{i}") for name, value in weights.items() for i in range(7)]
convs = [helper.make_node("Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"y{i}"], name=f"conv{i}") for i in range(7)]
relus = [helper.make_node("Relu", [f"y{i}"], [f"x{i + 1}"]) for i in range(6)]
nodes = sorted([*convs, *relus], key=lambda node: (node.input[0][1:], node.op_type))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x0", "y6")]
model = helper.make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:], held), ir_version=8)
model.opset_import[0].version = 13
options = ort.SessionOptions()
print("expected: 4 convolutions of 7 excluded, 4 executed in fp32")
for form in (QuantFormat.QOperator, QuantFormat.QDQ):
    with tempfile.TemporaryDirectory() as folder:
        reader = type("Reader", (), {"get_next": [None, {"x0": np.ones((1, 3, 8, 8), np.float32)}].pop})()
        quantize_static(model, f"{folder}/int8.onnx", reader, form, **how)
        options.optimized_model_filepath = f"{folder}/executed.onnx"
        ort.InferenceSession(f"{folder}/int8.onnx", options, providers=["CPUExecutionProvider"])
        ran = [node.op_type for node in onnx.load(f"{folder}/executed.onnx").graph.node]
    print(f"found, {form.name}: {ran.count('Conv') + ran.count('FusedConv')} of 7 executed in fp32")
