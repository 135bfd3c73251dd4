"""PASCAL VOC segmentation: photographs and palette masks in the layout of a VOCdevkit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.images import opened, require_one
from fcn_onnx.data.labels import VOC, LabelSpace
from fcn_onnx.data.sample import LabelMaps, Sample
from fcn_onnx.errors import DatasetError, ImageError
from fcn_onnx.jobs.artifact import digest_file, digest_json
from fcn_onnx.jobs.reading import read_text, refusal

LAYOUT = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")


@dataclass(frozen=True)
class VocDataset(LabelMaps):
    """One split of one year; sample names are relative to the year's folder."""

    root: Path
    samples: tuple[Sample, ...]
    description: str
    kind: str = "voc"
    labelled: bool = True
    label_space: LabelSpace = VOC

    @classmethod
    def open(cls, root: Path, split: str = "val", space: LabelSpace = VOC) -> VocDataset:
        """Read `ImageSets/Segmentation/<split>.txt` of `root`, a folder like VOCdevkit/VOC2012.

        Raises:
            DatasetError: a part of the layout, the split, or a file that it names is missing.
        """
        for part in LAYOUT:
            if not (root / part).is_dir():
                raise DatasetError(f"{root} has no {part} folder", fix="name a VOCdevkit/VOC2012 folder")
        listing = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not listing.is_file():
            raise DatasetError(f"no split {split!r}: {listing} is missing", fix="use train, val or trainval")
        try:
            names = read_text(listing).split()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"cannot read {listing}: {error}", fix="fetch it again") from error
        if not names:
            raise DatasetError(f"{listing} names no image", fix="use another split")
        folder = root.resolve()
        samples = tuple(cls._sample(root, name, listing, folder) for name in sorted(names))
        text = f"{root}: {len(samples)} images of VOC {split} with palette masks"
        return cls(root, samples, text, label_space=space)

    @staticmethod
    def _sample(root: Path, name: str, listing: Path, folder: Path) -> Sample:
        """`folder` is the real path of `root`."""
        if "/" in name or "\\" in name or name.startswith("."):
            raise DatasetError(f"{listing} names {name!r}, which leaves the data folder", fix="correct the list")
        image = root / "JPEGImages" / f"{name}.jpg"
        for path in (image, root / "SegmentationClass" / f"{name}.png"):
            if why := refusal(path, folder):
                raise DatasetError(f"{listing} names {name!r}, and {path} {why}", fix="complete the data")
        return Sample(name, image.relative_to(root).as_posix(), image)

    def fingerprint(self) -> str:
        """Digest of all the split's masks."""
        return digest_json([digest_file(self._mask(sample)) for sample in self.samples])

    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """The mask's palette indices, (H, W) uint8; 255 is void.

        Raises:
            DatasetError: the mask is damaged, not a palette image, of another size, or holds another label.
        """
        path = self._mask(sample)
        try:
            with opened(path) as mask, opened(sample.path) as image:
                require_one(mask, path)
                if mask.mode not in ("P", "L"):
                    raise DatasetError(
                        f"{path} is a {mask.size} image of mode {mask.mode}, not a palette mask",
                        fix="use the masks as VOC publishes them",
                    )
                if mask.size != image.size:
                    raise DatasetError(
                        f"{path} is {mask.size} and {sample.path} is {image.size}",
                        fix="use a mask of the image's own size",
                    )
                labels = np.array(mask, dtype=np.uint8)
        except ImageError as error:
            raise DatasetError(error.what, fix=error.fix) from error
        self.require_known(labels, path)
        return labels

    def _mask(self, sample: Sample) -> Path:
        return self.root / "SegmentationClass" / f"{sample.id}.png"
