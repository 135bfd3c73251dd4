"""What is named by where it lies, so that naming it imports nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def found(place: str) -> Any:
    """What is called `package.module:name`, imported when it is asked for."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
