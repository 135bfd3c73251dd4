"""Run campaigns until a budget is spent: `python -m campaigns [NAME …] [--budget SECONDS] [--seed N]`.

Case `i` of a campaign and a seed is always the same; a run goes on where the ledger says that the last one ended, so
that runs add up. The folder of a case in which something was wrong is kept beside the ledger, and its number is
printed: `--case i` repeats it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from campaigns.children import warm
from campaigns.cluster import OnCluster
from campaigns.faults import Faults
from campaigns.fuzz import Fuzz
from campaigns.ground import Ground
from campaigns.kernel import POSSIBLE
from campaigns.kill import Kill
from campaigns.ledger import Ledger, default_place
from campaigns.load import Load
from campaigns.twins import Twins


class Campaign(Protocol):
    """Cases without end, each of which may go wrong."""

    name: str

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]: ...


SHORT = {"kill": 2, "fuzz": 16, "faults": 4, "twins": 1, "load": 1}
"""Cases of the short form, of two commands that are soon done."""

CAMPAIGNS: dict[str, Callable[[Ground], Campaign]] = {
    "kill": Kill,
    "fuzz": Fuzz,
    "faults": Faults,
    "twins": Twins,
    "load": Load,
    "cluster": OnCluster,
}


def campaign(kind: Campaign, ledger: Ledger, numbers: range, seed: int, until: float, *, counted: bool) -> int:
    """Run cases of one campaign until it is late; prints what is wrong, and the figure. Returns how many are."""
    counts: Counter[str] = Counter()
    began = time.monotonic()
    for number in numbers:
        if time.monotonic() > until and counts["cases"]:
            break
        found, wrong, folder = kind.case(number, Random(f"{kind.name} {seed} {number}"))
        counts += found + Counter(cases=1, violations=len(wrong))
        for what in wrong:
            print(f"{kind.name} --seed {seed} --case {number}: {what}", flush=True)
        if wrong:
            kept = ledger.place / "violations" / f"{kind.name}-{seed}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)
        shutil.rmtree(folder, ignore_errors=True)
    took = f"{time.monotonic() - began:.0f} s"
    for figure in kind.figures if isinstance(kind, Load) else ():
        print(f"{kind.name}: {figure}", flush=True)
    total = f"; in all {_said(ledger.add(kind.name, counts))}" if counted else ""
    print(f"{kind.name}: {_said(counts)} in {took}{total}", flush=True)
    return counts["violations"]


def _said(counts: Counter[str]) -> str:
    others = sorted(set(counts) - {"cases", "violations"})
    return ", ".join(f"{counts[name]:,} {name}" for name in ("cases", *others, "violations"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="campaigns", description="Bad days, counted.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAMPAIGNS)}; else all but cluster")
    parser.add_argument("--budget", type=float, default=1200, metavar="SECONDS", help="for all together")
    parser.add_argument("--cases", type=int, help="of each campaign, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="the first few cases of calibrate and predict alone")
    parser.add_argument("--case", type=int, metavar="N", help="this one alone")
    parser.add_argument("--ledger", type=Path, default=default_place(), metavar="FOLDER")
    asked = parser.parse_args()
    if unknown := set(asked.names) - CAMPAIGNS.keys():
        parser.error(f"no campaign is called {', '.join(unknown)}")
    names = asked.names or [name for name in SHORT if name != Faults.name or POSSIBLE]
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if set(names) != {"cluster"}:
        warm()
    ledger = Ledger(asked.ledger)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="campaigns-") as root:
        ground = Ground(Path(root), ("calibrate", "predict") if asked.short else ())
        began = time.monotonic()
        for index, name in enumerate(names, start=1):
            until = began + asked.budget * index / len(names)
            begin = 0 if asked.short else ledger.of(name)["cases"] if asked.case is None else asked.case
            count = SHORT[name] if asked.short else 1 if asked.case is not None else asked.cases
            end = begin + count if count else sys.maxsize
            kind = CAMPAIGNS[name](ground)
            if asked.short and isinstance(kind, Load):
                kind.shorten()
            wrong += campaign(kind, ledger, range(begin, end), asked.seed, until, counted=asked.case is None)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
