"""An interrupt at the very moment in which a temporary file or folder is made, or goes, leaves none behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fcn_onnx.jobs.files import replacing
from fcn_onnx.jobs.scratch import file_in, folder_in

Maker = Callable[[Path], AbstractContextManager[object]]
MAKERS: dict[str, tuple[Maker, tuple[ModuleType, str], tuple[ModuleType, str]]] = {
    "file": (lambda p: file_in(p, "a.", ".x"), (tempfile, "mkstemp"), (os, "close")),
    "folder": (lambda p: folder_in(p, "a."), (tempfile, "mkdtemp"), (shutil, "rmtree")),
    "replacement": (lambda p: replacing(p / "a"), (tempfile, "mkstemp"), (os, "close")),
}


def interrupt_after(monkeypatch: pytest.MonkeyPatch, where: tuple[ModuleType, str]) -> None:
    real = getattr(*where)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(*where, real)
        result = real(*arguments, **named)
        signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(*where, interrupted)


@pytest.mark.parametrize("kind", MAKERS)
def test_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    maker, making, _ = MAKERS[kind]
    interrupt_after(monkeypatch, making)
    with pytest.raises(KeyboardInterrupt), maker(tmp_path):
        raise AssertionError("the block began")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", MAKERS)
def test_while_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    maker, _, going = MAKERS[kind]
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)), maker(tmp_path):
        interrupt_after(monkeypatch, going)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
