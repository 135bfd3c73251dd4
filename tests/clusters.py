"""A Ray cluster of several nodes on this machine, in a process of its own, which tests enter by its address.

`python clusters.py FOLDER CORES…` starts a node for each number of cores and prints the address; the line `remove` on
stdin takes the last node away as a pulled plug does, `add N` adds one of N cores, and the end of stdin ends all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 alone
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Of the cluster, and of whoever enters it."""

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'fcn-onnx[ray]'")


class Nodes:
    """The cluster, seen from a test.

    Attributes:
        address: HOST:PORT.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer()

    def remove(self) -> None:
        """Pull the plug of the last node."""
        self._say("remove")

    def add(self, cores: int) -> None:
        """Add a node."""
        self._say(f"add {cores}")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        assert self._answer() == line

    def _answer(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("cluster: "):
                return line.removeprefix("cluster: ").strip()
        raise AssertionError("the cluster has ended")


@contextmanager
def cluster(*cores: int) -> Iterator[Nodes]:
    """A cluster with a node for each number of cores; what enters it needs `ENVIRONMENT`."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # its sockets' paths have to be short
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, __file__, folder, *map(str, cores)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, "RAY_TMPDIR": folder, "HOME": folder, "PYTHONPATH": path},
    )
    try:
        yield Nodes(process)
    finally:
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def say(what: str) -> None:
    sys.stdout.write(f"cluster: {what}\n")
    sys.stdout.flush()


def main(folder: str, *cores: str) -> None:
    """Be the cluster."""
    from ray.cluster_utils import Cluster

    def node(number: str) -> dict[str, object]:
        settings: dict[str, object] = {"num_cpus": int(number), "node_ip_address": "127.0.0.1", "temp_dir": folder}
        return settings | {"include_dashboard": False, "object_store_memory": 128 << 20}

    (Path(folder) / "ray").mkdir()  # where Ray writes the address
    nodes = Cluster()
    added = [nodes.add_node(**node(number)) for number in cores]
    say(nodes.address)
    for line in sys.stdin:
        match line.split():
            case ["remove"]:
                nodes.remove_node(added.pop(), allow_graceful=False)
            case ["add", number]:
                added.append(nodes.add_node(**node(number)))
        say(line.strip())
    nodes.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
