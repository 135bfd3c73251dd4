"""What a candidate must meet, and whether it does: passed, failed, or undecided by these images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from fcn_onnx.jobs.bounds import DROP, FRACTION, POSITIVE
from fcn_onnx.jobs.fields import Checked, option
from fcn_onnx.report.document import Check, Gate, Interval, Outcome

EXIT_CODES: Mapping[Outcome, int] = {Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.UNDECIDED: 3}


@dataclass(frozen=True)
class Estimate:
    """What was measured, and its 95 % interval; None where it cannot be computed."""

    value: float | None
    ci95: Interval | None


@dataclass(frozen=True, kw_only=True)
class Gates(Checked):
    """Bounds of what is measured of a candidate; None is no gate.

    Attributes:
        max_drop: of the mIoU, relative to fp32's, in percent.
        min_agreement: share of the labels that are fp32's, in [0, 1].
        min_speedup: fp32's median latency over the candidate's.
        max_latency: the candidate's median latency in ms.
        max_size: of its file, in 10⁶ bytes.
        confident: the interval decides, and may leave it undecided; else the point estimate does.

    Raises:
        UsageError: a bound that nothing can have.
    """

    max_drop: float | None = option(
        None, help="Exit 1 if more of the mIoU is lost, relative, in percent.", metavar="PERCENT", bound=DROP
    )
    min_agreement: float | None = option(
        None, help="Exit 1 if fewer labels are fp32's; a share in [0, 1].", metavar="FRACTION", bound=FRACTION
    )
    min_speedup: float | None = option(
        None, help="Exit 1 if fp32's median latency over int8's is less.", metavar="RATIO", bound=POSITIVE
    )
    max_latency: float | None = option(
        None, help="Exit 1 if int8's median latency is more.", metavar="MS", bound=POSITIVE
    )
    max_size: float | None = option(
        None, help="Exit 1 if int8's file is larger, in megabytes.", metavar="MB", bound=POSITIVE
    )
    confident: bool = option(
        False,
        help="A gate passes or fails where its 95 % interval does, and is undecided (exit 3) where that does not.",
    )

    def judge(self, measured: Mapping[str, Estimate], images: int) -> Gate:
        """Hold what was measured of a candidate against the gates.

        Args:
            measured: by the gate's name, each in its unit; `max_drop` is reported, gate or not.
            images: how many it was measured on.
        """
        bounds = {name: getattr(self, name) for name in measured}
        checks = tuple(
            _checked(name, bounds[name], estimate, images, confident=self.confident)
            for name, estimate in measured.items()
            if bounds[name] is not None
        )
        outcome = worst(check.outcome for check in checks)
        return Gate(
            max_drop_percent=self.max_drop,
            drop_percent=measured["max_drop"].value,
            drop_percent_ci95=measured["max_drop"].ci95,
            passed=None if outcome in (None, Outcome.UNDECIDED) else outcome is Outcome.PASSED,
            certain=all(check.certain for check in checks) if checks else None,
            outcome=outcome,
            confident=self.confident,
            checks=checks,
        )


def worst(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    """What several gates, or candidates, come to: failed if any failed, else undecided if any is; None without one."""
    found = set(outcomes)
    return next((o for o in (Outcome.FAILED, Outcome.UNDECIDED, Outcome.PASSED) if o in found), None)


def exit_code(outcomes: Iterable[Outcome | None]) -> int:
    """Of the command: 1 for a failure, else 3 for what is undecided, else 0."""
    return EXIT_CODES[worst(outcomes) or Outcome.PASSED]


def _checked(gate: str, bound: float, estimate: Estimate, images: int, *, confident: bool) -> Check:
    value, by_interval = estimate.value, _by_interval(gate, bound, estimate)
    if value is None:
        outcome = Outcome.FAILED  # no number of images would give it a value
    elif confident:
        outcome = by_interval
    else:
        outcome = Outcome.PASSED if _sign(gate) * (value - bound) <= 0 else Outcome.FAILED
    undecided = by_interval is Outcome.UNDECIDED
    return Check(
        gate=gate,
        bound=bound,
        value=value,
        ci95=estimate.ci95,
        outcome=outcome,
        certain=not undecided,
        images_to_decide=images_to_decide(bound, estimate, images) if undecided else None,
    )


def _sign(gate: str) -> int:
    """1 where less is better."""
    return -1 if gate.startswith("min_") else 1


def _by_interval(gate: str, bound: float, estimate: Estimate) -> Outcome:
    """Inside the bound passes, outside fails, across is undecided."""
    if estimate.ci95 is None:
        return Outcome.UNDECIDED
    low, high = sorted(_sign(gate) * (end - bound) for end in estimate.ci95)
    return Outcome.PASSED if high <= 0 else Outcome.FAILED if low > 0 else Outcome.UNDECIDED


def images_to_decide(bound: float, estimate: Estimate, images: int) -> int | None:
    """How many images would bring the interval to one side of the bound, to two digits.

    The value v is taken to stay, and the interval's reach r from it towards the bound b to shrink as 1/√n, as a
    standard error does: r·√(N/n) = |v − b| where n = N·(r / |v − b|)², N the images so far. None where
    there is no interval, or the value is the bound itself.
    """
    if estimate.value is None or estimate.ci95 is None or estimate.value == bound:
        return None
    low, high = estimate.ci95
    reach = high - estimate.value if estimate.value < bound else estimate.value - low
    needed = images * (reach / abs(estimate.value - bound)) ** 2
    unit = int(10 ** max(0, len(str(ceil(needed))) - 2))
    return max(images + 1, ceil(needed / unit) * unit)
