"""Options that several stages have, each written once: what a field of theirs is given."""

from __future__ import annotations

from typing import Any

from fcn_onnx.jobs.bounds import PERCENT, THREADS, WAIT
from fcn_onnx.jobs.fields import option
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME

METHODS = "fcn_onnx.calibration.methods:METHODS"
RUNTIMES = "fcn_onnx.runtime.seam:RUNTIMES"
LEVELS = "fcn_onnx.calibration.levels:LEVELS"
FORMATS = {"auto": "what the opset and the target ask for", "qoperator": "quantized operators", "qdq": "Q/DQ pairs"}


def threads_option(**said: bool) -> Any:
    """`--threads`; what else is said of it goes to `option`."""
    return option(0, help="Threads of each session; 0 means all cores.", bound=THREADS, **said)


def runtime_option(help: str) -> Any:
    """`--runtime`, one."""
    return option(DEFAULT_RUNTIME, help=help, names=RUNTIMES)


def runtimes_option(help: str) -> Any:
    """`--runtime`, any number."""
    return option((), help=f"{help}; repeatable. Default: {DEFAULT_RUNTIME}.", names=RUNTIMES)


def wait_option() -> Any:
    """`--wait`."""
    text = "How long to wait, at most, for another run that is at work on the same output."
    return option(0.0, help=text, metavar="SECONDS", bound=WAIT, decides=False, in_recipe=False)


def force_option() -> Any:
    """`--force`."""
    return option(False, help="Redo it though nothing has changed.", decides=False, in_recipe=False)


def ranges_option(default_source: str) -> Any:
    """`--ranges`, and where they come from without it."""
    text = f"A table from `calibrate`, instead of {default_source}"
    return option(None, help=text, metavar="FILE", in_recipe=False)


def percentile_option() -> Any:
    """`--percentile`."""
    return option(
        None,
        help="Share of the magnitudes that --method percentile keeps. Default: 99.999.",
        metavar="PERCENT",
        bound=PERCENT,
    )


def format_option() -> Any:
    """`--format`."""
    return option("auto", help="How the int8 model is written.", also=FORMATS)


def target_option(auto: str = "this CPU") -> Any:
    """`--target`, and what is meant where it is left open."""
    return option(
        "auto",
        help="The kind of machine that the model is for; see below.",
        also={"auto": auto},
        names="fcn_onnx.quantization.targets:TARGETS",
    )


def per_channel_option() -> Any:
    """`--per-channel` and its opposite."""
    return option(
        None,
        help="One scale for each output channel of the weights, or one for all. Default: per channel if legal.",
        flag="--per-channel",
        opposite="--per-tensor",
    )


def bias_correction_option() -> Any:
    """`--bias-correction` and its opposite."""
    return option(
        True,
        help="Correct biases, so that each channel keeps its mean, or do not.",
        flag="--bias-correction",
        opposite="--no-bias-correction",
    )
