"""QLinearConv u8 by s8 on x86 without VNNI: sums of two products saturate in int16, but not in every convolution."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
print("expected: 9 · 255 · 127 = 291465 in every output")
for inputs, outputs, groups in [(8, 8, 8), (8, 16, 8), (1, 8, 1)]:
    scale = np.float32(9 * 255 * 127 / 255)
    weights = np.full((outputs, 1, 3, 3), 127, np.int8)
    held = {"one": np.float32(1), "zero": np.uint8(0), "w": weights, "signed": np.int8(0), "scale": scale}
    read = ["x", "one", "zero", "w", "one", "signed", "scale", "zero"]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", read, ["y"], group=groups)],
        "pairs",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, inputs, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, outputs, 3, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    for precise in "01":
        options = ort.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", precise)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = np.unique(session.run(None, {"x": np.full((1, inputs, 5, 5), 255, np.uint8)})[0] * scale)
        print(f"found, {inputs} → {outputs} channels, {groups} groups, x64quantprecision {precise}: {found}")
