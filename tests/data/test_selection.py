"""Drawing images: seeded, nested, spread over classes, or listed."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import write_coco

from fcn_onnx.data.sample import Sample
from fcn_onnx.data.selection import draw, read_list, spread_over_classes
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.demo.writer import write_scenes
from fcn_onnx.errors import DatasetError, UsageError

SAMPLES = tuple(Sample(i, f"{i:03d}.jpg", Path(f"{i:03d}.jpg")) for i in range(50))


def test_a_draw_is_the_same_everywhere() -> None:
    """Fixed by SHA-256 of seed and name, so these names hold on every machine and version."""
    assert [s.id for s in draw(SAMPLES, 5, 0)] == [s.id for s in draw(tuple(reversed(SAMPLES)), 5, 0)][::-1]
    assert draw(SAMPLES, 5, 0) != draw(SAMPLES, 5, 1)
    assert [s.id for s in draw(SAMPLES, 50, 7)] == list(range(50))


def test_a_larger_draw_holds_a_smaller_one_and_ids_stay_in_order() -> None:
    small, large = draw(SAMPLES, 8, 3), draw(SAMPLES, 20, 3)
    assert set(small) <= set(large)
    assert [s.id for s in large] == sorted(int(s.id) for s in large)


@pytest.mark.parametrize("limit", [0, 51])
def test_a_draw_of_too_many_or_none_is_refused(limit: int) -> None:
    with pytest.raises(UsageError):
        draw(SAMPLES, limit)


def test_spreading_covers_classes_that_a_draw_misses(tmp_path: Path) -> None:
    write_scenes(tmp_path, images=40, seed=1, size=(64, 80))
    dataset = open_dataset(tmp_path / "val2017")
    limit = 12
    spread = spread_over_classes(dataset, limit)

    def covered(samples: tuple[Sample, ...]) -> Counter[int]:
        return Counter(c for s in samples for c in dataset.classes_in(s))

    assert len(set(spread)) == limit
    assert len(covered(spread)) >= len(covered(draw(dataset.samples, limit)))
    assert len(covered(spread)) == 20


class Labelled:
    """As much of a data set as spreading looks at."""

    def __init__(self, classes: list[frozenset[int]]) -> None:
        self.samples = tuple(Sample(i, f"{i}.jpg", Path(f"{i}.jpg")) for i in range(len(classes)))
        self._classes = dict(zip(self.samples, classes, strict=True))

    def classes_in(self, sample: Sample) -> frozenset[int]:
        return self._classes[sample]


def literally_spread(dataset: Labelled, limit: int, seed: int) -> list[Sample]:
    """Each next sample holds the class, of those that are left, that is rarest so far; the best by hash of these."""
    rank = {s: hashlib.sha256(f"{seed}:{s.name}".encode()).digest() for s in dataset.samples}
    left, chosen = sorted(dataset.samples, key=lambda s: rank[s]), []
    for _ in range(limit):
        seen = Counter(c for s in chosen for c in dataset.classes_in(s))
        present = {c for s in left for c in dataset.classes_in(s)}
        rarest = min(present, key=lambda c: (seen[c], c)) if present else None
        chosen.append(next(s for s in left if rarest is None or rarest in dataset.classes_in(s)))
        left.remove(chosen[-1])
    return sorted(chosen, key=lambda s: s.id)


@given(st.lists(st.frozensets(st.integers(0, 6), max_size=4), min_size=1, max_size=20), st.data())
def test_spreading_is_what_it_says(classes: list[frozenset[int]], data: st.DataObject) -> None:
    dataset = Labelled(classes)
    limit = data.draw(st.integers(1, len(classes)))
    assert list(spread_over_classes(dataset, limit, 3)) == literally_spread(dataset, limit, 3)


def test_spreading_takes_time_in_proportion() -> None:
    """Twenty thousand images, all of them: minutes if every choice looked at every image."""
    dataset = Labelled([frozenset({i % 80, i % 7}) for i in range(20_000)])
    started = time.process_time()
    assert len(spread_over_classes(dataset, 20_000)) == 20_000
    assert time.process_time() - started < 10


def test_lists(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path))
    path = tmp_path / "list.txt"
    path.write_text("# two images\n\n000000000004.jpg\n 000000000002.jpg \n")
    assert [s.id for s in read_list(path, dataset)] == [2, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.jpg\n", ":1 names 'a.jpg'"),
        ("000000000001.jpg\n000000000001.jpg\n", ":2 names '000000000001.jpg' a second time"),
        ("../val2017/000000000001.jpg\n", ":1 names"),
        ("# nothing\n", "names no image"),
        (None, "cannot read"),
    ],
)
def test_bad_lists_say_which_line(tmp_path: Path, text: str | None, words: str) -> None:
    dataset = open_dataset(write_coco(tmp_path))
    path = tmp_path / "list.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_list(path, dataset)
    assert words in str(caught.value)
