"""The package's shape: what it exports, how errors leave it, and that imports run one way."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import fcn_onnx
from fcn_onnx import errors
from fcn_onnx.cli import COMMANDS

REPOSITORY = Path(__file__).parents[1]


def test_stages_are_functions_of_the_package() -> None:
    stages = {"benchmark", "calibrate", "export", "inspect", "predict", "quantize", "run", "sensitivity", "validate"}
    assert stages <= set(fcn_onnx.__all__)
    for name in fcn_onnx.__all__:
        assert callable(getattr(fcn_onnx, name))
    with pytest.raises(AttributeError):
        _ = fcn_onnx.train


def test_import_is_cheap() -> None:
    code = "import sys, fcn_onnx; print(*{'torch', 'onnx', 'onnxruntime', 'numpy', 'click'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


ARRAYS = ("export", "validate")
"""Their tables hold functions on arrays and photographs."""

HELP = """
import sys
from fcn_onnx.cli import main
loaded = lambda: {'onnxruntime', 'torch', 'numpy', 'onnx', 'PIL', 'rich', 'yaml'} & set(sys.modules)
print('cli', *loaded(), file=sys.stderr)
for command in sys.argv[1:]:
    main([*command.split(), '--help'], standalone_mode=False)
    print(command or "fcn-onnx", *loaded(), file=sys.stderr)
"""
"""What is shown without the work is shown at once: tables of names lie beside what they name, not in it."""


def test_help_is_cheap() -> None:
    light = ["", *(name for name in COMMANDS if name not in ARRAYS)]
    done = subprocess.run([sys.executable, "-c", HELP, *light, *ARRAYS], capture_output=True, text=True, check=True)
    loaded = {name: set(packages) for name, *packages in map(str.split, done.stderr.splitlines())}
    expected = {name or "fcn-onnx": set() for name in ["cli", *light]}
    assert loaded == expected | {name: {"numpy", "PIL"} for name in ARRAYS}


def test_quantize_and_validate_import_no_torch() -> None:
    code = "import sys, fcn_onnx.stages.run, fcn_onnx.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def _tree(kind: type) -> list[type]:
    return [kind, *(inner for sub in kind.__subclasses__() for inner in _tree(sub))]


@pytest.mark.parametrize("kind", _tree(errors.FcnOnnxError))
def test_every_error_is_in_the_drawing_and_crosses_processes(kind: type[errors.FcnOnnxError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    error = pickle.loads(pickle.dumps(kind("found", fix="do this")))  # noqa: S301  # our own bytes
    assert (type(error), error.what, error.fix, error.exit_code) == (kind, "found", "do this", kind.exit_code)
    assert kind.exit_code == (1 if issubclass(kind, errors.WorkError) or kind is errors.FcnOnnxError else 2)


def test_import_layers_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


HOMES = {
    "torch": ("networks",),
    "torchvision": ("networks",),
    "click": ("cli",),
    "onnxruntime": ("runtime", "quantization/backends", "networks/forms.py"),
    "openvino": ("runtime/openvino.py",),
    "neural_compressor": ("quantization/backends",),
    "numba": ("calibration/compiled.py",),
    "ray": ("jobs/conductor.py",),
    "pycocotools": ("data/sets", "demo"),
    "tempfile": ("jobs", "cli/faults.py"),  # what is temporary is locked, and swept when its owner was killed
}
"""Where a package may be imported, by room, folder or file."""


def test_other_peoples_packages_are_imported_in_their_rooms_alone() -> None:
    root = REPOSITORY / "fcn_onnx"
    strays = []
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing_alone = {id(inner) for node in tree.body if isinstance(node, ast.If) for inner in ast.walk(node)}
        for node in (node for node in ast.walk(tree) if id(node) not in typing_alone):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for package in {name.partition(".")[0] for name in names} & HOMES.keys():
                if not any(place == home or place.startswith(f"{home}/") for home in HOMES[package]):
                    strays.append(f"{place} imports {package}")
    assert not strays


def test_nothing_lies_loose_at_the_top_and_rooms_faces_do_nothing() -> None:
    root = REPOSITORY / "fcn_onnx"
    assert {path.name for path in root.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py"}
    faces = {path for path in root.rglob("__init__.py") if path.parent != root}
    busy = [str(face.relative_to(root)) for face in faces if len(ast.parse(face.read_text(encoding="utf-8")).body) > 1]
    assert set(busy) <= {"cli/__init__.py"}


LINES_OF_A_MODULE, LINES_OF_A_FUNCTION, PARAMETERS = 350, 60, 10


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many there are, but for the one that a method is called on."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def _beyond(source: str, place: str) -> list[str]:
    """What of a module is larger than a reader takes in at once."""
    lines = len(source.splitlines())
    found = [f"{place} has {lines} lines"] if lines > LINES_OF_A_MODULE else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min(inner.lineno for inner in [node, *node.decorator_list])
            if (lines := (node.end_lineno or first) - first + 1) > LINES_OF_A_FUNCTION:
                found.append(f"{place}: {node.name} has {lines} lines")
            if (count := _parameters(node)) > PARAMETERS:
                found.append(f"{place}: {node.name} has {count} parameters")
    return found


def test_modules_functions_and_signatures_fit_a_reader() -> None:
    found = []
    for path in sorted((REPOSITORY / "fcn_onnx").rglob("*.py")):
        found += _beyond(path.read_text(encoding="utf-8"), path.relative_to(REPOSITORY).as_posix())
    assert not found


def test_what_does_not_fit_is_found() -> None:
    eleven = ", ".join("abcdefghijk")
    for source, words in {
        "\n" * 351: "m has 351 lines",
        "@d\ndef f():\n" + "    pass\n" * 59: "m: f has 61 lines",
        f"def f(*, {eleven}): pass": "m: f has 11 parameters",
        "class C:\n    def f(self, a, /, b, *c, d, e, f, g, h, i, j, **k): pass": "m: f has 11 parameters",
    }.items():
        assert _beyond(source, "m") == [words]
    assert not _beyond("\n" * 350, "m") + _beyond("def f():\n" + "    pass\n" * 59, "m")
    assert not _beyond(f"class C:\n    async def f(self, {eleven[:-3]}): pass", "m")


def test_the_house_is_drawn_as_it_stands() -> None:
    import draw_house

    house = draw_house.read_house()
    rooms = {path.name for path in (REPOSITORY / "fcn_onnx").iterdir() if (path / "__init__.py").is_file()} | {"errors"}
    assert {room for floor in house.floors for room in floor} == rooms
    assert sum(modules for modules, _ in house.sizes.values()) == len(list((REPOSITORY / "fcn_onnx").rglob("*.py")))
    height = {room: row for row, floor in enumerate(house.floors) for room in floor}
    assert all(height[a] < height[b] for a, b in house.arrows if a in height)  # arrows go down
    assert draw_house.to_svg(house).count("<rect") == len(rooms)
