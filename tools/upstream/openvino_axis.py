"""OpenVINO reads the weight scales of a QLinearConv along the input channels, not the output channels."""

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

print(f"openvino {openvino.__version__.split('-')[0]}, onnx {onnx.__version__}, numpy {np.__version__}")
print("expected: y[o] = scale[o] · (x[0] + x[1])")
for outputs, inputs in [(2, 2), (4, 2)]:
    scales = np.arange(1, outputs + 1, dtype=np.float32)
    held = {"one": np.float32(1), "zero": np.uint8(0), "ws": scales, "wz": np.zeros(outputs, np.int8)}
    held["w"] = np.ones((outputs, inputs, 1, 1), np.int8)
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", ["x", "one", "zero", "w", "ws", "wz", "one", "zero"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, inputs, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, outputs, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    x = np.full((1, inputs, 1, 1), 10, np.uint8)
    try:
        found = openvino.compile_model(openvino.Core().read_model(model.SerializeToString()), "CPU")(x)[0].ravel()
    except RuntimeError:
        found = "the model is refused"
    print(f"found, {inputs} → {outputs} channels, x = 10, scales {scales}: {found} for {10 * inputs * scales}")
