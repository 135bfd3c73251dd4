"""What the report has of bands along borders and of objects by size, as types."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Region:
    """Pixels of all images that are looked at together.

    Attributes:
        description: in words.
        measure: what its scores are, each a mean over the classes that the truth holds there: `miou`, of these pixels
            alone, or `mean_accuracy`, the share of a class's pixels that is found.
        by_truth: whether the truth says where it is; else fp32's labels do, and there are no scores.
        pixels_share: of the pixels that are scored, or compared.
        objects: how many there are, where it is of objects.
    """

    description: str
    measure: str
    by_truth: bool
    pixels_share: float
    objects: int | None


@dataclass(frozen=True, kw_only=True)
class RegionDelta:
    """int8 against fp32 in a region, with 95 % intervals; None where nothing is there, or in fewer than five images.

    Attributes:
        score: the change of the region's measure.
        label_agreement: share of its pixels with fp32's label.
    """

    score: float | None
    score_ci95: tuple[float, float] | None
    label_agreement: float | None
    label_agreement_ci95: tuple[float, float] | None
