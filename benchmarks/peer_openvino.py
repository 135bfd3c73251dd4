"""The part of `peers.py` that runs in an environment with OpenVINO and NNCF: quantize, run, time.

    python peer_openvino.py FP32.onnx FOLDER MODELS [OURS.onnx]

FOLDER/calibrate and FOLDER/validate hold inputs as .npy files; labels go to FOLDER/<index>-<model>.npy, NNCF's models
to MODELS/nncf.xml and MODELS/nncf-overflow-fix.xml, and one JSON line to stdout. onnxruntime's fp32 session takes turns
with OpenVINO's, so that their ratio is of one run.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnxruntime as ort
import openvino as ov

VARIANTS = (
    ("OpenVINO + NNCF", "nncf", None),
    ("OpenVINO + NNCF, OverflowFix.ENABLE", "nncf-overflow-fix", nncf.OverflowFix.ENABLE),
)
"""Its default, and what keeps all layers from saturating on a CPU without VNNI."""


def quantized(core: ov.Core, fp32: str, files: list[Path], fix: nncf.OverflowFix | None) -> tuple[ov.Model, float]:
    """NNCF's model, and the seconds that it took."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        model = nncf.quantize(
            core.read_model(fp32),
            nncf.Dataset(files, np.load),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(files),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
        )
    return model, time.perf_counter() - started


def labels_of(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """argmax over the class axis of the first output, for an input of `shape`."""
    logits = np.asarray(value)[0]
    return logits.argmax(-1 if shape[-1] == 3 else 0).astype(np.uint8)


def main() -> None:
    fp32, folder, kept, *ours = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]
    threads = len(os.sched_getaffinity(0))
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    core = ov.Core()
    models = {}
    for name, short, fix in VARIANTS:
        model, seconds = quantized(core, fp32, sorted((folder / "calibrate").glob("*.npy")), fix)
        ov.save_model(model, kept / f"{short}.xml", compress_to_fp16=False)
        models[name] = (short, core.compile_model(model, "CPU", config), seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if ours:
        models["ours for OpenVINO, run by OpenVINO"] = ("ours", core.compile_model(ours[0], "CPU", config), 0.0)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_mem_pattern = threads, False
    session = ort.InferenceSession(fp32, options, providers=["CPUExecutionProvider"])
    given, first = session.get_inputs()[0].name, session.get_outputs()[0].name
    own = None
    if ours:
        own = ort.InferenceSession(ours[0], options, providers=["CPUExecutionProvider"])
    times: dict[str, list[float]] = {name: [] for name in ("fp32", *models)}
    same: list[tuple[int, int]] = []
    for index, path in enumerate(sorted((folder / "validate").glob("*.npy"))):
        batch = np.load(path)
        begin = time.perf_counter()
        value = session.run([first], {given: batch})[0]
        times["fp32"].append(1e3 * (time.perf_counter() - begin))
        np.save(folder / f"{index:05d}-fp32.npy", labels_of(value, batch.shape))
        for name, (short, compiled, _) in models.items():
            begin = time.perf_counter()
            result = compiled(batch)[0]
            times[name].append(1e3 * (time.perf_counter() - begin))
            found = labels_of(result, batch.shape)
            np.save(folder / f"{index:05d}-{short}.npy", found)
            if short == "ours" and own is not None:
                mine = labels_of(own.run([first], {given: batch})[0], batch.shape)
                same.append((int((mine == found).sum()), found.size))
    report = {
        name: {
            "labels": short,
            "seconds": made,
            "peak_mib": peak,
            "milliseconds": times[name][1:],
            "fp32_milliseconds": times["fp32"][1:],
        }
        for name, (short, _, made) in models.items()
    }
    if same:
        shared = 100 * sum(a for a, _ in same) / sum(b for _, b in same)
        print(f"OpenVINO gives {shared:.2f} % of the labels that onnxruntime gives for our model", file=sys.stderr)
        report["ours for OpenVINO, run by OpenVINO"]["same_as_onnxruntime_percent"] = shared
    print(json.dumps(report))


if __name__ == "__main__":
    main()
