"""Scores where int8 flips labels: in bands along borders between classes, and on small, medium and large objects.

A band is of the pixels that are at most so far from a border of the truth, on both sides: the trimap of Kohli, Ladický
and Torr (Robust higher order potentials for enforcing label consistency, IJCV 2009), which DeepLab reports (Chen et
al., TPAMI 2018, section 4.1). Void counts as a label where borders are looked for, as VOC draws it along them, and is
not scored. An object is a connected piece of one class, so that those of one class that touch count as one; small is
below 32² pixels of the photograph, large from 96² on, as COCO has it of its annotated objects
(https://cocodataset.org/#detection-eval). Where there is no truth, fp32's labels say where both are, and nothing is
scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.labelmaps import Labels
from fcn_onnx.data.labels import VOID, LabelSpace
from fcn_onnx.evaluation.comparison import MIN_IMAGES, Interval, paired_changes
from fcn_onnx.evaluation.metrics import Counts, Floats, Ratios, require_classes
from fcn_onnx.evaluation.sparse import Held, blocks
from fcn_onnx.evaluation.zones import near_border, piece_areas

NEAR, NEARER = 10, 3
"""Pixels on each side of a border."""

SMALL, LARGE = 32**2, 96**2
"""Pixels of the photograph: below the first an object is small, and from the second on large."""

DEFINITION = (NEARER, NEAR, SMALL, LARGE)
"""Numbers that decide what is counted."""

BANDS, SIZES = 3, 4
"""Beyond, near and nearer; no object, small, medium and large. A zone is a pair of them, and there is one of void."""

ZONES = BANDS * SIZES
ACCURACY, IOU = "mean_accuracy", "miou"


class Region(NamedTuple):
    """Where labels are looked at.

    Attributes:
        said: in the report.
        measure: its score, a mean over the classes that the truth holds there: `miou`, of these pixels alone, or
            `mean_accuracy`, the share of a class's pixels that is found.
        zones: that it is made of.
    """

    said: str
    measure: str
    zones: tuple[int, ...]


def _region(said: str, measure: str, bands: Sequence[int], sizes: Sequence[int]) -> Region:
    return Region(said, measure, tuple(band * SIZES + size for band in bands for size in sizes))


REGIONS: Mapping[str, Region] = {
    "border_3px": _region(f"within {NEARER} px of a border", IOU, [2], range(SIZES)),
    "border_10px": _region(f"within {NEAR} px of a border", IOU, [1, 2], range(SIZES)),
    "interior": _region("further from borders", IOU, [0], range(SIZES)),
    "small": _region("small objects (under 32² px)", ACCURACY, range(BANDS), [1]),
    "medium": _region("medium objects", ACCURACY, range(BANDS), [2]),
    "large": _region("large objects (96² px and more)", ACCURACY, range(BANDS), [3]),
}

_OF_ZONES = np.array([[zone in region.zones for zone in range(ZONES)] for region in REGIONS.values()], np.int64)
"""(G, zones): which zones the G regions are made of."""


@dataclass(frozen=True)
class Ground:
    """An image cut up into zones.

    Attributes:
        zones: (H, W) uint8; `ZONES` where nothing is scored.
        truth: (H, W) int32, zone · C + the truth; None where that is unknown.
        classes: C.
        objects: how many of each size there are, (SIZES,) int64.
    """

    zones: NDArray[np.uint8]
    truth: NDArray[np.int32] | None
    classes: int
    objects: Counts

    @classmethod
    def of(cls, borders: Labels, space: LabelSpace, photograph: int, *, known: bool) -> Ground:
        """Cut an image up by where classes border each other.

        Args:
            borders: (H, W) uint8: the truth, or what stands for it.
            photograph: pixels that the image has as it is stored; areas are in these.
            known: whether `borders` is the truth.
        """
        bands = near_border(borders, NEARER).astype(np.uint8) + near_border(borders, NEAR)
        first, areas = piece_areas(borders)
        lengths = np.diff(first, append=borders.size)
        sizes = 1 + np.digitize(areas * (photograph / borders.size), [SMALL, LARGE])
        sizes[np.isin(borders.ravel()[first], list(space.nothing))] = 0
        zones = bands * np.uint8(SIZES) + np.repeat(sizes.astype(np.uint8), lengths).reshape(borders.shape)
        zones[borders == VOID] = ZONES
        # the runs of a piece have its area, so that their shares of it add up to one
        objects = np.rint(np.bincount(sizes, lengths / areas, SIZES)).astype(np.int64)
        classes = len(space.names)
        truth = zones.astype(np.int32) * classes + np.minimum(borders, classes - 1) if known else None
        return cls(zones, truth, classes, objects)

    def counts(self) -> Counts:
        """(G, C + 2) int64: for each region the truth's pixels of each class, all pixels, and objects of its size."""
        if self.truth is None:
            classes, pixels = np.zeros((ZONES, self.classes), np.int64), _by_zone(self.zones)
        else:
            classes = _by_zone(self.truth, self.classes)
            pixels = classes.sum(1)
        counted = _OF_ZONES @ np.column_stack([classes, pixels])
        objects = [self.objects[region.zones[0] % SIZES] for region in REGIONS.values()]
        return np.column_stack([counted, objects])

    def count(self, reference: Labels, own: Labels) -> Counts:
        """(G, 2C + 1) int64: for each region the pixels of each class that are right, and that are predicted, and all
        that have another label than the reference's.

        Raises:
            ModelError: there is truth, and a label is none of its classes.
        """
        classes = self.classes
        right, predicted = np.zeros((2, ZONES, classes), np.int64)
        if self.truth is not None:
            require_classes(own, classes)
            matrices = _by_zone(self.truth * classes + own, classes, classes)
            right, predicted = np.einsum("zcc->zc", matrices), matrices.sum(1)
        flipped = _by_zone(self.zones[own != reference])
        found: Counts = _OF_ZONES @ np.column_stack([right, predicted, flipped])
        return found


