"""A range for every activation: what calibration hands to quantization.

On disk it is the JSON that onnxruntime (1.31 and newer) reads as its calibration cache, with our provenance
under one extra top-level key that it ignores.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from fcn_onnx.calibration.levels import UNSIGNED
from fcn_onnx.calibration.methods import METHODS
from fcn_onnx.errors import TableError
from fcn_onnx.jobs.artifact import FORM_VERSION, digest_json, dump_json, write_text
from fcn_onnx.jobs.reading import read_bytes
from fcn_onnx.jobs.typed import holds, require_typed, shown

PROVENANCE = "fcn_onnx"
MAX_BYTES = 64 << 20
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Range:
    """Lowest and highest value that an activation is quantized for; exact float32 values, lowest ≤ 0 ≤ highest."""

    lowest: float
    highest: float


@dataclass(frozen=True)
class RangeTable:
    """Ranges by tensor, and where they came from.

    Attributes:
        ranges: one for each tensor that a quantizer looks up.
        method: threshold method.
        model: digest of the fp32 model.
        preprocessing: `Preprocessing.to_json()` of the images.
        images: digest by name of the images that were observed.
        versions: packages that made it; and, as `workers`, that they were of unlike machines, where they were.
        means: of each channel of the tensors that convolutions read, float32 values; empty where not known.
        form: `FORM_VERSION` of the fcn-onnx that made it; 1 where the file does not say.
        levels: name in `LEVELS` of those that the thresholds are chosen for; u8 where the file does not say.
    """

    ranges: Mapping[str, Range]
    method: str
    model: str
    preprocessing: Mapping[str, Any]
    images: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    form: int = FORM_VERSION
    levels: str = UNSIGNED.name

    def save(self, path: Path) -> None:
        """Write the table, atomically. The same table gives the same bytes."""
        content = {
            "CLS": "TensorsData",
            "data": {
                name: {"CLS": "TensorData", "lowest": _array(r.lowest), "highest": _array(r.highest)}
                for name, r in sorted(self.ranges.items())
            },
            # for onnxruntime the ranges are final whatever the method, and that is what its MinMax means
            "calibration_method": {"CLS": "CalibrationMethod", "value": "CalibrationMethod.MinMax"},
            "smooth_quant": False,
            PROVENANCE: {
                "method": self.method,
                "model": self.model,
                "preprocessing": dict(sorted(self.preprocessing.items())),
                "images": dict(sorted(self.images.items())),
                "versions": dict(sorted(self.versions.items())),
                "form": self.form,
                # little-endian float32 in base64: tens of thousands of numbers, which nobody reads
                "means": {name: _encoded(m) for name, m in sorted(self.means.items())},
                **({} if self.levels == UNSIGNED.name else {"levels": self.levels}),
            },
        }
        write_text(path, dump_json(content))

    @classmethod
    def load(cls, path: Path) -> RangeTable:
        """Read a table that `save` wrote.

        Raises:
            TableError: the file is missing, or not such a table.
        """
        if not path.is_file():
            raise TableError(f"no such range table: {path}", fix="make one with `fcn-onnx calibrate`")
        try:
            content = json.loads(read_bytes(path, MAX_BYTES))
            ranges = {
                name: Range(_number(entry["lowest"]), _number(entry["highest"]))
                for name, entry in content["data"].items()
            }
            if bad := [name for name, r in ranges.items() if not r.lowest <= 0 <= r.highest]:
                raise ValueError(f"the range of {bad[0]} does not hold 0")
            head = content[PROVENANCE]
            said = {key: head[key] for key in ("method", "model", "preprocessing", "images", "versions")}
            said |= {"form": head.get("form", 1), "levels": head.get("levels", UNSIGNED.name)}
            require_typed(said, get_type_hints(cls))
            return cls(ranges, **said, means={name: _decoded(text) for name, text in head["means"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise TableError(
                f"{path} is not a range table of ours ({type(error).__name__}: {error})",
                fix="make it again with `fcn-onnx calibrate`",
            ) from error

    def digest(self) -> str:
        """Of the ranges."""
        return digest_json({name: (r.lowest, r.highest) for name, r in self.ranges.items()})

    def require_made_for(self, model: str, preprocessing: Mapping[str, Any]) -> None:
        """Raise TableError unless the table is of the model with this digest, fed with images made like this."""
        if self.model != model:
            raise TableError(
                f"the range table was made for the model {self.model}, and this one is {model}",
                fix="calibrate this model, or name the one that the table was made for",
            )
        if dict(self.preprocessing) != dict(preprocessing):
            made, wanted = digest_json(self.preprocessing), digest_json(preprocessing)
            raise TableError(
                f"the range table was made with the preprocessing {made} ({self.preprocessing.get('resize')}), and "
                f"the model's is {wanted} ({preprocessing.get('resize')})",
                fix="calibrate the model with its own preprocessing",
            )

    def require_levels(self, levels: str) -> None:
        """Raise TableError unless the thresholds are chosen for these levels, or by a method that asks for none."""
        method = METHODS.get(self.method)
        if method is not None and method.levels is not None and self.levels != levels:
            raise TableError(
                f"the range table's {self.method} thresholds are chosen for the levels {self.levels}, and the int8 "
                f"model has {levels}",
                fix=f"make the table with `fcn-onnx calibrate --levels {levels}`; histograms that were kept (--from) "
                "serve any",
            )


def _array(value: float) -> dict[str, Any]:
    return {"CLS": "numpy.array", "data": [value], "dtype": "float32"}


def _encoded(values: tuple[float, ...]) -> str:
    return b64encode(np.array(values, "<f4").tobytes()).decode()


def _decoded(text: str) -> tuple[float, ...]:
    values = np.frombuffer(b64decode(text, validate=True), "<f4")
    if not np.isfinite(values).all():
        raise ValueError("a mean is not finite")
    return tuple(values.tolist())


def _number(value: Mapping[str, Any]) -> float:
    said = value["data"][0]
    if not holds(said, float) or abs(said) > FLOAT32_MAX:
        raise ValueError(f"{shown(said)} is not a finite number")
    return float(np.float32(said))
