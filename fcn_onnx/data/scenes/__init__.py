"""Synthetic street scenes with exact truth, written as a COCO data set: what the demo and the tests run on.

`writer` → `layout` (one scene) → `backdrop` and `figures` (`vehicles`, `creatures`, `furniture`, `props`)
→ `geometry`.
"""

from fcn_onnx.data.scenes.writer import write_scenes

__all__ = ["write_scenes"]
