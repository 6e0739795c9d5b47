"""An engine with a style for each shot."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..engines.kinds import Carried, CarryingEngine, Engine, Loaded
from ..engines.style import Style
from .shots import Begin


def styles_of(style: Style | None, begins: Sequence[Begin] | None) -> list[Style]:
    """All that are asked for, each once: the run's own first."""
    every = [style, *(begin.style for begin in begins or [])]
    return list({one.key: one for one in every if one is not None}.values())


def engine_of_shots(
    loaded: Loaded, style: Style | None, begins: Sequence[Begin] | None
) -> Engine | CarryingEngine:
    """`style` where a shot has none of its own; it may be None where every shot has one."""
    if begins is None:
        assert style is not None, "no style"
        return loaded.engine(style)
    engines = {one.key: loaded.engine(one) for one in styles_of(style, begins)}
    keys = [(begin.style or style).key for begin in begins]  # type: ignore[union-attr]
    starts = [begin.start for begin in begins]
    carries = any(isinstance(engine, CarryingEngine) for engine in engines.values())
    return (_CarryingByShot if carries else _ByShot)(starts, [engines[key] for key in keys])


class _ByShot:
    def __init__(self, starts: Sequence[int], engines: Sequence[Any]) -> None:
        self.starts, self.engines = starts, engines

    def _at(self, index: int) -> Any:
        return self.engines[bisect_right(self.starts, index) - 1]

    def __call__(self, frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        return self._at(frame_indices[0])(frames, frame_indices)


class _CarryingByShot(_ByShot):
    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        return self._at(frame_indices[0]).carry(frames, frame_indices, carried)
