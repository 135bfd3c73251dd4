"""Every error the package raises on purpose, in one tree.

FcnOnnxError                     exit code
├── UsageError                   2  options that contradict each other or the situation
├── InputError                   2  something that was read is not what it should be
│   ├── ImageError                  a file that is not a readable RGB photograph
│   ├── DatasetError                a data folder, its lists or its annotations
│   ├── ModelError                  an ONNX file
│   ├── WeightsError                a checkpoint
│   ├── NetworkError                a torch network of the user's own
│   ├── TableError                  a range table or histogram file
│   ├── ReportError                 a report.json
│   └── RecipeError                 a recipe
├── OutputError                  2  a place that cannot be written
├── MissingDependencyError       2  a package that this command needs is not installed
└── WorkError                    1  the input was fine, the work failed
    ├── ExportError                 the exporter's model is not what was asked for
    ├── ParityError                 the exported model disagrees with torch
    │   └── BeyondToleranceError    its logits differ by more than the fixed tolerance
    ├── CalibrationError            an activation that has no range (NaN, infinity)
    ├── QuantizationError           the int8 model cannot be written, loaded or run
    ├── BundleError                 what serves a model does not label as it should
    ├── WorkerError                 a worker process died
    └── BusyError                   another run is at work on the same output

Beside the tree, the command line knows three more: what the system refuses (OSError) and want of memory (MemoryError)
are said in their own words, exit code 1; whatever else is raised is a fault of ours, exit code 1, and a folder is kept
with what a report of it needs (`fcn_onnx.cli.faults`). SIGINT and SIGTERM end a command with 130 and 143.

A gate that is not met (`--max-drop`) is a result, not an error: the command prints it and exits 1.
"""

from __future__ import annotations

from typing import ClassVar


class FcnOnnxError(Exception):
    """An error with its remedy.

    Args:
        what: what was found and where, one sentence, naming the file or option.
        fix: what the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.fix)


def first_line(error: BaseException) -> str:
    """What any error says, in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _rebuild(kind: type[FcnOnnxError], what: str, fix: str) -> FcnOnnxError:
    """Restore an error that crossed a process boundary."""
    return kind(what, fix=fix)


class UsageError(FcnOnnxError):
    exit_code = 2


class InputError(FcnOnnxError):
    exit_code = 2


class ImageError(InputError):
    pass


class DatasetError(InputError):
    pass


class ModelError(InputError):
    pass


class WeightsError(InputError):
    pass


class NetworkError(InputError):
    pass


class TableError(InputError):
    pass


class ReportError(InputError):
    pass


class RecipeError(InputError):
    pass


class OutputError(FcnOnnxError):
    exit_code = 2


class MissingDependencyError(FcnOnnxError):
    exit_code = 2


class WorkError(FcnOnnxError):
    exit_code = 1


class ExportError(WorkError):
    pass


class ParityError(WorkError):
    pass


class BeyondToleranceError(ParityError):
    pass


class CalibrationError(WorkError):
    pass


class QuantizationError(WorkError):
    pass


class BundleError(WorkError):
    pass


class WorkerError(WorkError):
    pass


class BusyError(WorkError):
    pass
