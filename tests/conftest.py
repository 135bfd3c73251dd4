"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# The machine is shared: how long an example takes says nothing. Examples are the same on every run.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

# A suite that a script runs in the background inherits that SIGINT is ignored, and so would the commands that it tests.
os.environ.pop("GITHUB_STEP_SUMMARY", None)  # tests are no reports of the job that runs them

signal.signal(signal.SIGINT, signal.default_int_handler)
