"""Flags that are made from options: what is required, what is not, and what each becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fcn_onnx.cli import main
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import COUNT
from fcn_onnx.jobs.fields import Checked, Pair, assemble, option, part


@dataclass(frozen=True, kw_only=True)
class Toy(Checked):
    name: str = option(help="Of it.", also={"a": "first", "b": "second"})
    choice: ImageChoice | None = part(ImageChoice, given="data")
    size: Pair | None = option(None, help="Pixels.", bound=COUNT)
    whole: bool = option(True, help="Leave some out.", opposite="--no-whole")
    many: tuple[int, ...] = option((), help="Numbers.")


def parsed(*arguments: str) -> Toy:
    found: list[Toy] = []

    def act(options: Toy, json_target: str | None) -> None:
        """Do it."""
        found.append(options)

    StageCommand("toy", Toy, act, examples=()).main(list(arguments), standalone_mode=False)
    return found[0]


def test_defaults_parts_and_what_is_repeated() -> None:
    assert parsed("--name", "a") == Toy(name="a")
    assert parsed("--name", "b", "--no-whole", "--size", "3x4", "--many", "1", "--many", "2") == Toy(
        name="b", whole=False, size=(3, 4), many=(1, 2)
    )
    assert parsed("--name", "a", "--data", "d", "--limit", "2").choice == ImageChoice(Path("d"), limit=2)


def test_what_has_no_default_is_required_and_a_part_that_may_be_absent_is_not() -> None:
    with pytest.raises(click.MissingParameter, match="name"):
        parsed()
    assert parsed("--name", "a").choice is None


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        (("--limit", "2"), "--limit"),
        (("--spread",), "--spread"),
        (("--masks", "m"), "--masks"),
        (("--seed", "1"), "--seed"),
    ],
)
def test_what_is_said_of_images_that_are_not_given_is_refused(given: tuple[str, ...], flag: str) -> None:
    with pytest.raises(UsageError, match=f"{flag} is of --data, which is not given"):
        parsed("--name", "a", *given)


@pytest.mark.parametrize(
    ("command", "missing"), [(["export"], "--network"), (["validate"], "--data"), (["benchmark"], "MODEL")]
)
def test_commands_say_what_is_missing(command: list[str], missing: str) -> None:
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "Missing" in result.output
    assert missing in result.output


@pytest.mark.parametrize("command", ["calibrate", "quantize"])
def test_images_are_not_required_where_a_file_may_stand_in(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"]).output
    assert "--data DIR" in shown
    assert "[required]" not in shown


def test_a_value_out_of_bounds_or_of_no_table_is_named_as_its_flag_is() -> None:
    with pytest.raises(UsageError, match="a side of --size is 0"):
        assemble(Toy, {"name": "a", "size": (0, 3)})
    with pytest.raises(UsageError, match="--name is 'c'"):
        Toy(name="c")
