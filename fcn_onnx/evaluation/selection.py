"""Which images a validation scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.protocol import Protocol
from fcn_onnx.model.card import ModelCard


@dataclass(frozen=True)
class Selection:
    """Which images are scored, and why the others are not.

    Attributes:
        samples: in the order of ids.
        excluded: images that were left out because a candidate was calibrated on them.
        included: calibration images that are scored because the caller asked for it.
        limit: as asked for.
    """

    samples: tuple[Sample, ...]
    excluded: int
    included: int
    limit: int | None


def select_images(
    dataset: Dataset,
    protocol: Protocol,
    cards: Iterable[ModelCard],
    *,
    images: Sequence[Sample] | None = None,
    limit: int | None = None,
    include_calibration_images: bool = False,
) -> Selection:
    """The images to score: the protocol's, less those that a candidate was calibrated on, the first `limit`.

    A calibration image is one with the recorded file name and the recorded digest.

    Args:
        cards: the candidates'.
        images: exactly these instead of the whole data set.

    Raises:
        UsageError: nothing is left, or `images` names a calibration image.
    """
    candidates = [s for s in (images or dataset.samples) if protocol.selects(dataset, s)]
    recorded: dict[str, set[str]] = {}
    for card in cards:
        for name, digest in card.calibration_images.items():
            recorded.setdefault(PurePath(name).name, set()).add(digest)
    calibration = {
        s.name for s in candidates if (file := PurePath(s.name).name) in recorded and s.digest() in recorded[file]
    }
    if calibration and images is not None and not include_calibration_images:
        raise UsageError(
            f"--images names {len(calibration)} images that a candidate was calibrated on, first {min(calibration)}",
            fix="leave them out, or pass --include-calibration-images to score them all the same",
        )
    dropped = set() if include_calibration_images else calibration
    kept = [s for s in candidates if s.name not in dropped]
    if not kept:
        raise UsageError(
            f"no image is left to score in {dataset.root}: protocol {protocol.name} selects "
            f"{len(candidates)}, {len(dropped)} of them were used to calibrate",
            fix="use more images, or pass --include-calibration-images",
        )
    return Selection(tuple(kept[:limit]), len(dropped), len(calibration) if include_calibration_images else 0, limit)
