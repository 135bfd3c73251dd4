"""Range tables and files of histograms that declare more than they hold, or hold what observing never gives."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import refused

from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.means import ChannelMeans
from fcn_onnx.calibration.store import Observation, Statistics
from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.errors import TableError

PREPROCESSING = {"resize": "native"}


def observation() -> Observation:
    values = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    statistics = Statistics({"x": Histogram.of(values)}, {"x": ChannelMeans.of(values)})
    return Observation(statistics, {"y": "x"}, "sha256:00", PREPROCESSING, {"a.jpg": "sha256:11"}, {"numpy": "1"})


def header(shape: tuple[int, ...], kind: str = "<i8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(  # type: ignore[no-untyped-call]
        stream, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("kind", ["declared", "packed"])
def test_a_billion_counts_are_refused_before_they_are_unpacked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "h.npz"
    observation().save(path)
    content = members(path)
    content["counts.npy"] = header((122_071, 8192)) + (b"\0" * (1_100_000_000) if kind == "packed" else b"")
    write(path, content)
    assert path.stat().st_size < 2_000_000
    assert "not a file of histograms" in refused("inspect", path, memory=3 << 30)


def change(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(arrays: dict[str, Any]) -> None:
        arrays[name] = value

    return apply


def head(**values: Any) -> Callable[[dict[str, Any]], None]:
    def apply(arrays: dict[str, Any]) -> None:
        said = json.loads(arrays["head"].tobytes()) | values
        arrays["head"] = np.frombuffer(json.dumps(said).encode(), np.uint8)

    return apply


DAMAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "exponent too large": change("exponents", np.array([4000])),
    "exponent too small": change("exponents", np.array([-(2**40)])),
    "exponents of text": change("exponents", np.array(["a"])),
    "bounds of NaN": change("bounds", np.array([[np.nan, 1.0]])),
    "bounds crossed": change("bounds", np.array([[1.0, -1.0]])),
    "bounds of one": change("bounds", np.array([1.0])),
    "bounds of three": change("bounds", np.array([[0.0, 1.0, 2.0]])),
    "counts negative": change("counts", np.full((1, 8192), -1)),
    "counts all zero": change("counts", np.zeros((1, 8192), np.int64)),
    "counts that overflow": change("counts", np.full((1, 8192), 2**62)),
    "counts of floats": change("counts", np.ones((1, 8192))),
    "counts of another width": change("counts", np.ones((1, 80), np.int64)),
    "counts of one more": change("counts", np.ones((2, 8192), np.int64)),
    "names of two": change("names", np.array(["x", "y"])),
    "means of no image": change("mean_images", np.array([0])),
    "channels negative": change("mean_channels", np.array([-3])),
    "channels past the end": change("mean_channels", np.array([2**62])),
    "totals of floats": change("mean_totals", np.ones(3)),
    "objects": change("names", np.array([{"a": 1}], object)),
    "head of a list": change("head", np.frombuffer(b"[]", np.uint8)),
    "head nested": change("head", np.frombuffer(b"[" * 100_000, np.uint8)),
    "carried of numbers": head(carried={"y": 3}),
    "carried of a list": head(carried=["y"]),
    "model of a number": head(model=3),
    "images of a list": head(images=["a"]),
    "versions of null": head(versions=None),
    "unknown key": head(surprise=1),
    "carried from nothing": head(carried={"y": "nobody"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_histograms_that_nobody_observed_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "h.npz"
    observation().save(path)
    assert Observation.load(path).histograms == observation().histograms
    with np.load(path) as content:
        arrays = dict(content)
    DAMAGES[damage](arrays)
    np.savez_compressed(path, **arrays)
    with pytest.raises(TableError, match="not a file of histograms"):
        Observation.load(path)


def test_a_header_that_is_no_literal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.npz"
    observation().save(path)
    content = members(path)
    content["counts.npy"] = content["counts.npy"].replace(b"}", b"(")
    write(path, content)
    with pytest.raises(TableError):
        Observation.load(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\0" * 1000, b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "h.npz"
    path.write_bytes(content)
    with pytest.raises(TableError):
        Observation.load(path)


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.npz"
    observation().save(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 61):
        path.write_bytes(whole[:end])
        with pytest.raises(TableError):
            Observation.load(path)


TABLES: dict[str, Callable[[dict[str, Any]], object]] = {
    "ranges of a list": lambda t: t.update(data=[1]),
    "a range of text": lambda t: t["data"]["x"]["lowest"].update(data=["-1"]),
    "a range of NaN": lambda t: t["data"]["x"]["lowest"].update(data=[float("nan")]),
    "a range of 1e300": lambda t: t["data"]["x"]["highest"].update(data=[1e300]),
    "a range of 10^400": lambda t: t["data"]["x"]["highest"].update(data=[10**400]),
    "a range of true": lambda t: t["data"]["x"]["highest"].update(data=[True]),
    "a range of nothing": lambda t: t["data"]["x"]["highest"].update(data=[]),
    "a range without 0": lambda t: t["data"]["x"]["lowest"].update(data=[0.5]),
    "a method of a list": lambda t: t["fcn_onnx"].update(method=[]),
    "a model of null": lambda t: t["fcn_onnx"].update(model=None),
    "images of a list": lambda t: t["fcn_onnx"].update(images=["a"]),
    "images of numbers": lambda t: t["fcn_onnx"].update(images={"a": 1}),
    "preprocessing of text": lambda t: t["fcn_onnx"].update(preprocessing="native"),
    "a form of text": lambda t: t["fcn_onnx"].update(form="2"),
    "means that are no base64": lambda t: t["fcn_onnx"].update(means={"x": "é"}),
    "means of half a number": lambda t: t["fcn_onnx"].update(means={"x": "AAA="}),
    "means of NaN": lambda t: t["fcn_onnx"].update(means={"x": "AADAfw=="}),
    "means of numbers": lambda t: t["fcn_onnx"].update(means={"x": [1]}),
}


@pytest.mark.parametrize("damage", TABLES)
def test_tables_of_other_types_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.json"
    RangeTable({"x": Range(-1, 2)}, "minmax", "sha256:00", PREPROCESSING, {"a.jpg": "sha256:11"}).save(path)
    content = json.loads(path.read_text())
    TABLES[damage](content)
    path.write_text(json.dumps(content))
    with pytest.raises(TableError, match="not a range table"):
        RangeTable.load(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"data":' * 5_000, "", "[]", "null", "3", "x" * (65 << 20)])
def test_deep_and_huge_tables_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(TableError, match="not a range table"):
        RangeTable.load(path)
