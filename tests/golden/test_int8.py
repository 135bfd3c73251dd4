"""The int8 forms of the tiny network, tensor by tensor, from one committed range table.

What a rebuild of the program must not change. `python tests/golden/test_int8.py` writes the digests anew, for a change
that is meant.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.model.files import digest_model
from fcn_onnx.stages.export import export
from fcn_onnx.stages.options import ExportOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize

pytest.importorskip("torch")

HERE = Path(__file__).parent
RANGES, DIGESTS = HERE / "tiny-ranges.json", HERE / "tiny-int8.json"
OPSETS = (12, 13)
TARGETS = ("avx2", "vnni", "openvino")
DIGITS = 16


@pytest.fixture(scope="module", params=OPSETS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(request.param, tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("target", TARGETS)
def test_every_tensor_is_what_it_was(model: Path, target: str) -> None:
    expected = json.loads(DIGESTS.read_text())[f"{model.stem}-{target}"]
    found = digests(made(model, target))
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def exported(opset: int, folder: Path) -> Path:
    path = folder / f"tiny-{opset}.onnx"
    export(ExportOptions(arch="tiny", opset=opset, output=path))
    return path


def made(model: Path, target: str) -> onnx.ModelProto:
    """The table is the model's by its names; its digest is another with every version of torch and onnx."""
    ranges, output = model.with_suffix(".json"), model.with_name("int8.onnx")
    replace(RangeTable.load(RANGES), model=digest_model(model)).save(ranges)
    quantize(QuantizeOptions(model=model, ranges=ranges, target=target, output=output))
    return onnx.load(output)


def digests(model: onnx.ModelProto) -> dict[str, str]:
    """Of every initializer, with its type and shape; and of the nodes, all together."""
    found = {
        tensor.name: short(f"{tensor.data_type} {tensor.dims} ".encode() + onnx.numpy_helper.to_array(tensor).tobytes())
        for tensor in model.graph.initializer
    }
    nodes = [[n.op_type, n.domain, n.name, *n.input, "→", *n.output, *map(str, n.attribute)] for n in model.graph.node]
    return found | {"nodes": short(json.dumps(nodes).encode())}


def short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        models = [exported(opset, Path(folder)) for opset in OPSETS]
        content = {f"{m.stem}-{target}": digests(made(m, target)) for m in models for target in TARGETS}
    DIGESTS.write_text(json.dumps(content, indent=1) + "\n")
