"""Intel Neural Compressor's static quantization, fed one image at a time.

It observes the images itself, so it takes a method instead of ranges, and its weights are its own. What it logs goes
to a file; what it leaves in the working folder goes to a temporary one.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import onnx
from numpy.typing import NDArray

from fcn_onnx.errors import FcnOnnxError, MissingDependencyError, QuantizationError, UsageError
from fcn_onnx.jobs.files import writing
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import save_model
from fcn_onnx.model.graph import activation_bytes
from fcn_onnx.quantization.backends.draft import Draft, Images
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.runtime.memory import available_bytes

KEEPS_EVERY_ACTIVATION = frozenset({"kl", "percentile"})
SAFETY = 1.2


class Loader:
    """Neural Compressor's data loader: (input, label) of one image at a time, any number of times."""

    batch_size = 1

    def __init__(self, images: Images) -> None:
        self._images = images

    def __iter__(self) -> Iterator[tuple[NDArray[Any], int]]:
        return ((batch, 0) for batch in self._images.batches())


def quantize(draft: Draft, plan: Plan) -> onnx.ModelProto:
    """See `Backend`.

    Raises:
        MissingDependencyError: Neural Compressor is not installed, or does not import.
        UsageError: more images than this method of it can keep in memory.
        QuantizationError: it fails, or finds no model within the bound.
    """
    images = draft.images
    if images is None:
        raise UsageError("neural-compressor observes images itself", fix="give it --data, not --ranges")
    with _import(draft.log), scratch() as folder:
        from neural_compressor import quantization
        from neural_compressor.utils.utility import set_workspace

        set_workspace(str(folder))
        _require_memory(draft, images)
        options: dict[str, Any] = {}
        if (goal := draft.goal) is not None:
            trial = Path(folder, "trial.onnx")

            def accuracy(model: Any) -> float:
                save_model(getattr(model, "model", model), trial)
                return 1 - goal.drop_percent(trial) / 100

            options["eval_func"] = accuracy
        try:
            result = quantization.fit(
                draft.model, _config(draft, images, plan), calib_dataloader=Loader(images), **options
            )
        except (OSError, FcnOnnxError):  # of $TMPDIR, or of what `drop_percent` found
            raise
        except Exception as error:  # it raises whatever its adaptor meets
            raise QuantizationError(
                f"Neural Compressor cannot quantize the model: {type(error).__name__}: {error}",
                fix=f"see {draft.log}, or use --backend onnxruntime",
            ) from error
    if result is None:
        raise QuantizationError(
            "Neural Compressor found no model within the bound" if goal else "Neural Compressor returned no model",
            fix=f"allow a larger --max-drop, see {draft.log}, or use --backend onnxruntime",
        )
    quantized: onnx.ModelProto = result.model
    return quantized


def _config(draft: Draft, images: Images, plan: Plan) -> Any:
    from neural_compressor import PostTrainingQuantConfig
    from neural_compressor.config import AccuracyCriterion, TuningCriterion

    granularity = "per_channel" if plan.per_channel else "per_tensor"
    rule = {"activation": {"algorithm": [draft.method]}, "weight": {"granularity": [granularity]}}
    fp32 = {"activation": {"dtype": ["fp32"]}, "weight": {"dtype": ["fp32"]}}
    tuning = {}
    if draft.goal is not None:
        loss = min(max(draft.goal.max_drop / 100, 1e-6), 1 - 1e-6)  # it asserts that 0 < loss < 1
        tuning = {
            "accuracy_criterion": AccuracyCriterion(criterion="relative", tolerable_loss=loss),
            "tuning_criterion": TuningCriterion(max_trials=draft.goal.max_trials, timeout=0),
        }
    return PostTrainingQuantConfig(
        approach="static",
        quant_format="QDQ" if plan.quant_format == "qdq" else "default",
        calibration_sampling_size=[images.count],
        op_type_dict={".*": rule},
        op_name_dict=dict.fromkeys(plan.float_nodes, fp32),
        reduce_range=plan.pair_safe,
        **tuning,
    )


def _require_memory(draft: Draft, images: Images) -> None:
    """Its kl and percentile keep every activation of every image; say so before the machine does."""
    if draft.method not in KEEPS_EVERY_ACTIVATION or (available := available_bytes()) is None:
        return
    each = SAFETY * activation_bytes(draft.model, images.largest)
    fits = int(available / each)
    if images.count > fits:
        raise UsageError(
            f"Neural Compressor's {draft.method} keeps every activation of every image: {each / 1e9:.1f} GB each, "
            f"{images.count} images, and memory for {fits}",
            fix=f"use --limit {max(1, fits)}, --method minmax, or --backend onnxruntime, which needs one image's",
        )


class _Handler(logging.StreamHandler[TextIO]):
    """Raises what keeps it from writing, rather than printing a traceback of it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        raise


@contextlib.contextmanager
def _import(log: Path) -> Iterator[None]:
    """Neural Compressor imported, with its log lines, prints and warnings going to `log` while it works."""
    with (
        writing(log, log.parent),
        log.open("w", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            import neural_compressor.quantization  # noqa: F401
        except Exception as error:  # a broken installation raises anything
            raise MissingDependencyError(
                f"Neural Compressor is not installed, or does not work ({type(error).__name__}: {error})",
                fix="pip install 'fcn-onnx[neural-compressor]'; `fcn-onnx doctor` says what is missing",
            ) from error
        logger = logging.getLogger("neural_compressor")
        before = logger.handlers[:]
        handler = _Handler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.handlers[:] = [handler]
        try:
            yield
        finally:
            logger.handlers[:] = before
