"""Which file a command takes when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcn_onnx.errors import UsageError
from fcn_onnx.stages.naming import find_fp32, find_int8, find_pair, int8_path


def test_names() -> None:
    assert int8_path(Path("models/fcn-resnet50-12.onnx")) == Path("fcn-resnet50-12-int8.onnx")


def test_the_only_model_is_found(tmp_path: Path) -> None:
    for name in ("fcn-tiny-12.onnx", "fcn-tiny-12-int8.onnx", "other.onnx"):
        (tmp_path / name).touch()
    assert find_fp32(tmp_path).name == "fcn-tiny-12.onnx"
    assert find_int8(tmp_path).name == "fcn-tiny-12-int8.onnx"


def test_none_and_several_are_errors_that_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fcn-onnx export") as none:
        find_fp32(tmp_path)
    assert none.value.exit_code == 2
    for name in ("fcn-tiny-12.onnx", "fcn-tiny-13.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"fcn-tiny-12\.onnx, fcn-tiny-13\.onnx"):
        find_fp32(tmp_path)


def test_naming_one_model_finds_its_partner_among_several(tmp_path: Path) -> None:
    for opset in (12, 13):
        (tmp_path / f"fcn-tiny-{opset}.onnx").touch()
        (tmp_path / f"fcn-tiny-{opset}-int8.onnx").touch()
    fp32, int8 = find_pair(tmp_path / "fcn-tiny-13.onnx", None, tmp_path)
    assert int8.name == "fcn-tiny-13-int8.onnx"
    fp32, _ = find_pair(None, tmp_path / "fcn-tiny-12-int8.onnx", tmp_path)
    assert fp32.name == "fcn-tiny-12.onnx"
