"""A bundle is tried in a process of its own, which can import the packages that it names, and no others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fcn_onnx.errors import BundleError

NEEDED = {"onnxruntime": "onnxruntime", "numpy": "numpy", "pillow": "PIL"}
"""What a bundle's scripts import, by the name of the package."""

TRIAL = """
import json, runpy, sys
folder, path, allowed = json.load(sys.stdin)
class Alone:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"{name} is in none of the packages that a bundle needs")
sys.meta_path.insert(0, Alone())
sys.path[:0] = [folder]
sys.path += path
runpy.run_path(folder + "/check.py", run_name="__main__")
"""
"""Isolated (`-I -S`): what is not allowed is not imported, though it is installed."""


def tried(folder: Path, labels: str) -> None:
    """Run the bundle's own check.

    Args:
        labels: the digest of the labels that it has to find.

    Raises:
        BundleError: it does not run, or finds other labels.
    """
    given = json.dumps([str(folder), [entry for entry in sys.path if entry], sorted(allowed_modules())])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", TRIAL],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
    )
    if labels not in done.stdout:
        said = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise BundleError(
            f"the script of the bundle does not label as predict does: {said}",
            fix="this is a fault of fcn-onnx: report it with the model, or its card",
        )


def allowed_modules() -> frozenset[str]:
    """Top-level modules of what a bundle needs, of what that needs in turn, and of the bundle itself."""
    tops, seen, waiting = {"segment", "opencv", *NEEDED.values()}, set[str](), list(NEEDED)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        tops |= {file.parts[0].removesuffix(".py").partition(".")[0] for file in found.files or ()}
        waiting += [
            match[0].lower()
            for requirement in found.requires or ()
            if "extra ==" not in requirement and (match := re.match(r"[\w.-]+", requirement))
        ]
    return frozenset(tops)
