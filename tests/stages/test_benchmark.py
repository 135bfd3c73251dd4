"""What `benchmark` counts; how fast anything is, is not asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx import TensorProto, helper
from toys import coarse_classifier, pixel_classifier, save

from fcn_onnx.cli.looked import print_looked
from fcn_onnx.errors import UsageError
from fcn_onnx.runtime.roofline import Peak, measure_peak
from fcn_onnx.stages import benchmark as stage
from fcn_onnx.stages.benchmark import benchmark
from fcn_onnx.stages.options import BenchmarkOptions


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's peak, and each row's memory, which a process measures, take a second: in one test here."""
    monkeypatch.setattr(stage, "peak_memory_bytes", lambda *_, **__: 12_000_000)
    monkeypatch.setattr(stage, "measure_peak", lambda *_, **__: Peak(fp32=50.0, int8=200.0))


def test_every_model_is_timed_at_every_size(tmp_path: Path) -> None:
    models = [save(pixel_classifier(i), tmp_path / f"{i}.onnx") for i in range(2)]
    result = benchmark(BenchmarkOptions(models=models, size=[(32, 48), (64, 64)], runs=4))
    assert [(Path(row.model).name, row.size) for row in result.rows] == [
        (name, size) for size in [(32, 48), (64, 64)] for name in ("0.onnx", "1.onnx")
    ]
    for row in result.rows:
        assert row.gmacs == pytest.approx(21 * 3 * row.size[0] * row.size[1] / 1e9)  # a 1×1 convolution
        assert row.gmacs_per_second == pytest.approx(row.gmacs / row.latency_ms.p50 * 1e3)
        assert row.share_of_peak == pytest.approx(row.gmacs_per_second / result.peak.fp32)
        assert row.images_per_second == pytest.approx(1e3 / row.latency_ms.mean)
        assert row.peak_memory_bytes == 12_000_000
    assert [row.speedup for row in result.rows[::2]] == [1, 1]
    assert [row.speedup_ci95 for row in result.rows] == [None] * 4  # of four runs
    assert [
        row.speedup_ci95 for row in benchmark(BenchmarkOptions(models=models[:1], size=[(32, 48)], runs=5)).rows
    ] == [(1, 1)]
    shown = result._repr_html_()
    for row in result.rows:
        height, width = row.size
        assert f"<td>{height}×{width}</td><td>{row.latency_ms.p50:.1f}</td>" in shown
    assert result.to_json()["machine"]["peak_gmacs_per_second"].keys() == {"fp32", "int8"}


def test_the_size_that_a_model_takes_is_the_default(tmp_path: Path) -> None:
    fixed = save(coarse_classifier(size=(40, 56)), tmp_path / "fixed.onnx")
    free = save(coarse_classifier(), tmp_path / "free.onnx")
    assert [row.size for row in benchmark(BenchmarkOptions(models=[free, fixed], runs=1)).rows] == [(40, 56)] * 2
    assert benchmark(BenchmarkOptions(models=[free], runs=1)).rows[0].size == (520, 520)
    with pytest.raises(UsageError, match="height 40, not 64"):
        benchmark(BenchmarkOptions(models=[fixed], size=[(64, 56)], runs=1))
    with pytest.raises(UsageError, match="a side of --size is 0"):
        benchmark(BenchmarkOptions(models=[free], size=[(0, 8)]))


def test_one_output_is_timed_and_the_whole_file_beside_it(tmp_path: Path) -> None:
    proto = pixel_classifier()
    proto.graph.node.extend([helper.make_node("Conv", ["input", "w", "b"], ["aux"], name="auxiliary")])
    proto.graph.output.append(helper.make_tensor_value_info("aux", TensorProto.FLOAT, None))
    two, one = save(proto, tmp_path / "two.onnx"), save(pixel_classifier(), tmp_path / "one.onnx")
    rows = benchmark(BenchmarkOptions(models=[two, one], size=[(32, 48)], runs=2)).rows
    assert rows[0].gmacs == rows[1].gmacs == pytest.approx(21 * 3 * 32 * 48 / 1e9)
    assert rows[0].all_outputs_ms > 0
    assert rows[1].all_outputs_ms is None


def test_profile_and_tuning_are_of_every_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # all of it is measured
    model = save(pixel_classifier(), tmp_path / "m.onnx")
    result = benchmark(BenchmarkOptions(models=[model], size=[(32, 48)], runs=5, profile=True, tune=True, threads=1))
    assert 0 < result.rows[0].peak_memory_bytes < 50_000_000
    written = json.loads(json.dumps(result.to_json()))
    (profile,), (tuning,) = written["profiles"], written["tunings"]
    assert (profile["model"], profile["runtime"], profile["size"]) == (str(model), "onnxruntime", [32, 48])
    assert [layer["gmacs"] for layer in profile["layers"] if layer["gmacs"]] == [pytest.approx(21 * 3 * 32 * 48 / 1e9)]
    assert profile["peak_gmacs_per_second"] == written["machine"]["peaks"]["onnxruntime"]
    tried = {(trial["batch"], trial["sessions"], trial["spinning"]) for trial in tuning["trials"]}
    assert {(2, 1, True), (8, 1, True), (1, 1, False)} <= tried
    for goal in ("latency", "throughput"):
        fastest = tuning["fastest"][goal]
        assert fastest["is_default"] or tuning["confirmed"][goal]["speedup_ci95"][0] > 1
        assert "InferenceSession" in fastest["python"]
    print_looked(result.looked[0])
    shown = capsys.readouterr().out
    assert "profile of m.onnx in onnxruntime" in shown
    assert "tuning of m.onnx in onnxruntime at 32×48" in shown
    assert "for images a second" in shown


def test_batches_are_tried_where_a_model_takes_any(tmp_path: Path) -> None:
    proto = pixel_classifier()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = save(proto, tmp_path / "m.onnx")
    (looked,) = benchmark(BenchmarkOptions(models=[model], size=[(8, 8)], runs=1, tune=True)).looked
    assert {trial.settings.batch for trial in looked.tuning.trials} == {1}
    assert "batches: the model takes 1 at a time" in looked.tuning.left_out


def test_the_best_time_weighs_each_kind_at_its_own_peak() -> None:
    peak = Peak(fp32=50.0, int8=200.0)
    assert peak.best_ms(10.0, 0.0) == pytest.approx(200.0)
    assert peak.best_ms(10.0, 1.0) == pytest.approx(50.0)
    assert peak.best_ms(10.0, 0.5) == pytest.approx(125.0)
    measured = measure_peak()
    assert measured.fp32 > 0
    assert measured.int8 > 0
