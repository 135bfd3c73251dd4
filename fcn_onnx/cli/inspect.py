"""`fcn-onnx inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, megabytes, print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.text import listed
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME
from fcn_onnx.stages.options import InspectOptions

if TYPE_CHECKING:
    from fcn_onnx.evaluation.fidelity import Fidelity
    from fcn_onnx.runtime.coverage import Coverage
    from fcn_onnx.stages.inspect import Inspection

NAMES_SHOWN = 3
SLACK = 1e-3


def act(options: InspectOptions, json_target: str | None) -> None:
    """Show what a model is: opset, operators, parameters, cost, quantized form, where it came from.

    Of an fp32 and an int8 model with --data: how far each layer is off, and which images' labels flip; no truth needed.

    Of a file of histograms (calibrate --histograms): the threshold that each method chooses for each tensor.
    """
    from fcn_onnx.stages.inspect import fidelity, inspect

    model, choice, histograms = options.model, options.choice, options.model.suffix == ".npz"
    if options.runtime != DEFAULT_RUNTIME and (options.int8 is not None or histograms):
        raise UsageError("--runtime is about what of one model runs in int8", fix="leave it out, or give one model")
    claim(json_target, {"--plot": options.plot}, choice.inputs() if choice else {})
    if options.int8 is not None:
        _show_fidelity(fidelity(options, progress=ConsoleProgress()), json_target)
    elif histograms:
        _inspect_histograms(model, options.plot, json_target)
    else:
        result = inspect(options)
        write_json(result.to_json(), json_target)
        if not wants_stdout(json_target):
            for label, value in _lines(result):
                print_line(f"{label:<13} {value}")


def _show_fidelity(result: Fidelity, json_target: str | None) -> None:
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    print_line(f"label agreement {100 * result.label_agreement:.2f} % on {len(result.flipped)} images")
    for header, rows in result.worst().items():
        print_table(header, rows)


def _inspect_histograms(path: Path, plot: Path | None, json_target: str | None) -> None:
    import numpy as np

    from fcn_onnx.stages.histograms import plot_histograms

    plots = plot_histograms(path, plot)
    write_json(
        {"tensors": {p.name: {"thresholds": dict(p.thresholds), "errors": dict(p.errors)} for p in plots}}, json_target
    )
    if wants_stdout(json_target):
        return
    methods = list(plots[0].thresholds)
    cells = ((p.name, *(f"{p.thresholds[m]:.4g} ({p.errors[m]:.2f})" for m in methods)) for p in plots)
    print_table(("threshold (squared error, as a multiple of min/max's)", *methods), cells)
    for method in methods:
        errors = np.array([p.errors[method] for p in plots])
        print_line(
            f"{method}: squared error {np.median(errors):.2f} × min/max's in the median, {errors.max():.2f} at most, "
            f"above it on {int((errors > 1 + SLACK).sum())} of {len(plots)} tensors"
        )
    if plot is not None:
        print_line(f"wrote {plot}")


def _lines(result: Inspection) -> list[tuple[str, str]]:
    facts, card = result.facts, result.card
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in facts.opsets.items())
    cost = "unknown" if facts.macs is None else f"{facts.macs / 1e9:.3f} GMAC"
    lines = [
        ("model", f"{result.path} ({megabytes(result.size_bytes)})"),
        ("opset", opsets),
        *(("input", f"{name} {_shape(shape)}") for name, shape in facts.inputs.items()),
        *(("output", f"{name} {_shape(shape)}") for name, shape in facts.outputs.items()),
        ("operators", ", ".join(f"{op} {count}" for op, count in facts.op_counts.items())),
        ("parameters", f"{facts.parameters:,}"),
        ("cost", f"{cost} at {facts.size[0]}×{facts.size[1]}"),
        ("quantized", _quantized(result)),
    ]
    if result.coverage:
        lines += _executed(result.coverage, result.runtime)
    if card.arch:
        weights = dict(card.weights or {})
        lines.append(("made from", f"{card.arch}, weights {weights.get('source', 'unknown')}"))
    if card.calibration_images:
        method = (card.quantization or {}).get("method", "?")
        lines.append(("calibrated", f"{method} on {len(card.calibration_images)} images"))
    if card.versions:
        lines.append(("versions", ", ".join(f"{k} {v}" for k, v in card.versions.items())))
    return lines


def _quantized(result: Inspection) -> str:
    facts = result.facts
    if facts.quant_format == "none":
        return "no"
    scales = "per channel" if facts.per_channel else "per tensor"
    share = "" if facts.int8_macs_share is None else f", {100 * facts.int8_macs_share:.2f} % of the MACs in int8"
    return f"{facts.quant_format}, {scales}{share}"


def _executed(coverage: Coverage, runtime: str) -> list[tuple[str, str]]:
    share = "" if coverage.int8_macs_share is None else f", {100 * coverage.int8_macs_share:.2f} % of the MACs"
    told = "" if runtime == DEFAULT_RUNTIME else f" by {runtime}"
    lines = [("executed", f"{coverage.int8_convs} of {coverage.convs} convolutions in int8{share}{told}")]
    groups: dict[tuple[str, str], dict[str, float | None]] = {}
    for name, node in coverage.float_nodes.items():
        groups.setdefault((node.op_type, node.reason), {})[name] = node.macs_share
    for (op_type, reason), found in sorted(groups.items(), key=lambda item: -sum(s or 0 for s in item[1].values())):
        known = sum(s for s in found.values() if s is not None)
        cost = "" if None in found.values() else f" ({100 * known:.2f} % of the MACs)"
        lines.append(("  in fp32", f"{len(found)} {op_type}{cost}, {reason}: {listed(list(found), NAMES_SHOWN)}"))
    return lines + [("  in int8", f"{name}: {oddity}") for name, oddity in coverage.rounded_nodes.items()]


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


command = StageCommand(
    "inspect",
    InspectOptions,
    act,
    tables={"runtime": "Runtimes"},
    examples=(
        "inspect fcn-resnet50-12-int8.onnx",
        "inspect fcn-resnet50-12.onnx fcn-resnet50-12-int8.onnx --data coco/val2017 --limit 8",
        "inspect histograms.npz --plot histograms.html",
    ),
)
