"""Reading ahead and working behind in another thread, a bounded number of items at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

_END = object()


def ahead(items: Iterable[A], count: int = 1) -> Iterator[A]:
    """The items in order, `count` of them made in another thread before they are asked for."""
    stream = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, stream, _END) for _ in range(count))
        while (item := coming.popleft().result()) is not _END:
            coming.append(thread.submit(next, stream, _END))
            yield item  # type: ignore[misc]


def behind(work: Callable[[A], B], items: Iterable[A], count: int = 1) -> Iterator[B]:
    """work(item) of each, in order and in another thread, while the next item is made in this one.

    At most `count` items wait for their work. Where no next item can be made, what was made before
    is worked on first: an error or Ctrl-C loses nothing that came before it.
    """
    stream = iter(items)
    failure: BaseException | None = None
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future[B]] = deque()
        while True:
            try:
                item = next(stream)
            except StopIteration:
                break
            except BaseException as error:
                failure = error
                break
            waiting.append(thread.submit(work, item))
            while len(waiting) > count or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    if failure is not None:
        raise failure
