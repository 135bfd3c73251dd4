"""The report on the page of a GitHub Actions job."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_onnx.jobs.text import visible

if TYPE_CHECKING:
    from fcn_onnx.report.document import Document

VARIABLE = "GITHUB_STEP_SUMMARY"


def summarise(document: Document) -> None:
    """Append the report as Markdown to the file that `$GITHUB_STEP_SUMMARY` names, if it is set.

    A file that cannot be written is said on stderr; the result stands all the same.
    """
    place = os.environ.get(VARIABLE)
    if not place:
        return
    from fcn_onnx.report.markdown import to_markdown

    try:
        with Path(place).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(to_markdown(document) + "\n")
    except OSError as error:
        sys.stderr.write(visible(f"no summary in ${VARIABLE} ({place}): {error.strerror}") + "\n")
