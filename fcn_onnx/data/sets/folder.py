"""A plain folder of images, without truth: enough to calibrate on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.sample import VOC_CLASSES, Sample
from fcn_onnx.errors import DatasetError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True)
class FolderDataset:
    """Every image below `root`, in the order of names."""

    root: Path
    samples: tuple[Sample, ...]
    description: str
    kind: str = "folder"
    labelled: bool = False
    classes: tuple[str, ...] = VOC_CLASSES

    @classmethod
    def open(cls, root: Path, why_unlabelled: str = "", classes: tuple[str, ...] = VOC_CLASSES) -> FolderDataset:
        """List the images below `root`, links that leave it excluded.

        Raises:
            DatasetError: there is none.
        """
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        inside = [p for p in paths if p.resolve().is_relative_to(root.resolve())]
        if not inside:
            raise DatasetError(
                f"no image in {root} (looked for {', '.join(sorted(EXTENSIONS))}, subfolders too)",
                fix="name a folder with images, a COCO image folder, or a VOCdevkit",
            )
        samples = tuple(Sample(name, name, p) for p in inside for name in [p.relative_to(root).as_posix()])
        return cls(root, samples, f"{root}: {len(samples)} images without labels{why_unlabelled}", classes=classes)

    def fingerprint(self) -> str:
        self._refuse()

    def classes_in(self, sample: Sample) -> frozenset[int]:
        self._refuse()

    def labelled_area(self, sample: Sample) -> float:
        self._refuse()

    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        self._refuse()

    def multilabel(self, sample: Sample) -> NDArray[np.bool_]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DatasetError(self.description, fix="give labelled data: COCO with --annotations, or a VOCdevkit")
