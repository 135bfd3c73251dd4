"""Data sets in trees like their published ones: what is read, what labels come of it, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from toys import photograph, pixel_classifier, residual_network, save, write_coco, write_voc
from trees import HEIGHT, WIDTH, put, values, write_ade20k, write_cityscapes

from fcn_onnx.cli import main
from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.data.label_spaces import ADE20K, ADE20K32, CITYSCAPES, KNOWN, label_space
from fcn_onnx.data.labels import VOC
from fcn_onnx.data.sets.discover import SETS, open_dataset
from fcn_onnx.errors import DatasetError, FcnOnnxError, UsageError
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

TRAIN_IDS = {
    7: 0,
    8: 1,
    11: 2,
    12: 3,
    13: 4,
    17: 5,
    19: 6,
    20: 7,
    21: 8,
    22: 9,
    23: 10,
    24: 11,
    25: 12,
    26: 13,
    27: 14,
    28: 15,
    31: 16,
    32: 17,
    33: 18,
}
"""Cityscapes' labelIds that are evaluated."""


def write_pairs(folder: Path, content: NDArray[Any], count: int = 2) -> tuple[Path, Path]:
    for seed in range(count):
        name = f"day {seed}/shot"
        put(folder / "images" / f"{name}.jpg", folder / "masks" / f"{name}.png", content, seed)
    return folder / "images", folder / "masks"


def stored(path: Path) -> NDArray[Any]:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("form", ["labelIds", "labelTrainIds"])
def test_cityscapes_equals_its_table_pixel_by_pixel(tmp_path: Path, form: str) -> None:
    dataset = open_dataset(write_cityscapes(tmp_path, form))
    assert (dataset.kind, dataset.label_space, len(dataset.samples)) == ("cityscapes", CITYSCAPES, 2)
    assert form in dataset.description
    assert dataset.samples[0].name == "leftImg8bit/val/bonn/bonn_000000_000011_leftImg8bit.png"
    for sample in dataset.samples:
        city, stem = sample.path.parent.name, sample.path.name.removesuffix("_leftImg8bit.png")
        mask = stored(tmp_path / "gtFine" / "val" / city / f"{stem}_gtFine_{form}.png")
        labels = dataset.label_map(sample)
        for found, value in zip(labels.ravel().tolist(), mask.ravel().tolist(), strict=True):
            assert found == (TRAIN_IDS.get(value, 255) if form == "labelIds" else value)
        assert dataset.classes_in(sample) == set(range(19))
    assert len(open_dataset(ImageSource(tmp_path, split="train")).samples) == 1
    assert CITYSCAPES.background is None
    assert CITYSCAPES.names[0] == "road"
    assert CITYSCAPES.names[18] == "bicycle"


