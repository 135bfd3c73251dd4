"""Drawing images: seeded, nested, spread over classes, or listed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from toys import write_coco

from fcn_onnx.data.discover import open_dataset
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.scenes import write_scenes
from fcn_onnx.data.selection import draw, read_list, spread_over_classes
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
