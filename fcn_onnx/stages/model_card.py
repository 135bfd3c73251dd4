"""The stage `model-card`: a README.md for the Hugging Face Hub, of an int8 model and the report of its validation."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.errors import ModelError, ReportError
from fcn_onnx.jobs.artifact import claim_outputs, write_text
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.graph import is_quantized
from fcn_onnx.model.model import Model
from fcn_onnx.report.document import Document
from fcn_onnx.report.files import REPORT_JSON
from fcn_onnx.report.hub import Scored, Subject, to_model_card
from fcn_onnx.stages.report_options import ModelCardOptions

DEFAULT_OUTPUT = Path("model-card") / "README.md"
DEFAULT_REPORT = Path("report")


def model_card(options: ModelCardOptions, *, progress: Progress = SILENT) -> Path:
    """Write the card of an int8 model, with the scores of the report that is of this very file.

    Returns:
        The file.

    Raises:
        ModelError: the model is not quantized, or cannot be read.
        ReportError: the report that is named is not there, or of another model.
        OutputError: the card cannot be written.
    """
    output = options.output or DEFAULT_OUTPUT
    report = (options.report or DEFAULT_REPORT) / REPORT_JSON
    inputs = {"the model": options.model, "the report": report}
    claim_outputs({"--output": output}, inputs | data_inputs(options.model, [output]))
    model = Model.open(options.model)
    if not is_quantized(model.proto):
        raise ModelError(f"{options.model} is not quantized", fix="name the int8 model that is to be published")
    subject = Subject(
        options.model.stem, model.digest, model.card, options.base_model, options.license, options.dataset
    )
    scored = _scored(report, model.digest) if options.report or report.is_file() else None
    if scored is None:
        what = f"{report} is of another model" if report.is_file() else f"there is no {report}"
        if options.report:
            raise ReportError(
                f"{what}: {options.model} has the digest {model.digest}", fix="name the folder that validate wrote"
            )
        progress.note(f"{what}: the card has no scores (--report names the folder of its validation)")
    write_text(output, to_model_card(subject, scored))
    return output


def _scored(report: Path, digest: str) -> Scored | None:
    """The candidate of the report that has this digest; None where there is none."""
    if not report.is_file():
        return None
    document = Document.load(report)
    found = [candidate for candidate in document.candidates.values() if candidate.int8.digest == digest]
    return Scored(document, found[0]) if found else None
