"""Counts without their zeros against the same counts as arrays, and what an image takes of memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fcn_onnx.evaluation import comparison, sparse
from fcn_onnx.evaluation.comparison import compare, paired_changes, speedup_interval
from fcn_onnx.evaluation.metrics import ConfusionMetric, ImageMetric, Metric, Ratios, TramacMetric
from fcn_onnx.evaluation.scoring import Scored, Scores
from fcn_onnx.evaluation.sparse import SparseRows, blocks
from fcn_onnx.jobs.records import Record

WHOLE = hnp.arrays(
    np.int64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.sampled_from([0, 0, 0, 1, 2**32, 2**40])
)


def rows_of(counts: NDArray[np.int64]) -> SparseRows:
    rows = SparseRows()
    for row in counts:
        rows.append(row)
    return rows


@given(WHOLE, st.randoms())
def test_what_is_taken_is_what_was_added_in_any_order(counts: NDArray[np.int64], random) -> None:
    order = random.sample(range(len(counts)), len(counts))
    rows = rows_of(counts)
    assert all((rows.one(index) == counts[index]).all() for index in order)
    taken = rows.taken(order)
    assert taken.shape == counts.shape
    assert (np.asarray(taken) == counts[order]).all()
    for index in range(counts.shape[1]):
        assert (np.asarray(taken.part(index)) == counts[order][:, index]).all()


def test_what_is_no_image_of_these_is_refused() -> None:
    rows = rows_of(np.ones((1, 2, 3), np.int64))
    for wrong in (np.ones((3, 2), np.int64), np.ones((2, 3)), np.full((2, 3), -1)):
        with pytest.raises(ValueError, match="expected"):
            rows.append(wrong)
    assert np.asarray(rows.taken([0])).tolist() == [[[1, 1, 1]] * 2]


def scored(rng: np.random.Generator, name: str) -> Scored:
    """Of two rows and 21 classes, of which the image holds three."""
    counts, regions, ground = np.zeros((2, 441), np.int64), np.zeros((2, 6, 43), np.int64), np.zeros((6, 23), np.int64)
    held = rng.choice(21, 3, replace=False)
    counts.reshape(2, 21, 21)[np.ix_([0, 1], held, held)] = rng.integers(0, 640 * 480, (2, 3, 3))
    regions[:, :, held] = regions[:, :, 21 + held] = rng.integers(0, 640 * 480, (2, 6, 3))
    ground[:, held] = rng.integers(0, 640 * 480, (6, 3))
    return Scored(name, counts, rng.random(2), rng.integers(0, 100, (2, 2)), regions, ground, rng.random(3))


def test_a_tally_is_of_the_images_in_order_whether_added_or_restored() -> None:
    rng = np.random.default_rng(0)
    images = [scored(rng, f"{index}.jpg") for index in range(7)]
    scores = Scores(("fp32", "int8"), kept=0)
    for one in reversed(images):
        if int(one.name[0]) % 2:
            scores.restore(Record((one.name,), one.to_arrays()))
        else:
            scores.add((one.name,), one)
    tally = scores.tally([one.name for one in images])
    for key in ("counts", "regions", "latency_ms", "agreement"):
        for row, values in enumerate(getattr(tally, key)):
            assert np.array_equal(np.asarray(values), np.stack([getattr(one, key)[row] for one in images]))
    assert np.array_equal(np.asarray(tally.ground), np.stack([one.ground for one in images]))
    assert np.array_equal(tally.seconds, np.stack([one.seconds for one in images]))


@pytest.mark.parametrize("key", ["counts", "regions", "ground", "latency_ms", "agreement", "seconds"])
def test_a_record_that_is_none_leaves_nothing_of_itself(key: str) -> None:
    rng = np.random.default_rng(1)
    first, wrong, last = (scored(rng, name) for name in "abc")
    scores = Scores(("fp32", "int8"), kept=0)
    scores.add((first.name,), first)
    shape = getattr(wrong, key).shape
    for value in (np.ones((1, 2, 3, 4), np.int64), np.ones(shape, np.float32)):
        with pytest.raises(ValueError, match="expected"):
            scores.restore(Record((wrong.name,), wrong.to_arrays() | {key: value}))
    assert list(scores.done) == ["a"]
    scores.add((last.name,), last)
    tally = scores.tally(["a", "c"])
    assert np.array_equal(tally.seconds, np.stack([first.seconds, last.seconds]))
    assert np.array_equal(np.asarray(tally.counts[1]), np.stack([first.counts[1], last.counts[1]]))


def test_an_image_takes_what_its_classes_take() -> None:
    """12 kB as arrays of int64."""
    rows, rng = SparseRows(), np.random.default_rng(2)
    one = scored(rng, "a")
    assert one.counts.nbytes == 7056
    for _ in range(100):
        rows.append(scored(rng, "a").counts)
    assert rows.taken(range(100)).entries.nbytes <= 100 * 18 * (2 + 4)


def by_definition(metric: Metric, images: int) -> NDArray[np.int64]:
    """Counts of so many images that hold four of the classes, each two."""
    rng = np.random.default_rng(images)
    rows = []
    for _ in range(images):
        held = rng.choice(4, 2, replace=False).astype(np.uint8)
        truth, seen = held[rng.integers(0, 2, (2, 6, 6))]
        masks = np.arange(4)[:, None, None] == truth
        rows.append(metric.count(masks if isinstance(metric, ImageMetric) else truth, seen, seen))
    return np.stack(rows)


@pytest.mark.parametrize(
    "metric", [ConfusionMetric(4), TramacMetric(4), ImageMetric(1)], ids=lambda m: type(m).__name__
)
def test_scores_and_intervals_do_not_depend_on_how_counts_are_held_or_cut(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp32, int8 = by_definition(metric, 60), by_definition(metric, 60)[::-1]
    agreement = np.stack([np.arange(60), np.full(60, 60)], axis=1)
    held = [rows_of(counts).taken(range(60)) for counts in (fp32, int8)]

    def found(a, b) -> list[object]:
        difference = compare(metric, a, b, agreement, resamples=300)
        return [repr(metric.scores(a)), repr(difference)]

    whole = found(fp32, int8)
    assert found(*held) == whole
    monkeypatch.setattr(sparse, "IMAGES", 7)
    assert sum(1 for _ in blocks(held[0])) == 9
    assert found(*held) == whole


def test_what_is_drawn_does_not_depend_on_how_much_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that share no class: whatever the sums are cut into, they are of the same numbers, which are whole."""
    rng = np.random.default_rng(3)
    before, after = (
        Ratios(*(np.where(rng.random((40, 5)) < 0.3, rng.integers(0, 9, (2, 40, 5)), 0) + np.zeros((2, 1, 1))))
        for _ in range(2)
    )
    slow, fast = rng.random((2, 40)) + 1

    def found() -> tuple[object, ...]:
        shares, moved = paired_changes(before, [(before, after)], resamples=300)
        return shares, np.array(moved), np.array(speedup_interval(slow, fast, resamples=300)[1])

    whole = found()
    for room in (1, 40 * 7, 40 * 250):
        monkeypatch.setattr(comparison, "ROOM", room)
        for a, b in zip(found(), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)
