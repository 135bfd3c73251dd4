"""Every network of the table, from torch to a report, at several opsets and in both forms; a Markdown table.

    python benchmarks/families.py --data VOCdevkit
    python benchmarks/families.py --data VOCdevkit --only mmseg-fcn-r101-d8 --opsets 13 --full

Each network is exported with dynamic sizes and proved against torch on three shapes that it takes; quantized as
QOperator and as QDQ on two images of VOC's `train`, shown as the network is shown photographs; and validated under its
own protocol on two of `val`. Weights are random but for `tiny`, and all have VOC's 21 classes, so that VOC's masks can
be scored; what the labels are says nothing. Measured are the largest difference from torch, the share of the
multiply-accumulates (at the network's own size) that onnxruntime executes in int8, and how many of int8's labels are
fp32's.

Networks of more than 20 million parameters have an eighth of their channels, but for their scores, unless `--full` is
said. A row that is there already, in `--rows`, is not made again, unless it failed: a row that fails says so, and the
others go on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch

from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.errors import FcnOnnxError
from fcn_onnx.networks.architecture import Architecture
from fcn_onnx.networks.costs import cost_of
from fcn_onnx.networks.families import ARCHITECTURES, get_architecture
from fcn_onnx.networks.torchvision_compat import import_torchvision
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.stages.export import export
from fcn_onnx.stages.options import ExportOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate

OPSETS = (11, 12, 13, 17)
FORMS = ("qoperator", "qdq")
CLASSES = len(VOC_CLASSES)
NARROWED = 8
"""What widths are divided by."""

HEADER = "| network | channels | M parameters | opsets | from torch | int8 share | protocol | QOperator | QDQ |"


@dataclass(frozen=True)
class Row:
    """One network at one opset in one form; `error` says what went wrong instead."""

    name: str
    width: str
    opset: int
    form: str
    parameters: int
    difference: float = 0.0
    largest: float = 0.0
    weights: str = ""
    share: float | None = None
    floats: str = ""
    protocol: str = ""
    agreement: float = 0.0
    seconds: float = 0.0
    error: str = ""

    @property
    def key(self) -> tuple[str, str, int, str]:
        return self.name, self.width, self.opset, self.form

    def __str__(self) -> str:
        said = self.error or f"{self.difference:.1e} from torch, {self.share} in int8, agreement {self.agreement:.4f}"
        return f"{self.name} {self.width} {self.opset} {self.form} {self.weights}: {said} ({self.seconds:.0f} s)"


def summary(rows: list[Row]) -> Iterator[str]:
    """A line a network: what is the worst of its rows, and the agreement of each, opset by opset; † is per tensor."""
    for key in dict.fromkeys((row.name, row.width) for row in rows):
        own = [row for row in rows if (row.name, row.width) == key]
        made = [row for row in own if not row.error]
        worst = max(made, key=lambda row: row.difference, default=own[0])
        shares = sorted({f"{100 * row.share:.1f}" for row in made if row.share is not None})
        forms = [
            ", ".join(
                row.error or f"{row.agreement:.3f}" + "†" * (row.weights == "per tensor")
                for row in sorted(own, key=lambda row: row.opset)
                if row.form == form
            )
            for form in FORMS
        ]
        yield (
            " | ".join(
                [
                    f"| `{key[0]}`",
                    "all" if key[1] == "full" else key[1],
                    f"{own[0].parameters / 1e6:.1f}",
                    ", ".join(map(str, sorted({row.opset for row in own}))),
                    f"{worst.difference:.0e} of {worst.largest:.0f}",
                    f"{' – '.join(shares[:: max(1, len(shares) - 1)])} %",
                    worst.protocol,
                    *forms,
                ]
            )
            + " |"
        )


def narrow(name: str) -> Callable[[int, bool], torch.nn.Module] | None:
    """What builds the network with a fraction of its channels; None for those that are built as they are."""
    if name == "mindspore-fcn8s":
        from fcn_onnx.networks.mindspore_fcn import MindSporeFCN8s

        return lambda classes, aux: MindSporeFCN8s(classes, NARROWED)
    if name.startswith("mmseg-"):
        from fcn_onnx.networks.mmseg_fcn import MmsegFCN

        return lambda classes, aux: MmsegFCN(_resnet_of(name), classes, NARROWED)
    if name.startswith("gluoncv-"):
        from fcn_onnx.networks.gluoncv_fcn import GluonFCN

        return lambda classes, aux: GluonFCN(_resnet_of(name), classes, aux, NARROWED)
    if name in ("resnet50", "resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"):
        return partial(_narrow_torchvision, name)
    return None


def _resnet_of(name: str) -> str:
    return "resnet101" if "101" in name else "resnet50"


def _narrow_torchvision(name: str, classes: int, aux: bool) -> torch.nn.Module:
    import_torchvision()
    from torch import nn
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    from fcn_onnx.networks.resnet import BLOCKS, PLANES, stages

    stem, planes = 64 // NARROWED, [width // NARROWED for width in PLANES]
    trunk = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, stem, 7, 2, 3, bias=False),
        bn1=nn.BatchNorm2d(stem),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, 2, 1),
    )
    trunk.update(stages(stem, planes, BLOCKS[_resnet_of(name)]))
    layers = {"layer4": "out", "layer3": "aux"} if aux else {"layer4": "out"}
    backbone = IntermediateLayerGetter(nn.Sequential(trunk), return_layers=layers)
    kind, head = (DeepLabV3, DeepLabHead) if name.startswith("deeplab") else (FCN, FCNHead)
    auxiliary = FCNHead(4 * planes[2], classes) if aux else None
    network: nn.Module = kind(backbone, head(4 * planes[3], classes), auxiliary)
    return network


def meant(name: str, full: bool) -> tuple[Architecture, str]:
    """The network as it is run here, and its width in a word."""
    architecture = get_architecture(name)
    build = None if full else narrow(name)
    if build is None:
        return replace(architecture, classes=VOC_CLASSES), "full"
    return replace(architecture, classes=VOC_CLASSES, build=build), f"1/{NARROWED}"


def measured(architecture: Architecture, width: str, opset: int, forms: list[str], data: Path) -> Iterator[Row]:
    """Export and prove; quantize, read the executed graph and validate, in each form."""
    began = time.perf_counter()
    row = Row(architecture.name, width, opset, "", cost_of(architecture).parameters)
    with TemporaryDirectory() as folder:
        fp32 = Path(folder, "fp32.onnx")
        weights = "DEFAULT" if architecture.name == "tiny" else "none"
        try:
            options = ExportOptions(arch=architecture.name, opset=opset, weights=weights, classes=CLASSES, output=fp32)
            parity = export(options).parity
        except FcnOnnxError as error:
            yield from (replace(row, form=form, error=f"export: {error.what}") for form in forms)
            return
        assert parity is not None
        largest = max(shape.max_abs_value for shape in parity.shapes)
        row = replace(row, difference=parity.max_abs_difference, largest=largest)
        for form in forms:
            try:
                made = _int8(replace(row, form=form), architecture, fp32, data)
            except FcnOnnxError as error:
                made = replace(row, form=form, error=error.what)
            yield replace(made, seconds=time.perf_counter() - began)
            began = time.perf_counter()


def _int8(row: Row, architecture: Architecture, fp32: Path, data: Path) -> Row:
    int8 = fp32.with_name(f"{row.form}.onnx")
    choice = ImageChoice(data, split="train", limit=2)
    plan = quantize(QuantizeOptions(model=fp32, choice=choice, format=row.form, output=int8)).plan
    coverage = read_coverage(int8, architecture.size)
    found = validate(ValidateOptions(fp32=fp32, int8=(int8,), choice=ImageSource(data), limit=2, report=None))
    return replace(
        row,
        weights="per channel" if plan.per_channel else "per tensor",
        share=coverage.int8_macs_share,
        floats=_floats([(node.op_type, node.macs_share) for node in coverage.float_nodes.values()]),
        protocol=found.document.protocol,
        agreement=found.only.difference.label_agreement,
    )


def _floats(nodes: list[tuple[str, float | None]]) -> str:
    """What multiplies in fp32, by operator: `2 Conv 0.04 %`."""
    kinds = sorted({kind for kind, _ in nodes})
    shares = {kind: sum(share or 0 for k, share in nodes if k == kind) for kind in kinds}
    return ", ".join(f"{sum(k == kind for k, _ in nodes)} {kind} {100 * shares[kind]:.2f} %" for kind in kinds)


def read_rows(path: Path) -> list[Row]:
    """The last of each key, in the order of the first."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [Row(**json.loads(line)) for line in lines]
    return list({row.key: row for row in rows}.values())


