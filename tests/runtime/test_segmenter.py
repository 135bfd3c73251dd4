"""Models of other layouts, sizes, names and outputs, against the arithmetic done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from toys import compare, foreign, photograph, pixel_classifier, save, with_failing_head, write_coco

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.segmenter import Segmenter, on_grid
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, PredictOptions
from fcn_onnx.stages.predict import predict

HALF = Interface(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def by_hand(image: Image.Image, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Labels of `foreign(seed)` fed with RGB / 127.5 − 1."""
    initializers = {t.name: numpy_helper.to_array(t) for t in pixel_classifier(seed).graph.initializer}
    pixels = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float64) / 127.5 - 1
    scores = pixels @ initializers["w"][:, :, 0, 0].T.astype(np.float64) + initializers["b"]
    return scores.argmax(-1)


@pytest.mark.parametrize("labels", [False, True])
def test_channels_last_one_size_and_other_names(tmp_path: Path, labels: bool) -> None:
    image = photograph(70, 50, 3)
    segmenter = Segmenter(save(foreign(labels=labels), tmp_path / "m.onnx"), interface=HALF)
    assert segmenter.output == ("classes" if labels else "scores")
    assert segmenter.fixed_size == (20, 24)
    value = segmenter.run(segmenter.preprocessing(image))
    found = segmenter.labels(value, "image")
    assert found.dtype == np.uint8
    assert (found == by_hand(image, (20, 24))).all()
    assert (segmenter.scores(value, "image") is None) == labels


def test_a_fixed_size_model_is_scored_on_the_grid_of_the_protocol(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "coco"))
    fp32 = save(foreign(0), tmp_path / "a.onnx")
    int8 = save(foreign(0, labels=True), tmp_path / "b.onnx")
    result = compare(fp32, int8, dataset, protocol="zoo", interface=HALF)
    assert result.only.difference.label_agreement == 1
    assert result.report["preprocessing"]["resize"] == "20x24"
    assert result.report["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    sample = dataset.samples[0]
    image = Image.open(sample.path)
    labels = on_grid(by_hand(image, (20, 24)).astype(np.uint8), (image.height, image.width))
    truth = dataset.multilabel(sample)[1:]
    predicted = np.stack([labels == c for c in range(1, 21)])
    counts = result.fp32.counts[0]
    assert counts.tolist() == [
        (truth & predicted).sum(),
        (truth | predicted).sum(),
        (truth == predicted).sum(),
        truth.size,
    ]


def test_int8_speaks_where_fp32_has_no_card(tmp_path: Path) -> None:
    """A foreign fp32 file has no card; the int8 model that was made from it says how it was normalised."""
    dataset = open_dataset(write_coco(tmp_path / "coco"))
    plain = save(pixel_classifier(0), tmp_path / "a.onnx")
    made = pixel_classifier(0)
    ModelCard(preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).to_json()).write_to(made)
    report = compare(plain, save(made, tmp_path / "b.onnx"), dataset, protocol="zoo").report
    assert report["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert report["delta"]["label_agreement"] == 1


def test_predict_labels_without_confidence(tmp_path: Path) -> None:
    path = tmp_path / "street.png"
    photograph(33, 31, 1).save(path)
    model = save(foreign(labels=True), tmp_path / "m.onnx")
    (result,) = predict(PredictOptions(model=model, images=[path], output=tmp_path / "out", interface=HALF))
    assert result.confidence is None
    assert np.asarray(Image.open(result.labels)).shape == (31, 33)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["street-labels.png", "street-overlay.jpg"]


def test_calibration_feeds_a_channels_last_model(tmp_path: Path) -> None:
    """The input's range is that of RGB / 127.5 − 1 at the model's own size."""
    from fcn_onnx.data.choice import ImageChoice

    images = write_coco(tmp_path / "coco")
    model = save(foreign(), tmp_path / "m.onnx")
    output = tmp_path / "table.json"
    calibrate(
        CalibrateOptions(
            model=model,
            choice=ImageChoice(images, limit=5),
            method="minmax",
            interface=HALF,
            output=output,
        )
    )
    table = RangeTable.load(output)
    pixels = np.stack(
        [np.asarray(Image.open(p).resize((24, 20), Image.Resampling.BILINEAR)) for p in sorted(images.iterdir())]
    )
    values = pixels / 127.5 - 1
    assert table.ranges["input"].lowest == pytest.approx(values.min(), abs=1e-6)
    assert table.ranges["input"].highest == pytest.approx(values.max(), abs=1e-6)
    assert table.preprocessing["resize"] == "20x24"


def test_which_output_is_read(tmp_path: Path) -> None:
    two = pixel_classifier(0)
    two.graph.node.append(helper.make_node("Neg", ["out"], ["minus"]))
    two.graph.node.append(helper.make_node("Identity", ["out"], ["other"]))
    value = helper.make_tensor_value_info
    del two.graph.output[:]
    for name in ("other", "minus"):
        two.graph.output.append(value(name, TensorProto.FLOAT, ["n", 21, "h", "w"]))
    path = save(two, tmp_path / "two.onnx")
    with pytest.raises(ModelError, match=r"has the outputs other, minus, not 'out'"):
        Segmenter(path)
    chosen = Segmenter(path, interface=Interface(output_name="minus"))
    batch = chosen.preprocessing(photograph(20, 20, 1))
    other = Segmenter(path, interface=Interface(output_name="other"))
    assert (chosen.scores(chosen.run(batch), "i") == -other.scores(other.run(batch), "i")).all()


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    model = foreign(labels=True)
    model.graph.node.append(helper.make_node("Add", ["classes", "much"], ["more"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(20, np.int64), "much"))
    model.graph.output[0].name = "more"
    segmenter = Segmenter(save(model, tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match=r"`more`.*… 40"):
        segmenter.labels(segmenter.run(segmenter.preprocessing(photograph(30, 30, 2))), "i")


def test_flags_replace_what_the_card_says(tmp_path: Path) -> None:
    model = pixel_classifier(0)
    own = Preprocessing(mean=(0.1, 0.2, 0.3))
    ModelCard(preprocessing=own.to_json()).write_to(model)
    assert preprocessing_of(model, "m") == own
    assert preprocessing_of(model, "m", HALF).mean == (0.5, 0.5, 0.5)
    assert preprocessing_of(onnx.ModelProto(), "m") == Preprocessing()


def test_what_is_not_read_is_not_computed(tmp_path: Path) -> None:
    """The other head of this file would fail on every image."""
    image = photograph(30, 20, 1)
    path = save(with_failing_head(pixel_classifier()), tmp_path / "two.onnx")
    segmenter = Segmenter(path)
    alone = Segmenter(save(pixel_classifier(), tmp_path / "one.onnx"))
    fed = alone.preprocessing(image)
    assert (segmenter.run(fed) == alone.run(fed)).all()
    with pytest.raises(ModelError, match="does not run"):
        Segmenter(path, interface=Interface(output_name="aux", classes=("a", "b"))).run(fed)
