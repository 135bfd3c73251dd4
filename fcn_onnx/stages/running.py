"""What a worker takes of a machine, for whoever decides how many there may be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fcn_onnx.calibration.observed import observed_tensors
from fcn_onnx.data.images import stored_size
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import ImageError
from fcn_onnx.jobs.engines import Footprint
from fcn_onnx.model.files import external_files, load_model
from fcn_onnx.model.model import Model
from fcn_onnx.model.taps import with_taps
from fcn_onnx.runtime.memory import worker_bytes

LOOKED_AT = 32
"""Images whose sizes are read, spread over all."""


def footprint_of(
    models: Sequence[Path], samples: Sequence[Sample], preprocessing: Preprocessing, *, tapped: Model | None = None
) -> Footprint:
    """Of a worker that shows images to models.

    Args:
        models: the files, one for each session.
        tapped: the one model, if its inner tensors are kept until an image is done, as calibration does.
    """
    distinct = tuple(dict.fromkeys(models))

    def memory_bytes() -> int:
        size = largest(samples, preprocessing)
        if size is None:
            return 0
        if tapped is not None:
            graph = tapped.taken.model
            inputs = {value.name for value in graph.graph.input}
            observed = observed_tensors(tapped.taken)
            inner = [n for n in dict.fromkeys([*observed.tensors, *observed.conv_inputs]) if n not in inputs]
            return worker_bytes([(tapped.path, with_taps(graph, inner))], size)
        protos = {path: load_model(path) for path in distinct}
        return worker_bytes([(path, protos[path]) for path in models], size)

    def files() -> list[Path]:
        return [file for path in distinct for file in (path, *external_files(path))]

    return Footprint(memory_bytes, files, "fcn_onnx.runtime.onnxruntime:machine")


def largest(samples: Sequence[Sample], preprocessing: Preprocessing) -> tuple[int, int] | None:
    """(height, width) of the largest of some inputs; None where no size can be read."""
    sizes = []
    for sample in samples[:: max(1, len(samples) // LOOKED_AT)]:
        try:
            width, height = stored_size(sample.path) if sample.file is not None else sample.read().size
        except ImageError:  # whoever uses the image says so
            continue
        sizes.append(preprocessing.resize.target(width, height)[::-1])
    if preprocessing.pad is not None:
        sizes.append(preprocessing.pad)
    return max(sizes, key=lambda size: size[0] * size[1], default=None)
