"""mkdocs calls this: what pages show of the program is made from the program itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from fcn_onnx.cli import COMMANDS, main

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import draw_house

HELP, HOUSE = "<!-- commands -->", "<!-- house -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every command's help, and the picture of the rooms, where a page has their marks."""
    if HELP in markdown:
        markdown = markdown.replace(HELP, "\n\n".join(_sections()))
    if HOUSE in markdown:
        markdown = markdown.replace(HOUSE, draw_house.to_svg(draw_house.read_house()))
    return markdown


def _sections() -> list[str]:
    sections = []
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        with click.Context(command, info_name=f"fcn-onnx {name}", terminal_width=88, max_content_width=88) as context:
            sections.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```")
    return sections
