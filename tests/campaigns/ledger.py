"""What all runs of all campaigns came to, kept outside of the repository, so that the numbers add up over time."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from fcn_onnx.jobs.files import replacing, write_all


def default_place() -> Path:
    """`$XDG_STATE_HOME/fcn-onnx`, which is `~/.local/state/fcn-onnx` where that is not set."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fcn-onnx"


class Ledger:
    """Counts by campaign in `campaigns.json`; several runs may add to it at once.

    Args:
        place: the folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.path = place / "campaigns.json"

    def of(self, campaign: str) -> Counter[str]:
        """What a campaign came to so far: `cases`, `violations`, and what it counts itself."""
        try:
            return Counter(json.loads(self.path.read_text(encoding="utf-8")).get(campaign, {}))
        except FileNotFoundError:
            return Counter()

    def add(self, campaign: str, counts: Mapping[str, int]) -> Counter[str]:
        """Add to it, and return what it comes to now."""
        self.place.mkdir(parents=True, exist_ok=True)
        with (self.place / "campaigns.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            total = self.of(campaign) + Counter(counts)
            everything = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            everything[campaign] = dict(sorted(total.items()))
            with replacing(self.path) as descriptor:
                write_all(descriptor, json.dumps(everything, indent=2).encode())
            os.close(descriptor)
        return total
