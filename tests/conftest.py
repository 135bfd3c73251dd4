"""Settings of the whole suite."""

from __future__ import annotations

from hypothesis import settings

# The machine is shared: how long an example takes says nothing. Examples are the same on every run.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
