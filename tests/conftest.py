"""Settings of the whole suite."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from clusters import ENVIRONMENT, cluster
from hypothesis import settings

# The machine is shared: how long an example takes says nothing. Examples are the same on every run.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

# A suite that a script runs in the background inherits that SIGINT is ignored, and so would the commands that it tests.
os.environ.pop("GITHUB_STEP_SUMMARY", None)  # tests are no reports of the job that runs them

signal.signal(signal.SIGINT, signal.default_int_handler)

WITHOUT_TORCH = find_spec("torch") is None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Where torch is not installed, the tests that compare with it are left out; the report's head says so."""
    if not WITHOUT_TORCH or collection_path.suffix != ".py":
        return None
    return (
        bool(re.search(r"^(?:import|from) torch\b", collection_path.read_text(encoding="utf-8"), re.MULTILINE)) or None
    )


def pytest_report_header() -> str | None:
    return "torch is not installed: tests that compare with it are left out" if WITHOUT_TORCH else None


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of a Ray cluster of one node with two cores; who uses it `needs_ray`."""
    with pytest.MonkeyPatch.context() as patch, cluster(2) as nodes:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield nodes.address
