"""Ways to choose a range, by name: what they are called and where they are. Adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fcn_onnx.calibration.levels import LEVELS, UNSIGNED, Levels
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import PERCENT
from fcn_onnx.jobs.places import found

if TYPE_CHECKING:
    from fcn_onnx.calibration.histogram import Histogram

PERCENTILE = 99.999
"""Of all magnitudes; onnxruntime's and Neural Compressor's default too."""

DEFAULT_METHOD = "mse"
"""Ahead of min/max on both networks of docs/measured.md, where each of the others loses to it on one."""


@dataclass(frozen=True)
class Method:
    """A way to choose thresholds, imported when first used.

    Attributes:
        name: as `--method` takes it.
        description: one line for `--help`.
        rule: `package.module:function` from a histogram to its threshold.
        percent, levels: what the function is given beside the histogram, if anything.
    """

    name: str
    description: str
    rule: str
    percent: float | None = None
    levels: Levels | None = None

    def threshold(self, histogram: Histogram) -> float:
        """T ≥ 0 of a histogram."""
        others = [given for given in (self.percent, self.levels) if given is not None]
        return float(found(self.rule)(histogram, *others))


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("minmax", "the whole range that was seen", "fcn_onnx.calibration.thresholds:minmax"),
        Method("percentile", f"{PERCENTILE} % of the magnitudes", "fcn_onnx.calibration.thresholds:percentile"),
        Method("mse", "least expected squared error", "fcn_onnx.calibration.thresholds:mse", levels=UNSIGNED),
        Method(
            "kl",
            "least KL divergence between the values and their quantized form",
            "fcn_onnx.calibration.thresholds:kl",
            levels=UNSIGNED,
        ),
    )
}


def get_method(name: str, percent: float | None = None, levels: str = UNSIGNED.name) -> Method:
    """The method called `name`, for these of `LEVELS`; `percent` replaces the default of `percentile`.

    Raises:
        UsageError: there is none, or `percent` is given to another method or out of (0, 100].
    """
    if name not in METHODS:
        raise UsageError(f"no method is called {name!r}", fix=f"choose one of: {', '.join(METHODS)}")
    method = METHODS[name]
    if percent is None:
        return method if method.levels is None else replace(method, levels=LEVELS[levels])
    if name != "percentile" or not PERCENT.holds(percent):
        raise UsageError(
            f"--percentile {percent} does not go with --method {name}",
            fix=f"give it a number {PERCENT}, with --method percentile",
        )
    exact = repr(float(percent)).removesuffix(".0")  # 99.99999 is not 100
    return replace(method, name=f"percentile {exact}", description=f"{exact} % of the magnitudes", percent=percent)
