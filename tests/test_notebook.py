"""docs/notebook.ipynb runs from its first cell to its last, with plain Python, and shows what was committed.

Run as a program, this writes the outputs of its cells anew.
"""

from __future__ import annotations

import ast
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


def shown(value: Any) -> dict[str, list[str]]:
    """The bundle of MIME types that Jupyter would make of a value."""
    if not hasattr(value, "_repr_html_"):
        return {"text/plain": repr(value).splitlines(keepends=True)}
    plain = [f"<{type(value).__name__}>"]
    return {"text/html": value._repr_html_().splitlines(keepends=True), "text/plain": plain}


def executed(notebook: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Each code cell, and its outputs as they are now; in the working folder."""
    names: dict[str, Any] = {}
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        value = run("".join(cell["source"]), names)
        result = {"output_type": "execute_result", "execution_count": cell["execution_count"], "metadata": {}}
        yield cell, [] if value is None else [result | {"data": shown(value)}]


def without_numbers(outputs: list[Any]) -> str:
    """Timings, and scores, are the machine's."""
    return re.sub(
        r"(Cannot tell|No significant loss|Int8 loses accuracy|Int8 scores higher)",
        "",
        re.sub(r"[-+]?\d[\d.,e-]*|None", "#", json.dumps(outputs, sort_keys=True)),
    )


def test_the_notebook_is_one_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | code
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    monkeypatch.chdir(tmp_path)
    tables = 0
    for count, (cell, outputs) in enumerate(executed(notebook), start=1):
        assert cell["execution_count"] == count
        assert without_numbers(outputs) == without_numbers(cell["outputs"])
        tables += sum("text/html" in output["data"] for output in outputs)
    assert tables == 1
    assert len(NOTEBOOK.read_bytes()) < 20_000


if __name__ == "__main__":
    written = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        for own, made in executed(written):
            own["outputs"] = made
        os.chdir("/")
    NOTEBOOK.write_text(json.dumps(written, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
