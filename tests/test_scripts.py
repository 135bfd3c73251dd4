"""Scripts that no test runs still import what is there: benchmarks/ and tools/, each with --help."""

from __future__ import annotations

import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS = {"families.py": "torch", "networks.py": "torch", "train_tiny.py": "torch"}
SCRIPTS = sorted(
    path
    for folder in ("benchmarks", "tools")
    for path in (ROOT / folder).glob("*.py")
    if re.search(r"ArgumentParser\(|parser_of\(", path.read_text())
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_says_how_it_is_used(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = NEEDS.get(script.name)
    if needs and not find_spec(needs):
        pytest.skip(f"{needs} is not installed")
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    monkeypatch.syspath_prepend(script.parent)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out
