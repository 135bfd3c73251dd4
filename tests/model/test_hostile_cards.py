"""Cards, in a model's metadata, that hold other types than they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys import pixel_classifier

from fcn_onnx.data.labels import LabelSpace
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.model.card import PREFIX, ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.segmenter import Segmenter

GOOD: dict[str, Any] = {
    "resize": "native",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "channels": "RGB",
    "scale": "1/255",
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("job", 3),
        ("arch", ["tiny"]),
        ("opset", "12"),
        ("opset", True),
        ("weights", [1]),
        ("classes", "background"),
        ("classes", [1, 2]),
        ("classes", {"a": 1}),
        ("preprocessing", "native"),
        ("output", {}),
        ("versions", ["a"]),
        ("versions", {"a": 1}),
        ("form", 1.5),
        ("source", []),
        ("quantization", "int8"),
        ("quantization", {"float_nodes": 3}),
        ("quantization", {"float_nodes": [3]}),
        ("calibration_images", ["a.jpg"]),
        ("calibration_images", {"a.jpg": None}),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(key: str, value: Any) -> None:
    model = pixel_classifier()
    model.metadata_props.add(key=PREFIX + key, value=json.dumps(value))
    with pytest.raises(ModelError, match=r"card.*here\.onnx") as caught:
        ModelCard.read_from(model, "here.onnx")
    assert "float_nodes" in str(caught.value) or key in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 5_000, "\0"])
def test_what_is_no_json_is_refused(text: str) -> None:
    model = pixel_classifier()
    model.metadata_props.add(key=PREFIX + "classes", value=text)
    with pytest.raises(ModelError, match="classes is not JSON"):
        ModelCard.read_from(model, "here.onnx")


@pytest.mark.parametrize(
    "said",
    [
        {"resize": 3},
        {"resize": "short-side 0"},
        {"resize": "short-side 999999999999"},
        {"resize": "0x0"},
        {"resize": "within 0x9"},
        {"mean": [1, 2]},
        {"mean": [float("nan"), 0, 0]},
        {"mean": "abc"},
        {"std": [0, 1, 1]},
        {"std": [-1, 1, 1]},
        {"std": [float("inf"), 1, 1]},
        {"channels": "GBR"},
        {"channels": ["RGB"]},
        {"scale": 255},
        {"pad": 3},
        {"pad": [0, 0]},
        {"pad": [10**9, 10**9]},
        {"multiple_of": 0},
        {"multiple_of": 10**9},
        {"multiple_of": "many"},
    ],
)
def test_preprocessing_that_no_image_survives_is_refused(said: dict[str, Any]) -> None:
    model = pixel_classifier()
    ModelCard(preprocessing=GOOD | said).write_to(model)
    with pytest.raises(ModelError):
        preprocessing_of(model, "here.onnx")


def test_more_classes_than_labels_of_8_bits_are_refused_in_the_card_in_the_options_and_in_the_graph(
    tmp_path: Path,
) -> None:
    names = tuple(map(str, range(256)))
    model = pixel_classifier()
    ModelCard(classes=names).write_to(model)
    with pytest.raises(ModelError, match="256 classes, and labels of 8 bits tell 255"):
        ModelCard.read_from(model, "here.onnx")
    with pytest.raises(UsageError, match="--classes names 256"):
        Interface(classes=names)
    with pytest.raises(UsageError, match="256 classes"):
        LabelSpace(names)
    with pytest.raises(ModelError, match="256 classes apart"):
        Segmenter(pixel_classifier(classes=256))
    assert len(Segmenter(pixel_classifier(classes=255)).classes) == 255


def test_a_card_of_ours_is_read(tmp_path: Path) -> None:
    card = ModelCard(
        job="sha256:1",
        opset=12,
        weights={"source": "x", "random": False},
        classes=("a", "b"),
        preprocessing=GOOD,
        quantization={"float_nodes": ["n"], "per_channel": True},
        calibration_images={"a.jpg": "sha256:2"},
        form=2,
    )
    model = pixel_classifier()
    card.write_to(model)
    assert ModelCard.read_from(model, "here.onnx") == card