def _by_zone(keys: NDArray[Any], *shape: int) -> Counts:
    """How often each key is there that is of a zone, (ZONES, *shape) int64; those after them are of void."""
    each = prod(shape)
    return np.bincount(keys.ravel(), minlength=(ZONES + 1) * each)[: ZONES * each].reshape(ZONES, *shape)


@dataclass(frozen=True)
class RegionCounts:
    """What a row came to in the G regions of N images.

    Attributes:
        ground: (N, G, C + 2) int64, see `Ground.counts`.
        found: (N, G, 2C + 1) int64, see `Ground.count`.
    """

    ground: Held
    found: Held

    @property
    def scores(self) -> dict[str, float]:
        """By region; NaN where no truth is in it."""
        return {name: _mean(self.ratios(name).values()) for name in REGIONS}

    @property
    def pixels(self) -> Counts:
        """(N, G): of each region."""
        return np.concatenate([block[:, :, -2] for block in blocks(self.ground)])

    @property
    def shares(self) -> Floats:
        """(G,) float64: of all pixels of the images that are not void."""
        pixels = dict(zip(REGIONS, self.pixels.sum(0), strict=True))
        whole = max(1, pixels["border_10px"] + pixels["interior"])
        shares: Floats = np.array(list(pixels.values())) / whole
        return shares

    @property
    def objects(self) -> Counts:
        """(N, G): of each region's size; 0 where it is of none."""
        return np.concatenate([block[:, :, -1] for block in blocks(self.ground)])

    @property
    def same(self) -> Counts:
        """(N, G): those that have the reference's label."""
        flipped: Counts = np.concatenate([block[:, :, -1] for block in blocks(self.found)])
        return self.pixels - flipped

    def ratios(self, name: str) -> Ratios:
        """The ratios whose mean is a region's score, one for each class that its truth holds in any image."""
        index = list(REGIONS).index(name)
        classes = self.ground.shape[2] - 2
        held = np.any([block[:, index, :classes].any(0) for block in blocks(self.ground)], axis=0)
        numerators, denominators = (np.empty((len(self.ground), held.sum())) for _ in range(2))
        start = 0
        for ground, found in zip(blocks(self.ground), blocks(self.found), strict=True):
            truth = ground[:, index, :classes]
            right, predicted = found[:, index, :classes], found[:, index, classes : 2 * classes]
            whole = truth + predicted - right if REGIONS[name].measure == IOU else truth
            images = slice(start, start + len(ground))
            numerators[images], denominators[images] = right[:, held], whole[:, held]
            start += len(ground)
        return Ratios(numerators, denominators)


class RegionChange(NamedTuple):
    """int8 − fp32 in a region: of its score, and the share of pixels with fp32's label; None where it is empty."""

    score: float | None
    score_ci95: Interval | None
    label_agreement: float | None
    label_agreement_ci95: Interval | None


def region_changes(fp32: RegionCounts, int8: RegionCounts) -> dict[str, RegionChange]:
    """By region, with the intervals of `compare` where at least `MIN_IMAGES` images have pixels there."""
    wide = dict(zip(REGIONS, (int8.pixels > 0).sum(0) >= MIN_IMAGES, strict=True))
    scored = [name for name in REGIONS if wide[name] and fp32.ratios(name).numerators.size]
    pixels, same = int8.pixels.astype(np.float64), int8.same.astype(np.float64)
    agreeing, moved = paired_changes(Ratios(same, pixels), ((fp32.ratios(name), int8.ratios(name)) for name in scored))
    intervals = dict(zip(scored, moved, strict=True))
    before, after, agreement = fp32.scores, int8.scores, Ratios(same, pixels).values()
    found = {}
    for index, name in enumerate(REGIONS):
        agreed = agreement[index]
        low, high = np.clip(agreeing[index], 0, 1).tolist()
        found[name] = RegionChange(
            score=None if np.isnan(before[name]) else float(after[name] - before[name]),
            score_ci95=intervals.get(name),
            label_agreement=None if np.isnan(agreed) else float(agreed),
            label_agreement_ci95=(low, high) if wide[name] else None,
        )
    return found


def _mean(values: Floats) -> float:
    """NaN of nothing, without numpy's warning."""
    return float(values.mean()) if values.size else float("nan")


def flat_truth(truth: NDArray[Any]) -> Labels:
    """One label a pixel, (H, W) uint8, of truth that may be one mask a class, (C, H, W) bool: void where it is none or
    several."""
    if truth.ndim == 2:
        return truth
    labels, several = np.full(truth.shape[1:], VOID, np.uint8), np.zeros(truth.shape[1:], bool)
    for label, mask in enumerate(truth):
        several |= mask & (labels != VOID)
        labels[mask] = label
    labels[several] = VOID
    return labels
