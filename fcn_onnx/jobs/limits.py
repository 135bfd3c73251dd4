"""How many cores and how much memory this process may take: less than the machine has, where a control group says so.

A process is in one group of version 2, or of version 1 in one of each kind (`/proc/self/cgroup`); its limits are the
least of that group's and of all above it. In a container the path may be the host's, of which only the end can be seen
from within, or nothing: what is at the mount's root counts then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

ROOT = Path("/")
"""Where `proc` and `sys` are."""

UNLIMITED = 1 << 60
"""Bytes; version 1 writes no limit as the largest number that it can count to."""


@dataclass(frozen=True)
class Limits:
    """What a process may take.

    Attributes:
        cores: logical processors, at least one; a part of one counts as a whole.
        memory_bytes: that may still be taken without swapping; None where the system does not say.
        quota: the processor time a second that control groups allow, in seconds; None where they do not limit it.
    """

    cores: int
    memory_bytes: int | None
    quota: float | None = None


def read_limits() -> Limits:
    """Of this process."""
    root = ROOT
    allowed, quota = _affinity(), _quota(root)
    cores = allowed if quota is None else min(allowed, max(1, ceil(quota)))
    return Limits(cores, _available(root), quota)


def _affinity() -> int:
    """Cores that the scheduler may put this process on: what it was bound to, and its group's cpuset."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _quota(root: Path) -> float | None:
    found = []
    for folder in _groups(root, "cpu"):
        limit, period = [*_words(folder / "cpu.max"), "", ""][:2]
        if not limit:  # of version 1
            limit, period = "".join(_words(folder / "cpu.cfs_quota_us")), "".join(_words(folder / "cpu.cfs_period_us"))
        if limit.isdigit() and period.isdigit() and int(period):  # `max` and -1 are no limit
            found.append(int(limit) / int(period))
    return min(found, default=None)


def _available(root: Path) -> int | None:
    found = []
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(1024 * int(line.split()[1]))
    if not found:
        return None
    for folder in _groups(root, "memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is None or used is None or limit >= UNLIMITED:
            continue
        stat = dict(line.split()[:2] for line in _lines(folder / "memory.stat") if len(line.split()) > 1)
        cache = stat.get("total_inactive_file", stat.get("inactive_file", "0"))  # that is given back when it is wanted
        found.append(max(0, limit - used + (int(cache) if cache.isdigit() else 0)))
    return min(found)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, for a controller, from the innermost that can be seen outwards."""
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup" / controller]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                if (folder := mount.joinpath(*parts[:depth])).is_dir():
                    yield folder


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path)[:1] for word in line.split()]


def _number(*paths: Path) -> int | None:
    """What the first of these files that is there holds; None if that is no number."""
    for path in paths:
        if words := _words(path):
            return int(words[0]) if words[0].isdigit() else None
    return None
