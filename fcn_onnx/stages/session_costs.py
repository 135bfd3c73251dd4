"""Into each session of a validation: the memory that it takes, and where its time goes, on the first image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.evaluation.contestants import Contestant
from fcn_onnx.evaluation.profiling import profile
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.files import load_model
from fcn_onnx.model.taps import path_to
from fcn_onnx.report.profile import Profile
from fcn_onnx.runtime.footprint import peak_memory_bytes
from fcn_onnx.runtime.roofline import measure_peak
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter


@dataclass(frozen=True)
class Look:
    """What was seen of one row's session.

    Attributes:
        peak_memory_bytes: see `footprint`; None where the system does not tell.
        profile: on the image that all rows were shown.
    """

    peak_memory_bytes: int | None
    profile: Profile


def look_into(
    contestants: Sequence[Contestant],
    segmenters: Sequence[Segmenter],
    sample: Sample,
    preprocessing: Preprocessing,
    config: SessionConfig,
    progress: Progress,
) -> tuple[Look, ...]:
    """Of each contestant, in a session of its own, on what it is shown of `sample`.

    Args:
        segmenters: the contestants', which say how an image is fed.

    Raises:
        ModelError: a model does not run.
        WorkerError: the process that measures memory failed.
    """
    batch = preprocessing(sample.read(), sample.name)
    height, width = batch.shape[2:]
    peaks = {runtime: measure_peak(config, runtime) for runtime in dict.fromkeys(one.runtime for one in contestants)}
    found = []
    rows = list(zip(contestants, segmenters, strict=True))
    for contestant, segmenter in progress.track(rows, total=len(rows), label="profiling"):
        model, network, runtime = load_model(contestant.path), segmenter.network, contestant.runtime
        single = len(model.graph.output) == 1
        cut = model if single else path_to(model, segmenter.output)
        memory = peak_memory_bytes(
            contestant.path if single else cut,
            (height, width),
            config,
            runtime=runtime,
            multiple_of=network.form.multiple_of,
        )
        found.append(Look(memory, profile(cut, network, batch, peaks[runtime], runtime=runtime, config=config)))
    return tuple(found)
