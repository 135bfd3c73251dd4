"""mkdocs calls this: what pages show of the program is made from the program itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from fcn_onnx.cli import COMMANDS, main
from fcn_onnx.networks.families import ARCHITECTURES

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import draw_house

HELP, HOUSE = "<!-- commands -->", "<!-- house -->"
NETWORKS, RECIPES = "<!-- networks -->", "<!-- recipes -->"
HERE = r"(?:Not measured|Measured|Counted)\b.*"
"""What a recipe's head says of this place, to its end."""
FOLDER = Path(__file__).parents[1] / "recipes"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every command's help, the picture of the rooms, networks and recipes where a page has their marks."""
    if HELP in markdown:
        markdown = markdown.replace(HELP, "\n\n".join(_sections()))
    if HOUSE in markdown:
        markdown = markdown.replace(HOUSE, draw_house.to_svg(draw_house.read_house()))
    if NETWORKS in markdown:
        markdown = markdown.replace(NETWORKS, _networks())
    if RECIPES in markdown:
        markdown = markdown.replace(RECIPES, _recipes())
    return markdown


def _networks() -> str:
    rows = ["| name | whose | what | at | protocol | published |", "|---|---|---|---|---|---|"]
    for one in ARCHITECTURES.values():
        names = ", ".join(f"`{name}`" for name in (one.name, *one.aliases))
        size = f"{one.size[0]}×{one.size[1]}"
        rows.append(f"| {names} | {one.origin} | {one.description} | {size} | `{one.protocol}` | {one.published} |")
    return "\n".join(rows)


def _recipes() -> str:
    """A row for each recipe, of what its head says."""
    rows = ["| `fcn-onnx run recipes/…` | published | here |", "|---|---|---|"]
    for path in sorted(FOLDER.rglob("*.yaml")):
        lines = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
        head = " ".join(f"`{line}`" if line.startswith("--set") else line for line in lines)
        published, here = re.search(r"Published.*?(?= (?:Not measured|Measured) )", head), re.search(HERE, head)
        name = path.relative_to(FOLDER).as_posix()
        rows.append(f"| `{name}` | {published[0] if published else ''} | {here[0] if here else ''} |")
    return "\n".join(rows)


def _sections() -> list[str]:
    sections = []
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        with click.Context(command, info_name=f"fcn-onnx {name}", terminal_width=88, max_content_width=88) as context:
            sections.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```")
    return sections
