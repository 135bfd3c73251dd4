"""The stage `export`: a torch network becomes an ONNX file that onnxruntime provably runs alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcn_onnx.errors import ModelError
from fcn_onnx.jobs.artifact import FORM_VERSION, claim_outputs, job_digest, versions
from fcn_onnx.jobs.holding import holding
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import atomic_model, check_model, digest_model, load_model, model_bytes
from fcn_onnx.networks.architecture import AUX, WeightsInfo
from fcn_onnx.networks.building import build_network
from fcn_onnx.networks.cleaning import clean
from fcn_onnx.networks.families import get_architecture
from fcn_onnx.networks.forms import in_half_precision, with_labels
from fcn_onnx.networks.parity import Parity, check_parity
from fcn_onnx.networks.testdata import test_data_files, write_test_data
from fcn_onnx.networks.tracing import require_opset, trace
from fcn_onnx.stages.naming import fp32_name
from fcn_onnx.stages.options import ExportOptions

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ExportResult:
    """An fp32 model that was written.

    Attributes:
        path: the file.
        opset: of the default domain, read back from the file.
        card: the model card in it.
        parity: agreement of the file, in its own form, with torch; None where it was up to date and nothing was run.
        size_bytes: of the file and its external data.
        test_data: the archive of `--test-data`, if asked for.
        skipped: the file was there already, made from the same inputs.
    """

    path: Path
    opset: int
    card: ModelCard
    parity: Parity | None
    size_bytes: int
    test_data: Path | None
    skipped: bool

    def to_json(self) -> dict[str, Any]:
        """The object that `export --json` writes."""
        return {
            "path": str(self.path),
            "digest": digest_model(self.path),
            "opset": self.opset,
            "arch": self.card.arch,
            "weights": self.card.weights,
            "parity": self.parity.to_json() if self.parity else None,
            "size_bytes": self.size_bytes,
            "test_data": str(self.test_data) if self.test_data else None,
            "skipped": self.skipped,
        }


def export(options: ExportOptions, *, progress: Progress = SILENT) -> ExportResult:
    """Export a network to ONNX: input `input` (N, 3, H, W), outputs `out` and `aux` (N, 21, H, W), float32.

    Raises:
        UsageError: an opset that cannot be exported here.
        WeightsError: the weights cannot be had, read, or do not fit.
        ExportError, ParityError: the exported model is not what it should be.
        OutputError: the output cannot be written.
        MissingDependencyError: torch or torchvision is not installed.
    """
    path = options.output or Path(fp32_name(get_architecture(options.arch).name, options.opset))
    claimed = {"--output": path, **(test_data_files(path) if options.test_data else {})}
    named = options.weights not in ("DEFAULT", "none")
    claim_outputs(claimed, {"the checkpoint": Path(options.weights) if named else None})
    with holding(path, options.wait, progress):
        return _made(options, path, progress)


def _made(options: ExportOptions, path: Path, progress: Progress) -> ExportResult:
    progress.note(f"building {options.arch} with weights {options.weights}")
    heads = get_architecture(options.arch).heads_for(options.aux)
    network, info = build_network(options.arch, options.weights, aux=AUX in heads)
    require_opset(options.opset)
    card = _card(options, info)
    skipped = not options.force and _job_of(path) == card.job
    parity = None if skipped else _write(network, options, card, path, progress)
    archive = write_test_data(path) if options.test_data else None
    return ExportResult(path, options.opset, card, parity, model_bytes(path), archive, skipped)


def _card(options: ExportOptions, info: WeightsInfo) -> ModelCard:
    """What the file will say of itself, the digest of this very job included."""
    architecture = get_architecture(options.arch)
    resolved = {"arch": architecture.name, "aux": AUX in architecture.heads_for(options.aux), "weights": info.to_json()}
    decisive = options.decisive() | resolved
    card = ModelCard(
        arch=architecture.name,
        opset=options.opset,
        weights=info.to_json(),
        protocol=architecture.protocol,
        classes=architecture.classes,
        preprocessing=architecture.preprocessing.to_json(),
        versions=versions(),
        form=FORM_VERSION,
    )
    return card.for_job(job_digest("export", "torch", "torchvision", "onnxscript", **decisive))


def _write(network: torch.nn.Module, options: ExportOptions, card: ModelCard, path: Path, progress: Progress) -> Parity:
    """Trace, clean, and prove the file that gets the name."""
    architecture = get_architecture(options.arch)
    outputs = architecture.heads_for(options.aux)
    multiple_of = architecture.preprocessing.multiple_of
    compare = partial(check_parity, network, outputs=outputs, size=options.size, multiple_of=multiple_of)
    progress.note(f"tracing at opset {options.opset}")
    model = trace(network, options.opset, outputs=outputs, size=options.size, multiple_of=multiple_of)
    model = clean(model, outputs=outputs, classes=len(architecture.classes), size=options.size)
    progress.note("comparing with torch")
    if options.fp16 or options.output_labels:  # the tolerance of another form would hide a small error of the exporter
        compare(model)
    model = in_half_precision(model) if options.fp16 else model
    model = with_labels(model) if options.output_labels else model
    card.write_to(model)
    check_model(model)
    with atomic_model(model, path) as temporary:
        return compare(temporary, precision="float16" if options.fp16 else "float32")


def _job_of(path: Path) -> str | None:
    """The job that made the file, if it is a model of ours."""
    try:
        return ModelCard.read_from(load_model(path), str(path)).job if path.is_file() else None
    except ModelError:
        return None  # whatever is there will be replaced
