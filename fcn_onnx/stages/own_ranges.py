"""Ranges that neither images nor a table bring, but the model itself."""

from __future__ import annotations

from fcn_onnx.calibration.clips import METHOD, Clips, read_clips
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import versions
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.graph import is_quantized
from fcn_onnx.model.model import Model

SHOWN = 3


def no_ranges(found: str = "") -> UsageError:
    """That a model cannot be quantized without images or a table."""
    return UsageError(
        f"ranges come either from images (--data) or from a table (--ranges){found}", fix="give exactly one of the two"
    )


def own_clips(fp32: Model, preprocessing: Preprocessing, progress: Progress) -> Clips:
    """The quantizers of a model trained for int8, see `calibration.clips`; says how many.

    Raises:
        UsageError: it has none, or some of its tensors have none.
    """
    if is_quantized(fp32.proto):
        raise no_ranges()
    found = read_clips(fp32.taken, preprocessing.largest)
    if not found.count:
        raise no_ranges()
    if found.missing:
        more = ", …" if len(found.missing) > SHOWN else ""
        raise no_ranges(
            f"; the {found.count} clips of {fp32.name} say no range of {len(found.missing)} tensors that its layers "
            f"read or write: {', '.join(found.missing[:SHOWN])}{more}"
        )
    progress.note(f"ranges from {found.count} clips to powers of two, as in training for int8 (TI's)")
    for name in found.derived:
        range_ = found.ranges[name]
        progress.note(f"no clip says the range of {name}: {range_.lowest:g} … {range_.highest:g} hold its values")
    if found.unrounded:
        progress.note(f"between nodes in fp32, and so not rounded as in training: {', '.join(found.unrounded)}")
    return found


def clips_table(clips: Clips, fp32: Model, preprocessing: Preprocessing) -> RangeTable:
    """Their ranges as a table, of no images."""
    return RangeTable(
        ranges=clips.ranges,
        method=METHOD,
        model=fp32.digest,
        preprocessing=preprocessing.to_json(),
        images={},
        versions=versions(),
    )
