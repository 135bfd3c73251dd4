"""A model that is timed, as it is opened: the one output that is read, and the whole file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.model import Model
from fcn_onnx.model.taps import path_to
from fcn_onnx.runtime.interface import default_output
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.settling import known_multiple, tried_multiple


@dataclass(frozen=True, eq=False)
class Timed:
    """A model that is timed.

    Attributes:
        path: the file.
        runtime: what runs it.
        reading: what computes the output that is read.
        whole: what computes all outputs, where there are others.
        cut: the graph of `reading`.
        multiple_of: pixels; what is shown is padded to sides that are multiples of it.
    """

    path: Path
    runtime: str
    reading: Network
    whole: Network | None
    cut: onnx.ModelProto
    multiple_of: int | None

    @classmethod
    def open(
        cls, path: Path, config: SessionConfig, multiple_of: int | None, progress: Progress, runtime: str
    ) -> Timed:
        """A model, padding what it is given as it needs; one that does not say what it needs is tried out."""
        model = Model.open(path)
        names = [value.name for value in model.proto.graph.output]
        output = model.card.output or default_output(names)
        single = len(names) == 1 or output not in names
        cut = model.proto if single else path_to(model.proto, output)

        def network(source: Path | onnx.ModelProto, multiple: int | None) -> Network:
            return Network(source, config, name=model.name, multiple_of=multiple, runtime=runtime)

        multiple = multiple_of or known_multiple(model)
        reading = network(path if single else cut, multiple)
        found = tried_multiple(reading, progress) if multiple is None else None
        reading = network(path if single else cut, found) if found else reading
        multiple = multiple or found
        return cls(path, runtime, reading, None if single else network(path, multiple), cut, multiple)

    @property
    def source(self) -> Path | onnx.ModelProto:
        """What `reading` is opened from: the file, or what is left of it."""
        return self.cut if self.whole else self.path

    @property
    def networks(self) -> tuple[Network, ...]:
        """What is run."""
        return (self.reading, self.whole) if self.whole else (self.reading,)

    def again(self, config: SessionConfig) -> Network:
        """Another session of `reading`."""
        return Network(self.source, config, name=str(self.path), multiple_of=self.multiple_of, runtime=self.runtime)
