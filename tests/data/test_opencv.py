"""OpenCV's resizing: what cv2 4.10 and 5.0 return (without IPP, whose float32 positions are rounded otherwise)."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from fcn_onnx.data.opencv import resize_area, resize_linear, resize_nearest

RULES = {"linear": resize_linear, "area": resize_area}
SMALL = (np.arange(35) * 37 % 256).astype(np.uint8).reshape(5, 7, 1)
LARGE = ((np.arange(61 * 83 * 3) ** 2 // 7) % 256).astype(np.uint8).reshape(61, 83, 3)


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        ("linear", (4, 3), [[15, 79, 144, 209], [20, 85, 149, 214], [25, 89, 154, 219]]),
        (
            "linear",
            (9, 8),
            [
                [0, 25, 53, 82, 111, 140, 168, 197, 222],
                [1, 26, 55, 83, 112, 141, 170, 199, 223],
                [3, 28, 56, 85, 114, 143, 172, 200, 225],
                [5, 30, 58, 87, 116, 145, 174, 202, 227],
                [7, 32, 60, 89, 118, 146, 175, 204, 229],
                [9, 33, 62, 91, 120, 148, 177, 206, 231],
                [11, 35, 64, 93, 122, 150, 179, 208, 233],
                [12, 37, 65, 94, 123, 152, 180, 209, 234],
            ],
        ),
        ("area", (4, 3), [[17, 80, 144, 207], [22, 85, 149, 212], [27, 90, 154, 217]]),
        (
            "area",
            (9, 3),
            [
                [1, 28, 54, 80, 112, 144, 170, 197, 223],
                [5, 32, 58, 84, 116, 148, 174, 201, 227],
                [11, 37, 63, 90, 122, 153, 180, 206, 233],
            ],
        ),
    ],
)
def test_uint8(rule: str, size: tuple[int, int], expected: list[list[int]]) -> None:
    assert RULES[rule](SMALL, size)[..., 0].tolist() == expected


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        (
            "linear",
            (4, 3),
            [
                [-1.76758, -0.75586, 0.25586, 1.26758],
                [-1.68945, -0.67773, 0.33398, 1.34570],
                [-1.61133, -0.59961, 0.41211, 1.42383],
            ],
        ),
        (
            "area",
            (4, 3),
            [
                [-1.73348, -0.74241, 0.24866, 1.23973],
                [-1.65848, -0.66741, 0.32366, 1.31473],
                [-1.58348, -0.59241, 0.39866, 1.38973],
            ],
        ),
        (
            "area",
            (9, 3),
            [
                [-1.98125, -1.56830, -1.15536, -0.74241, -0.24688, 0.24866, 0.66161, 1.07455, 1.48750],
                [-1.91562, -1.50268, -1.08973, -0.67679, -0.18125, 0.31429, 0.72723, 1.14018, 1.55312],
                [-1.83125, -1.41830, -1.00536, -0.59241, -0.09688, 0.39866, 0.81161, 1.22455, 1.63750],
            ],
        ),
    ],
)
def test_float32(rule: str, size: tuple[int, int], expected: list[list[float]]) -> None:
    found = RULES[rule]((SMALL.astype(np.float32) - 128) / 64, size)
    assert found.dtype == np.float32
    assert np.abs(found[..., 0] - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("rule", "size", "crc"),
    [
        ("linear", (40, 29), 1946553646),
        ("linear", (120, 97), 2929125713),
        ("linear", (50, 80), 2905977163),
        ("linear", (83, 30), 1025875793),
        ("area", (40, 29), 1529431066),
        ("area", (120, 97), 532814625),
        ("area", (50, 80), 2423601480),
        ("area", (83, 30), 1380766154),
    ],
)
def test_larger_pictures(rule: str, size: tuple[int, int], crc: int) -> None:
    assert zlib.crc32(RULES[rule](LARGE, size).tobytes()) == crc


@pytest.mark.parametrize(
    ("rule", "size", "crc"),
    [
        ("linear", (40, 30), 2423834955),  # the mean of four, as with INTER_AREA
        ("linear", (20, 20), 2150464232),
        ("area", (40, 30), 2423834955),
        ("area", (20, 20), 2379127447),
    ],
)
def test_whole_scales(rule: str, size: tuple[int, int], crc: int) -> None:
    assert zlib.crc32(RULES[rule](LARGE[:60, :80], size).tobytes()) == crc


@pytest.mark.parametrize(
    ("size", "crc"),
    [((40, 29), 2999081876), ((120, 97), 863207714), ((83, 30), 4003081336), ((100, 61), 3255386786)],
)
def test_nearest(size: tuple[int, int], crc: int) -> None:
    assert zlib.crc32(resize_nearest(LARGE[..., 0], size[::-1]).tobytes()) == crc


@pytest.mark.parametrize("rule", list(RULES))
def test_the_same_size_changes_nothing(rule: str) -> None:
    assert np.array_equal(RULES[rule](LARGE, (83, 61)), LARGE)


def test_beside_cv2_where_it_is_installed() -> None:
    cv2 = pytest.importorskip("cv2")
    cv2.ipp.setUseIPP(False)
    flags = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}
    rng = np.random.default_rng(0)
    for _ in range(100):
        height, width, *sides = map(int, rng.integers(1, 90, 4))
        size = sides[0], sides[1]
        pixels: NDArray[np.uint8] = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        values = pixels.astype(np.float32) / 64 - 2
        for rule, resize in RULES.items():
            assert np.array_equal(resize(pixels, size), cv2.resize(pixels, size, interpolation=flags[rule]))
            assert np.abs(resize(values, size) - cv2.resize(values, size, interpolation=flags[rule])).max() < 5e-6
        labels = cv2.resize(pixels[..., 0], size, interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(resize_nearest(pixels[..., 0], (size[1], size[0])), labels)
