"""Segments made in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..engines.kinds import CarryingEngine, Engine
from . import segments
from .overlap import ahead, behind
from .segments import Finished, State, Stylized, Work
from .shots import Segment


@runtime_checkable
class Runner(Protocol):
    """Makes segments: here, or on a cluster (`cluster.OnCluster`)."""

    def run(
        self,
        work: Work,
        todo: Sequence[Segment],
        state_before: Callable[[Segment], State],
        told: Callable[[int], None],
    ) -> Iterator[Finished]:
        """The segments to do, in order.

        Args:
            state_before: what is known before a segment, of a former run.
            told: called with numbers of frames.
        """
        ...


@dataclass(frozen=True)
class Here:
    """Reads ahead of the engine, and refines behind its back."""

    engine: Engine | CarryingEngine

    def run(
        self,
        work: Work,
        todo: Sequence[Segment],
        state_before: Callable[[Segment], State],
        told: Callable[[int], None],
    ) -> Iterator[Finished]:
        last: Finished | None = None

        def made() -> Iterator[tuple[Segment, Any, Stylized, State | None]]:
            former, stylized = None, None
            with closing(ahead(segments.read(work, todo))) as read:
                for segment, frames in zip(todo, read, strict=True):
                    follows = former is not None and segment.follows(former)
                    known = None if follows else state_before(segment)
                    carried = known.carried if known else stylized.carried if stylized else None
                    stylized = segments.stylize(work, self.engine, segment, frames, carried, told)
                    former = segment
                    yield segment, frames, stylized, known

        def finish(item: tuple[Segment, Any, Stylized, State | None]) -> Finished:
            nonlocal last
            segment, frames, stylized, known = item
            state = last.state if known is None and last is not None else known
            last = segments.finish(work, segment, frames, stylized, state.past if state else None)
            return last

        return behind(finish, made())
