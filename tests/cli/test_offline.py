"""Nobody is told anything, and nothing lies about: every command works without a network, and leaves its outputs alone.

Sockets to other machines are refused in Python, in every process, and by the kernel where it lets us; the home folder,
$TMPDIR and the working folder are looked through after every command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys import photograph, residual_network, save, write_coco

FORBIDDEN = """
import socket

class Forbidden(socket.socket):
    def __init__(self, family=-1, *rest, **options):
        if family in (-1, socket.AF_INET, socket.AF_INET6):
            raise AssertionError("a socket to another machine")
        super().__init__(family, *rest, **options)

socket.socket = Forbidden
"""
DATA = ("--data", "coco/val2017", "--limit", "3")
COMMANDS: dict[tuple[str, ...], set[str]] = {
    ("export", "--arch", "tiny"): {"fcn-tiny-12.onnx"},
    ("export", "--arch", "tiny", "--opset", "18"): {"fcn-tiny-18.onnx"},
    ("calibrate", *DATA, "--model", "toy.onnx", "--workers", "2", "--output", "t.json"): {"t.json"},
    ("quantize", *DATA, "--model", "toy.onnx", "--output", "int8.onnx"): {"int8.onnx"},
    ("quantize", *DATA, "--model", "toy.onnx", "--max-drop", "50", "--output", "int8.onnx"): {"int8.onnx"},
    ("quantize", *DATA, "--model", "toy.onnx", "--backend", "neural-compressor", "--output", "nc.onnx"): {
        "nc.onnx",
        "nc.log",
    },
    ("validate", *DATA, "--fp32", "toy.onnx", "--int8", "int8.onnx", "--workers", "2"): {
        f"report/{name}" for name in ("report.json", "report.md", "report.html", "metrics.json", "images.npz")
    },
    ("benchmark", "toy.onnx", "int8.onnx", "--size", "32x32", "--runs", "2"): set(),
    ("predict", "int8.onnx", "street.png"): {
        f"predictions/street-{kind}" for kind in ("labels.png", "overlay.jpg", "confidence.png")
    },
    ("inspect", "int8.onnx"): set(),
    ("quantize", *DATA, "--model", "toy.onnx", "--runtime", "openvino", "--output", "ov.onnx"): {"ov.onnx"},
    ("predict", "ov.onnx", "street.png", "--runtime", "openvino", "--output", "seen"): {
        f"seen/street-{kind}" for kind in ("labels.png", "overlay.jpg", "confidence.png")
    },
    ("inspect", "toy.onnx", "int8.onnx", *DATA): set(),
    ("bundle", "toy.onnx", "--image", "street.png"): {
        f"bundle/{name}"
        for name in (
            *("model.onnx", "bundle.json", "segment.py", "check.py", "test.png", "test-labels.png"),
            *("README.md", "requirements.txt", "Dockerfile"),
        )
    },
    ("doctor",): set(),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("offline")
    for name in ("home", "tmp", "here", "site"):
        (root / name).mkdir()
    (root / "site" / "sitecustomize.py").write_text(FORBIDDEN)
    save(residual_network(), root / "here" / "toy.onnx")
    write_coco(root / "here" / "coco")
    photograph(60, 40, 0).save(root / "here" / "street.png")
    return root


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def without_network() -> list[str]:
    """What a command line begins with where the kernel lets us take its network away."""
    prefix = ["unshare", "--net"]
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    except OSError:
        return []
    return prefix if done.returncode == 0 else []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_without_a_network_leaves_its_outputs_alone(root: Path, command: tuple[str, ...]) -> None:
    if "neural-compressor" in command:
        pytest.importorskip("neural_compressor")
    if "openvino" in command:
        pytest.importorskip("openvino")
    here = root / "here"
    before = files(here)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(root / "home"), "TMPDIR": str(root / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(root / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*without_network(), sys.executable, "-m", "fcn_onnx", *command],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert files(here) - before == COMMANDS[command] - before
    assert before <= files(here)
    assert not list((root / "home").iterdir())
    assert not list((root / "tmp").iterdir())
