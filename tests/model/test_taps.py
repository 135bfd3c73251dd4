"""Models cut to what is to be seen of them, run beside the whole ones."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from toys import pixel_classifier, residual_network, with_failing_head

from fcn_onnx.errors import ModelError
from fcn_onnx.model.files import check_model
from fcn_onnx.model.taps import path_to, with_taps


def run(model: object, names: list[str] | None = None) -> list[np.ndarray]:
    image = np.random.default_rng(0).standard_normal((1, 3, 16, 24)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])  # type: ignore[attr-defined]
    return session.run(names, {"input": image})


def test_the_path_to_an_output_computes_it_alone() -> None:
    whole = with_failing_head(pixel_classifier())
    before = whole.SerializeToString()
    cut = path_to(whole, "out")
    check_model(cut)
    assert [node.name for node in cut.graph.node] == ["classify"]
    assert [tensor.name for tensor in cut.graph.initializer] == ["w", "b"]
    assert cut.graph.output[0] == whole.graph.output[0]
    assert np.array_equal(run(cut)[0], run(pixel_classifier())[0])
    assert whole.SerializeToString() == before


def test_taps_are_what_the_model_computes_inside() -> None:
    whole = residual_network()
    inner = whole.graph.node[2].output[0]
    shown = residual_network()
    shown.graph.output.append(helper.make_tensor_value_info(inner, TensorProto.FLOAT, None))
    tapped = with_taps(whole, [inner])
    assert len(tapped.graph.node) == 3
    assert np.array_equal(run(tapped)[0], run(shown, [inner])[0])
    with pytest.raises(ModelError, match="no tensor 'nowhere'"):
        with_taps(whole, ["nowhere"])
