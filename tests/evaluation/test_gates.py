"""Gates: inside passes, outside fails, across is undecided; and what would decide."""

from __future__ import annotations

from math import nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from toys import pixel_classifier, save, write_coco

from fcn_onnx.cli import main
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.comparison import median_interval
from fcn_onnx.evaluation.gates import Estimate, Gates, exit_code, images_to_decide, worst
from fcn_onnx.report.document import Check, Gate, Outcome

PASSED, FAILED, UNDECIDED = Outcome.PASSED, Outcome.FAILED, Outcome.UNDECIDED


def measured(**estimates: Estimate) -> dict[str, Estimate]:
    size = Estimate(10.0, (10.0, 10.0))
    all_of_them = {
        "max_drop": Estimate(1.0, (0.5, 1.5)),
        "min_agreement": Estimate(0.99, (0.98, 1.0)),
        "min_speedup": Estimate(2.0, (1.8, 2.2)),
        "max_latency": Estimate(100.0, (90.0, 110.0)),
        "max_size": size,
    }
    return all_of_them | estimates


def outcome(gates: Gates, **estimates: Estimate) -> Outcome | None:
    return gates.judge(measured(**estimates), 50).outcome


@pytest.mark.parametrize(
    ("bounds", "plainly", "confidently"),
    [
        ({}, None, None),
        ({"max_drop": 1.5}, PASSED, PASSED),
        ({"max_drop": 1.4}, PASSED, UNDECIDED),
        ({"max_drop": 1.0}, PASSED, UNDECIDED),
        ({"max_drop": 0.9}, FAILED, UNDECIDED),
        ({"max_drop": 0.5}, FAILED, UNDECIDED),
        ({"max_drop": 0.4}, FAILED, FAILED),
        ({"min_agreement": 0.98}, PASSED, PASSED),
        ({"min_agreement": 0.985}, PASSED, UNDECIDED),
        ({"min_agreement": 0.995}, FAILED, UNDECIDED),
        ({"min_speedup": 1.8}, PASSED, PASSED),
        ({"min_speedup": 2.0}, PASSED, UNDECIDED),
        ({"min_speedup": 2.3}, FAILED, FAILED),
        ({"max_latency": 110}, PASSED, PASSED),
        ({"max_latency": 95}, FAILED, UNDECIDED),
        ({"max_size": 10}, PASSED, PASSED),
        ({"max_size": 9.99}, FAILED, FAILED),
        ({"max_size": 11, "max_drop": 1.4}, PASSED, UNDECIDED),
        ({"max_size": 9, "max_drop": 1.4}, FAILED, FAILED),
    ],
)
def test_point_estimates_and_intervals(
    bounds: dict[str, float], plainly: Outcome | None, confidently: Outcome | None
) -> None:
    assert outcome(Gates(**bounds)) is plainly
    assert outcome(Gates(**bounds, confident=True)) is confidently


def test_what_the_report_says_of_all_gates() -> None:
    gate = Gates(max_drop=1.4, min_speedup=1.5, confident=True).judge(measured(), 50)
    assert gate == Gate(
        max_drop_percent=1.4,
        drop_percent=1.0,
        drop_percent_ci95=(0.5, 1.5),
        passed=None,
        certain=False,
        outcome=UNDECIDED,
        confident=True,
        checks=(
            Check(
                gate="max_drop",
                bound=1.4,
                value=1.0,
                ci95=(0.5, 1.5),
                outcome=UNDECIDED,
                certain=False,
                images_to_decide=79,  # 50 · (0.5 / 0.4)² = 78.1
            ),
            Check(
                gate="min_speedup",
                bound=1.5,
                value=2.0,
                ci95=(1.8, 2.2),
                outcome=PASSED,
                certain=True,
                images_to_decide=None,
            ),
        ),
    )
    assert Gates().judge(measured(), 50).drop_percent == 1.0


def test_without_an_interval_or_a_value() -> None:
    few, nothing = Estimate(1.0, None), Estimate(None, None)
    for confident, expected in ((False, PASSED), (True, UNDECIDED)):
        gate = Gates(max_drop=2, confident=confident).judge(measured(max_drop=few), 4)
        assert (gate.outcome, gate.certain, gate.checks[0].images_to_decide) == (expected, False, None)
    for confident in (False, True):
        assert outcome(Gates(max_drop=2, confident=confident), max_drop=nothing) is FAILED


