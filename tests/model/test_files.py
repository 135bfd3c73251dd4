"""Models and the data files beside them: read, told apart, measured and written as one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from toys import compare, photograph, pixel_classifier, residual_network, save, write_coco

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError
from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.model import files
from fcn_onnx.model.files import atomic_model, digest_model, external_files, load_model, model_bytes, save_model
from fcn_onnx.stages.inspect import inspect
from fcn_onnx.stages.options import InspectOptions, PredictOptions, QuantizeOptions
from fcn_onnx.stages.predict import predict
from fcn_onnx.stages.quantize import quantize


def save_split(model: onnx.ModelProto, path: Path, location: str = "weights.data") -> Path:
    """The model as torch's exporter writes it: weights in a file beside it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (path.parent / location).unlink(missing_ok=True)
    onnx.save(copy, path, save_as_external_data=True, location=location, size_threshold=64)
    return path


def test_external_data_is_read_with_the_model(tmp_path: Path) -> None:
    model = residual_network()
    path = save_split(model, tmp_path / "m.onnx")
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in load_model(path).graph.initializer}
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert model_bytes(path) == sum(file.stat().st_size for file in (path, tmp_path / "weights.data"))


def test_the_digest_covers_external_data(tmp_path: Path) -> None:
    whole = save(residual_network(), tmp_path / "whole.onnx")
    assert (digest_model(whole), model_bytes(whole)) == (digest_file(whole), whole.stat().st_size)
    path = save_split(residual_network(), tmp_path / "m.onnx")
    before = digest_model(path)
    assert before == digest_model(path) != digest_file(path)
    negate(tmp_path / "weights.data")
    assert digest_model(path) != before


def negate(data: Path) -> None:
    """Flip the sign bit of every float32 of a file."""
    data.write_bytes((np.fromfile(data, np.uint32) ^ np.uint32(1 << 31)).tobytes())


