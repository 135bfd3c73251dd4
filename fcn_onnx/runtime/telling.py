"""What a runtime's library raises, as errors of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fcn_onnx.errors import ModelError


@contextmanager
def told(
    what: str,
    fix: str,
    *,
    raised: tuple[type[Exception], ...],
    said: Callable[[Exception], str],
    no_memory: tuple[str, ...],
) -> Iterator[None]:
    """Turn a library's errors into ours, which begin with `what`.

    Args:
        fix: what to do about the model.
        raised: what the library raises.
        said: an error's words in one line.
        no_memory: how the library says that memory is short.

    Raises:
        ModelError: the library failed.
        MemoryError: for want of memory.
    """
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{what}: memory is short") from error
    except raised as error:
        if any(words in str(error) for words in no_memory):
            raise MemoryError(f"{what}: {said(error)}") from error
        raise ModelError(f"{what}: {said(error)}", fix=fix) from error