@given(
    value=st.floats(-10, 10),
    reach=st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)),
    bound=st.floats(-10, 10),
    images=st.integers(5, 5000),
)
def test_so_many_images_decide_and_few_less_would_not(
    value: float, reach: tuple[float, float], bound: float, images: int
) -> None:
    """With an interval that shrinks as 1/√n around a value that stays."""
    estimate = Estimate(value, (value - reach[0], value + reach[1]))

    def decided(n: float) -> bool:
        low, high = (value + sign * r * sqrt(images / n) for sign, r in zip((-1, 1), reach, strict=True))
        return high <= bound or low > bound

    if decided(images) or abs(value - bound) < 1e-3:
        return
    needed = images_to_decide(bound, estimate, images)
    assert needed is not None
    assert needed > images
    assert decided(needed * (1 + 1e-9))
    assert not decided(max(images, needed * 0.89))  # two digits


def test_so_many_images_do_decide_in_a_simulation() -> None:
    """With as many images as are named half of all intervals lie on one side of the bound, with more nearly all."""
    rng = np.random.default_rng(3)
    bound, mean, deviation, images = 1.0, 0.6, 1.6, 40

    def drawn(n: int) -> Estimate:
        x = rng.normal(mean, deviation, n)
        reach = 1.96 * x.std(ddof=1) / sqrt(n)
        return Estimate(x.mean(), (x.mean() - reach, x.mean() + reach))

    reach = 1.96 * deviation / sqrt(images)
    needed = images_to_decide(bound, Estimate(mean, (mean - reach, mean + reach)), images)
    assert needed == 62  # (1.96 · 1.6 / 0.4)² = 61.5

    def decided(n: int) -> float:
        return float(np.mean([not e.ci95[0] <= bound <= e.ci95[1] for _ in range(1000) if (e := drawn(n)).ci95]))

    assert decided(images) < 0.42 < decided(needed) < 0.6  # the value stays in half of all draws
    assert decided(4 * needed) > 0.95


def test_worst_and_exit_codes() -> None:
    assert [exit_code(found) for found in ([], [None], [PASSED, None], [PASSED, UNDECIDED], [UNDECIDED, FAILED])] == [
        *(0, 0, 0, 3, 1)
    ]
    assert worst([]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_drop", -1),
        ("min_agreement", 1.01),
        ("min_agreement", nan),
        ("min_speedup", 0),
        ("max_latency", -3),
        ("max_size", nan),
    ],
)
def test_bounds_that_nothing_can_have_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} is"):
        Gates(**{name: value})


def test_the_interval_of_a_median_holds_it_and_is_that_of_blocks() -> None:
    rng = np.random.default_rng(0)
    series = 100 + rng.standard_normal(64) * 5
    median, interval = median_interval(series)
    assert median == np.median(series)
    assert interval is not None
    blocks = np.random.default_rng(1)
    found = []
    for _ in range(4000):  # literally: 8 blocks of 8 neighbours, round the end
        starts = blocks.integers(0, 64, 8)
        found.append(np.median([series[(start + i) % 64] for start in starts for i in range(8)]))
    assert interval == pytest.approx(np.percentile(found, [2.5, 97.5]), abs=0.3)
    assert median_interval(series[:4]) == (np.median(series[:4]), None)


def test_the_command_exits_with_the_worst_over_all_candidates(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    models = [
        save(pixel_classifier(0, shift=shift), tmp_path / f"m{i}.onnx") for i, shift in enumerate((0.0, 0.0, 0.4))
    ]
    arguments = ["validate", "--fp32", models[0], "--data", coco, "--report", tmp_path / "r"]

    def run(candidates: list[Path], *gates: object) -> Any:
        each = [part for path in candidates for part in ("--int8", path)]
        return CliRunner().invoke(main, [str(a) for a in [*arguments, *each, *gates]])

    same, other = models[1], models[2]
    done = run([same], "--min-agreement", 1, "--max-size", 1, "--confident")
    assert done.exit_code == 0, done.output
    assert "PASSED (label agreement of 100 % wanted: 100.00 %, passed; 1 MB allowed: 0.0 MB, passed)" in done.output
    failed = run([same, other], "--min-agreement", 1, "--confident")
    assert failed.exit_code == 1
    assert "m1: PASSED (" in failed.output
    assert "m2: FAILED (label agreement of 100 % wanted: " in failed.output
    undecided = run([same], "--min-speedup", 1, "--limit", 4, "--confident")
    assert undecided.exit_code == 3
    assert "UNDECIDED (speed-up of 1× wanted: undecided, there is no interval)" in undecided.output
    page = (tmp_path / "r" / "report.html").read_text()
    assert 'class="verdict">UNDECIDED' in page
    assert run([same, other], "--min-agreement", 2).exit_code == 2
