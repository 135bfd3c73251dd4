"""A model as the rest of the program runs it, whatever the runtime: its input is known, and images are made to fit.

Every model of the program runs through `Network`, so threads, kernels and memory are decided once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.errors import ModelError
from fcn_onnx.model.files import loadable
from fcn_onnx.model.form import KINDS, InputForm, Layout
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig, Value, get_runtime


class Network:
    """A model in a session, with the input and outputs checked.

    Args:
        model: a file, or a model in memory (≤ 2 GiB).
        config: how to run it.
        name: what errors call an in-memory model.
        multiple_of: pixels; images are padded to sides that are multiples of it.
        runtime: a name in `RUNTIMES`.

    Raises:
        ModelError: it does not load, or its input is not one batch of images, see `InputForm`.
    """

    def __init__(
        self,
        model: Path | onnx.ModelProto,
        config: SessionConfig = SessionConfig(),
        *,
        name: str | None = None,
        multiple_of: int | None = None,
        runtime: str = DEFAULT_RUNTIME,
    ) -> None:
        self.name = name or (str(model) if isinstance(model, Path) else "model")
        if isinstance(model, Path) and not model.is_file():
            raise ModelError(f"no such model: {model}", fix="check the path, or make the model first")
        with nullcontext(str(model)) if isinstance(model, Path) else loadable(model) as source:
            self._session = get_runtime(runtime).open(
                source,
                config,
                name=self.name,
                fix=f"make it again with an operator set that this {runtime} has (`fcn-onnx doctor` says which it is)",
            )
        self.form = _input_form(self.name, self._session.inputs, multiple_of or 1)
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.outputs)

    @property
    def input_name(self) -> str:
        return self.form.name

    @property
    def channels_last(self) -> bool:
        """Whether it takes (N, H, W, C)."""
        return self.form.layout.channels_last

    @property
    def input_size(self) -> tuple[int | None, int | None]:
        """(height, width) that it takes; None where it takes any."""
        return self.form.size

    def declared(self, output: str) -> tuple[tuple[int | None, ...], np.dtype[Any]]:
        """Shape, None for each dimension that is open, and type of an output, as the runtime infers them."""
        (found,) = (value for value in self._session.outputs if value.name == output)
        return found.fixed, np.dtype(found.dtype)

    def run(self, batch: NDArray[np.float32], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run one batch (N, C, H, W) float32, made to fit by `InputForm.fed`; return the named outputs, all by default.

        What the model returns is returned as it is, of the padded size and of as many images as it takes.

        Raises:
            UsageError: the model has a fixed size and the batch another.
            ModelError: the graph cannot be run on images of this size.
        """
        wanted = list(outputs or self.output_names)
        height, width = self.form.padded_size(*batch.shape[2:])
        values = self._session.run(
            wanted,
            {self.form.name: self.form.fed(batch)},
            of=f"an image of {height}×{width} (height × width)",
            fix="if its sides must be multiples of a number, such as 32, say --multiple-of 32",
        )
        return dict(zip(wanted, values, strict=True))


MAX_BATCH = 1024
"""Images that a model may take at a time: each is given that often."""


def _input_form(name: str, inputs: Sequence[Value], multiple_of: int) -> InputForm:
    shape = inputs[0].fixed if inputs else ()
    layout = Layout.of(shape)
    kinds = {kind.__name__: kind for kind in KINDS.values()}
    if len(inputs) != 1 or inputs[0].dtype not in kinds or layout is None or (shape[0] or 1) > MAX_BATCH:
        found = ", ".join(map(str, inputs)) or "no input"
        raise ModelError(
            f"{name} takes {found}",
            fix="a model must take one batch of images, (N, C, H, W) or (N, H, W, C) with 3 channels or 1: float32 or "
            "float16, normalised, or pixels 0 … 255 in integers that hold them",
        )
    height, width = shape[1:3] if layout.channels_last else shape[2:]
    return InputForm(
        model=name,
        name=inputs[0].name,
        layout=layout,
        size=(height, width),
        batch=shape[0],
        dtype=kinds[inputs[0].dtype],
        multiple_of=multiple_of,
    )
