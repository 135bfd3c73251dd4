"""Networks by name, and by how their checkpoints look. Known without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fcn_onnx.errors import UsageError
from fcn_onnx.networks.architecture import Architecture, Shapes
from fcn_onnx.networks.origins import gluoncv, mindspore, mmseg, ti, tiny, torchvision, tramac

ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        *torchvision.ARCHITECTURES,
        *tramac.ARCHITECTURES,
        *mmseg.ARCHITECTURES,
        *gluoncv.ARCHITECTURES,
        *mindspore.ARCHITECTURES,
        *ti.ARCHITECTURES,
        *tiny.ARCHITECTURES,
    )
}
"""By their first names, in the order of `--help` and `--list`."""

NAMES: Mapping[str, Architecture] = {
    **ARCHITECTURES,
    **{
        alias: replace(architecture, description=f"another name of {architecture.name}")
        for architecture in ARCHITECTURES.values()
        for alias in architecture.aliases
    },
}
"""By all their names."""


def get_architecture(name: str) -> Architecture:
    """The architecture with this name or alias.

    Raises:
        UsageError: there is none.
    """
    if name not in NAMES:
        raise UsageError(f"no architecture is called {name!r}", fix=f"choose one of: {', '.join(NAMES)}")
    return ARCHITECTURES[NAMES[name].name]


def recognising(shapes: Shapes) -> Iterator[Architecture]:
    """The architectures that write checkpoints with these keys and shapes, the likeliest first."""
    return (one for one in ARCHITECTURES.values() if one.recognises(shapes))
