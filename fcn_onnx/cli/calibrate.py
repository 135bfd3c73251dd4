"""`fcn-onnx calibrate`."""

from __future__ import annotations

from dataclasses import replace

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.errors import UsageError
from fcn_onnx.stages.naming import find_fp32, table_path
from fcn_onnx.stages.options import CalibrateOptions


def act(options: CalibrateOptions, json_target: str | None) -> None:
    """Observe the activations on images and write a table of ranges that onnxruntime's quantizer reads."""
    from fcn_onnx.stages.calibrate import derive
    from fcn_onnx.stages.calibrating import calibrate_data

    choice, source, method = options.choice, options.source, options.method
    if source is not None and choice is None:
        output = options.output or source.with_name(f"{source.stem}-{method}.json")
        claim(json_target, {"--output": output})
        result = derive(source, method=method, percentile=options.percentile, output=output)
    elif choice is not None and source is None:
        model = options.model or find_fp32()
        output = options.output or table_path(model, method)
        claim(
            json_target,
            {"--output": output, "--histograms": options.histograms},
            {"the model": model, **choice.inputs()},
        )
        result = calibrate_data(replace(options, model=model, output=output), progress=ConsoleProgress())
    else:
        raise UsageError("images (--data) or histograms (--from)?", fix="give exactly one of the two")
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    table = result.table
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    print_line(
        f"wrote {result.output}: {len(table.ranges)} tensors, {len(table.images)} images{skipped}, {table.method}"
    )
    if options.histograms is not None:
        print_line(f"wrote {options.histograms}")


command = StageCommand(
    "calibrate",
    CalibrateOptions,
    act,
    tables={"method": "Methods"},
    examples=(
        "calibrate --data coco/train2017 --limit 64 --histograms h.npz",
        "calibrate --from h.npz --method kl --output kl.json",
    ),
)
