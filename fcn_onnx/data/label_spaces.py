"""The labels of data sets that have their own: names, colours, and which of them is background, if any."""

from __future__ import annotations

from fcn_onnx.data.labels import VOC, VOC_CLASSES, LabelSpace

CITYSCAPES = LabelSpace(
    (
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
        *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    ),
    colours=(
        *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
        *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60)),
        *((255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    ),
)
"""The 19 evaluated classes by trainId, and their colours (cityscapesScripts `helpers/labels.py`)."""

_SCENES = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table,
mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat,
fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter,
sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop,
stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land, bannister,
escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything,
swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name,
microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray,
ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""

ADE20K = LabelSpace(tuple(" ".join(name.split()) for name in _SCENES.split(",")))
"""The 150 classes of the MIT scene parsing benchmark, by its number less one."""

ADE20K32 = LabelSpace(("other", *ADE20K.names[:31]), background=0)
"""TI's: the first 31 of them by the benchmark's number, and 0 for all else, which is counted."""

KNOWN = (VOC, CITYSCAPES, ADE20K, ADE20K32)


def label_space(names: tuple[str, ...]) -> LabelSpace:
    """The labels of these names: a known data set's, with its colours, else `LabelSpace.of`."""
    return next((space for space in KNOWN if space.names == names), None) or LabelSpace.of(names)


def default_classes(channels: int | None) -> tuple[str, ...]:
    """What the classes of a model of so many channels are called where nothing names them.

    VOC's for 21 or an unknown number; background and foreground for one or two; else `class 0`, `class 1`, ….
    """
    if channels in (None, len(VOC_CLASSES)):
        return VOC_CLASSES
    return ("background", "foreground") if channels <= 2 else tuple(f"class {i}" for i in range(channels))
