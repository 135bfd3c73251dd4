"""Bands, pieces and what is counted on them, against loops over pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_onnx.data.labels import LabelSpace
from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation.comparison import compare
from fcn_onnx.evaluation.metrics import ConfusionMetric
from fcn_onnx.evaluation.regions import ACCURACY, REGIONS, Ground, RegionCounts, flat_truth, region_changes
from fcn_onnx.evaluation.zones import near_border, piece_areas

SPACE = LabelSpace.of(("background", "cat", "dog"))
VOID = 255
Place = tuple[int, int]


def around(place: Place, shape: tuple[int, ...]) -> Iterator[Place]:
    y, x = place
    for b in range(max(0, y - 1), min(shape[0], y + 2)):
        for a in range(max(0, x - 1), min(shape[1], x + 2)):
            yield b, a


def loop_near(labels: np.ndarray, reach: int) -> list[list[bool]]:
    height, width = labels.shape
    found = np.zeros((height, width), bool)
    for y, x in np.ndindex(height, width):
        window = labels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        found[y, x] = (window != labels[y, x]).any()
    return found.tolist()


def loop_pieces(labels: np.ndarray) -> list[set[Place]]:
    """Flood fill, over corners too."""
    left, pieces = set(np.ndindex(*labels.shape)), []
    while left:
        start = min(left)
        piece, edge = {start}, [start]
        while edge:
            place = edge.pop()
            for other in around(place, labels.shape):
                if other not in piece and labels[other] == labels[start]:
                    piece.add(other)
                    edge.append(other)
        left -= piece
        pieces.append(piece)
    return pieces


def label_map(seed: int, height: int, width: int, *, grain: int = 1) -> np.ndarray:
    coarse = np.random.default_rng(seed).choice([0, 1, 2, VOID], (height, width), p=[0.5, 0.25, 0.2, 0.05])
    return coarse.astype(np.uint8).repeat(grain, 0).repeat(grain, 1)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(1, 11))
def test_near_a_border_is_what_a_loop_over_neighbours_finds(
    seed: int, height: int, width: int, grain: int, reach: int
) -> None:
    labels = label_map(seed, height, width, grain=grain)[: height * 2, : width * 2]
    assert near_border(labels, reach).tolist() == loop_near(labels, reach)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 14))
def test_pieces_are_what_a_flood_fill_finds(seed: int, height: int, width: int) -> None:
    labels = label_map(seed, height, width)
    first, areas = piece_areas(labels)
    assert first.tolist() == [i for i in range(labels.size) if i % width == 0 or labels.flat[i] != labels.flat[i - 1]]
    found = np.repeat(areas, np.diff(first, append=labels.size)).reshape(labels.shape)
    for piece in loop_pieces(labels):
        assert {found[place] for place in piece} == {len(piece)}


def test_a_spiral_is_one_piece() -> None:
    """Runs are joined over many rounds."""
    labels = np.zeros((41, 41), np.uint8)
    for ring in range(0, 20, 4):
        labels[ring, ring : 41 - ring] = labels[ring : 41 - ring, 40 - ring] = labels[40 - ring, ring : 41 - ring] = 1
        labels[ring + 4 : 41 - ring, ring] = 1
        labels[ring + 4, ring : ring + 5] = 1
    first, areas = piece_areas(labels)
    ones = labels.ravel()[first] == 1
    assert set(areas[ones].tolist()) == {int(labels.sum())}


def loop_regions(truth: np.ndarray, photograph: int) -> dict[str, set[Place]]:
    """Pixels of each region, and the objects of each size, straight from the definitions."""
    scored = {place for place in np.ndindex(*truth.shape) if truth[place] != VOID}
    near = {reach: loop_near(truth, reach) for reach in (3, 10)}
    found = {
        "border_3px": {(y, x) for y, x in scored if near[3][y][x]},
        "border_10px": {(y, x) for y, x in scored if near[10][y][x]},
        "interior": {(y, x) for y, x in scored if not near[10][y][x]},
        **{size: set[Place]() for size in ("small", "medium", "large")},
    }
    for piece in loop_pieces(truth):
        area = len(piece) * photograph / truth.size
        if truth[min(piece)] in (1, 2):
            found["small" if area < 32**2 else "medium" if area < 96**2 else "large"] |= piece
    return found


def loop_score(places: set[Place], truths: list[np.ndarray], labels: list[np.ndarray], measure: str) -> float | None:
    """`places` are (image, row, column)."""
    scores = []
    for c in range(3):
        truth = {p for p in places if truths[p[0]][p[1:]] == c}
        predicted = {p for p in places if labels[p[0]][p[1:]] == c}
        if truth:
            whole = truth if measure == ACCURACY else truth | predicted
            scores.append(len(truth & predicted) / len(whole))
    return sum(scores) / len(scores) if scores else None


@pytest.mark.parametrize("scale", [1.5, 10])
def test_scores_and_flips_are_those_of_a_loop_over_pixels(scale: float) -> None:
    """`scale`: how much larger the photograph is than the grid, in pixels, so that all sizes come up."""
    rng = np.random.default_rng(int(10 * scale))
    truths, ground, rows, where = [], [], ([], []), {name: set() for name in REGIONS}
    labels: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for image in range(6):
        truth = label_map(int(100 * scale) + image, 2, 3, grain=22)
        cut = Ground.of(truth, SPACE, int(truth.size * scale), known=True)
        ground.append(cut.counts())
        truths.append(truth)
        for name, places in loop_regions(truth, int(truth.size * scale)).items():
            where[name] |= {(image, *place) for place in places}
        for row in range(2):
            own = np.where(rng.random(truth.shape) < 0.7, truth % 3, rng.integers(0, 3, truth.shape)).astype(np.uint8)
            labels[row].append(own)
            rows[row].append(cut.count(labels[0][image], own))
    fp32, int8 = (RegionCounts(np.stack(ground), np.stack(found)) for found in rows)
    changes = region_changes(fp32, int8)
    whole = sum(int((truth != VOID).sum()) for truth in truths)
    for index, (name, region) in enumerate(REGIONS.items()):
        expected = [loop_score(where[name], truths, own, region.measure) for own in labels]
        assert fp32.shares[index] == len(where[name]) / whole
        assert [None if np.isnan(r.scores[name]) else r.scores[name] for r in (fp32, int8)] == pytest.approx(expected)
        same = [labels[0][p[0]][p[1:]] == labels[1][p[0]][p[1:]] for p in where[name]]
        assert changes[name].label_agreement == (pytest.approx(np.mean(same)) if same else None)
        if expected[0] is not None and expected[1] is not None:
            assert changes[name].score == pytest.approx(expected[1] - expected[0])
    assert [name for name, places in where.items() if not places] == {1.5: ["large"], 10: ["small"]}[scale]


def test_objects_are_counted_as_pieces_that_are_no_background_and_no_void() -> None:
    truth = label_map(5, 9, 9, grain=3)
    found = Ground.of(truth, SPACE, truth.size * 100, known=True)
    things = [piece for piece in loop_pieces(truth) if truth[min(piece)] in (1, 2)]
    sizes = [0 if 100 * len(piece) < 32**2 else 1 if 100 * len(piece) < 96**2 else 2 for piece in things]
    assert found.objects[1:].tolist() == [sizes.count(size) for size in range(3)]
    assert sizes.count(0) > 0 < sizes.count(1)


def test_all_of_the_picture_is_as_the_protocols_confusion_matrix_has_it() -> None:
    """Near and far from borders together, so that intervals agree too with those of the whole."""
    rng, metric, space = np.random.default_rng(0), ConfusionMetric(), LabelSpace.of(tuple("abc"))
    images = []
    for image in range(8):
        truth = label_map(image, 4, 4, grain=6)
        truth[truth == VOID] = 0
        truth[:2, :2] = [[1, 2], [2, 1]]
        own = [np.where(rng.random(truth.shape) < p, truth, rng.integers(0, 3, truth.shape)) for p in (0.8, 0.6)]
        ground = Ground.of(truth, space, truth.size, known=True)
        counted = [ground.count(own[0].astype(np.uint8), labels.astype(np.uint8)) for labels in own]
        whole = [metric.fitted(space).count(truth, labels.astype(np.uint8)) for labels in own]
        images.append((ground.counts(), *counted, *whole, [(own[0] == own[1]).sum(), truth.size]))
    ground_counts, a, b, whole_a, whole_b, agreement = (np.stack(parts) for parts in zip(*images, strict=True))
    names = list(REGIONS)
    near, far = names.index("border_10px"), names.index("interior")
    for counts in (ground_counts, a, b):
        counts[:, near] += counts[:, far]
    found = region_changes(RegionCounts(ground_counts, a), RegionCounts(ground_counts, b))["border_10px"]
    expected = compare(metric.fitted(space), whole_a, whole_b, agreement, resamples=2000)
    assert found.score == pytest.approx(expected.miou)
    assert found.label_agreement == pytest.approx(agreement[:, 0].sum() / agreement[:, 1].sum())
    assert found.score_ci95 == pytest.approx(expected.miou_ci95)


def test_without_truth_flips_alone_are_counted_by_the_references_borders() -> None:
    labels = label_map(3, 4, 5, grain=8)
    labels[labels == VOID] = 0
    own = labels.copy()
    own[:9] = 1
    ground = Ground.of(labels, SPACE, labels.size, known=False)
    fp32, int8 = (RegionCounts(ground.counts()[None], ground.count(labels, row)[None]) for row in (labels, own))
    assert all(np.isnan(score) for score in fp32.scores.values())
    changes = region_changes(fp32, int8)
    for name, places in loop_regions(labels, labels.size).items():
        same = [labels[place] == own[place] for place in places]
        agreed, others = changes[name].label_agreement, changes[name]._replace(label_agreement=None)
        assert agreed == (pytest.approx(np.mean(same)) if same else None)
        assert set(others) == {None}


def test_a_label_that_is_no_class_is_refused() -> None:
    truth = np.zeros((4, 4), np.uint8)
    with pytest.raises(ModelError, match="none of 3 classes"):
        Ground.of(truth, SPACE, 16, known=True).count(truth, truth + np.uint8(3))


def test_of_masks_that_overlap_the_pixels_are_void() -> None:
    masks = np.zeros((3, 2, 3), bool)
    masks[0, 0], masks[1, 1, :2], masks[2, 1, 1] = True, True, True
    assert flat_truth(masks).tolist() == [[0, 0, 0], [1, VOID, VOID]]
