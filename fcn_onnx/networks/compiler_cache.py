"""torch's compiler makes a cache in $TMPDIR when it is imported, and leaves it there; nothing here compiles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fcn_onnx.jobs.scratch import scratch

CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextmanager
def no_compiler_cache() -> Iterator[None]:
    """Have what torch makes of that in this block gone at its end, unless the user says where it lies."""
    if CACHE in os.environ:
        yield
        return
    with scratch() as folder:
        os.environ[CACHE] = str(folder)
        try:
            yield
        finally:
            os.environ.pop(CACHE, None)
