"""From a data folder to a comparison and its report."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.artifact import require_writable
from fcn_onnx.data.discover import open_dataset, require_labels
from fcn_onnx.data.selection import read_list
from fcn_onnx.evaluation import Validation, validate
from fcn_onnx.pipeline.places import journal_path, nearest_folder
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.report import write_report
from fcn_onnx.segmenter import Interface


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
    dataset = open_dataset(data, annotations=annotations)
    require_labels(dataset)
    require_writable(nearest_folder(report) / "report.json")
    chosen = read_list(images, dataset) if images else None
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
        journal=journal_path(report),
        command=command,
        progress=progress,
    )
    write_report(result.report, report)
    return result
