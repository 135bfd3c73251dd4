"""`quantize` on other people's networks: no worse than onnxruntime's own quantizer, or refused before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnxruntime.quantization import QuantFormat

from fcn_onnx.cli import main
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter
from foreign.compare import Bench, labels
from foreign.counting import int8_share
from foreign.networks import NETWORKS

NOISE_DB = 0.1
NOISE_AGREEMENT = 0.001
QUANTIZABLE = [name for name, foreign in NETWORKS.items() if foreign.refusal is None]
REFUSED = [name for name, foreign in NETWORKS.items() if foreign.refusal is not None]


@pytest.mark.parametrize("name", QUANTIZABLE)
def test_int8_is_no_worse_than_onnxruntimes_own(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    bench = Bench.of(NETWORKS[name], tmp_path)
    result = bench.ours()
    assert capfd.readouterr().err == "", "what onnxruntime logs is not for the user"
    ours = bench.score(result.path)
    theirs = [bench.score(bench.theirs(form)) for form in _legal(bench.model)]
    assert ours.sqnr_db > max(score.sqnr_db for score in theirs) - NOISE_DB, theirs
    assert ours.agreement > max(score.agreement for score in theirs) - NOISE_AGREEMENT, theirs

    _require_read_without_hints(bench, result.path)

    share = int8_share(result.path, bench.model, next(bench.batches(bench.pictures)))
    assert share > 0
    assert result.facts.int8_macs_share == pytest.approx(share, abs=1e-3)
    assert read_coverage(result.path).int8_macs_share == pytest.approx(share, abs=1e-3)


def _require_read_without_hints(bench: Bench, int8: Path) -> None:
    """The int8 file says itself what had to be said of the fp32 one: its labels are those of the bare output."""
    segmenter = Segmenter(int8, SessionConfig(threads=1))
    picture = next(bench.batches(bench.others))
    first = next(iter(picture.values()))[:1]
    batch = first.transpose(0, 3, 1, 2) if segmenter.network.channels_last else first
    found = segmenter.labels(segmenter.run(batch), "picture")
    alone = {name: np.repeat(first, len(value), axis=0) for name, value in picture.items()}
    assert segmenter.classes == bench.interface.classes
    assert (found == labels(bench.run(int8, alone))[0]).all()


def _legal(model: Path) -> list[QuantFormat]:
    """The forms of which onnxruntime writes one that loads: Q/DQ pairs with a scale per channel from opset 13."""
    newer = onnx.load(model).opset_import[0].version >= 13
    return [QuantFormat.QOperator, *([QuantFormat.QDQ] if newer else [])]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_quantized_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    bench = Bench.of(NETWORKS[name], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    arguments = ["quantize", "--model", bench.model, "--data", bench.pictures, "--output", tmp_path / "int8.onnx"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert str(NETWORKS[name].refusal) in result.stderr
    assert "calibrating" not in result.stderr
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
