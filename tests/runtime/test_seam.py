"""A second runtime is a table entry: here one that computes with onnx's reference evaluator instead of onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from toys import pixel_classifier, save, write_voc

from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.evaluation.scoring import Contest, Entrant, score_images
from fcn_onnx.jobs.executor import Here
from fcn_onnx.jobs.journal import NONE_KEPT
from fcn_onnx.jobs.progress import SILENT
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime import seam
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import RuntimeEntry, SessionConfig, Value, get_runtime
from fcn_onnx.runtime.segmenter import Segmenter


class ReferenceSession:
    """See `seam.Session`."""

    def __init__(self, source: str | bytes) -> None:
        model = onnx.load(source) if isinstance(source, str) else onnx.load_from_string(source)
        self._evaluator = ReferenceEvaluator(model)
        self.inputs, self.outputs = (
            [self._value(value) for value in values] for values in (model.graph.input, model.graph.output)
        )

    @staticmethod
    def _value(value: onnx.ValueInfoProto) -> Value:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim)
        return Value(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)

    def run(
        self, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]], *, of: str = "", fix: str = ""
    ) -> list[NDArray[Any]]:
        return list(self._evaluator.run(None if outputs is None else list(outputs), dict(feeds)))


class Reference:
    """See `seam.Runtime`."""

    name = "reference"
    version = onnx.__version__
    remark = None

    def open(self, source: str | bytes, config: SessionConfig, *, name: str, fix: str) -> ReferenceSession:
        return ReferenceSession(source)

    def int8_nodes(self, path: Path) -> frozenset[str]:
        return frozenset({"classify"})


REFERENCE = Reference()


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = RuntimeEntry("reference", "onnx's own, slow", f"{__name__}:REFERENCE")
    monkeypatch.setattr(seam, "RUNTIMES", {**seam.RUNTIMES, "reference": entry})


def test_onnxruntime_is_the_one_by_default() -> None:
    runtime = get_runtime()
    assert (runtime.name, runtime.version) == ("onnxruntime", ort.__version__)
    assert [entry.name for entry in seam.RUNTIMES.values()] == list(seam.RUNTIMES)
    with pytest.raises(UsageError, match="no runtime is called 'abacus'"):
        get_runtime("abacus")


def test_inputs_and_outputs_are_declared_in_numpys_words(tmp_path: Path) -> None:
    path = save(pixel_classifier(), tmp_path / "m.onnx")
    session = get_runtime().open(str(path), SessionConfig(), name="m", fix="")
    assert list(session.inputs) == [Value("input", "float32", ("n", 3, "h", "w"))]
    assert [value.fixed for value in session.outputs] == [(None, 21, None, None)]
    assert str(session.inputs[0]) == "input float32 (n, 3, h, w)"
    flat = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "flat",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [2, None])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [2, None])],
    )
    other = save(
        onnx.helper.make_model(flat, opset_imports=[onnx.helper.make_opsetid("", 12)], ir_version=7),
        tmp_path / "o.onnx",
    )
    with pytest.raises(ModelError, match=r"takes x int64 \(2, \?\)"):
        Network(other)


@pytest.mark.usefixtures("_known")
def test_another_runtime_is_one_entry(tmp_path: Path) -> None:
    """Its outputs are those of onnxruntime, read by the same code; a row says which runtime runs it."""
    path, batch = (
        save(pixel_classifier(), tmp_path / "m.onnx"),
        np.random.default_rng(0).random((1, 3, 5, 7), np.float32),
    )
    expected, found = (Network(path, runtime=name).run(batch)["out"] for name in ("onnxruntime", "reference"))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    labels = [
        segmenter.labels(segmenter.run(batch), "an image")
        for segmenter in (Segmenter(path, runtime=name) for name in ("onnxruntime", "reference"))
    ]
    assert (labels[0] == labels[1]).all()
    assert read_coverage(path).int8_convs == 0
    assert read_coverage(path, runtime="reference").rounded_nodes == {
        "classify": "fp32 in the file, but reference runs it in int8"
    }


@pytest.mark.usefixtures("_known")
def test_a_model_is_scored_in_each_runtime_on_its_own(tmp_path: Path) -> None:
    path, dataset = save(pixel_classifier(), tmp_path / "m.onnx"), open_dataset(write_voc(tmp_path))
    rules = get_protocol("voc-native")
    shown = rules.shown(Segmenter(path).preprocessing, None)
    entrants = (Entrant("fp32", path), Entrant("other", path, "reference"))
    tally = score_images(
        Contest(entrants, Interface(), shown, dataset, rules, 1),
        dataset.samples,
        executor=Here(),
        journal=NONE_KEPT.of("job"),
        progress=SILENT,
    )
    assert (tally.agreement[1][:, 0] / tally.agreement[1][:, 1] > 0.999).all()
