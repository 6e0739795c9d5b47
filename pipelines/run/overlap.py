"""Reading ahead and working behind in another thread, a bounded number of items at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")

_END = object()


def ahead(items: Iterable[A], count: int = 1) -> Generator[A, None, None]:
    """The items in order, `count` of them made in another thread before they are asked for."""
    stream = iter(items)
    with _closing(stream), _thread() as thread:
        coming = deque(thread.submit(next, stream, _END) for _ in range(count))
        while (item := coming.popleft().result()) is not _END:
            coming.append(thread.submit(next, stream, _END))
            yield item  # type: ignore[misc]


def behind(work: Callable[[A], B], items: Iterable[A], count: int = 1) -> Generator[B, None, None]:
    """work(item) of each, in order and in another thread, while the next item is made in this one.

    At most `count` items wait for their work. Where no next item can be made, what was made before
    is worked on first: an error or Ctrl-C loses nothing that came before it.
    """
    stream = iter(items)
    failure: BaseException | None = None
    with _closing(stream), _thread() as thread:
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


@contextmanager
def _thread() -> Iterator[ThreadPoolExecutor]:
    """One thread; it ends with what it has in hand, and begins nothing more."""
    thread = ThreadPoolExecutor(1)
    try:
        yield thread
    finally:
        thread.shutdown(cancel_futures=True)


@contextmanager
def _closing(stream: Any) -> Iterator[None]:
    """Closes a generator that is not read to its end, and with it the file it reads."""
    try:
        yield
    finally:
        if hasattr(stream, "close"):
            stream.close()
