"""What `benchmark` counts; how fast anything is, is not asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper
from toys import coarse_classifier, pixel_classifier, save

from fcn_onnx.errors import UsageError
from fcn_onnx.runtime.roofline import Peak, measure_peak
from fcn_onnx.stages.benchmark import benchmark
from fcn_onnx.stages.options import BenchmarkOptions


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
    assert [row.speedup for row in result.rows[::2]] == [1, 1]
    assert [row.speedup_ci95 for row in result.rows] == [None] * 4  # of four runs
    assert [
        row.speedup_ci95 for row in benchmark(BenchmarkOptions(models=models[:1], size=[(32, 48)], runs=5)).rows
    ] == [(1, 1)]
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


def test_the_best_time_weighs_each_kind_at_its_own_peak() -> None:
    peak = Peak(fp32=50.0, int8=200.0)
    assert peak.best_ms(10.0, 0.0) == pytest.approx(200.0)
    assert peak.best_ms(10.0, 1.0) == pytest.approx(50.0)
    assert peak.best_ms(10.0, 0.5) == pytest.approx(125.0)
    measured = measure_peak()
    assert measured.fp32 > 0
    assert measured.int8 > 0
