"""`twins`: two runs towards one output at once. One waits or is told; what is there at the end is whole, and one's."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from random import Random

from campaigns.children import Child
from campaigns.ground import Ground, left_over, results

BUSY = "another run is at work"


class Twins:
    """A case is a command that is started twice, as the same job or as two."""

    name = "twins"

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]:
        """Counts, violations, and the folder."""
        command = self.ground.quick[name := random.choice(sorted(self.ground.quick.keys() - {"run"}))]
        other = (*command.arguments, *(command.other or ()))
        jobs = [command.arguments, random.choice((command.arguments, other))]
        random.shuffle(jobs)
        waits = [random.choice([(), ("--wait", "120")]) for _ in jobs]
        expected = [self.ground.result(job)[0] for job in jobs]
        seconds = self.ground.result(command.arguments)[1]
        folder = self.ground.fresh()
        environment = {"TMPDIR": str(folder / "tmp")}
        first = Child((*jobs[0], *waits[0]), folder, environment=environment)
        time.sleep(random.uniform(0, seconds))
        second = Child((*jobs[1], *waits[1]), folder, environment=environment)
        ended = [first.wait(), second.wait()]
        found = []
        for one, wait in zip(ended, waits, strict=True):
            if one.code not in (0, 1) or (one.code == 1 and (BUSY not in one.err or wait)):
                found.append(f"{name}: exit code {one.code} beside another run: {one.err[-300:]}")
        done = [content for content, one in zip(expected, ended, strict=True) if one.code == 0]
        if not done:
            found.append(f"{name}: neither of two runs did it")
        elif not any(_holds(results(folder), content) for content in done):
            found.append(f"{name}: what two runs made is neither's")
        if strays := left_over(folder, {**expected[0], **expected[1]}):
            found.append(f"{name}: left by two runs: {strays}")
        counts = Counter(waited=sum(bool(wait) for wait in waits), told=sum(one.code == 1 for one in ended))
        return +counts, found, folder


def _holds(made: dict[str, bytes], content: dict[str, bytes]) -> bool:
    """Whether a run's files are all there; another may have made more."""
    return all(made.get(name) == data for name, data in content.items())
