"""What was observed, in memory and on disk: any method's table is derived from it without touching an image again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.histogram import SIDE, Histogram
from fcn_onnx.calibration.means import ChannelMeans
from fcn_onnx.errors import TableError
from fcn_onnx.jobs.artifact import atomic_path, npz

Histograms = dict[str, Histogram]
FORMAT = 2


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
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Statistics:
        """The inverse of `to_arrays`. Raises ValueError or KeyError on anything else."""
        counts, totals = arrays["counts"], arrays["mean_totals"]
        if counts.dtype != np.int64 or counts.shape[1:] != (2 * SIDE,) or totals.dtype != np.int64:
            raise ValueError(f"counts are {counts.dtype} {counts.shape}")
        rows = zip(arrays["names"], arrays["exponents"], arrays["bounds"], counts, strict=True)
        channels = arrays["mean_channels"].astype(int)
        if channels.sum() != len(totals):
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
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            head = json.loads(arrays.pop("head").tobytes())
            if head.pop("format") != FORMAT:
                raise ValueError("it is of another version of fcn-onnx")
            return cls(statistics=Statistics.from_arrays(arrays), **head)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise TableError(
                f"{path} is not a file of histograms ({type(error).__name__}: {error})",
                fix="make it again with `fcn-onnx calibrate --histograms FILE`",
            ) from error
