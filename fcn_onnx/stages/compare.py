"""The stage `compare`: did this release get worse than the last one?"""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.evaluation.releases import Side, compare_releases
from fcn_onnx.report.change import Change
from fcn_onnx.report.document import Document
from fcn_onnx.report.files import ARRAYS, read_counts
from fcn_onnx.stages.report_options import CompareOptions


def compare(options: CompareOptions) -> Change:
    """Hold a report.json, of schema 1 or 2, against an earlier one of the same images, protocol and classes.

    Where `images.npz` lies beside both, changes of scores have a paired interval over the images.

    Raises:
        ReportError: one is not a report, or they differ in what makes scores comparable.
        UsageError: a gate on what the two do not tell.
    """
    return compare_releases(_side(options.old), _side(options.new), options.gates)


def _side(path: Path) -> Side:
    return Side(path, Document.load(path), read_counts(path.with_name(ARRAYS)))
