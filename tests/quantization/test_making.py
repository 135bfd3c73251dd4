"""Many int8 models of one fp32 model: each is what it would be alone, and what they share is done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from toys import residual_network, save, write_coco

from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import QuantizationError
from fcn_onnx.model import files
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.model import Model
from fcn_onnx.quantization import making, weights
from fcn_onnx.quantization.backends.draft import Draft
from fcn_onnx.quantization.making import Calibrated, Maker
from fcn_onnx.quantization.plan import Plan, keep_float, make_plan
from fcn_onnx.quantization.writing import write_int8
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.network import Network
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

CPU = Cpu("any", 2, frozenset({"avx512_vnni"}))
NAMES = ["input", "stem", "stem_relu", "pool", "inner", "inner_relu", "branch", "sum", "body", "logits"]


def table_of(highest: float, **means: Any) -> RangeTable:
    return RangeTable({name: Range(-1.0, highest) for name in NAMES}, "minmax", "", {}, {}, means=means)


@pytest.fixture(params=[12, 13])
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    return Model.open(save(residual_network(opset=request.param), tmp_path / "m.onnx"))


def maker_of(original: Model) -> Maker:
    return Maker(original, Calibrated((), Preprocessing(), {}))


def counted(monkeypatch: pytest.MonkeyPatch, counts: Counter[str], where: Any, name: str) -> None:
    called = getattr(where, name)

    def counting(*arguments: Any, **options: Any) -> Any:
        counts[name] += 1
        return called(*arguments, **options)

    monkeypatch.setattr(where, name, counting)


@pytest.mark.parametrize("target", ["avx2", "tensorrt"])
def test_a_model_is_the_same_whatever_was_made_before_it(original: Model, target: str) -> None:
    if target == "tensorrt" and original.proto.opset_import[0].version < 13:
        pytest.skip("it takes per-channel QDQ only")
    plan = make_plan(original.taken, CPU, target=target)
    means = {"pool": tuple(np.linspace(-1, 1, 8).tolist())}
    tables = [table_of(2.0, **means), table_of(5.0, **means), table_of(1e-7, **means), table_of(2.0, pool=(0.5,) * 8)]
    wanted = [(plan, table) for table in tables]
    wanted += [
        (keep_float(plan, original.taken, ["/inner"]), tables[0]),
        (replace(plan, pair_safe=not plan.pair_safe), tables[1]),
    ]
    one = maker_of(original)
    alone = [maker_of(original).make(*each).int8.SerializeToString() for each in wanted]
    assert [one.make(*each).int8.SerializeToString() for each in wanted] == alone
    assert [one.make(*each).int8.SerializeToString() for each in wanted[::-1]] == alone[::-1]
    assert len(set(alone)) == len(alone)


def test_the_model_is_parsed_inferred_and_rounded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three models, one of them written and proven."""
    path = save(residual_network(), tmp_path / "m.onnx")
    counts: Counter[str] = Counter()
    for where, name in ((files, "_parse"), (weights, "quantize_weight"), (onnx.shape_inference, "infer_shapes")):
        counted(monkeypatch, counts, where, name)
    original = Model.open(path)
    assert counts == {"_parse": 1}
    plan = make_plan(original.taken, CPU)
    maker = maker_of(original)
    for each in (plan, keep_float(plan, original.taken, ["/inner"]), plan):
        made = maker.make(each, table_of(3.0))
    assert counts == {"_parse": 1, "infer_shapes": 1, "quantize_weight": 3}
    write_int8(made, tmp_path / "int8.onnx")
    assert counts["quantize_weight"] == 3


@pytest.mark.parametrize("options", [{}, {"max_drop": 50.0}, {"refine": True}])
def test_a_whole_quantize_parses_its_model_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Calibrating, trials, what is proven and what is written: all from the one in memory."""
    path, data = save(residual_network(), tmp_path / "m.onnx"), write_coco(tmp_path / "coco")
    ModelCard(preprocessing=Preprocessing(Resize(size=(32, 40))).to_json()).write_to(proto := onnx.load(path))
    save(proto, path)
    parsed: list[Path] = []
    parse = files._parse
    monkeypatch.setattr(files, "_parse", lambda path: (parsed.append(path), parse(path))[1])
    quantize(QuantizeOptions(model=path, choice=ImageChoice(data, limit=3), output=tmp_path / "int8.onnx", **options))
    assert parsed.count(path) == 1


def test_a_model_too_large_for_memory_twice_runs_from_a_file(original: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made = maker_of(original).make(make_plan(original.taken, CPU), table_of(3.0))
    batch = np.random.default_rng(0).standard_normal((1, 3, 24, 32)).astype(np.float32)
    (expected,) = Network(made.int8).run(batch).values()
    saved: list[Path] = []
    save_model = files.save_model
    monkeypatch.setattr(files, "LOADABLE_BYTES", 0)
    monkeypatch.setattr(files, "save_model", lambda model, path: (saved.append(path), save_model(model, path)))
    (found,) = Network(made.int8).run(batch).values()
    assert (found == expected).all()
    (path,) = saved
    assert not path.exists()


def test_a_backend_that_changes_a_scale_is_found_out(original: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(original.taken, CPU)
    backend = making.get_backend("onnxruntime").load()

    def other(draft: Draft, plan: Plan) -> onnx.ModelProto:
        scales = {name: 2 * scale for name, scale in draft.weight_scales.items()}
        return backend(replace(draft, weight_scales=scales), plan)

    patched: Callable[..., Any] = other
    monkeypatch.setattr("fcn_onnx.quantization.backends.onnxruntime.quantize", patched)
    with pytest.raises(QuantizationError, match=r"changed the scale of stem\.w"):
        maker_of(original).make(plan, table_of(3.0))
