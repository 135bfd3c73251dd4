"""Build the sdist and the wheel, and use the wheel as somebody would who has nothing else.

    python tools/try_package.py --constraints constraints/newest.txt [--without-torch /usr/bin/python3.13]

The wheel is built from the sdist, must hold every file of the package and none beside it, and is installed into empty
environments, outside of the checkout: with the extra `export` under this Python, where `fcn-onnx demo` runs, and alone
under the Python that is named, where the demo's model is quantized and validated without torch. It needs the package
index. It prints what it did, and ends with exit code 1 at the first thing that is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def run(*command: str | Path, folder: Path) -> str:
    """What the command prints; it runs in `folder` with an environment that knows nothing of the checkout."""
    print("$", *(str(word).replace(str(folder), ".") for word in command), flush=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([str(word) for word in command], cwd=folder, env=clean, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel, built from the sdist, whose files are those that git knows of."""
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", TOP, folder=folder)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    known = set(subprocess.check_output(["git", "ls-files", "fcn_onnx"], cwd=TOP, text=True).split())
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    if packed != known:
        raise SystemExit(
            f"the wheel lacks {sorted(known - packed)} and holds {sorted(packed - known)} that git does not know"
        )
    with tarfile.open(sdist) as archive:
        roots = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    if missing := {"fcn_onnx", "tests", "docs", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} - roots:
        raise SystemExit(f"the sdist lacks {sorted(missing)}")
    print(f"{wheel.name}: {len(packed)} files, {wheel.stat().st_size / 1e6:.1f} MB")
    return wheel


def install(python: str, wheel: Path, extra: str, constraints: Path, folder: Path, name: str) -> Path:
    """The command of a new environment that holds the wheel and what it requires."""
    run(python, "-m", "venv", folder / name, folder=folder)
    bin_ = folder / name / "bin"
    asked = f"fcn-onnx{extra} @ {wheel.as_uri()}"
    run(bin_ / "pip", "install", "--quiet", "--disable-pip-version-check", "-c", constraints, asked, folder=folder)
    return bin_ / "fcn-onnx"


def try_without_torch(command: Path, folder: Path) -> None:
    """Quantize and validate the demo's model where torch is not."""
    data = ("--data", "demo/coco/val2017")
    print(run(command, "quantize", "--model", "demo/fcn-tiny-12.onnx", *data, "--limit", "20", folder=folder))
    models = ("--fp32", "demo/fcn-tiny-12.onnx", "--int8", "fcn-tiny-12-int8.onnx")
    print(run(command, "validate", *models, *data, "--report", "alone", folder=folder))
    with_torch, without = (
        json.loads((folder / name / "metrics.json").read_text()) for name in ("demo/report", "alone")
    )
    for name in ("fp32/miou", "int8/miou", "int8/delta_label_agreement"):
        if with_torch[name] != without[name]:
            raise SystemExit(f"{name} is {without[name]} without torch, {with_torch[name]} with it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constraints", type=Path, required=True, help="versions for pip to keep to")
    parser.add_argument("--without-torch", metavar="PYTHON", help="another Python, for the environment without torch")
    options = parser.parse_args()
    constraints = options.constraints.resolve()
    folder = Path(tempfile.mkdtemp(prefix="fcn-onnx-package-"))
    try:
        wheel = build(folder)
        command = install(sys.executable, wheel, "[export]", constraints, folder, "with-torch")
        print(run(command, "demo", "demo", folder=folder))
        other = options.without_torch or sys.executable
        print(run(other, "--version", folder=folder), end="")
        try_without_torch(install(other, wheel, "", constraints, folder, "without-torch"), folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
