"""Cityscapes with fine annotations: streets of German cities, 19 classes."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.data.label_spaces import CITYSCAPES
from fcn_onnx.data.labels import VOID
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.mask_files import MaskDataset, Values, fitted, require_inside, require_split, void_but
from fcn_onnx.errors import DatasetError

IMAGES, MASKS = "leftImg8bit", "gtFine"

IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""labelIds of the evaluated classes, in the order of their trainIds (cityscapesScripts `helpers/labels.py`)."""

FORMS = {
    "labelIds": Values(
        void_but({value: label for label, value in enumerate(IDS)}, range(34)) | {255: VOID},  # -1 is 255 in 8 bits
        said_by="Cityscapes",
    ),
    "labelTrainIds": Values({**{label: label for label in range(len(IDS))}, 255: VOID}, said_by="Cityscapes"),
}
"""By the name of the masks; where both are there, the first, which is what is published."""


def recognises(folder: Path) -> bool:
    """Whether it has images and fine annotations."""
    return (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()


def open_cityscapes(data: Path, split: str | None, classes: tuple[str, ...], number: int | None) -> MaskDataset:
    """`leftImg8bit/<split>/<city>/*_leftImg8bit.png` with `gtFine/<split>/<city>/*_gtFine_labelIds.png`.

    Where the first image has no `labelIds`, all are read from `labelTrainIds`.

    Raises:
        DatasetError: no such split, no image in it, a mask is missing, or the model has another number of classes.
    """
    folder, split = data.resolve(), split or "val"
    require_split(split, [path.name for path in (data / IMAGES).iterdir() if path.is_dir()], data / IMAGES)
    images = sorted((data / IMAGES / split).glob(f"*/*_{IMAGES}.png"))
    if not images:
        raise DatasetError(f"{data / IMAGES / split} holds no <city>/*_{IMAGES}.png", fix="unpack the images there")
    form = next((form for form in FORMS if _mask(data, images[0], form).is_file()), next(iter(FORMS)))
    samples = tuple(Sample(name, name, path) for path in images for name in [path.relative_to(data).as_posix()])
    for sample in samples:
        require_inside(sample.path, folder, data)
    masks = {s.name: require_inside(_mask(data, s.path, form), folder, f"the mask of {s.name}") for s in samples}
    text = f"{data}: {len(samples)} images of Cityscapes {split} with {form}"
    return MaskDataset(
        data, samples, text, masks, fitted(CITYSCAPES, classes, number, str(data)), FORMS[form], kind="cityscapes"
    )


def _mask(data: Path, image: Path, form: str) -> Path:
    """Where the mask of an image is."""
    below = image.relative_to(data / IMAGES)
    return data / MASKS / below.with_name(below.name.replace(f"_{IMAGES}.png", f"_{MASKS}_{form}.png"))
