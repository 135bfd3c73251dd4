"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import click

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.sample import read_classes
from fcn_onnx.jobs.bounds import THREADS
from fcn_onnx.model.interface import CHANNELS, Interface

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class Size(click.ParamType[tuple[int, int]]):
    """`HxW` in pixels → (height, width)."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(value))
        if not match:
            self.fail(f"{value!r} is not a size; write it as height x width, such as 520x520", param, ctx)
        return int(match[1]), int(match[2])


def data_option(*, required: bool) -> Callable[[F], F]:
    """`--data DIR`."""
    return click.option(
        "--data",
        type=PATH,
        required=required,
        metavar="DIR",
        help="COCO images (coco/val2017 finds coco/annotations/instances_val2017.json), a VOCdevkit, "
        "or, to calibrate, any folder of images.",
    )


def annotations_option(function: F) -> F:
    """`--annotations FILE`."""
    return click.option("--annotations", type=PATH, metavar="FILE", help="COCO annotations, if they are elsewhere.")(
        function
    )


def images_option(function: F) -> F:
    """`--images LIST`."""
    return click.option(
        "--images",
        type=PATH,
        metavar="LIST",
        help="Exactly these images: one name a line, relative to --data.",
    )(function)


def image_choice(function: Callable[..., None]) -> Callable[..., None]:
    """The options that choose calibration images; the command gets them as `choice`, None without `--data`."""

    @wraps(function)
    def command(
        *,
        data: Path | None,
        annotations: Path | None,
        images: Path | None,
        limit: int | None,
        seed: int,
        spread: bool,
        **others: Any,
    ) -> None:
        choice = ImageChoice(data, annotations, images, limit, seed, spread) if data else None
        function(choice=choice, **others)

    options = (
        data_option(required=False),
        annotations_option,
        images_option,
        click.option("--limit", type=click.IntRange(min=1), help="How many to calibrate on. Default: min(100, half)."),
        click.option("--seed", type=int, default=0, show_default=True, help="Of the draw of calibration images."),
        click.option("--spread", is_flag=True, help="Draw images that cover the classes evenly (needs annotations)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class Triple(click.ParamType[tuple[float, float, float]]):
    """`R,G,B` → three floats."""

    name = "R,G,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            red, green, blue = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not three numbers; write them as 0.485,0.456,0.406", param, ctx)
        return red, green, blue


class Finite(click.FloatRange):
    """A number in a range; NaN and infinity lie in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def multiple_of_option(function: F) -> F:
    """`--multiple-of N`."""
    return click.option(
        "--multiple-of",
        type=click.IntRange(min=1),
        metavar="N",
        help="Pad images to sides that are multiples of N. Default: what the model says, or is found to need.",
    )(function)


def interface_options(function: Callable[..., None]) -> Callable[..., None]:
    """What a model may not say itself; the command gets it as `interface`."""

    @wraps(function)
    def command(
        *,
        mean: Any,
        std: Any,
        channels: str | None,
        classes: Path | None,
        output_name: str | None,
        multiple_of: int | None,
        **others: Any,
    ) -> None:
        names = read_classes(classes) if classes else None
        function(interface=Interface(mean, std, output_name, channels, names, multiple_of), **others)

    options = (
        click.option(
            "--output-name", metavar="NAME", help="Output with logits or labels. Default: `out`, or the only one."
        ),
        click.option(
            "--mean",
            type=Triple(),
            help="Of the input's normalisation, (x/255 - mean)/std. Default: what the model says.",
        ),
        click.option("--std", type=Triple(), help="Likewise, the divisor."),
        click.option(
            "--channels", type=click.Choice(CHANNELS), help="In which order the model takes them. Default: RGB."
        ),
        click.option(
            "--classes",
            type=PATH,
            metavar="FILE",
            help="Class names, one a line, background first. Default: what the model says, else VOC's 21.",
        ),
        multiple_of_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def threads_option(function: F) -> F:
    """`--threads N`."""
    return click.option(
        "--threads",
        type=click.IntRange(int(THREADS.least), int(THREADS.most)),
        default=0,
        help="Of each session; 0 means all cores.",
    )(function)


def percentile_option(function: F) -> F:
    """`--percentile P`."""
    return click.option(
        "--percentile", type=float, metavar="PERCENT", help="With --method percentile. Default: 99.999."
    )(function)


def json_option(function: F) -> F:
    """`--json FILE|-`."""
    return click.option(
        "--json", "json_target", metavar="FILE|-", help="Write the result as one JSON object; - is stdout."
    )(function)


def force_option(function: F) -> F:
    """`--force`."""
    return click.option("--force", is_flag=True, help="Redo it though nothing has changed.")(function)


def listed(table: dict[str, str]) -> str:
    """Help text of a table of named things, a line each, kept as it is by click."""
    width = max(map(len, table))
    return "\n".join(["\b", *(f"  {name:<{width}}  {text}" for name, text in table.items())])
