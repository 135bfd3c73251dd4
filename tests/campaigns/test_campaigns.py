"""A short form of every campaign, the same cases each time; `make campaigns` goes on from there."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from campaigns.ground import COMMANDS
from campaigns.kernel import POSSIBLE
from campaigns.ledger import Ledger
from fcn_onnx.cli import COMMANDS as OF_THE_CLI

ROOT = Path(__file__).parents[2]
NAMES = ["kill", "fuzz", *(["faults"] if POSSIBLE else []), "twins", "load"]


def test_nothing_is_wrong_in_short_campaigns(tmp_path: Path) -> None:
    """In a process of their own: children are forked from it, so nothing may have been computed in it."""
    command = [sys.executable, "-m", "campaigns", "--short", "--ledger", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(dict.fromkeys(line.partition(":")[0] for line in done.stdout.splitlines())) == NAMES
    assert all(Ledger(tmp_path).of(name)["cases"] for name in NAMES)


def test_every_command_has_its_campaigns() -> None:
    assert {command.arguments[0] for command in COMMANDS.values()} == set(OF_THE_CLI)


def test_counts_add_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state")
    assert ledger.of("kill") == Counter()
    ledger.add("kill", {"cases": 2, "kills": 3})
    ledger.add("fuzz", {"cases": 1})
    assert ledger.add("kill", {"cases": 1, "violations": 1}) == Counter(cases=3, kills=3, violations=1)
    assert Ledger(tmp_path / "state").of("fuzz") == Counter(cases=1)
