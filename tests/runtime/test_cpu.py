"""Reading /proc/cpuinfo of machines that are not this one."""

from __future__ import annotations

import pytest

from fcn_onnx.runtime.cpu import parse_cpuinfo, read_cpu

HASWELL = "processor : 0\nmodel name : Intel(R) Xeon(R) CPU E5-2680 v3\nflags : fpu sse2 fma avx2\n"
CASCADE_LAKE = "model name\t: Xeon 8280\nflags\t\t: avx2 fma avx512f avx512bw avx512_vnni\n"
SAPPHIRE_RAPIDS = "model name : Xeon 8480\nflags : avx2 avx512f avx512bw avx512_vnni avx_vnni amx_tile amx_int8\n"
GRAVITON = "CPU implementer : 0x41\nFeatures : fp asimd asimddp i8mm\n"
SKYLAKE = "model name : Xeon 8180\nflags : avx2 avx512f avx512bw\n"


@pytest.mark.parametrize(
    ("text", "kernel", "exact"),
    [
        (HASWELL, "avx2", False),
        (SKYLAKE, "avx512", False),
        (CASCADE_LAKE, "vnni", True),
        (SAPPHIRE_RAPIDS, "amx", True),
        (GRAVITON, "neon", True),
        ("", "portable", False),
    ],
)
def test_kernels(text: str, kernel: str, exact: bool) -> None:
    cpu = parse_cpuinfo(text, 4)
    assert (cpu.int8_kernel, cpu.exact_u8s8, cpu.cores) == (kernel, exact, 4)


def test_this_machine_has_a_core() -> None:
    assert read_cpu().cores >= 1
