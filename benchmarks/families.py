"""Every network of the table, from torch to int8, at several opsets; a Markdown table.

    python benchmarks/families.py --data VOCdevkit
    python benchmarks/families.py --only tiny lraspp_mobilenet_v3_large --opsets 12 13

Each network is exported with dynamic sizes, proved against torch on three shapes that it takes, and quantized on a few
small images in the form that its opset has by default: QOperator at 11 and 12, Q/DQ pairs at 13 and 17. Weights are
random but for `tiny`, so labels mean nothing; what is measured is the largest difference from torch, and the share of
the multiply-accumulates (at the network's own size) that onnxruntime executes in int8.

All opsets of all networks take hours on two cores. A row that fails says so, and the others go on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.demo.writer import write_scenes
from fcn_onnx.errors import FcnOnnxError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import save_model
from fcn_onnx.networks.architecture import Architecture
from fcn_onnx.networks.costs import cost_of
from fcn_onnx.networks.families import ARCHITECTURES, get_architecture
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.stages.export import export
from fcn_onnx.stages.options import ExportOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize

SHOWN_AT = "128x160"
"""The size that images are calibrated at: multiples of 32."""

OPSETS = (11, 12, 13, 17)
HEADER = "| network | M parameters | GMAC at | opset | from torch at most | form | int8 share | in fp32 | seconds |"


@dataclass(frozen=True)
class Row:
    """One network at one opset; `error` says what went wrong instead."""

    opset: int
    difference: float = 0.0
    form: str = ""
    share: float | None = None
    floats: str = ""
    seconds: float = 0.0
    error: str = ""

    def cells(self) -> list[str]:
        """Of the Markdown table, after those of the network."""
        if self.error:
            return [str(self.opset), "–", "–", "–", self.error, f"{self.seconds:.0f}"]
        share = "?" if self.share is None else f"{100 * self.share:.2f} %"
        return [str(self.opset), f"{self.difference:.1e}", self.form, share, self.floats, f"{self.seconds:.0f}"]


def shown_small(path: Path) -> None:
    """Have a model's photographs made small, whatever its network was trained with."""
    model = onnx.load(path)
    card = ModelCard.read_from(model, path.name)
    small = {key: value for key, value in (card.preprocessing or {}).items() if key != "pad"} | {"resize": SHOWN_AT}
    replace(card, preprocessing=small).write_to(model)
    save_model(model, path)


def measure(architecture: Architecture, opset: int, data: Path, images: int, folder: Path) -> Row:
    """Export, prove, quantize, and read the executed graph."""
    began = time.perf_counter()
    fp32, int8 = folder / f"{architecture.name}-{opset}.onnx", folder / f"{architecture.name}-{opset}-int8.onnx"
    weights = "DEFAULT" if architecture.name == "tiny" else "none"
    try:
        exported = export(ExportOptions(arch=architecture.name, opset=opset, weights=weights, output=fp32))
        shown_small(fp32)
        choice = ImageChoice(data, limit=images)
        quantized = quantize(QuantizeOptions(model=fp32, choice=choice, output=int8))
        coverage = read_coverage(int8, architecture.size)
    except FcnOnnxError as error:
        return Row(opset, seconds=time.perf_counter() - began, error=error.what.replace("|", "/"))
    finally:
        fp32.unlink(missing_ok=True)
    int8.unlink()
    assert exported.parity is not None
    return Row(
        opset,
        exported.parity.max_abs_difference,
        quantized.plan.quant_format,
        coverage.int8_macs_share,
        _floats([(node.op_type, node.macs_share) for node in coverage.float_nodes.values()]),
        time.perf_counter() - began,
    )


def _floats(nodes: list[tuple[str, float | None]]) -> str:
    """What multiplies in fp32, by operator: `2 Conv 0.04 %`."""
    kinds = sorted({kind for kind, _ in nodes})
    shares = {kind: sum(share or 0 for k, share in nodes if k == kind) for kind in kinds}
    return ", ".join(f"{sum(k == kind for k, _ in nodes)} {kind} {100 * shares[kind]:.2f} %" for kind in kinds)


def rows(
    architectures: list[Architecture], opsets: list[int], data: Path, images: int, folder: Path
) -> Iterator[list[str]]:
    """The table's rows, as they are measured; what a network is, is said in its first."""
    for architecture in architectures:
        cost = cost_of(architecture)
        head = [
            f"`{architecture.name}`",
            f"{cost.parameters / 1e6:.2f}",
            "{:.2f} at {}×{}".format(cost.macs / 1e9, *architecture.size),
        ]
        for opset in opsets:
            yield [*head, *measure(architecture, opset, data, images, folder).cells()]
            head = [""] * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(ARCHITECTURES), metavar="NAME", help="these networks")
    parser.add_argument("--opsets", nargs="+", type=int, default=list(OPSETS), metavar="N")
    parser.add_argument("--data", type=Path, help="images to calibrate on; by default synthetic scenes")
    parser.add_argument("--images", type=int, default=4)
    asked = parser.parse_args()
    print(HEADER)
    print("|---" * (HEADER.count("|") - 1) + "|", flush=True)
    with TemporaryDirectory() as folder:
        if asked.data is None:
            write_scenes(Path(folder, "coco"), images=2 * asked.images)
        data = asked.data or Path(folder, "coco", "val2017")
        chosen = [get_architecture(name) for name in asked.only]
        for cells in rows(chosen, asked.opsets, data, asked.images, Path(folder)):
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
