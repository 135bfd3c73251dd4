"""The texts of a bundle: what it is, what it needs, and how it becomes a container."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from fcn_onnx.jobs.artifact import versions
from fcn_onnx.jobs.text import one_line
from fcn_onnx.model.model import Model
from fcn_onnx.stages.bundle_trial import NEEDED

DOCKERFILE = """\
# docker build -t segment . && docker run --rm -v "$PWD":/data segment /data/photo.jpg /data/labels.png
FROM python:{python}-slim
WORKDIR /bundle
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN python check.py
USER nobody
ENTRYPOINT ["python", "/bundle/segment.py"]
"""

README = """\
# {name}

A segmentation network that runs with onnxruntime, numpy and Pillow:

    pip install -r requirements.txt
    python check.py
    python segment.py photo.jpg labels.png

or, from Python in this folder, `from segment import segment`, which takes an RGB `PIL.Image` and returns the class of
each pixel, (height, width) uint8. `labels.png` is a palette picture whose values are the classes.

- **Input:** {shown}
- **Classes:** {classes}
- **Model:** `{model}`, {digest}{source}
- **Proof:** when this was written, `segment.py` gave `test.png` the labels of `test-labels.png`, those of
  `fcn-onnx predict`, each of them, with {packages} and nothing else to import. `check.py` repeats that: a processor of
  another kind rounds in other places, and is allowed one label in a thousand.

`docker build .` makes a container of it, and tries it there.
"""


def requirements() -> str:
    """The packages that it was tried with, pinned."""
    return "".join(f"{name}=={found}\n" for name, found in versions(NEEDED).items())


def dockerfile() -> str:
    """Of an image with this Python."""
    return DOCKERFILE.format(python=".".join(platform.python_version_tuple()[:2]))


def readme(model: Model, config: Mapping[str, Any]) -> str:
    """What lies in the folder, and how it is used."""
    return README.format(
        name=one_line(model.path.stem),
        shown=_shown(config),
        classes=", ".join(map(one_line, config["classes"])),
        model=config["model"],
        digest=config["digest"],
        source=f", made from the fp32 model {model.card.source}" if model.card.source else "",
        packages=", ".join(requirements().split()),
    )


def _shown(config: Mapping[str, Any]) -> str:
    """How a photograph is shown."""
    if config["tile"]:
        height, width = config["tile"]
        return f"photographs of any size; what is larger than {width}×{height} is cut into overlapping tiles."
    sizes = (
        [config["resize"]] if config["resize"] else [by for step, by in config["steps"] if step.startswith("opencv")]
    )
    return f"photographs of any size, resized to {sizes[0][0]}×{sizes[0][1]}." if sizes else "photographs of any size."