def make(name: str, opset: int, asked: argparse.Namespace) -> None:
    """Append the rows of a network at an opset that are not there, or failed."""
    architecture, width = meant(name, asked.full)
    there = {row.key for row in read_rows(asked.rows) if not row.error}
    forms = [form for form in FORMS if (name, width, opset, form) not in there]
    if not forms:
        return
    with patch.dict(ARCHITECTURES, {name: architecture}), asked.rows.open("a", encoding="utf-8") as file:
        for row in measured(architecture, width, opset, forms, asked.data):
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(ARCHITECTURES), metavar="NAME", help="these networks")
    parser.add_argument("--opsets", nargs="+", type=int, default=list(OPSETS), metavar="N")
    parser.add_argument("--data", type=Path, required=True, help="a VOCdevkit")
    parser.add_argument("--full", action="store_true", help="all channels of the large ones, too")
    parser.add_argument("--rows", type=Path, default=Path("families.jsonl"))
    asked = parser.parse_args()
    for name in asked.only:
        for opset in asked.opsets:
            # a process each: memory is given back, and what crashes takes nothing along
            work = multiprocessing.get_context("spawn").Process(target=make, args=(name, opset, asked))
            work.start()
            work.join()
            if work.exitcode:
                print(f"{name} at {opset}: exit code {work.exitcode}", flush=True)
    print(f"\n{HEADER}\n{'|---' * (HEADER.count('|') - 1)}|")
    for line in summary(read_rows(asked.rows)):
        print(line)


if __name__ == "__main__":
    main()
