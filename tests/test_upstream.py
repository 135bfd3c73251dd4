"""docs/upstream.md says what each of its scripts prints; where the versions are its own, that is what they print."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = 30
SHOWN = re.findall(
    r"```text\n\$ python (tools/upstream/\w+\.py)\n(.+?)\n(.+?)\n```",
    (ROOT / "docs/upstream.md").read_text(),
    re.DOTALL,
)
SCRIPTS = sorted({script for script, _, _ in SHOWN})


def test_every_script_is_shown_and_short() -> None:
    files = list((ROOT / "tools/upstream").iterdir())
    assert sorted(str(file.relative_to(ROOT)) for file in files if file.suffix == ".py") == SCRIPTS
    assert max(len((ROOT / script).read_text().splitlines()) for script in SCRIPTS) <= LINES


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_found_is_what_is_said(script: str) -> None:
    """(Where a CPU decides, the page has what is found on each.)"""
    runtime, release = next(versions for shown, versions, _ in SHOWN if shown == script).split(",")[0].split()
    try:
        installed = version(runtime)
    except PackageNotFoundError:
        pytest.skip(f"{runtime} is not installed")
    if installed.split("-")[0] != release:
        pytest.skip(f"{runtime} {installed} is installed, and the page is about {release}")
    run = subprocess.run([sys.executable, ROOT / script], capture_output=True, encoding="utf-8", check=True)
    printed = run.stdout.strip().split("\n", 1)
    assert printed[0].startswith(f"{runtime} {release}")
    assert printed[1] in [found for shown, _, found in SHOWN if shown == script]