def test_ade20k_is_of_150_classes_or_for_a_model_of_32_of_the_first_31_and_all_else(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ADEChallengeData2016")
    for number, names in ((None, ()), (150, ()), (None, tuple(map(str, range(150))))):
        dataset = open_dataset(root.parent, names, number)
        assert dataset.label_space.names == (names or ADE20K.names)
        for sample in dataset.samples:
            mask = stored(root / "annotations" / "validation" / f"{sample.path.stem}.png")
            expected = [255 if value == 0 else value - 1 for value in mask.ravel().tolist()]
            assert dataset.label_map(sample).ravel().tolist() == expected
    for number, names in ((32, ()), (None, ADE20K32.names)):
        dataset = open_dataset(root, names, number)
        assert dataset.label_space == ADE20K32
        assert "ADE20K32" in dataset.description
        for sample in dataset.samples:
            mask = stored(root / "annotations" / "validation" / f"{sample.path.stem}.png")
            expected = [value if value < 32 else 0 for value in mask.ravel().tolist()]
            assert dataset.label_map(sample).ravel().tolist() == expected
    for split in ("train", "training"):
        assert len(open_dataset(ImageSource(root, split=split)).samples) == 1
    with pytest.raises(DatasetError, match=r"150 classes, or 32 as ADE20K32.* has 150 classes, and the model 21"):
        open_dataset(root, number=21)


def test_the_names_are_as_many_as_the_classes() -> None:
    assert [len(set(space.names)) for space in KNOWN] == [21, 19, 150, 32]
    assert ADE20K.names[:3] == ("wall", "building", "sky")
    assert ADE20K.names[149] == "flag"
    assert ADE20K32.names[0] == "other"
    assert ADE20K32.names[31] == "armchair"
    assert [space.background for space in KNOWN] == [0, None, None, 0]
    for space in KNOWN:
        assert label_space(space.names) is space


def test_voc_lists_that_end_in_aug_have_sbds_masks(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    (root / "SegmentationClassAug").mkdir()
    Image.fromarray(np.full((64, 80), 7, np.uint8)).save(root / "SegmentationClassAug" / "2007_000002.png")
    (root / "ImageSets/Segmentation/trainaug.txt").write_text("2007_000002\n")
    for split, label in (("train", 3), ("trainaug", 7)):
        dataset = open_dataset(ImageSource(root.parent, split=split))
        assert dataset.classes_in(dataset.samples[0]) == {label}
        assert dataset.label_space is not None
    with pytest.raises(DatasetError, match=r"no split 'test'[\s\S]*one of: train, trainaug, val"):
        open_dataset(ImageSource(root, split="test"))


MAP = """
# R G B    class
128 64 128 road

70 70 70   2
0 0 0      void
220 20 60  traffic light
"""
STREET = ("road", "traffic light", "building")


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_colours_by_a_label_map(tmp_path: Path, mode: str) -> None:
    colours = {(128, 64, 128): 0, (70, 70, 70): 2, (0, 0, 0): 255, (220, 20, 60): 1}
    content = np.array(list(colours), np.uint8)[values(0, [0, 1, 2, 3])]
    images, masks = write_pairs(tmp_path, content)
    if mode == "P":
        for path in masks.rglob("*.png"):
            Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=4).save(path)
            assert stored(path).ndim == 2
    (tmp_path / "map.txt").write_text(MAP)
    dataset = open_dataset(ImageSource(images, masks=masks, label_map=tmp_path / "map.txt"), STREET)
    assert dataset.label_space.names == STREET
    for sample in dataset.samples:
        expected = [colours[tuple(pixel)] for pixel in content.reshape(-1, 3).tolist()]
        assert dataset.label_map(sample).ravel().tolist() == expected


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_numbers_with_and_without_a_label_map(tmp_path: Path, mode: str) -> None:
    mask = values(0, [0, 1])
    images, masks = write_pairs(tmp_path, mask)
    for path in masks.rglob("*.png"):
        image = Image.fromarray(mask)
        if mode == "P":
            image.putpalette([0, 0, 0, 9, 9, 9])
        (image if mode != "1" else Image.fromarray(mask > 0)).save(path)
        with Image.open(path) as written:
            assert written.mode == mode
    plain = open_dataset(ImageSource(images, masks=masks), number=2)
    assert plain.label_space.names == ("background", "foreground")
    assert np.array_equal(plain.label_map(plain.samples[1]), mask)
    (tmp_path / "map.txt").write_text("0 foreground\n1 void\n")
    mapped = open_dataset(ImageSource(images, masks=masks, label_map=tmp_path / "map.txt"), number=2)
    assert np.array_equal(mapped.label_map(mapped.samples[0]), np.where(mask == 0, 1, 255))
    assert plain.fingerprint() != mapped.fingerprint()
    before = mapped.fingerprint()
    path = next(iter(masks.rglob("*.png")))
    Image.fromarray(1 - mask).save(path)
    assert mapped.fingerprint() != before


def test_masks_below_the_images_are_no_images(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, values(0, [0, 1]))
    masks.rename(images / "truth")
    dataset = open_dataset(ImageSource(images, masks=images / "truth"))
    assert [sample.name for sample in dataset.samples] == ["day 0/shot.jpg", "day 1/shot.jpg"]
    (images / "truth" / "more.png").write_bytes(b"")
    assert "1 masks there are of no image" in open_dataset(ImageSource(images, masks=images / "truth")).description


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "says nothing"),
        ("128 64 128", r":1 means '64 128', which is none of the 3 classes \(road, traffic light, building"),
        ("1 road\n1 road", ":2 says what a value means a second time"),
        ("1 road\n1 2 3 road", ":2 mixes"),
        ("256 road", ":1 is '256 road'"),
        ("1 2 300 road", ":1 is '1 2 300 road'"),
        ("road 1", ":1 is 'road 1'"),
        ("1 sky", ":1 means 'sky'"),
        ("1 3", ":1 means '3'"),
        ("1 -1", ":1 means '-1'"),
        ("\N{ARABIC-INDIC DIGIT ONE} road", ":1 is "),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_label_maps_that_say_nothing_clear_are_refused(tmp_path: Path, text: str | bytes | None, words: str) -> None:
    images, masks = write_pairs(tmp_path, values(0, [0, 1]))
    if text is not None:
        (tmp_path / "map.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((UsageError, DatasetError), match=words) as caught:
        open_dataset(ImageSource(images, masks=masks, label_map=tmp_path / "map.txt"), STREET)
    assert "map.txt" in str(caught.value)


def grey(value: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH), value, np.uint8)


