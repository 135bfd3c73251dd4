"""Are the figures of README.md and docs/ those of this version?

    python tools/figures.py            # every measured block: of which form, commit and CPU, by which command
    python tools/figures.py --run      # and the cheap ones once more, compared line by line

A measured block is a table or an indented block below a comment that says where it comes from:

    <!-- measured
    form: 5
    commit: 23f8fad
    cpu: AMD EPYC with VNNI, 2 cores
    run: fcn-onnx demo demo
    compare: mIoU|pixel accuracy
    -->

`form` is the form version of the int8 files (`FORM_VERSION`), or `any` where no int8 file is measured. `run` is the
command, run in an empty folder, with the commands of this environment, the checkout in $CHECKOUT. `compare` is a
regular expression: those lines of the block that match it must come out again, spaces apart; a block without it is too
dear to be run here, and `--run` leaves it out. `kept` says why figures of an older form still stand, where they do.
Exit code 1: a figure is of another form, a block lacks its origin, or a line did not come out.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.jobs.artifact import FORM_VERSION

TOP = Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"<!-- measured\n(.*?)-->\n(.*?)(?=\n<!-- measured\n|\n#|\Z)", re.DOTALL)
REQUIRED = ("form", "commit", "cpu", "run")


@dataclass(frozen=True)
class Block:
    """One comment, and the lines that it vouches for: the table or indented block that comes next."""

    place: str
    facts: dict[str, str]
    lines: tuple[str, ...]

    def faults(self) -> list[str]:
        """What is wrong with its origin, without running anything."""
        found = [f"does not say its {name}" for name in REQUIRED if name not in self.facts]
        if self.facts.get("form") not in (None, "any", str(FORM_VERSION)) and not self.facts.get("kept"):
            found.append(f"is of form {self.facts['form']}, and files are of form {FORM_VERSION} now: take it again")
        if not self.lines:
            found.append("has no table or indented block below it")
        if "compare" in self.facts and not self.compared():
            found.append(f"has no line that matches {self.facts['compare']}")
        return found

    def compared(self) -> list[str]:
        return [line for line in self.lines if re.search(self.facts["compare"], line)]

    def missing(self) -> list[str]:
        """The compared lines that its command does not print any more."""
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                **os.environ,
                "CHECKOUT": str(TOP),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            }
            done = subprocess.run(
                self.facts["run"], shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
        if done.returncode:
            return [f"exit code {done.returncode}: {done.stderr.strip()[-500:]}"]
        printed = {squeezed(line) for line in done.stdout.splitlines()}
        return [line for line in self.compared() if squeezed(line) not in printed]


def squeezed(line: str) -> str:
    """A line of a table or of a terminal, without what is only for the eye."""
    return " ".join(re.sub(r"[|*`]", " ", line).split())


def first_block(text: str) -> tuple[str, ...]:
    """The first table (lines that begin with |) or indented block of some Markdown."""
    lines: list[str] = []
    for line in text.splitlines():
        inside = line.startswith(("|", "    "))
        if lines and not inside:
            break
        if inside and not re.fullmatch(r"[|\s:-]+", line):
            lines.append(line)
    return tuple(lines)


def blocks(path: Path) -> Iterator[Block]:
    """The measured blocks of a page, in its order."""
    text = path.read_text(encoding="utf-8")
    for match in COMMENT.finditer(text):
        pairs = (line.partition(": ")[::2] for line in match[1].splitlines() if line)
        number = text.count("\n", 0, match.start()) + 1
        yield Block(f"{os.path.relpath(path, TOP)}:{number}", dict(pairs), first_block(match[2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="run the commands of the cheap ones, and compare")
    options = parser.parse_args()
    wrong = 0
    for path in (TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))):
        for block in blocks(path):
            facts = block.facts
            origin = ", ".join(str(facts.get(name)) for name in ("commit", "cpu", "run"))
            print(f"{block.place}: form {facts.get('form')}, {origin}")
            faults = block.faults()
            if options.run and not faults and "compare" in facts:
                faults = [f"not printed now: {line.strip()}" for line in block.missing()]
                print(f"  ran: {'as it is there' if not faults else 'otherwise'}", flush=True)
            for fault in faults:
                print(f"  {fault}")
            wrong += bool(faults)
    raise SystemExit(f"{wrong} of the measured blocks are not of this version" if wrong else 0)


if __name__ == "__main__":
    main()
