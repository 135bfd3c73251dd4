"""What control groups of both versions allow, read from folders that are written out here by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from notes import Notes

from fcn_onnx.jobs.engines import Footprint, Running, executor_of
from fcn_onnx.jobs.executor import Here, Processes
from fcn_onnx.jobs.limits import Limits, read_limits

MEGABYTE = 1_000_000
MEMINFO = "MemTotal:       64000000 kB\nMemFree:         100000 kB\nMemAvailable:   32000000 kB\n"
AVAILABLE = 32_000_000 * 1024
NO_LIMIT = "9223372036854771712"  # what the kernel writes in version 1: PAGE_COUNTER_MAX pages of 4096 bytes

INNERMOST = "sys/fs/cgroup/work.slice/job-1"
V2 = {"proc/self/cgroup": "0::/work.slice/job-1\n", "proc/meminfo": MEMINFO, "sys/fs/cgroup/cpu.stat": "usage_usec 1\n"}
V1 = {
    "proc/self/cgroup": "5:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n3:cpuset:/docker/0123\n1:name=systemd:/x\n",
    "proc/meminfo": MEMINFO,
}

CASES: dict[str, tuple[dict[str, str], float | None, int | None]] = {
    "no control groups": ({"proc/meminfo": MEMINFO}, None, AVAILABLE),
    "nothing is known": ({}, None, None),
    "version 2, no limit": (
        {**V2, f"{INNERMOST}/cpu.max": "max 100000\n", f"{INNERMOST}/memory.max": "max\n"},
        None,
        AVAILABLE,
    ),
    "version 2, its own limits": (
        {
            **V2,
            f"{INNERMOST}/cpu.max": "150000 100000\n",
            f"{INNERMOST}/memory.max": "4000000000\n",
            f"{INNERMOST}/memory.current": "1500000000\n",
            f"{INNERMOST}/memory.stat": "anon 900000000\nfile 600000000\ninactive_file 500000000\n",
        },
        1.5,
        3_000_000_000,
    ),
    "version 2, limits of a parent": (
        {
            **V2,
            f"{INNERMOST}/cpu.max": "800000 100000\n",
            "sys/fs/cgroup/work.slice/cpu.max": "50000 100000\n",
            f"{INNERMOST}/memory.max": "max\n",
            f"{INNERMOST}/memory.current": "100\n",
            "sys/fs/cgroup/work.slice/memory.max": "2000000000\n",
            "sys/fs/cgroup/work.slice/memory.current": "500000000\n",
        },
        0.5,
        1_500_000_000,
    ),
    "version 2 in a container": (
        {
            **V2,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/memory.max": "1000000000\n",
            "sys/fs/cgroup/memory.current": "1200000000\n",
        },
        2.0,
        0,
    ),
    "version 1": (
        {
            **V1,
            "sys/fs/cgroup/cpu,cpuacct/docker/0123/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/0123/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes": "3000000000\n",
            "sys/fs/cgroup/memory/docker/0123/memory.usage_in_bytes": "1000000000\n",
            "sys/fs/cgroup/memory/docker/0123/memory.stat": "inactive_file 7\ntotal_inactive_file 250000000\n",
        },
        3.0,
        2_250_000_000,
    ),
    "version 1 in a container, where the host's path is not seen": (
        {
            **V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "800000000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "300000000\n",
        },
        2.0,
        500_000_000,
    ),
    "version 1, no limit": (
        {
            **V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{NO_LIMIT}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "300000000\n",
        },
        None,
        AVAILABLE,
    ),
    "files that hold something else": (
        {**V2, f"{INNERMOST}/cpu.max": "many\n", f"{INNERMOST}/memory.max": "\n", f"{INNERMOST}/memory.current": "x\n"},
        None,
        AVAILABLE,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_control_groups_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    files, quota, memory = CASES[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("fcn_onnx.jobs.limits.ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    cores = {None: 4, 0.5: 1, 1.5: 2, 2.0: 2, 3.0: 3}[quota]
    assert read_limits() == Limits(cores, memory, quota)


def test_affinity_counts_where_it_is_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fcn_onnx.jobs.limits.ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert read_limits().cores == 1


def test_of_this_machine() -> None:
    limits = read_limits()
    assert 1 <= limits.cores <= (os.cpu_count() or 1)
    assert limits.memory_bytes is None or 0 < limits.memory_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf(
        "SC_PHYS_PAGES"
    )


WORKERS: dict[str, tuple[Limits, int, int, list[str]]] = {
    "enough of all": (Limits(8, 8_000 * MEGABYTE), 4, 4, []),
    "no word of memory": (Limits(8, None), 4, 4, []),
    "few cores": (Limits(2, 8_000 * MEGABYTE), 4, 2, ["2 workers instead of 4: 2 cores may be used"]),
    "a quota": (
        Limits(2, 8_000 * MEGABYTE, 1.5),
        4,
        2,
        ["2 workers instead of 4: 2 cores may be used (a control group allows 1.5)"],
    ),
    "little memory": (
        Limits(8, 2_900 * MEGABYTE),
        4,
        2,
        ["2 workers instead of 4: each takes some 1.0 GB, and 2.9 GB are available"],
    ),
    "memory for less than one": (
        Limits(8, 100 * MEGABYTE),
        4,
        1,
        ["1 worker instead of 4: each takes some 1.0 GB, and 0.1 GB are available"],
    ),
}


@pytest.mark.parametrize("case", WORKERS)
def test_no_more_workers_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    limits, asked, given, said = WORKERS[case]
    monkeypatch.setattr("fcn_onnx.jobs.engines.read_limits", lambda: limits)
    notes = Notes()
    executor = executor_of(Running(workers=asked), 0, notes, Footprint(lambda: 1_000 * MEGABYTE))
    assert (executor.workers, notes.said) == (given, said)
    assert isinstance(executor, Here if given == 1 else Processes)
