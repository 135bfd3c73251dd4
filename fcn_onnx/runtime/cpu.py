"""What this CPU can do for int8, read from the operating system."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fcn_onnx.jobs.limits import read_limits

DOT_PRODUCTS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"})
"""Flags of instructions that add u8·s8 products into 32 bits."""


@dataclass(frozen=True)
class Cpu:
    """The machine's processor.

    Attributes:
        model: marketing name.
        cores: logical processors this process may use, by affinity and by its control groups.
        flags: the instruction-set flags that matter to int8 kernels, as Linux names them.
        tried: whether u8·s8 sums were found exact when they were tried; None where they were not.
    """

    model: str
    cores: int
    flags: frozenset[str]
    tried: bool | None = None

    @property
    def exact_u8s8(self) -> bool:
        """Whether u8·s8 dot products are exact here (VNNI or AMX), not saturating (`vpmaddubsw`)."""
        return bool(self.flags & DOT_PRODUCTS) if self.tried is None else self.tried

    def saturating(self) -> Cpu:
        """The same, seen to saturate: its dot-product instructions, if any, are not used."""
        return replace(self, flags=self.flags - DOT_PRODUCTS, tried=False)

    def exact(self) -> Cpu:
        """The same, seen to be exact."""
        return replace(self, tried=True)

    def kernels(self) -> dict[str, Any]:
        """What decides which kernels run here, and so the last bits of what they compute: JSON, for digests."""
        return {"model": self.model, "flags": sorted(self.flags), "exact_u8s8": self.exact_u8s8}

    @property
    def int8_kernel(self) -> str:
        """The best int8 kernel family: amx, vnni, avx512, avx2, neon or portable."""
        for flag, name in (
            ("amx_int8", "amx"),
            ("avx512_vnni", "vnni"),
            ("avx_vnni", "vnni"),
            ("avx512bw", "avx512"),
            ("avx2", "avx2"),
            ("asimddp", "neon"),
        ):
            if flag in self.flags:
                return name
        return "portable"


_INTERESTING = frozenset(
    [
        "avx2",
        "avx512f",
        "avx512bw",
        "avx512_vnni",
        "avx_vnni",
        "amx_int8",
        "amx_tile",
        "fma",
        "asimd",
        "asimddp",
        "i8mm",
    ]
)


def read_cpu() -> Cpu:
    """The processor this process runs on."""
    cores = read_limits().cores
    info = Path("/proc/cpuinfo")
    if info.is_file():
        return parse_cpuinfo(info.read_text(encoding="utf-8", errors="replace"), cores)
    return Cpu(_other_name(), cores, _other_flags())


def parse_cpuinfo(text: str, cores: int) -> Cpu:
    """The processor that a Linux `/proc/cpuinfo` describes."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = (fields.get("flags") or fields.get("features") or "").split()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return Cpu(name, cores, frozenset(flags) & _INTERESTING)


def _other_name() -> str:
    return platform.processor() or platform.machine()


def _other_flags() -> frozenset[str]:
    """macOS names its features through sysctl; elsewhere nothing is known and nothing assumed."""
    if platform.system() != "Darwin":
        return frozenset()
    names = {"hw.optional.avx2_0": "avx2", "hw.optional.arm.FEAT_DotProd": "asimddp"}
    found = set()
    for name, flag in names.items():
        answer = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "1":
            found.add(flag)
    return frozenset(found)
