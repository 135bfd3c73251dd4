"""What `benchmark --profile` and `benchmark --tune` found, as the terminal shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcn_onnx.cli.console import print_line, print_table

if TYPE_CHECKING:
    from fcn_onnx.evaluation.tuning import Settings, Trial, Tuning
    from fcn_onnx.report.profile import Profile
    from fcn_onnx.stages.benchmark import Looked

COSTLIEST = 20
"""Layers that are shown; `--json` has all."""


def print_looked(one: Looked) -> None:
    """Print the tables of one model in one runtime at one size."""
    of = f"{one.model.path.name} in {one.model.runtime}"
    if one.profile is not None:
        print_profile(of, one.profile)
    if one.tuning is not None:
        print_tuning(f"{of} at {one.size[0]}×{one.size[1]}", one, one.tuning)


def print_profile(of: str, profile: Profile) -> None:
    """Print where the time of `of` goes: all operators, and the costliest layers."""
    from fcn_onnx.report.profile import HEADER, LAYERS_HEADER, layer_rows, operator_rows, profile_line

    print_line(f"\nprofile of {of}: {profile_line(profile)}")
    print_table(("operator", *HEADER[1:]), operator_rows(profile))
    if len(profile.layers) > COSTLIEST:
        print_line(f"the {COSTLIEST} costliest of {len(profile.layers)} layers (--json has all):")
    print_table(LAYERS_HEADER, layer_rows(profile, COSTLIEST), texts=(0, 1))


def print_tuning(of: str, one: Looked, tuning: Tuning) -> None:
    """Print what was tried, and the settings to copy."""
    from fcn_onnx.evaluation.tuning import LATENCY, THROUGHPUT

    print_line(f"\ntuning of {of}, all settings in turns:")
    rows = [("default", tuning.default), *(("", trial) for trial in tuning.trials)]
    again = [(f"again, for {goal}", trial) for goal, trial in tuning.confirmed.items()]
    print_table(
        ("", "settings", "ms a call", "images/s", "speed-up an image", "95 % interval"),
        [(name, *_cells(trial)) for name, trial in rows + again],
        texts=(0, 1),
    )
    for reason in tuning.left_out:
        print_line(f"not tried: {reason}")
    for goal, words in ((LATENCY, "one image at a time"), (THROUGHPUT, "images a second")):
        _print_fastest(words, one, tuning, tuning.fastest(goal))


def _print_fastest(words: str, one: Looked, tuning: Tuning, fastest: Settings) -> None:
    from fcn_onnx.runtime.seam import get_runtime

    if fastest == tuning.default.settings:
        print_line(f"for {words} the default stays: nothing is faster by more than its interval")
        return
    print_line(f"for {words}: {fastest}")
    print_line(f"  --threads {fastest.threads}" + _beyond(fastest))
    for line in get_runtime(one.model.runtime).python(str(one.model.path), fastest.config).splitlines():
        print_line(f"  {line}")


def _beyond(settings: Settings) -> str:
    """What no flag sets."""
    rest = str(settings).partition(", ")[2]
    return f" (and in your own code: {rest})" if rest else ""


def _cells(trial: Trial) -> tuple[str, ...]:
    interval = "–" if trial.speedup_ci95 is None else f"{trial.speedup_ci95[0]:.2f}–{trial.speedup_ci95[1]:.2f}"
    return (
        str(trial.settings),
        f"{trial.call_ms:.1f}",
        f"{trial.images_per_second:.2f}",
        f"{trial.speedup:.2f}×",
        interval,
    )
