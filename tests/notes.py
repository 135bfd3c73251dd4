"""Progress that keeps what it was told, for tests of what is said."""

from __future__ import annotations


class Notes:
    def __init__(self) -> None:
        self.said: list[str] = []

    def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
        return iter(items)

    def note(self, message: str) -> None:
        self.said.append(message)
