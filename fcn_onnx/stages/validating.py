"""From a data folder to a comparison and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn_onnx.data.sample import VOC_CLASSES, Sample
from fcn_onnx.data.selection import read_list
from fcn_onnx.data.sets.discover import annotations_beside, open_dataset, require_labels
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.pairing import common_classes, require_one_input
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.evaluation.result import Validation
from fcn_onnx.evaluation.selection import select_images
from fcn_onnx.jobs.artifact import claim_outputs
from fcn_onnx.jobs.bounds import COUNT
from fcn_onnx.jobs.journal import Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import data_inputs, load_model
from fcn_onnx.model.interface import Interface
from fcn_onnx.report.files import CANDIDATES_FILES, REPORT_FILES, write_candidates, write_report
from fcn_onnx.stages.validate import validate


def validate_and_report(
    fp32: Path,
    int8: Path,
    data: Path,
    *,
    report: Path = Path("report"),
    annotations: Path | None = None,
    protocol: str = "torchvision",
    images: Path | None = None,
    limit: int | None = None,
    include_calibration_images: bool = False,
    max_drop: float | None = None,
    interface: Interface = Interface(),
    workers: int = 1,
    threads: int = 0,
    command: str | None = None,
    progress: Progress = SILENT,
) -> Validation:
    """Open `data`, validate, and write the report; the arguments are those of `fcn-onnx validate`."""
    outputs = report_files(report)
    claim_outputs(outputs, _inputs([fp32, int8], data, annotations, images, outputs))
    dataset = open_dataset(data, annotations=annotations, classes=_classes([fp32, int8], interface))
    require_labels(dataset)
    chosen = read_list(images, dataset) if images else None
    with Journals(report, progress=progress) as journals:
        result = validate(
            fp32,
            int8,
            dataset,
            protocol=protocol,
            images=chosen,
            limit=limit,
            include_calibration_images=include_calibration_images,
            max_drop=max_drop,
            interface=interface,
            workers=workers,
            threads=threads,
            journals=journals,
            command=command,
            progress=progress,
        )
        write_report(result.report, report, result.per_image)
    return result


def validate_candidates(
    fp32: Path,
    candidates: Sequence[Path],
    data: Path,
    *,
    report: Path = Path("report"),
    annotations: Path | None = None,
    protocol: str = "torchvision",
    images: Path | None = None,
    limit: int | None = None,
    include_calibration_images: bool = False,
    max_drop: float | None = None,
    interface: Interface = Interface(),
    workers: int = 1,
    threads: int = 0,
    command: str | None = None,
    progress: Progress = SILENT,
) -> dict[str, Validation]:
    """Validate several int8 models on the same images: a report for each, in the folder of its name, and one table.

    Images that any of them was calibrated on are left out for all. The other arguments are those of
    `fcn-onnx validate`.

    Raises:
        UsageError: two candidates of one name, or no image is left.
        FcnOnnxError: what `validate_and_report` raises.
    """
    COUNT.require("--limit", limit)
    stems = [path.stem for path in candidates]
    if len(set(stems)) < len(stems):
        raise UsageError("two candidates have the same file name, and reports are named after them", fix="rename one")
    outputs = candidates_files(report, candidates)
    claim_outputs(outputs, _inputs([fp32, *candidates], data, annotations, images, outputs))
    dataset = open_dataset(data, annotations=annotations, classes=_classes([fp32, *candidates], interface))
    require_labels(dataset)
    chosen = read_list(images, dataset) if images else None
    rules = get_protocol(protocol, len(dataset.classes))
    common: list[Sample] | None = None
    for path in candidates:
        card = ModelCard.read_from(load_model(path), str(path))
        kept = select_images(
            dataset, rules, card, images=chosen, include_calibration_images=include_calibration_images
        ).samples
        names = {sample.name for sample in common or ()}
        common = [sample for sample in kept if common is None or sample.name in names]
    if not common:
        raise UsageError("no image is left that no candidate was calibrated on", fix="use more images")
    results = {}
    for path in candidates:
        progress.note(f"candidate {path}")
        with Journals(report / path.stem, progress=progress) as journals:
            results[path.stem] = validate(
                fp32,
                path,
                dataset,
                protocol=protocol,
                images=common[:limit],
                include_calibration_images=include_calibration_images,
                max_drop=max_drop,
                interface=interface,
                workers=workers,
                threads=threads,
                journals=journals,
                command=command,
                progress=progress,
            )
            write_report(results[path.stem].report, report / path.stem, results[path.stem].per_image)
    write_candidates({name: result.report for name, result in results.items()}, report)
    return results


def report_files(folder: Path) -> dict[str, Path]:
    """What `validate_and_report` writes, by what it is called."""
    return {f"{name} of --report": folder / name for name in REPORT_FILES}


def candidates_files(folder: Path, candidates: Sequence[Path]) -> dict[str, Path]:
    """What `validate_candidates` writes, by what it is called."""
    each = {f"{name} of {path.stem}": folder / path.stem / name for path in candidates for name in REPORT_FILES}
    return {f"{name} of --report": folder / name for name in CANDIDATES_FILES} | each


def _inputs(
    models: Sequence[Path],
    data: Path,
    annotations: Path | None,
    images: Path | None,
    outputs: Mapping[str, Path],
) -> dict[str, Path | None]:
    """Files that are read beside the images, by what they are called."""
    others: dict[str, Path | None] = {
        "the annotations": annotations or annotations_beside(data),
        "the list of images": images,
    }
    for path in models:
        others |= {f"the model {path}": path, **data_inputs(path, outputs.values())}
    return others


def _classes(models: Sequence[Path], interface: Interface) -> tuple[str, ...]:
    """Class names as the user says, else as the models do, else VOC's.

    Raises:
        ModelError: models contradict each other.
    """
    cards = {str(path): ModelCard.read_from(load_model(path), str(path)) for path in models}
    require_one_input(cards, interface)
    return common_classes(cards, interface) or VOC_CLASSES
