"""What a way to stylize is: a kind with options, what it loads, and the engine that makes frames.

The rest of the tree (streams, jobs, cluster, report) knows these and no engine by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from ..errors import StyleAVideoError
from .options import Options
from .style import Style

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor

WORDS, PICTURES, LEARNED = "words", "pictures", "learned styles"

Engine: TypeAlias = "Callable[[Tensor, Sequence[int]], Tensor]"
"""(frames (T,3,H,W) in [0,1], frame_indices) → frames (T,3,H',W'); what it does is its own affair.

It is told each frame's absolute index, so that what it draws for a frame need not depend on the
chunk the frame came in."""

Carried: TypeAlias = "Mapping[str, Tensor]"
"""What an engine carries from frame to frame along a shot."""


@runtime_checkable
class CarryingEngine(Protocol):
    """An engine whose frames depend on those before in the shot, by a value that it hands out.

    None stands for the beginning of a shot. The same frames give the same results in chunks of any
    size.
    """

    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        """Frames as an `Engine` takes them → its frames, and what the next ones start from."""
        ...


class Loaded(Protocol):
    """An engine's networks, ready on a device.

    Attributes:
        side: px, the longer side that it works at by default.
        bytes_per_pixel: what a frame of 1 px costs at its worst place.
    """

    device: torch.device
    dtype: torch.dtype
    side: int
    bytes_per_pixel: int

    def identity(self) -> dict[str, Any]:
        """Everything but the style that decides its pixels, as JSON values."""
        ...

    def remarks(self, style: Style) -> list[str]:
        """What a user should know about this style here."""
        ...

    def engine(self, style: Style) -> Engine | CarryingEngine: ...


def forms_of(style: Style) -> frozenset[str]:
    """Which of WORDS, PICTURES and LEARNED a style has."""
    there = {WORDS: style.text, PICTURES: style.pictures, LEARNED: style.learned}
    return frozenset(form for form, given in there.items() if given)


@dataclass(frozen=True)
class EngineKind:
    """One way to stylize.

    Attributes:
        name: as --engine takes it.
        what: it is, with its source.
        takes: some of WORDS, PICTURES and LEARNED; none where its style is its own.
        speed, licence: in words.
        options: what a user can choose.
        load: (options, device, dtype) → Loaded.
    """

    name: str
    what: str
    takes: frozenset[str]
    speed: str
    licence: str
    options: type[Options]
    load: Callable[[Any, torch.device, torch.dtype], Loaded]

    def check(self, style: Style) -> None:
        """Refuse a style of a form that it does not take, before anything is loaded."""
        given = forms_of(style)
        for form in (WORDS, PICTURES, LEARNED):
            if form in given and form not in self.takes:
                own = (
                    f"takes {' and '.join(sorted(self.takes))}"
                    if self.takes
                    else "has a style of its own"
                )
                raise StyleAVideoError(
                    f"The engine {self.name} {own}, no {form}: leave them out, or choose another "
                    "engine."
                )
        if self.takes and not given & self.takes:
            raise StyleAVideoError(
                f"The engine {self.name} needs {' or '.join(sorted(self.takes))} of the style."
            )


def identity(name: str, loaded: Loaded, style: Style | None) -> dict[str, Any]:
    """Everything that decides an engine's pixels, as JSON values; `name` of its kind."""
    return {
        "engine": name,
        "style": None if style is None else style.told,
        "device": str(loaded.device),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        **loaded.identity(),
    }
