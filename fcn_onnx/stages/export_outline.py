"""What `export --dry-run` shows: in a file of its own, as it needs torch."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import check_outputs
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.networks.building import PUBLISHED, names_file
from fcn_onnx.networks.families import get_architecture
from fcn_onnx.networks.testdata import test_data_files
from fcn_onnx.networks.tracing import require_opset
from fcn_onnx.stages.export import build, card_of, job_of, traced
from fcn_onnx.stages.naming import fp32_name, fp32_path
from fcn_onnx.stages.options import ExportOptions
from fcn_onnx.stages.outline import Outline, states

OWN = "fcn-onnx"
"""The origin whose weights come with the package, and are read at once."""


def export(options: ExportOptions, progress: Progress = SILENT) -> tuple[Outline, ...]:
    """What `export` would do; the network is built, and published weights are not fetched. Raises what it raises."""
    if options.list_networks:
        raise UsageError("--list makes no model", fix="leave it out, or --dry-run")
    path = options.output or fp32_path(options.arch, options.network, options.opset)
    decided = {"weights": options.weights, "opset": str(options.opset)}
    if options.arch and options.weights == PUBLISHED:
        architecture = get_architecture(options.arch)
        if architecture.default_weights is not None and architecture.origin != OWN:
            assert path is not None  # the architecture names it
            _check(options, path)
            return (
                Outline(
                    stage="export",
                    decided={"network": f"{architecture.name}, {architecture.description}", **decided},
                    outputs=states(_outputs(options, path)),
                    left_open=("whether it is up to date, as published weights are not fetched for that",),
                ),
            )
    built = build(options)
    require_opset(options.opset)
    path = path or Path(fp32_name(built.name, options.opset))
    _check(options, path)
    card = card_of(options, built, traced(options, built, progress) if options.network else None)
    done = not options.force and job_of(path) == card.job
    return (
        Outline(
            stage="export",
            decided={
                "network": built.name,
                **decided,
                "outputs": ", ".join(built.heads),
                "classes": str(len(built.classes)),
                "shown": str(built.preprocessing.resize),
                "protocol": built.protocol or "",
            },
            outputs=states(_outputs(options, path), up_to_date=done),
            left_open=() if done else ("how long torch and the comparison with it take: no image is tried",),
        ),
    )


def _outputs(options: ExportOptions, path: Path) -> dict[str, Path | None]:
    return {"--output": path, **(test_data_files(path) if options.test_data else {})}


def _check(options: ExportOptions, path: Path) -> None:
    checkpoint = Path(options.weights) if names_file(options.weights) else None
    check_outputs(_outputs(options, path), {"the checkpoint": checkpoint})
