"""A file gets its name when everything is proved of it, and not before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from toys import photograph, residual_network, save

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.quantization import making
from fcn_onnx.quantization.backends.draft import Draft
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`quantize` a toy to `int8.onnx`, on a CPU whose fast kernel is said to saturate."""
    cpu = Cpu("old", 2, frozenset({"avx2"})).saturating()
    monkeypatch.setattr("fcn_onnx.stages.quantize.measured_cpu", lambda: cpu)
    for index in range(2):
        (tmp_path / "images").mkdir(exist_ok=True)
        photograph(64, 48, index).save(tmp_path / "images" / f"{index}.png")
    proto = residual_network(opset=13)
    ModelCard(preprocessing=Preprocessing(Resize(size=(64, 64))).to_json()).write_to(proto)
    model = save(proto, tmp_path / "m.onnx")

    def quantized(*, progress: Progress = SILENT, **options: Any) -> Any:
        return quantize(
            QuantizeOptions(
                model=model, choice=ImageChoice(tmp_path / "images", limit=2), output=tmp_path / "int8.onnx", **options
            ),
            progress=progress,
        )

    return quantized


def left_over(folder: Path) -> list[Path]:
    return [path for pattern in ("*int8.onnx*", ".*int8.onnx*") for path in folder.glob(pattern)]


def disagree(*_: Any) -> np.ndarray:
    return np.array([0, 0, 5])


def interrupt(*_: Any) -> np.ndarray:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("trial", "error"), [(disagree, QuantizationError), (interrupt, KeyboardInterrupt)])
def test_a_model_whose_proof_fails_or_is_interrupted_gets_no_name(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, trial: Run, error: type[BaseException]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fcn_onnx.quantization.saturation.changed_labels", trial)
        for _ in range(2):  # nor is it up to date on the next run
            with pytest.raises(error):
                run()
            assert not left_over(tmp_path)
    assert not run().skipped
    before = (tmp_path / "int8.onnx").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("fcn_onnx.quantization.saturation.changed_labels", trial)
        with pytest.raises(error):
            run(force=True)
    assert (tmp_path / "int8.onnx").read_bytes() == before
    assert left_over(tmp_path) == [tmp_path / "int8.onnx"]
    assert run().skipped


@pytest.mark.parametrize("step", ["_require_opsets", "_require_sound", "require_pair_safe", "require_kept"])
def test_every_proof_comes_before_the_name(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*_: Any) -> None:
        assert not (tmp_path / "int8.onnx").exists()
        raise QuantizationError("no", fix="none")

    monkeypatch.setattr(f"fcn_onnx.quantization.proving.{step}", fails)
    with pytest.raises(QuantizationError, match="no"):
        run()
    assert not left_over(tmp_path)


@pytest.mark.parametrize("target", ["avx2", "openvino"])
def test_weights_that_could_saturate_elsewhere_are_refused_on_a_machine_that_cannot_try(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr("fcn_onnx.stages.quantize.measured_cpu", lambda: Cpu("new", 2, frozenset()).exact())
    result = run(target=target)
    weights = [t for t in onnx.load(result.path).graph.initializer if t.data_type == onnx.TensorProto.INT8 and t.dims]
    pairs = sum(t.dims[0] * (int(np.prod(t.dims[1:])) // 2) for t in weights if len(t.dims) == 4)
    assert result.to_json()["pairs"] == {"count": pairs, "unsafe": 0}
    assert result.saturation is None
    result.path.unlink()

    def careless(*arguments: Any, pair_safe: bool, **options: Any) -> Any:
        return quantize_weights(*arguments, pair_safe=False, **options)

    quantize_weights = making.quantize_weights
    monkeypatch.setattr(making, "quantize_weights", careless)
    with pytest.raises(QuantizationError, match=r"\d+ pairs of weights can saturate"):
        run(target=target)
    assert not left_over(tmp_path)
    assert run(target="vnni").to_json()["pairs"]["unsafe"] > 0


def test_what_another_library_leaves_unsafe_or_keeps_in_vain_is_told_not_refused(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place is taken by onnxruntime's quantizer, which keeps one convolution and rounds all others plainly."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    def library(draft: Draft, plan: Plan) -> onnx.ModelProto:
        class Reader(CalibrationDataReader):
            batches = draft.images.batches() if draft.images else iter(())

            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(({"input": batch} for batch in self.batches), None)

        onnx.save(draft.model, tmp_path / "before.onnx")
        quantize_static(
            tmp_path / "before.onnx",
            tmp_path / "after.onnx",
            Reader(),
            quant_format=QuantFormat.QDQ,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=["/branch", "/logits"],
            op_types_to_quantize=list(plan.op_types),
        )
        return onnx.load(tmp_path / "after.onnx")

    monkeypatch.setattr("fcn_onnx.quantization.backends.neural_compressor.quantize", library)
    notes: list[str] = []

    class Told:
        def note(self, line: str) -> None:
            notes.append(line)

        def track(self, items: Any, **_: Any) -> Any:
            return items

    result = run(backend="neural-compressor", progress=Told())
    assert result.plan.pair_safe
    assert result.proof.undone == ("/branch",)
    assert result.to_json()["undone"] == ["/branch"]
    assert any("onnxruntime rounds 1 layers that neural-compressor keeps in fp32: /branch" in line for line in notes)
    written = {t.name: t for t in onnx.load(result.path).graph.initializer}
    unsafe = 0
    for tensor in written.values():
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4:
            for channel in numpy_helper.to_array(tensor).astype(int):
                order = [channel[i, y, x] for y, x in np.ndindex(channel.shape[1:]) for i in range(len(channel))]
                unsafe += sum(abs(a + b) > 128 for a, b in zip(order[0::2], order[1::2], strict=False))
    assert result.proof.pairs.unsafe_count == unsafe > 0
