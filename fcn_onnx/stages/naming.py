"""What model files are called, and how a command finds the one it was not told of."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.errors import UsageError

INT8_SUFFIX = "-int8"


def fp32_name(name: str, opset: int) -> str:
    """`fcn-<name>-<opset>.onnx`."""
    return f"fcn-{name}-{opset}.onnx"


def fp32_path(arch: str | None, network: str | None, opset: int) -> Path | None:
    """Where `export` writes by default; None where the network is yet to be recognised by its checkpoint.

    Raises:
        UsageError: no architecture is called so, or the place of the network is written otherwise.
    """
    from fcn_onnx.networks.families import get_architecture  # names of files need neither
    from fcn_onnx.networks.names import factory_parts

    if network:
        return Path(fp32_name(factory_parts(network)[1].rpartition(".")[2], opset))
    return Path(fp32_name(get_architecture(arch).name, opset)) if arch else None


def int8_path(fp32: Path) -> Path:
    """The int8 model's default place: in the working folder, named after `fp32`."""
    return Path(f"{fp32.stem}{INT8_SUFFIX}{fp32.suffix}")


def table_path(model: Path, method: str) -> Path:
    """A range table's default place."""
    return Path("calibration") / f"{model.stem}-{method}.json"


def log_path(int8: Path) -> Path:
    """Where a backend that talks much writes it: beside the int8 model that it makes."""
    return int8.with_suffix(".log")


def find_fp32(folder: Path = Path()) -> Path:
    """The one exported fp32 model in `folder`.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = [p for p in sorted(folder.glob("fcn-*.onnx")) if not p.stem.endswith(INT8_SUFFIX)]
    return _only(found, folder, "fp32 model (fcn-<arch>-<opset>.onnx)", "fcn-onnx export")


def find_int8(folder: Path = Path()) -> Path:
    """The one int8 model in `folder`.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = sorted(folder.glob(f"fcn-*{INT8_SUFFIX}.onnx"))
    return _only(found, folder, "int8 model (fcn-<arch>-<opset>-int8.onnx)", "fcn-onnx quantize")


def find_pair(fp32: Path | None, int8: Path | None, folder: Path = Path()) -> tuple[Path, Path]:
    """Both models of a comparison; the one that is not named is found, beside its partner's name if it can be."""
    if fp32 is None and int8 is not None and int8.stem.endswith(INT8_SUFFIX):
        partner = folder / (int8.stem.removesuffix(INT8_SUFFIX) + int8.suffix)
        fp32 = partner if partner.is_file() else None
    if int8 is None and fp32 is not None:
        partner = folder / int8_path(fp32)
        int8 = partner if partner.is_file() else None
    return fp32 or find_fp32(folder), int8 or find_int8(folder)


def _only(found: list[Path], folder: Path, what: str, maker: str) -> Path:
    if not found:
        raise UsageError(f"no {what} in {folder.resolve()}", fix=f"make one with `{maker}`, or name a file")
    if len(found) > 1:
        raise UsageError(
            f"several candidates for the {what}: {', '.join(p.name for p in found)}",
            fix="name the one to use",
        )
    return found[0]
