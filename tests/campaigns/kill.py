"""`kill`: SIGKILL at a random moment. What has the output's name is absent, old or new, and whole; then the same
command ends as if nothing had been, and leaves nothing behind."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from random import Random

from campaigns.children import Child, eager
from campaigns.ground import Ground, differing, left_over, results

MOST_KILLS = 3


class Kill:
    """A case is a command, killed once or a few times, and then left alone."""

    name = "kill"

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]:
        """Counts, violations, and the folder."""
        command = self.ground.quick[name := random.choice(list(self.ground.quick))]
        new, seconds = self.ground.result(command.arguments)
        folder = self.ground.fresh()
        old: dict[str, bytes] = {}
        if command.other is not None and random.random() < 0.5:  # something is there already, of another job
            old, _ = self.ground.result((*command.arguments, *command.other))
            self.ground.run((*command.arguments, *command.other), folder)
        counts, found = Counter[str](), list[str]()
        for _ in range(random.randint(1, MOST_KILLS)):
            child = Child(command.arguments, folder, environment={"TMPDIR": str(folder / "tmp")}, before=eager)
            time.sleep(random.uniform(0, 1.1 * seconds))
            child.signal(signal.SIGKILL)
            ended = child.wait()
            counts["kills"] += ended.code == -signal.SIGKILL
            if ended.orphans:
                found.append(f"{name}: a process that it started lived on")
            for file, content in results(folder).items():
                if content not in (new.get(file), old.get(file)):
                    found.append(f"{name}: {file} is neither old nor new after a kill")
        again = self.ground.run(command.arguments, folder)
        if again.code != 0:
            found.append(f"{name}: exit code {again.code} after a kill: {again.err[-300:]}")
        elif (made := results(folder)) != new:
            found.append(f"{name}: other results after a kill: {differing(made, new)}")
        if strays := left_over(folder, new):
            found.append(f"{name}: left after a kill and a run: {strays}")
        return counts, found, folder
