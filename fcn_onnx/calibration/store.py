"""What was observed, in memory and on disk: any method's table is derived from it without touching an image again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.counting import SIDE
from fcn_onnx.calibration.histogram import MIN_EXPONENT, SIDE_BITS, Histogram
from fcn_onnx.calibration.means import ChannelMeans
from fcn_onnx.errors import TableError
from fcn_onnx.jobs.arrays import BROKEN, npz, read_arrays
from fcn_onnx.jobs.artifact import atomic_path
from fcn_onnx.jobs.typed import require_typed

Histograms = dict[str, Histogram]
FORMAT = 2
MAX_BYTES = 1 << 30
"""Unpacked: histograms of 16,000 tensors; FCN-ResNet-101 has some 300."""

MAX_EXPONENT = 128 - SIDE_BITS
"""Of bins that hold the largest float32."""

MOST = 1 << 50
"""Values in a bin; 8,192 of them add up in an int64."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, *BROKEN)


@dataclass
class Statistics:
    """Of the activations of some images; statistics of different images add up exactly, in any order.

    Attributes:
        histograms: of every observed tensor.
        means: of the channels of every convolution's input.
    """

    histograms: Histograms = field(default_factory=dict)
    means: dict[str, ChannelMeans] = field(default_factory=dict)

    def add(self, other: Statistics) -> None:
        """Merge those of other images into these."""
        for name, histogram in other.histograms.items():
            self.histograms[name] = self.histograms[name] + histogram if name in self.histograms else histogram
        for name, mean in other.means.items():
            self.means[name] = self.means[name] + mean if name in self.means else mean

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """As arrays that `from_arrays` reads."""
        names, means = sorted(self.histograms), sorted(self.means)
        totals = [self.means[n].total for n in means]
        return {
            "names": np.array(names),
            "exponents": np.array([self.histograms[n].exponent for n in names], np.int64),
            "bounds": np.array([(self.histograms[n].minimum, self.histograms[n].maximum) for n in names]),
            "counts": np.stack([self.histograms[n].counts for n in names]),
            "mean_names": np.array(means, np.str_),
            "mean_images": np.array([self.means[n].images for n in means], np.int64),
            "mean_channels": np.array([len(total) for total in totals], np.int64),
            "mean_totals": np.concatenate([*totals, np.zeros(0, np.int64)]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Statistics:
        """The inverse of `to_arrays`. Raises ValueError or KeyError on anything else."""
        counts, totals = arrays["counts"], arrays["mean_totals"]
        if counts.dtype != np.int64 or counts.shape[1:] != (2 * SIDE,) or totals.dtype != np.int64:
            raise ValueError(f"counts are {counts.dtype} {counts.shape}")
        rows = zip(arrays["names"], arrays["exponents"], arrays["bounds"], counts, strict=True)
        channels = arrays["mean_channels"]
        _require_counts(arrays)
        if totals.ndim != 1 or channels.sum() != len(totals):
            raise ValueError(f"{len(totals)} channel means, not {channels.sum()}")
        parts = np.split(totals, np.cumsum(channels)[:-1]) if len(channels) else []
        means = zip(arrays["mean_names"], arrays["mean_images"], parts, strict=True)
        return cls(
            {
                str(name): Histogram(int(exponent), row, float(low), float(high))
                for name, exponent, (low, high), row in rows
            },
            {str(name): ChannelMeans(int(images), total.astype(np.int64)) for name, images, total in means},
        )


def _require_counts(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError where numbers are none that observing gives; the shapes are left to those who pair them."""
    exponents, bounds, counts = arrays["exponents"], arrays["bounds"], arrays["counts"]
    whole = [arrays[name] for name in ("exponents", "mean_images", "mean_channels")]
    if any(array.dtype != np.int64 or array.ndim != 1 for array in whole):
        raise ValueError("exponents, images or channels are not lists of whole numbers")
    if len(exponents) and not (exponents.min() >= MIN_EXPONENT and exponents.max() <= MAX_EXPONENT):
        raise ValueError(f"exponents lie in {exponents.min()} … {exponents.max()}")
    pairs = bounds.dtype == np.float64 and bounds.ndim == 2 and bool(np.isfinite(bounds).all())
    if not pairs or (bounds[:, :1] > bounds[:, 1:]).any():
        raise ValueError("bounds are not pairs of finite numbers, the smaller first")
    if (counts < 0).any() or not counts.any(axis=1).all() or counts.max(initial=0) > MOST:
        raise ValueError("a histogram is empty, or has a count that is none")
    if any((arrays[name] < 1).any() for name in ("mean_images", "mean_channels")):
        raise ValueError("a mean is of no image or no channel")


@dataclass(frozen=True)
class Observation:
    """What a pass over images found, and where it came from.

    Attributes:
        statistics: the histograms, and the means of channels.
        carried: tensor → the observed one whose range it has.
        model: digest of the fp32 model.
        preprocessing: `Preprocessing.to_json()` of the images.
        images: digest by name of the images that were observed.
        versions: packages that did it.
    """

    statistics: Statistics
    carried: Mapping[str, str]
    model: str
    preprocessing: Mapping[str, Any]
    images: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def histograms(self) -> Mapping[str, Histogram]:
        """Of every observed tensor."""
        return self.statistics.histograms

    def save(self, path: Path) -> None:
        """Write a compressed `.npz`, atomically. The same observation gives the same bytes."""
        head = {f.name: getattr(self, f.name) for f in fields(self)} | {"format": FORMAT}
        del head["statistics"]
        text = json.dumps(head, sort_keys=True).encode()
        with atomic_path(path) as temporary:
            temporary.write_bytes(npz({"head": np.frombuffer(text, np.uint8), **self.statistics.to_arrays()}))

    @classmethod
    def load(cls, path: Path) -> Observation:
        """Read what `save` wrote.

        Raises:
            TableError: the file is missing, or not such a file.
        """
        if not path.is_file():
            raise TableError(f"no such histograms: {path}", fix="make them with `fcn-onnx calibrate --histograms FILE`")
        try:
            arrays = read_arrays(path, MAX_BYTES)
            head = json.loads(arrays.pop("head").tobytes())
            if head.pop("format") != FORMAT:
                raise ValueError("it is of another version of fcn-onnx")
            require_typed(head, get_type_hints(cls))
            found = cls(statistics=Statistics.from_arrays(arrays), **head)
            if unknown := set(found.carried.values()) - set(found.histograms):
                raise ValueError(f"{min(unknown)} carries a range, and has no histogram")
            return found
        except UNREADABLE as error:
            raise TableError(
                f"{path} is not a file of histograms ({type(error).__name__}: {error})",
                fix="make it again with `fcn-onnx calibrate --histograms FILE`",
            ) from error
