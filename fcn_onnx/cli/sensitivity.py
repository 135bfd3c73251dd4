"""`fcn-onnx sensitivity`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.naming import find_fp32
from fcn_onnx.stages.options import SensitivityOptions

if TYPE_CHECKING:
    from fcn_onnx.report.sensitivity import Deviation

WORST = 10


def act(options: SensitivityOptions, json_target: str | None) -> None:
    """Rank layers by the labels that their int8 flips, and show what keeping the worst in fp32 gains and costs.

    Each layer that multiplies in int8 is tried alone (all else in fp32) and left out (all else in int8), and each
    activation is rounded to 8 bits alone; onnxruntime runs each of these models, and labels and logits are compared
    with fp32's. No truth is needed. Then models on the way back to fp32 are measured, by the regions that take off most
    error for a millisecond, on images that ranked nothing: agreement, and speed against fp32 in turns. An interrupted
    run continues.
    """
    from fcn_onnx.stages.sensitivity import files_of, sensitivity

    model = options.model or find_fp32()
    outputs, inputs = files_of(options, model)
    claim(json_target, outputs, inputs)
    result = sensitivity(replace(options, model=model), progress=ConsoleProgress())
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    found = result.sensitivity
    flipped, error = _shown(found.whole)
    print_line(f"all in int8: {flipped} of the labels flip, logits' error {error}, on {len(found.ranked_on)} images")
    print_table(
        ("worst layers", "operator", "MACs", "flips alone", "error alone", "flips without", "error without"),
        (
            (layer.name, layer.op_type, _percent(layer.macs_share), *_shown(layer.alone), *_shown(layer.without))
            for layer in found.layers[:WORST]
        ),
        texts=(0, 1),
    )
    print_table(
        ("worst activations", "flips alone", "error alone"),
        ((tensor.name, *_shown(tensor.alone)) for tensor in found.tensors[:WORST]),
    )
    print_table(
        ("kept in fp32", "sums unrounded", "MACs kept", "agreement", "speed-up"),
        (
            (
                f"{point.kept} of {len(found.layers)}",
                str(point.unrounded),
                _percent(point.kept_macs_share),
                f"{point.agreement:.4f}",
                f"{point.speedup:.2f}×",
            )
            for point in found.front
        ),
    )
    print_line(
        f"{result.folder} is up to date (--force redoes it)"
        if result.skipped
        else f"wrote sensitivity.json and sensitivity.html to {result.folder}"
    )


def _shown(deviation: Deviation) -> tuple[str, str]:
    error = deviation.logits_error
    return f"{100 * deviation.flipped:.3f} %", "–" if error is None else f"{error:.2g}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


command = StageCommand(
    "sensitivity",
    SensitivityOptions,
    act,
    outline="fcn_onnx.stages.outlines:sensitivity",
    tables={"method": "Methods", "target": "Targets"},
    examples=("sensitivity --data coco/train2017 --limit 64",),
)
