"""onnxruntime's other providers: refused with the way to get them, never replaced by the CPU without a word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from toys import residual_network, save

from fcn_onnx.errors import MissingDependencyError, ModelError
from fcn_onnx.runtime import providers
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.providers import OnProvider
from fcn_onnx.runtime.seam import RUNTIMES, SessionConfig, get_runtime

OTHERS = [entry for entry in RUNTIMES.values() if entry.provider]
CPU = "CPUExecutionProvider"


@pytest.mark.parametrize("entry", OTHERS, ids=lambda entry: entry.name)
def test_a_provider_that_is_not_installed_is_named_with_what_installs_it(entry: Any) -> None:
    if entry.provider in ort.get_available_providers():
        pytest.skip("it is installed")
    with pytest.raises(MissingDependencyError, match=f"{entry.name} needs {entry.provider}.* has .*{CPU}") as caught:
        get_runtime(entry.name)
    assert f"pip install {entry.package}" in caught.value.fix
    assert caught.value.exit_code == 2


def test_tables_agree() -> None:
    for entry in OTHERS:
        place, _, name = entry.place.partition(":")
        assert place == providers.__name__
        runtime = getattr(providers, name)
        assert (runtime.name, runtime._provider) == (entry.name, entry.provider)
        assert entry.provider in ort.get_all_providers()


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Here the very onnxruntime that has no such provider: it goes on with the CPU, and only warns."""
    path = save(residual_network(), tmp_path / "m.onnx")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    with pytest.raises(MissingDependencyError, match="CUDAExecutionProvider does not start on this machine"):
        Network(path, runtime="onnxruntime-cuda")


class Session:
    """What `providers` opens, with what it was told."""

    def __init__(self, assignment: Sequence[tuple[str, str, str]]) -> None:
        self.assignment = assignment
        self.providers = ("Some", CPU)

    def __call__(self, *args: Any, **kwargs: Any) -> Session:
        return self


def test_what_multiplies_may_not_be_left_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = OnProvider("some", "Some")
    taken = [("Some", "a", "Conv"), (CPU, "b", "Shape"), ("Some", "c", "QLinearConv")]
    monkeypatch.setattr(providers, "Session", Session(taken))
    assert runtime.open(b"", SessionConfig(), name="m", fix="").providers[0] == "Some"
    monkeypatch.setattr(providers, "Session", Session([*taken, (CPU, "d", "QLinearConv")]))
    with pytest.raises(ModelError, match=r"Some leaves 1 nodes of m that multiply to the CPU: d \(QLinearConv\)"):
        runtime.open(b"", SessionConfig(), name="m", fix="")


def test_what_runs_is_read_from_the_session(tmp_path: Path) -> None:
    """On the one provider that is here: every node of the file is assigned, and the outputs are the usual ones."""
    path = save(residual_network(), tmp_path / "m.onnx")
    runtime = OnProvider("cpu", CPU)
    session = runtime.open(str(path), SessionConfig(), name="m", fix="")
    nodes = {node.name for node in residual_network().graph.node}
    assert {name for provider, name, _ in session.assignment if provider == CPU} == nodes
    assert runtime.int8_nodes(path) == frozenset()
    assert "what else it does not take on the CPU" in runtime.remark


def test_a_provider_that_hides_its_layers_has_no_coverage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = save(residual_network(), tmp_path / "m.onnx")
    monkeypatch.setattr("fcn_onnx.runtime.coverage.get_runtime", lambda _: OnProvider("x", CPU, compiles=True))
    assert read_coverage(path, runtime="x") is None
