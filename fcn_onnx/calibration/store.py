"""Histograms on disk: any method's table can be derived from them without touching an image again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.artifact import atomic_path
from fcn_onnx.calibration.histogram import SIDE, Histogram
from fcn_onnx.errors import TableError

Histograms = dict[str, Histogram]
FORMAT = 1


@dataclass(frozen=True)
class Observation:
    """What a pass over images found, and where it came from.

    Attributes:
        histograms: of every observed tensor.
        carried: tensor → the observed one whose range it has.
        model: digest of the fp32 model.
        preprocessing: `Preprocessing.to_json()` of the images.
        images: digest by name of the images that were observed.
        versions: packages that did it.
    """

    histograms: Mapping[str, Histogram]
    carried: Mapping[str, str]
    model: str
    preprocessing: Mapping[str, Any]
    images: Mapping[str, str]
    versions: Mapping[str, str]

    def save(self, path: Path) -> None:
        """Write a compressed `.npz`, atomically. The same observation gives the same bytes."""
        head = {key: value for key, value in asdict(self).items() if key != "histograms"} | {"format": FORMAT}
        text = json.dumps(head, sort_keys=True).encode()
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, head=np.frombuffer(text, np.uint8), **to_arrays(self.histograms))

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
            return cls(histograms=from_arrays(arrays), **head)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise TableError(
                f"{path} is not a file of histograms ({type(error).__name__}: {error})",
                fix="make it again with `fcn-onnx calibrate --histograms FILE`",
            ) from error


def to_arrays(histograms: Mapping[str, Histogram]) -> dict[str, NDArray[np.generic]]:
    """Histograms as arrays that `from_arrays` reads."""
    names = sorted(histograms)
    return {
        "names": np.array(names),
        "exponents": np.array([histograms[n].exponent for n in names], np.int64),
        "bounds": np.array([(histograms[n].minimum, histograms[n].maximum) for n in names]),
        "counts": np.stack([histograms[n].counts for n in names]),
    }


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Histograms:
    """The inverse of `to_arrays`. Raises ValueError or KeyError on anything else."""
    counts = arrays["counts"]
    if counts.dtype != np.int64 or counts.shape[1:] != (2 * SIDE,):
        raise ValueError(f"counts are {counts.dtype} {counts.shape}")
    rows = zip(arrays["names"], arrays["exponents"], arrays["bounds"], counts, strict=True)
    return {
        str(name): Histogram(int(exponent), row, float(low), float(high)) for name, exponent, (low, high), row in rows
    }
