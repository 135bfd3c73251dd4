"""Settings of a model's session, tried: what `benchmark --tune` does with each model in each runtime."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.tuning import BATCHES, LATENCY, THROUGHPUT, Settings, Trial, Tuning, tune, variants
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.files import weight_bytes
from fcn_onnx.model.liveness import peak_bytes
from fcn_onnx.runtime.cpu import read_cpu
from fcn_onnx.runtime.memory import OVERHEAD, available_bytes
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, RUNTIMES, get_runtime
from fcn_onnx.stages.timed import Timed

PACKED = 2
"""Times the weights that a session holds: as the file has them, and laid out for its kernels."""

SHARE = 0.5
"""Of the memory that is available, what all sessions together may take: they are open at the same time."""


def tuned(model: Timed, size: tuple[int, int], threads: int, runs: int, progress: Progress) -> Tuning:
    """Try settings of one model in one runtime on random images of `size` (height, width).

    Args:
        threads: of the default.
    """
    default = Settings(threads)
    batches = BATCHES if model.reading.form.batch is None else ()
    on_cpu = model.runtime == DEFAULT_RUNTIME or RUNTIMES[model.runtime].provider is not None
    others = variants(default, read_cpu().cores, onnxruntime=on_cpu, batches=batches)
    fitting, left_out = _that_fit(model, size, others)
    if not batches:
        left_out.append(f"batches: the model takes {model.reading.form.batch} at a time")
    image = model.reading.form.noise(size)
    with ExitStack() as stack:

        def opened(settings: Settings) -> Any:
            batch = np.repeat(image, settings.batch, axis=0)
            if settings == default:
                return partial(_run, model.reading, batch)
            networks = [model.again(settings.config) for _ in range(settings.sessions)]
            if settings.sessions == 1:
                return partial(_run, networks[0], batch)
            pool = stack.enter_context(ThreadPoolExecutor(settings.sessions))
            return partial(_run_side_by_side, pool, networks, batch)

        label = f"{model.path.name} in {model.runtime} at {size[0]}×{size[1]}"
        return tune(default, fitting, opened, runs, left_out=left_out, progress=progress, label=label)


def to_json(model: Timed, size: tuple[int, int], tuning: Tuning) -> dict[str, Any]:
    """What `benchmark --json` has of a tuning; `python` opens a session of the fastest settings."""
    return {
        "model": str(model.path),
        "runtime": model.runtime,
        "size": list(size),
        "default": _trial(tuning.default),
        "trials": [_trial(trial) for trial in tuning.trials],
        "confirmed": {goal: _trial(trial) for goal, trial in tuning.confirmed.items()},
        "fastest": {
            goal: {
                **_settings(tuning.fastest(goal)),
                "is_default": tuning.fastest(goal) == tuning.default.settings,
                "python": get_runtime(model.runtime).python(str(model.path), tuning.fastest(goal).config),
            }
            for goal in (LATENCY, THROUGHPUT)
        },
        "left_out": list(tuning.left_out),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        "threads": settings.threads,
        "spinning": settings.spinning,
        "memory_pattern": settings.memory_pattern,
        "batch": settings.batch,
        "sessions": settings.sessions,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        **_settings(trial.settings),
        "call_ms": trial.call_ms,
        "images_per_second": trial.images_per_second,
        "speedup": trial.speedup,
        "speedup_ci95": trial.speedup_ci95,
    }


def _that_fit(model: Timed, size: tuple[int, int], others: Sequence[Settings]) -> tuple[list[Settings], list[str]]:
    """Those that fit into memory together, in their order, and why the others are left out."""
    available = available_bytes()
    if available is None:
        return list(others), []
    run_at = model.reading.form.padded_size(*size)
    weights, activations = PACKED * weight_bytes(model.cut), OVERHEAD * peak_bytes(model.cut, run_at)
    room, fitting, left_out = SHARE * available, [], []
    for settings in others:
        needed = settings.sessions * (weights + activations * settings.batch)
        if needed <= room:
            fitting.append(settings)
            room -= needed
        else:
            left_out.append(f"{settings}: some {needed / 1e9:.1f} GB, and {max(room, 0) / 1e9:.1f} are left")
    return fitting, left_out


def _run(network: Network, batch: NDArray[np.float32]) -> None:
    network.run(batch)


def _run_side_by_side(pool: ThreadPoolExecutor, networks: Sequence[Network], batch: NDArray[np.float32]) -> None:
    for done in [pool.submit(_run, network, batch) for network in networks]:
        done.result()
