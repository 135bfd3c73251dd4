"""Reading ahead: the next images are decoded while the present one is computed on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(load: Callable[[T], R], items: Iterable[T], *, ahead: int = 2) -> Generator[tuple[T, R], None, None]:
    """Yield `(item, load(item))` in order, with up to `ahead` loads running or waiting in a thread.

    What `load` raises is raised where its item would have been yielded.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        waiting: deque[tuple[T, Future[R]]] = deque((item, pool.submit(load, item)) for item in islice(source, ahead))
        try:
            while waiting:
                item, future = waiting.popleft()
                value = future.result()
                for following in islice(source, 1):
                    waiting.append((following, pool.submit(load, following)))
                yield item, value
        finally:
            for _, future in waiting:
                future.cancel()
