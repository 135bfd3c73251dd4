"""What users read with `--help`, word for word: whoever changes it sees what has changed, and so does the reviewer.

`python tests/golden/test_help.py` writes help.txt anew.
"""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from fcn_onnx.cli import COMMANDS, main

GOLDEN = Path(__file__).with_name("help.txt")
WIDTH = 100


def shown() -> str:
    """The help of the program and of each of its commands, one after the other."""
    asked = [["--help"], *([name, "--help"] for name in COMMANDS)]
    shown = [CliRunner().invoke(main, words, prog_name="fcn-onnx", terminal_width=WIDTH) for words in asked]
    return "\n\n".join(result.output for result in shown)


def test_help_is_as_it_was() -> None:
    assert shown() == GOLDEN.read_text(encoding="utf-8"), f"if it is meant: python {__file__}"


if __name__ == "__main__":
    GOLDEN.write_text(shown(), encoding="utf-8")
