"""Kinds of machines that an int8 model is made for, by name. Adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A kind of machine that the int8 model is for.

    Attributes:
        name: as `quantize --target` takes it.
        description: one line for `--help`.
        pair_safe: weights are such that no u8·s8 sum of two products overflows int16 (`vpmaddubsw`).
        symmetric: activations are int8 with zero point 0, biases and the weights before their Q/DQ pair stay float32,
            and Q/DQ pairs stand only before what computes in int8.
        formats: that it reads.
    """

    name: str
    description: str
    pair_safe: bool = False
    symmetric: bool = False
    formats: tuple[str, ...] = ("qoperator", "qdq")


KERNELS: Mapping[str, str] = {"amx": "amx", "neon": "arm64"}
"""The target of CPUs that add exactly, by their int8 kernels (`Cpu.int8_kernel`); that of the others is `vnni`."""

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("avx2", "x86-64 without VNNI (AVX2, AVX-512): no pair of weights can saturate", pair_safe=True),
        Target("vnni", "x86-64 with VNNI"),
        Target("amx", "x86-64 with AMX"),
        Target("arm64", "64-bit ARM with dot products (asimddp)"),
        Target("openvino", "OpenVINO on any x86-64: QDQ, no pair of weights can saturate", True, formats=("qdq",)),
        Target("tensorrt", "TensorRT 8 and newer: QDQ, symmetric int8", symmetric=True, formats=("qdq",)),
    )
}
