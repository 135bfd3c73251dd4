"""The options of the stages that work on finished reports, each written once, as in `options.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.jobs.bounds import DROP, FRACTION, POSITIVE
from fcn_onnx.jobs.fields import Checked, option


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Checked):
    """Of `compare`; see the options' help."""

    old: Path = option(help="The report.json of the last release.", argument=True, metavar="OLD.json")
    new: Path = option(help="The report.json of this release.", argument=True, metavar="NEW.json")
    max_drop: float | None = option(
        None,
        help="Exit 1 if int8's mIoU in NEW is lower than in OLD by more than this, relative, in percent.",
        metavar="PERCENT",
        bound=DROP,
    )
    min_agreement: float | None = option(
        None,
        help="Exit 1 if fewer of int8's labels in NEW are those of its fp32 model; a share in [0, 1].",
        metavar="FRACTION",
        bound=FRACTION,
    )
    min_speedup: float | None = option(
        None,
        help="Exit 1 if int8's median latency in OLD over that in NEW is less; 0.9 lets it be 11 % slower.",
        metavar="RATIO",
        bound=POSITIVE,
    )
    confident: bool = option(
        False,
        help="A gate passes or fails where its 95 % interval does, and is undecided (exit 3) where that does not.",
    )

    @property
    def gates(self) -> Gates:
        """The same as `validate` knows them."""
        return Gates(
            max_drop=self.max_drop,
            min_agreement=self.min_agreement,
            min_speedup=self.min_speedup,
            confident=self.confident,
        )


@dataclass(frozen=True, kw_only=True)
class ModelCardOptions(Checked):
    """Of `model-card`; see the options' help."""

    model: Path = option(help="The int8 model.", argument=True, metavar="INT8")
    report: Path | None = option(
        None,
        help="The folder of the model's validation. Default: report, if its report.json is of this model.",
        metavar="DIR",
    )
    base_model: str | None = option(
        None, help="The name that the fp32 original has on the Hub; without it the head names none.", metavar="ID"
    )
    dataset: tuple[str, ...] = option(
        (), help="A data set's name on the Hub; repeatable. Without it the head names none.", metavar="ID"
    )
    license: str | None = option(
        None, help="The license as the Hub writes it, such as apache-2.0; without it the head names none.", metavar="ID"
    )
    output: Path | None = option(None, help="The card. Default: model-card/README.md.", metavar="FILE", decides=False)