@pytest.mark.parametrize("location", ["../weights.data", "/etc/hostname", "link/weights.data", "link.data", ""])
def test_external_data_may_not_leave_the_folder(tmp_path: Path, location: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "models"
    outside.mkdir()
    folder.mkdir()
    path = save_split(pixel_classifier(), folder / "m.onnx")
    for place in (outside, tmp_path):
        (place / "weights.data").write_bytes((folder / "weights.data").read_bytes())
    (folder / "link").symlink_to(outside)
    (folder / "link.data").symlink_to(outside / "weights.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(model.SerializeToString())
    for use in (load_model, digest_model, model_bytes):
        with pytest.raises(ModelError, match="leads out of its folder"):
            use(path)


def test_missing_and_truncated_data_is_said(tmp_path: Path) -> None:
    path = save_split(residual_network(), tmp_path / "m.onnx")
    data = tmp_path / "weights.data"
    content = data.read_bytes()
    data.write_bytes(content[:1000])
    with pytest.raises(ModelError, match=r"holds \d+ of the"):
        load_model(path)
    data.unlink()
    for use in (load_model, digest_model, model_bytes):
        with pytest.raises(ModelError, match="no such file"):
            use(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(4):
        photograph(64, 48, index).save(folder / f"{index}.png")
    return folder


def test_no_stage_takes_other_weights_for_the_same_model(tmp_path: Path, data: Path) -> None:
    """Only the data file changes, and every stage knows."""
    path = save_split(residual_network(), tmp_path / "m.onnx")
    output = tmp_path / "int8.onnx"
    first = quantize(QuantizeOptions(model=path, choice=ImageChoice(data), output=output))
    assert quantize(QuantizeOptions(model=path, choice=ImageChoice(data), output=output)).skipped
    digests = [inspect(InspectOptions(model=path)).digest]
    predicted = predict(PredictOptions(model=path, images=sorted(data.iterdir()), output=tmp_path / "labels"))
    negate(tmp_path / "weights.data")
    digests.append(inspect(InspectOptions(model=path)).digest)
    assert digests[0] != digests[1]
    assert not quantize(QuantizeOptions(model=path, choice=ImageChoice(data), output=output)).skipped
    again = predict(PredictOptions(model=path, images=sorted(data.iterdir()), output=tmp_path / "labels"))
    assert [p.shares for p in predicted] != [p.shares for p in again]
    assert first.fp32_size_bytes == model_bytes(path)
    assert first.to_json()["size_ratio"] == model_bytes(path) / first.size_bytes


def test_a_report_measures_and_names_both_files(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    path = save_split(pixel_classifier(), tmp_path / "m.onnx")
    found = compare(path, path, open_dataset(images)).fp32
    assert (found.digest, found.size_bytes) == (digest_model(path), model_bytes(path))


def test_large_models_are_split_and_take_their_name_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PROTO_LIMIT", 1000)
    model, path = residual_network(), tmp_path / "m.onnx"
    save_model(model, path)
    assert load_model(path).graph == model.graph
    (data,) = external_files(path)
    assert re.fullmatch(r"m\.onnx\.[0-9a-f]{8}\.data", data.name)
    first = path.read_bytes()
    save_model(model, path)
    assert (external_files(path), path.read_bytes()) == ((data,), first)
    save_model(residual_network(seed=5), path)
    assert not data.exists()  # that of the model that was written over
    output = tmp_path / "out.onnx"
    for seed in (1, 2):
        with atomic_model(residual_network(seed=seed), output):
            pass
        assert load_model(output).graph == residual_network(seed=seed).graph
    present = sorted(tmp_path.iterdir())
    assert len(present) == 4  # two models, and the data of each
    with pytest.raises(RuntimeError), atomic_model(residual_network(seed=3), output) as temporary:
        assert load_model(temporary).graph == residual_network(seed=3).graph
        raise RuntimeError
    assert sorted(tmp_path.iterdir()) == present
    with (
        pytest.raises(RuntimeError),
        atomic_model(residual_network(seed=2), output),
    ):  # the data file is that of `output`
        raise RuntimeError
    assert load_model(output).graph == residual_network(seed=2).graph


def test_what_is_no_model_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(b"torn")
    with atomic_model(residual_network(), path):
        pass
    assert load_model(path).graph == residual_network().graph


@pytest.mark.parametrize(("opset", "quant_format"), [(12, "qoperator"), (13, "qdq")])
def test_every_stage_works_above_the_limit_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int, quant_format: str
) -> None:
    """With a limit below the weights of a small network, whose results are those of one file."""
    images = write_coco(tmp_path / "coco")
    choice = ImageChoice(images, limit=2)
    whole = save(residual_network(opset=opset, width=16), tmp_path / "whole.onnx")
    quantize(QuantizeOptions(model=whole, choice=choice, format=quant_format, output=tmp_path / "whole-int8.onnx"))
    expected = {t.name: numpy_helper.to_array(t) for t in load_model(tmp_path / "whole-int8.onnx").graph.initializer}

    monkeypatch.setattr(files, "PROTO_LIMIT", 200)
    model, output = tmp_path / "large.onnx", tmp_path / "large-int8.onnx"
    save_model(residual_network(opset=opset, width=16), model)
    quantize(QuantizeOptions(model=model, choice=choice, format=quant_format, max_drop=50, output=output))
    quantize(QuantizeOptions(model=model, choice=choice, format=quant_format, output=output))
    written = load_model(output)
    found = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    kept = onnx.load(output, load_external_data=False).graph.initializer
    assert any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in kept)
    assert sorted(path.name for path in tmp_path.iterdir() if ".data" in path.name) == sorted(
        file.name for path in (model, output) for file in external_files(path)
    )
    assert (
        inspect(InspectOptions(model=output)).coverage.int8_convs
        == inspect(InspectOptions(model=tmp_path / "whole-int8.onnx")).coverage.int8_convs
    )
    validation = compare(model, output, open_dataset(images), include_calibration_images=True)
    assert validation.only.int8.size_bytes == model_bytes(output) > output.stat().st_size
    assert len(predict(PredictOptions(model=output, images=sorted(images.iterdir()), output=tmp_path / "labels"))) == 5