def packed(path: Path) -> None:
    """A grey PNG of 4 bits, which Pillow reads as values of 0, 17, …, 255."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x01" * (WIDTH // 2) for _ in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 4, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def outwards(path: Path) -> None:
    path.rename(path.parents[2] / "elsewhere.png")
    path.symlink_to(path.parents[2] / "elsewhere.png")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "is missing": Path.unlink,
    r"is \(24, 40\) and .*shot\.jpg is \(40, 24\)": lambda path: Image.fromarray(grey(0).T).save(path),
    r"holds the labels \[3, 9\]; 3 classes": lambda path: Image.fromarray(values(0, [0, 3, 9])).save(path),
    "of mode RGB, not a mask of a palette or 8-bit labels": lambda path: photograph(WIDTH, HEIGHT, 0).save(path),
    "of mode I;16": lambda path: Image.fromarray(grey(1).astype(np.uint16)).save(path),
    "greys of fewer than 8 bits": packed,
    "cannot be decoded": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "not an image": lambda path: path.write_text("no image"),
    "leads out of": outwards,
    "a pipe": pipe,
}


@pytest.mark.parametrize("words", DAMAGE)
def test_masks_that_are_no_truth_are_refused_by_name(tmp_path: Path, words: str) -> None:
    images, masks = write_pairs(tmp_path / "data", grey(1))
    path = masks / "day 1" / "shot.png"
    DAMAGE[words](path)
    with pytest.raises(DatasetError, match=words) as caught:
        dataset = open_dataset(ImageSource(images, masks=masks), STREET)
        for sample in dataset.samples:
            dataset.label_map(sample)
    assert str(path) in str(caught.value)


def test_images_alone_need_no_classes_of_the_label_map(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, np.full((HEIGHT, WIDTH, 3), (128, 64, 128), np.uint8))
    (tmp_path / "map.txt").write_text(MAP)
    choice = ImageChoice(images, masks=masks, label_map=tmp_path / "map.txt", limit=1)
    assert len(choice.choose().samples) == 1
    with pytest.raises(DatasetError, match="means 'road', which is none of the 21 classes"):
        choice.choose(scored=True)
    assert choice.choose(classes=STREET, scored=True).dataset.label_space.names == STREET


def test_colours_that_no_line_names_are_refused(tmp_path: Path) -> None:
    images, masks = write_pairs(tmp_path, np.full((HEIGHT, WIDTH, 3), (1, 2, 3), np.uint8))
    (tmp_path / "map.txt").write_text(MAP)
    dataset = open_dataset(ImageSource(images, masks=masks, label_map=tmp_path / "map.txt"), STREET)
    with pytest.raises(DatasetError, match=r"holds 1 2 3, of which .*map\.txt says nothing"):
        dataset.label_map(dataset.samples[0])


def remove_mask(root: Path) -> Path:
    path = next(path for path in sorted(root.rglob("*.png")) if "val" in str(path) and "leftImg" not in path.name)
    path.unlink()
    return path


def link_mask(root: Path) -> Path:
    path = remove_mask(root)
    (root.parent / "elsewhere.png").write_bytes(b"")
    path.symlink_to(root.parent / "elsewhere.png")
    return path


def unknown_value(root: Path) -> Path:
    path = remove_mask(root)
    Image.fromarray(grey(200)).save(path)
    return path


@pytest.mark.parametrize("write", [write_cityscapes, write_ade20k])
@pytest.mark.parametrize(
    ("damage", "words"),
    [(remove_mask, "is missing"), (link_mask, "leads out of"), (unknown_value, "holds 200, of which")],
)
def test_published_trees_that_are_incomplete_are_refused_by_name(
    tmp_path: Path, write: Callable[[Path], Path], damage: Callable[[Path], Path], words: str
) -> None:
    root = write(tmp_path / "data")
    path = damage(root)
    with pytest.raises(DatasetError, match=words) as caught:
        dataset = open_dataset(root)
        for sample in dataset.samples:
            dataset.label_map(sample)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("write", [write_cityscapes, write_ade20k, write_voc])
@pytest.mark.parametrize("split", ["..", "../..", "test", "", "/"])
def test_no_split_leads_elsewhere(tmp_path: Path, write: Callable[[Path], Path], split: str) -> None:
    with pytest.raises(DatasetError, match=r"has no split|\S"):
        open_dataset(ImageSource(write(tmp_path), split=split or "."))


CONTRADICTIONS: dict[str, Callable[[Path], object]] = {
    "two truths": lambda root: ImageSource(root, masks=root, annotations=root),
    "--label-map is of masks": lambda root: ImageChoice(root, label_map=root),
    "has no splits": lambda root: open_dataset(ImageSource(write_coco(root), split="val")),
    "there is no folder": lambda root: open_dataset(ImageSource(write_coco(root), masks=root / "none")),
    "would have one mask": lambda root: open_dataset(ImageSource(two_of_one_name(root), masks=root / "masks")),
    "no image in .* but those in": lambda root: open_dataset(ImageSource(two_of_one_name(root), masks=root)),
    "19 classes, and the model 21": lambda root: open_dataset(write_cityscapes(root), VOC.names),
}


def two_of_one_name(root: Path) -> Path:
    (root / "masks").mkdir()
    for suffix in ("jpg", "png"):
        photograph(9, 8, 0).save(root / f"a.{suffix}")
    return root


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_what_contradicts_itself_is_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(FcnOnnxError, match=words) as caught:
        CONTRADICTIONS[words](tmp_path)
    assert caught.value.exit_code == 2


def test_every_entry_of_the_table_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
    table = page[page.index("## Data sets") : page.index("## Files beside them")]
    assert [line.split("|")[1].strip(" `") for line in table.splitlines() if line.startswith("| `")] == list(SETS)


@pytest.mark.parametrize("command", ["validate", "calibrate", "quantize", "inspect"])
def test_the_options_are_of_every_command_that_takes_data(command: str) -> None:
    text = CliRunner().invoke(main, [command, "--help"]).output
    for flag in ("--masks DIR", "--label-map FILE", "--split NAME", "--annotations FILE"):
        assert flag in text


def test_a_network_without_names_is_scored_on_cityscapes_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """19 classes, none of them background; the data set names them, and every label counts."""
    root = write_cityscapes(tmp_path / "city")
    fp32 = save(pixel_classifier(0, classes=19), tmp_path / "fp32.onnx")
    int8 = save(pixel_classifier(0, shift=0.05, classes=19), tmp_path / "int8.onnx")
    monkeypatch.chdir(tmp_path)
    arguments = ["--fp32", fp32, "--int8", int8, "--data", root, "--protocol", "voc-native", "--json", "j.json"]
    result = CliRunner().invoke(main, ["validate", *map(str, arguments), "--mean", "0,0,0", "--std", "1,1,1"])
    assert result.exit_code == 0, result.output
    report = json.loads(Path("j.json").read_text())
    session = ort.InferenceSession(str(fp32), providers=["CPUExecutionProvider"])
    matrix = np.zeros((19, 19), int)
    for path in sorted((root / "leftImg8bit" / "val").glob("*/*.png")):
        pixels = np.asarray(Image.open(path), np.float32) / np.float32(255)
        (logits,) = session.run(None, {"input": pixels.transpose(2, 0, 1)[None]})
        mask = Path(str(path).replace("leftImg8bit.png", "gtFine_labelIds.png").replace("leftImg8bit", "gtFine"))
        for value, label in zip(stored(mask).ravel().tolist(), logits[0].argmax(0).ravel().tolist(), strict=True):
            if value in TRAIN_IDS:
                matrix[TRAIN_IDS[value], label] += 1
    assert report["confusion"]["fp32"] == matrix.tolist()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    expected = dict(zip(CITYSCAPES.names, (matrix.diagonal() / union).tolist(), strict=True))
    assert report["fp32"]["per_class_iou"] == pytest.approx(expected)
    assert report["fp32"]["miou"] == pytest.approx(np.mean(list(expected.values())))


def test_a_network_of_32_classes_is_quantized_and_judged_on_ade20k32(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade")
    model = save(residual_network(classes=32), tmp_path / "m.onnx")
    choice = ImageChoice(root, split="train", limit=1, spread=True)
    made = quantize(QuantizeOptions(model=model, choice=choice, max_drop=100.0, output=tmp_path / "int8.onnx"))
    assert len(made.trials) == 1
    wrong = save(residual_network(classes=33), tmp_path / "n.onnx")
    with pytest.raises(DatasetError, match="has 150 classes, and the model 33"):
        quantize(QuantizeOptions(model=wrong, choice=choice, max_drop=100.0, output=tmp_path / "x.onnx"))
    plain = ImageChoice(root, limit=1)
    assert quantize(QuantizeOptions(model=wrong, choice=plain, output=tmp_path / "x.onnx")).path.is_file()
