"""`CalibrationMethod.Entropy` at its defaults returns the ranges of MinMax: 128 bins for 128 levels."""

import contextlib
import io
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

print(f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
print("expected: Entropy clips the one value of 100 among 100000 of a normal distribution")
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [100_000]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", ends[:1], ends[1:])
values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
values[0] = 100
settings = [("MinMax", {}), ("Entropy", {}), ("Entropy", {"num_bins": 2048})]
with tempfile.TemporaryDirectory() as folder:
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]), f"{folder}/one.onnx")
    for name, extra in settings:
        files, method = (f"{folder}/one.onnx", None, f"{folder}/more.onnx"), CalibrationMethod[name]
        calibrator = create_calibrator(*files, method, extra_options=extra)
        reader = type("Reader", (), {"get_next": [None, {"x": values}].pop})()
        with contextlib.redirect_stdout(io.StringIO()):
            calibrator.collect_data(reader)
            found = [np.ravel(bound)[0] for bound in calibrator.compute_data()["x"].range_value]
        print(f"found, {name} {extra}: {found[0]:.1f} … {found[1]:.1f}")
