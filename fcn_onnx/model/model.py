"""A model file that is opened once: whatever is asked of it is read off what is in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import onnx

from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import digest_model, load_with_data, model_bytes
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.intake import take_in


@dataclass(frozen=True, eq=False)
class Model:
    """A model, and what follows from it, each found when first asked for; nobody changes it.

    Another process that gets it opens the file itself.

    Attributes:
        path: the file.
        proto: what is in it, external data loaded.
        data: the files of that.
    """

    path: Path
    proto: onnx.ModelProto = field(repr=False)
    data: tuple[Path, ...] = ()

    @classmethod
    def open(cls, path: Path) -> Model:
        """Read a file. Raises ModelError if it is no model."""
        return cls(path, *load_with_data(path))

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self.path)

    @cached_property
    def card(self) -> ModelCard:
        """What it says of itself. Raises ModelError if that cannot be read."""
        return ModelCard.read_from(self.proto, self.name)

    @cached_property
    def digest(self) -> str:
        """Of the file and its external data."""
        return digest_model(self.path, self.data)

    @cached_property
    def size_bytes(self) -> int:
        """Of the file and its external data."""
        return model_bytes(self.path, self.data)

    @cached_property
    def taken(self) -> Graph:
        """The graph after intake. Raises ModelError if it is not sound."""
        return Graph(take_in(self.proto, self.name))

    def __reduce__(self) -> tuple[Callable[[Path], Model], tuple[Path]]:
        return Model.open, (self.path,)
