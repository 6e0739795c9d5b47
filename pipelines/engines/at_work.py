"""How a slow engine hears in the middle of a frame that it is not wanted any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_asked: ContextVar[Callable[[], object]] = ContextVar("at_work", default=lambda: None)


def at_work() -> None:
    """For an engine that takes more than seconds a frame: called every second or so."""
    _asked.get()()


@contextmanager
def asking(still_wanted: Callable[[], object]) -> Iterator[None]:
    """Engines that run inside ask `still_wanted`: what it raises ends them."""
    token = _asked.set(still_wanted)
    try:
        yield
    finally:
        _asked.reset(token)
