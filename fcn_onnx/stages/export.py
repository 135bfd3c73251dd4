"""The stage `export`: a torch network becomes an ONNX file that onnxruntime provably runs alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.errors import ModelError
from fcn_onnx.jobs.artifact import FORM_VERSION, claim_outputs, job_digest, versions
from fcn_onnx.jobs.bounds import SIDE
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import atomic_model, check_model, digest_model, load_model, model_bytes
from fcn_onnx.networks.cleaning import clean
from fcn_onnx.networks.families import build_network, get_architecture
from fcn_onnx.networks.forms import in_half_precision, with_labels
from fcn_onnx.networks.parity import Parity, check_parity
from fcn_onnx.networks.testdata import test_data_files, write_test_data
from fcn_onnx.networks.tracing import require_opset, supported_opsets, trace
from fcn_onnx.stages.naming import fp32_name

__all__ = ["ExportResult", "Parity", "export", "supported_opsets"]


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


def export(
    arch: str = "resnet50",
    *,
    opset: int = 12,
    weights: str = "DEFAULT",
    aux: bool = True,
    size: tuple[int, int] | None = None,
    labels: bool = False,
    half: bool = False,
    output: Path | None = None,
    test_data: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Export a network to ONNX: input `input` (N, 3, H, W), outputs `out` and `aux` (N, 21, H, W), float32.

    Args:
        arch: a name in `fcn_onnx.networks.families.ARCHITECTURES`.
        opset: 11 and newer; see `supported_opsets`.
        weights: `DEFAULT` (published), `none` (random, seeded, recorded as random) or a `.pth` file.
        aux: with the auxiliary head and its output.
        size: fixes (height, width); N, H and W are dynamic otherwise.
        labels: the outputs are the argmax over classes, uint8 (N, H, W), instead of logits.
        half: computes in float16, for GPUs; inputs and outputs stay float32.
        output: default `fcn-<arch>-<opset>.onnx` in the working folder.
        test_data: also write the model zoo's test data set and archive.
        force: redo it though nothing has changed.

    Raises:
        UsageError: an unknown architecture, or an opset that cannot be exported here.
        WeightsError: the weights cannot be had, read, or do not fit.
        ExportError, ParityError: the exported model is not what it should be.
        OutputError: the output cannot be written.
        MissingDependencyError: torch or torchvision is not installed.
    """
    architecture = get_architecture(arch)
    path = output or Path(fp32_name(arch, opset))
    for side in size or ():
        SIDE.require("a side of --size", side)
    claimed = {"--output": path, **(test_data_files(path) if test_data else {})}
    claim_outputs(claimed, {"the checkpoint": None if weights in ("DEFAULT", "none") else Path(weights)})
    progress.note(f"building {arch} with weights {weights}")
    network, info = build_network(arch, weights, aux=aux)
    require_opset(opset)
    card = ModelCard(
        arch=arch,
        opset=opset,
        weights=info.to_json(),
        classes=architecture.classes,
        preprocessing=architecture.preprocessing.to_json(),
        versions=versions(),
        form=FORM_VERSION,
    )
    job = job_digest(
        "export",
        "torch",
        "torchvision",
        "onnxscript",
        arch=arch,
        opset=opset,
        aux=aux,
        size=size,
        labels=labels,
        half=half,
        weights=info.to_json(),
    )
    card = card.for_job(job)
    skipped = not force and _job_of(path) == card.job
    parity = None
    if not skipped:
        outputs = ("out", "aux") if aux else ("out",)
        multiple_of = architecture.preprocessing.multiple_of
        progress.note(f"tracing at opset {opset}")
        model = trace(network, opset, outputs=outputs, size=size)
        model = clean(model, outputs=outputs, classes=len(architecture.classes), size=size)
        progress.note("comparing with torch")
        if half or labels:  # the tolerance of another form would hide a small error of the exporter
            check_parity(network, model, outputs=outputs, size=size, multiple_of=multiple_of)
        model = in_half_precision(model) if half else model
        model = with_labels(model) if labels else model
        card.write_to(model)
        check_model(model)
        with atomic_model(model, path) as temporary:
            precision = "float16" if half else "float32"
            parity = check_parity(
                network, temporary, outputs=outputs, size=size, precision=precision, multiple_of=multiple_of
            )
    archive = write_test_data(path) if test_data else None
    return ExportResult(path, opset, card, parity, model_bytes(path), archive, skipped)


def _job_of(path: Path) -> str | None:
    """The job that made the file, if it is a model of ours."""
    try:
        return ModelCard.read_from(load_model(path), str(path)).job if path.is_file() else None
    except ModelError:
        return None  # whatever is there will be replaced
