"""A test data set beside the model, in the ONNX model zoo's layout."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

from onnx import numpy_helper

from fcn_onnx.jobs.artifact import atomic_folder, atomic_path
from fcn_onnx.runtime.network import Network

SIZE = (224, 224)
SEED = 0
WRITE_BYTES = 1 << 20
"""At once, of the archive: gzip itself hands over 16 kB."""


def test_data_files(model: Path) -> dict[str, Path]:
    """What `write_test_data` writes, by what it is called; of its folder, one file."""
    return {
        "the test data": model.parent / model.stem / "test_data_set_0" / "input_0.pb",
        "the archive of the test data": model.parent / f"{model.stem}.tar.gz",
    }


def write_test_data(model: Path) -> Path:
    """Write `<stem>/test_data_set_0/{input_0,output_0,…}.pb` and `<stem>.tar.gz` beside `model`.

    The archive holds the model and the test data under `<stem>/`; its bytes depend on nothing else (no times, no
    owners).

    Returns:
        The archive's path.
    """
    network = Network(model)
    height, width = (own or size for own, size in zip(network.input_size, SIZE, strict=True))
    values = network.form.noise((height, width), SEED)
    outputs = network.run(values)
    tensors = {"input_0.pb": numpy_helper.from_array(network.form.fed(values), network.input_name)}
    for index, (name, value) in enumerate(outputs.items()):
        tensors[f"output_{index}.pb"] = numpy_helper.from_array(value, name)
    folder = model.parent / model.stem
    with atomic_folder(folder) as temporary:
        data = temporary / "test_data_set_0"
        data.mkdir()
        for name, tensor in tensors.items():
            (data / name).write_bytes(tensor.SerializeToString())
    archive = model.parent / f"{model.stem}.tar.gz"
    members = [model, *(folder / "test_data_set_0" / name for name in sorted(tensors))]
    with (
        atomic_path(archive) as temporary,
        temporary.open("wb", WRITE_BYTES) as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in members:
            inner = path.name if path == model else path.relative_to(folder).as_posix()
            tar.add(path, f"{model.stem}/{inner}", filter=_anonymous)
    return archive


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
