"""tools/figures.py: which figures it believes."""

from __future__ import annotations

from pathlib import Path

import figures
import pytest

from fcn_onnx.jobs.artifact import FORM_VERSION

PAGE = """# Measured

<!-- measured
form: {form}
commit: 1234567
cpu: a CPU
run: {run}
compare: apples
-->
A word between.

| what | how many |
|---|---|
| **apples** | 3 |
| pears | 4 |

| another | table |

<!-- measured
form: any
commit: 1234567
cpu: a CPU
run: echo
-->

    as printed
"""


def written(folder: Path, form: object = FORM_VERSION, run: str = "echo apples 3") -> list[figures.Block]:
    page = folder / "page.md"
    page.write_text(PAGE.format(form=form, run=run))
    return list(figures.blocks(page))


def test_a_comment_vouches_for_the_block_below_it(tmp_path: Path) -> None:
    first, second = written(tmp_path)
    assert first.lines == ("| what | how many |", "| **apples** | 3 |", "| pears | 4 |")
    assert second.lines == ("    as printed",)
    assert first.faults() == second.faults() == []
    assert first.missing() == []


def test_figures_of_another_form_are_not_believed(tmp_path: Path) -> None:
    (fault,) = written(tmp_path, form=FORM_VERSION - 1)[0].faults()
    assert fault.startswith(f"is of form {FORM_VERSION - 1}")


@pytest.mark.parametrize("run", ["echo apples 4", "echo apples 3 or so", "false"])
def test_a_line_that_does_not_come_out_again_is_named(tmp_path: Path, run: str) -> None:
    assert len(written(tmp_path, run=run)[0].missing()) == 1


def test_every_measured_block_of_the_pages_says_where_it_comes_from() -> None:
    found = [
        b for page in (figures.TOP / "README.md", *(figures.TOP / "docs").glob("*.md")) for b in figures.blocks(page)
    ]
    assert found
    assert {b.place: b.faults() for b in found if b.faults()} == {}
