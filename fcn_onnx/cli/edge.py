"""The command's edge: whatever happens in a command leaves it as one message and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import click

from fcn_onnx.cli.faults import keep_fault
from fcn_onnx.errors import FcnOnnxError, first_line
from fcn_onnx.jobs.text import visible

SIGINT_CODE, SIGTERM_CODE = 130, 143


class _Terminated(BaseException):
    """SIGTERM came: like KeyboardInterrupt, it passes through all that cleans up."""


@contextmanager
def edge() -> Iterator[None]:
    """What a command does is done in this."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without × or ü: shown otherwise, not an error
    with _on_sigterm():
        try:
            try:
                yield
            finally:
                _flush()
        except click.ClickException as error:
            vars(error)["message"] = visible(error.message)  # a shell's * puts names of files there
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            _end(error, "interrupted", SIGINT_CODE)
        except _Terminated as error:
            _end(error, "terminated", SIGTERM_CODE)
        except FcnOnnxError as error:
            _end(error, f"error: {error}", error.exit_code)
        except MemoryError as error:
            _end(error, f"error: out of memory ({first_line(error)})\n  → use smaller images or fewer --workers", 1)
        except BrokenPipeError:  # whoever read our output has ended
            discard_stdout()
            sys.exit(1)
        except OSError as error:
            said = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else first_line(error)
            _end(error, f"error: {said}", 1)
        except Exception as error:
            _end(error, f"error: a fault of fcn-onnx ({type(error).__name__}: {first_line(error)}); {_kept(error)}", 1)


def _open_streams() -> None:
    """Let a standard stream that is closed (`>&-`) go nowhere.

    The next file that is opened would have its number otherwise, and get what libraries print.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


@contextmanager
def to_stdout() -> Iterator[None]:
    """Print in this: a reader that has seen enough, such as `head`, is no error, and changes no exit code."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()


def discard_stdout() -> None:
    """Nobody reads it any more: let all that is still printed go nowhere."""
    with suppress(io.UnsupportedOperation, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _flush() -> None:
    """What is printed is where it goes before the command is called done."""
    with to_stdout():
        pass


def _end(error: BaseException, message: str, code: int) -> NoReturn:
    """Say what happened and what was noted of it on the way (of a worker's own traceback, nothing), and end."""
    notes = [note for note in getattr(error, "__notes__", ()) if "\n" not in note]
    click.echo(visible("\n  ".join([message, *notes])), err=True)
    sys.exit(code)


def _kept(error: Exception) -> str:
    try:
        return f"{keep_fault(error)} holds what a report of it needs"
    except OSError as failed:
        return f"what a report of it needs cannot be written ({first_line(failed)})"


@contextmanager
def _on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the program, so that nothing temporary and no worker is left."""

    def unwind(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
