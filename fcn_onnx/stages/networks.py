"""The table of `export --list`: what each network costs, counted, beside what was published of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fcn_onnx.networks.architecture import Architecture
from fcn_onnx.networks.costs import Cost, cost_of
from fcn_onnx.networks.families import ARCHITECTURES


@dataclass(frozen=True)
class Listed:
    """One network, and what it costs as it is exported by default."""

    architecture: Architecture
    cost: Cost

    def to_json(self) -> dict[str, Any]:
        """As part of `export --list --json`."""
        known = self.architecture
        return {
            "arch": known.name,
            "aliases": list(known.aliases),
            "description": known.description,
            "origin": known.origin,
            "heads": list(known.heads_for(None)),
            "classes": len(known.classes),
            "parameters": self.cost.parameters,
            "macs": self.cost.macs,
            "size": list(known.size),
            "multiple_of": known.preprocessing.multiple_of,
            "protocol": known.protocol,
            "weights_published": known.default_weights is not None,
            "published": known.published,
        }


def list_networks() -> Iterator[Listed]:
    """Every network of the table, one by one.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
    """
    for architecture in ARCHITECTURES.values():
        yield Listed(architecture, cost_of(architecture))
