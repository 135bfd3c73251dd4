"""A plain folder of images, without truth: enough to calibrate on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.labels import VOC, LabelSpace
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import DatasetError
from fcn_onnx.jobs.reading import refusal

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


def images_below(root: Path) -> list[Path]:
    """Everything below a folder that is called as an image is, whatever it is; folders are not."""
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.is_dir())


@dataclass(frozen=True)
class FolderDataset:
    """Every image below `root`, in the order of names."""

    root: Path
    samples: tuple[Sample, ...]
    description: str
    kind: str = "folder"
    labelled: bool = False
    label_space: LabelSpace = VOC

    @classmethod
    def open(cls, root: Path, why_unlabelled: str = "", space: LabelSpace = VOC) -> FolderDataset:
        """List the images below `root`.

        Raises:
            DatasetError: there is none, or one is no regular file or leads out of `root`.
        """
        paths = images_below(root)
        folder = root.resolve()
        for path in paths:
            if why := refusal(path, folder):
                raise DatasetError(f"{path} {why}", fix="put an ordinary file there, or take it out of the folder")
        if not paths:
            raise DatasetError(
                f"no image in {root} (looked for {', '.join(sorted(EXTENSIONS))}, subfolders too)",
                fix="name a folder with images, a COCO image folder, or a VOCdevkit",
            )
        samples = tuple(Sample(name, name, p) for p in paths for name in [p.relative_to(root).as_posix()])
        return cls(root, samples, f"{root}: {len(samples)} images without labels{why_unlabelled}", label_space=space)

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
