"""The options of `bundle`, each written once, as in `options.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.jobs.fields import Checked, option, part
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.tiling import Tiling


@dataclass(frozen=True, kw_only=True)
class BundleOptions(Checked):
    """Of `bundle`; see the options' help."""

    model: Path = option(help="The model to serve: int8, or any that predict takes.", argument=True)
    output: Path = option(Path("bundle"), help="The folder to write.", metavar="DIR", decides=False)
    image: Path | None = option(
        None,
        help="A photograph to prove it on, which goes into the folder. Default: a synthetic scene.",
        metavar="FILE",
    )
    tiling: Tiling = part(Tiling)
    interface: Interface = part(Interface)
