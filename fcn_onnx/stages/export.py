"""The stage `export`: a torch network becomes an ONNX file that onnxruntime provably runs alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from fcn_onnx.data.labels import read_classes
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.jobs.artifact import FORM_VERSION, claim_outputs, digest_bytes, job_digest, versions
from fcn_onnx.jobs.holding import holding
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import atomic_model, check_model, digest_model, load_model, model_bytes
from fcn_onnx.networks.architecture import AUX
from fcn_onnx.networks.building import Built, build_network, names_file, require_torch
from fcn_onnx.networks.cleaning import clean
from fcn_onnx.networks.forms import in_half_precision, with_labels
from fcn_onnx.networks.names import Asked
from fcn_onnx.networks.parity import Parity, check_parity
from fcn_onnx.networks.testdata import test_data_files, write_test_data
from fcn_onnx.networks.tracing import legal_size, require_opset, trace
from fcn_onnx.stages.naming import fp32_name, fp32_path
from fcn_onnx.stages.options import ExportOptions


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
            "classes": list(self.card.classes),
            "preprocessing": self.card.preprocessing,
            "protocol": self.card.protocol,
            "notes": list(self.card.notes),
            "parity": self.parity.to_json() if self.parity else None,
            "size_bytes": self.size_bytes,
            "test_data": str(self.test_data) if self.test_data else None,
            "skipped": self.skipped,
        }


def export(options: ExportOptions, *, progress: Progress = SILENT) -> ExportResult:
    """Export a network to ONNX: input `input` (N, 3, H, W), outputs `out` and `aux` (N, classes, H, W), float32.

    Raises:
        UsageError: an opset that cannot be exported here, or a size that the network does not take.
        NetworkError: the user's own network cannot be had, or fails.
        WeightsError: the weights cannot be had, read, or do not fit.
        ExportError, ParityError: the exported model is not what it should be.
        OutputError: the output cannot be written.
        MissingDependencyError: torch or torchvision is not installed.
    """
    if options.list_networks:
        raise UsageError("--list makes no model", fix="leave it out")
    named = options.output or fp32_path(options.arch, options.network, options.opset)
    _claim(options, named)
    progress.note(f"building {options.arch or options.network or 'the network'} with weights {options.weights}")
    built = build(options)
    require_opset(options.opset)
    path = named or Path(fp32_name(built.name, options.opset))
    if named is None:  # it was recognised by its checkpoint
        _claim(options, path)
    for note in built.notes:
        progress.note(note)
    with holding(path, options.wait, progress):
        return _made(options, built, path, progress)


def asked_classes(classes: int | str | None) -> Asked:
    """What `--classes` says: a number, the names in a file, or nothing. Raises UsageError as for `read_classes`."""
    if isinstance(classes, str):
        return int(classes) if classes.isdecimal() else read_classes(Path(classes))
    return classes


def _claim(options: ExportOptions, path: Path | None) -> None:
    outputs = {"--output": path, **(test_data_files(path) if path and options.test_data else {})}
    claim_outputs(outputs, {"the checkpoint": Path(options.weights) if names_file(options.weights) else None})


def build(options: ExportOptions) -> Built:
    """The network that is meant, shown photographs as the user says.

    Raises:
        UsageError: `--size` is none that it takes.
    """
    classes = asked_classes(options.classes)
    if options.network:
        require_torch()
        from fcn_onnx.networks.own import build_own

        built = build_own(
            options.network,
            options.weights,
            aux=bool(options.aux),
            classes=classes,
            output_name=options.output_name,
            size=options.size,
            hints=options.hints,
        )
    else:
        built = build_network(options.arch, options.weights, aux=options.aux, classes=classes)
    built = replace(built, preprocessing=built.preprocessing.hinted(options.hints))
    if options.output_labels and built.channels == 1:
        raise UsageError(
            f"{built.name} returns one channel, and labels are made of one a class",
            fix="leave --output-labels out: what runs the model takes one channel for the score of the second class",
        )
    if options.size and min(options.size) < (least := built.least_side):
        raise UsageError(
            f"--size is {options.size[0]}x{options.size[1]}, and {built.name} takes no side shorter than {least}",
            fix=f"use {max(options.size[0], least)}x{max(options.size[1], least)}",
        )
    multiple_of = built.preprocessing.multiple_of
    if options.size and (legal := legal_size(options.size, multiple_of)) != options.size:
        raise UsageError(
            f"--size is {options.size[0]}x{options.size[1]}, and the sides of {built.name} must be multiples of "
            f"{multiple_of}",
            fix=f"use {legal[0]}x{legal[1]}",
        )
    return built


def _made(options: ExportOptions, built: Built, path: Path, progress: Progress) -> ExportResult:
    graph = traced(options, built, progress) if options.network else None  # what it computes is known by its graph
    card = card_of(options, built, graph)
    skipped = not options.force and job_of(path) == card.job
    parity = (
        None if skipped else _write(options, built, graph or traced(options, built, progress), card, path, progress)
    )
    archive = write_test_data(path) if options.test_data else None
    return ExportResult(path, options.opset, card, parity, model_bytes(path), archive, skipped)


def card_of(options: ExportOptions, built: Built, graph: onnx.ModelProto | None) -> ModelCard:
    """What the file will say of itself, the digest of this very job included."""
    card = ModelCard(
        arch=built.name,
        opset=options.opset,
        weights=built.weights.to_json(),
        notes=built.notes,
        protocol=built.protocol,
        classes=built.classes,
        preprocessing=built.preprocessing.to_json(),
        versions=versions(),
        form=FORM_VERSION,
    )
    resolved = {
        "arch": built.name,
        "network": digest_bytes(graph.SerializeToString(deterministic=True)) if graph else None,
        "weights": card.weights,
        "aux": AUX in built.heads,
        "classes": list(built.classes),
        "preprocessing": card.preprocessing,
    }
    decisive = options.decisive() | resolved
    return card.for_job(job_digest("export", "torch", "torchvision", "onnxscript", **decisive))


def traced(options: ExportOptions, built: Built, progress: Progress) -> onnx.ModelProto:
    """The network as a clean graph."""
    progress.note(f"tracing at opset {options.opset}")
    model = trace(
        built.network,
        options.opset,
        outputs=built.heads,
        size=options.size,
        multiple_of=built.preprocessing.multiple_of,
    )
    return clean(model, outputs=built.heads, classes=built.channels, size=options.size)


def _write(
    options: ExportOptions, built: Built, model: onnx.ModelProto, card: ModelCard, path: Path, progress: Progress
) -> Parity:
    """Prove the graph in the form that gets the name."""
    compare = partial(
        check_parity,
        built.network,
        outputs=built.heads,
        size=options.size,
        multiple_of=built.preprocessing.multiple_of,
    )
    progress.note("comparing with torch")
    if options.fp16 or options.output_labels:  # the tolerance of another form would hide a small error of the exporter
        compare(model)
    model = in_half_precision(model) if options.fp16 else model
    model = with_labels(model) if options.output_labels else model
    card.write_to(model)
    check_model(model)
    with atomic_model(model, path) as temporary:
        return compare(temporary, precision="float16" if options.fp16 else "float32")


def job_of(path: Path) -> str | None:
    """The job that made the file, if it is a model of ours."""
    try:
        return ModelCard.read_from(load_model(path), str(path)).job if path.is_file() else None
    except ModelError:
        return None  # whatever is there will be replaced
