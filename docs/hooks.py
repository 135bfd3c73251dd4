"""mkdocs calls this: the command-line page is written from the commands themselves."""

from __future__ import annotations

from typing import Any

import click

from fcn_onnx.cli import main

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every command's help where a page has the mark."""
    return markdown.replace(MARK, "\n\n".join(_sections())) if MARK in markdown else markdown


def _sections() -> list[str]:
    sections = []
    for name, command in main.commands.items():
        with click.Context(command, info_name=f"fcn-onnx {name}", terminal_width=88, max_content_width=88) as context:
            sections.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```")
    return sections
