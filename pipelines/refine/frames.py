"""Frames stylized one by one → a calm clip, frame after frame, in constant memory.

It knows nothing of how the frames were stylized: any clip can be refined beside its source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ...weights.refiner import load_refiner
from ..core import refiner
from ..engines.kinds import Carried, CarryingEngine, Engine
from ..errors import StyleAVideoError
from ..flow import FLOWS, both_ways

METHODS = ("learned", "blend")
FLAT = 0.01  # contrast of a picture that shows nothing, in units of [0,1]


@dataclass(frozen=True)
class Past:
    """What is carried from frame to frame: x^{f-1} and ŷ^{f-1} (1,3,H,W)."""

    source: Tensor
    refined: Tensor


@dataclass(frozen=True)
class Refining:
    """The settings of one refinement.

    Attributes:
        strength: 0 leaves every frame as it is, 1 is the whole refinement.
        method: learned | blend (needs no training).
        flow: a name of pipelines.flow.FLOWS.
    """

    strength: float = 1.0
    method: str = "learned"
    flow: str = "dis"

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise StyleAVideoError(
                f"The strength of the refiner lies between 0 and 1, not {self.strength:g}."
            )
        for what, name, known in (("method", self.method, METHODS), ("flow", self.flow, FLOWS)):
            if name not in known:
                raise StyleAVideoError(
                    f"There is no {what} {name!r} of the refiner: choose one of {', '.join(known)}."
                )


def refine(
    source: Tensor, stylized: Tensor, past: Past | None, settings: Refining
) -> tuple[Tensor, Past | None]:
    """One frame: x^f and y^f (3,H,W) in [0,1] → ŷ^f (3,H',W') and the past of the next frame.

    H', W' are those of y; the source is resized to them. The first frame of a shot stays as it is.
    So does one with values that are no numbers, and the next begins anew: half precision makes
    such frames, and what is followed would carry them to the end of the shot.
    """
    x, y = source[None].float(), stylized[None].float()
    if x.shape != y.shape:
        x = F.interpolate(x, y.shape[-2:], mode="area")
    if not (x.isfinite().all() and y.isfinite().all()):
        return stylized, None
    if settings.strength == 0 or past is None or past.refined.shape != y.shape:
        return stylized, Past(x, y)
    flows = both_ways(x[0], past.source[0], FLOWS[settings.flow])
    seen = refiner.see(x, y, past.source, past.refined, *(f.to(y.device) for f in flows))
    if is_cut(seen):
        return stylized, Past(x, y)
    refined = refiner.blend(seen) if settings.method == "blend" else _learned(seen)
    refined = (y + settings.strength * (refined - y)).clamp(0, 1)
    return refined[0].to(stylized.dtype), Past(x, refined)


def refine_frames(
    pairs: Iterable[tuple[Tensor, Tensor]], settings: Refining = Refining()
) -> Iterator[Tensor]:
    """A stream of (x^f, y^f) → a stream of ŷ^f."""
    past = None
    for source, stylized in pairs:
        refined, past = refine(source, stylized, past, settings)
        yield refined


class InOrder:
    """An engine whose frames come in order, refined as they come; made for one run.

    It keeps what is carried from frame to frame: the engine's own and the refiner's past. A frame
    that does not follow the last one begins anew, as a new shot does.
    """

    def __init__(self, engine: Engine | CarryingEngine, settings: Refining | None) -> None:
        self.engine, self.settings = engine, settings
        self._past: Past | None = None
        self._carried: Carried | None = None
        self._last: int | None = None

    def __call__(self, frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        if isinstance(self.engine, CarryingEngine):
            known = self._carried if self._last == frame_indices[0] - 1 else None
            stylized, self._carried = self.engine.carry(frames, frame_indices, known)
        else:
            stylized = self.engine(frames, frame_indices)
        refined = []
        for index, x, y in zip(frame_indices, frames, stylized, strict=True):
            if self.settings is not None:
                past = self._past if self._last == index - 1 else None
                y, self._past = refine(x.to(y.device), y, past, self.settings)
            self._last = index
            refined.append(y)
        return torch.stack(refined)


def is_cut(seen: refiner.Seen) -> bool:
    """Whether another shot begins: the frame before, warped, explains next to nothing of this one.

    At a cut less than 0.35 is visible, and the residual is above 0.7 of the picture's own contrast
    (docs/figures.md). Beside a flat picture, black or white or a plain ground, all counts as
    visible: there a jump is enough.
    """
    residual = (seen.source - seen.source_before).abs().mean()
    contrast = _contrast(seen.source)
    if residual > 0.1 and min(contrast, _contrast(seen.source_before)) < FLAT:
        return True
    return bool(seen.visible.mean() < 0.35 and residual > 0.7 * (contrast + 0.005))


def _contrast(picture: Tensor) -> Tensor:
    return (picture - picture.mean((2, 3), keepdim=True)).abs().mean()


def _learned(seen: refiner.Seen) -> Tensor:
    """The network, on sides padded to its patches."""
    network = _network(str(seen.stylized.device))
    h, w = seen.stylized.shape[-2:]
    pad = (0, -w % refiner.PATCH, 0, -h % refiner.PATCH)
    padded = replace(seen, **{k: F.pad(v, pad, mode="replicate") for k, v in vars(seen).items()})
    with torch.no_grad():
        return network(padded)[..., :h, :w]


@lru_cache(2)
def _network(device: str) -> refiner.Refiner:
    return load_refiner().to(device)
