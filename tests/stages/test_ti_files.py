"""TI's ONNX files as they are: one size, no names, int64 labels (1, 1, H, W), of the image's size or half of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from ti_small import SIZE, Small, enlarged, export
from toys import photograph, write_coco

from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.model.interface import Interface
from fcn_onnx.stages.inspect import inspect
from fcn_onnx.stages.options import InspectOptions, PredictOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.predict import predict
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate

TI = Interface(mean=(128 / 255,) * 3, std=(64 / 255,) * 3, classes=VOC_CLASSES)


class Labelling(torch.nn.Module):
    """Labels alone; `whole` at the size of the image, else at half of it (TI's `_outby2`)."""

    def __init__(self, whole: bool, rectified: bool) -> None:
        super().__init__()
        self.small, self.whole, self.rectified = Small(), whole, rectified

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def clip(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
            if self.rectified:  # the float network that the other was trained from
                return torch.relu(value) if low == 0 else value
            return value.clamp(low, high)

        logits = self.small.logits(x, clip, lambda conv, value, scale: conv(value))
        return (enlarged(logits) if self.whole else logits).argmax(1, keepdim=True)


@pytest.fixture(scope="module", params=[True, False], ids=["whole", "outby2"])
def fp32(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    whole: bool = request.param
    path = export(Labelling(whole, rectified=True).eval(), tmp_path_factory.mktemp("ti") / "small.onnx")
    output = onnx.load(path).graph.output[0].type.tensor_type
    scale = 1 if whole else 2
    assert output.elem_type == onnx.TensorProto.INT64
    assert [d.dim_value for d in output.shape.dim] == [1, 1, SIZE[0] // scale, SIZE[1] // scale]
    return path


def labels_of(model: Path, image: Image.Image) -> NDArray[np.int64]:
    """At the size of the photograph: shown at the model's size, and enlarged by nearest neighbour."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    shown = np.asarray(image.resize(SIZE[::-1], Image.Resampling.BILINEAR), np.float32)
    batch = ((shown - 128) / 64).transpose(2, 0, 1)[None]
    (labels,) = session.run(None, {session.get_inputs()[0].name: batch})
    small = Image.fromarray(labels[0, 0].astype(np.uint8))
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST), np.int64)


def test_it_is_inspected(fp32: Path) -> None:
    facts = inspect(InspectOptions(model=fp32)).facts
    assert facts.size == SIZE
    assert facts.opsets == {"": 11}
    assert facts.macs is not None


def test_it_labels_photographs(fp32: Path, tmp_path: Path) -> None:
    image = photograph(90, 64, 3)
    image.save(tmp_path / "a.png")
    predict(PredictOptions(model=fp32, images=(tmp_path / "a.png",), output=tmp_path / "out", interface=TI))
    labels = np.asarray(Image.open(tmp_path / "out" / "a-labels.png"))
    assert len(np.unique(labels)) > 1
    assert (labels == labels_of(fp32, image)).mean() > 0.999  # (x / 255 - mean) / std rounds otherwise


@pytest.mark.parametrize("protocol", ["ti", "ti-benchmark", "torchvision"])
def test_it_is_compared_with_its_int8_form(fp32: Path, tmp_path: Path, protocol: str) -> None:
    """The float file, calibrated on images; its scores stay fp32."""
    coco = write_coco(tmp_path / "coco")
    int8 = tmp_path / "int8.onnx"
    choice = ImageChoice(coco, limit=4)
    result = quantize(QuantizeOptions(model=fp32, choice=choice, output=int8, interface=TI, target="vnni"))
    assert [node.name for node in result.facts.in_fp32] == ["/head/Conv"]
    options = ValidateOptions(
        fp32=fp32,
        int8=(int8,),
        choice=ImageSource(coco),
        protocol=protocol,
        include_calibration_images=True,
        interface=TI,
        report=tmp_path / "report",
    )
    (candidate,) = validate(options).document.candidates.values()
    assert candidate.delta.label_agreement > 0.9
