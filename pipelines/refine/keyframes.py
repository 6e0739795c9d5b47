"""Some frames are stylized, the keyframes; those between take the style along the source's flow.

It knows nothing of how keyframes are stylized: by any engine, or by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.propagation import Side, beside, carried, chained, resized, unseen
from ..engines.kinds import Carried
from ..errors import StyleAVideoError
from ..flow import both_ways

MOST = 16  # frames from one keyframe to the next
LOST = 0.15  # share of a frame that neither keyframe shows: it becomes one itself

Paint = Callable[[Sequence[int], "Carried | None"], "tuple[Tensor, Carried | None]"]
"""(positions of keyframes, what an engine carries) → those frames stylized (K,3,H',W'), and what it
carries on."""

Between = Mapping[int, Sequence[tuple[int, Side, float]]]
"""Frames that are no keyframes: each beside one or two (position, side, how far away it is as a
share of the way from one to the other)."""

_SOURCE, _STYLIZED = "keyframes.source", "keyframes.stylized"


@dataclass(frozen=True)
class Keyframes:
    """Which frames are stylized.

    Attributes:
        every: frames at most from one keyframe to the next; there are more where much changes.
        painted: those that are painted by hand, by their indices: there are no others then.
    """

    every: int = MOST
    painted: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.every <= MOST:
            raise StyleAVideoError(
                f"There is a keyframe every 1 to {MOST} frames, not every {self.every}."
            )


def keyframed(
    frames: Tensor,
    indices: Sequence[int],
    paint: Paint,
    before: Carried | None,
    settings: Keyframes,
) -> tuple[Tensor, Carried]:
    """Frames (T,3,H,W) that follow each other in a shot → all of them stylized (T,3,H',W'), and
    what the next ones start from.

    The last frame is a keyframe, and so is the first of a shot. Keyframes are chosen by the source
    alone and painted in order.

    Args:
        indices: of the frames in the clip.
        before: what this gave for the frames before in the shot, with what the engine carries.
    """
    engines = dict(before or {})
    source, former = engines.pop(_SOURCE, None), engines.pop(_STYLIZED, None)
    frames, known = frames.float(), 0
    if source is not None:
        frames, known = torch.cat([source, frames]), 1  # the frame before is one more keyframe
    between = _chosen(frames, known, indices, settings)
    keys = [f for f in range(known, len(frames)) if f not in between]
    pictures: dict[int, Tensor] = {}
    then: Carried | None = engines
    if keys:  # of painted ones there may be none here
        painted, then = paint([key - known for key in keys], engines or None)
        pictures = dict(zip(keys, painted.float().split(1), strict=True))
    if former is not None:
        pictures[0] = former
    for frame, sides in between.items():
        pictures[frame] = _carried(sides, {key: pictures[key] for key, *_ in sides})
    stylized = torch.cat([pictures[f] for f in range(known, len(frames))])
    last = {_SOURCE: frames[-1:].clone(), _STYLIZED: stylized[-1:].clone()}
    return stylized, {**(then or {}), **last}


def _carried(sides: Sequence[tuple[int, Side, float]], pictures: Mapping[int, Tensor]) -> Tensor:
    size = next(iter(pictures.values())).shape[-2:]
    return carried([(resized(side, size), pictures[key], away) for key, side, away in sides])


def _chosen(frames: Tensor, known: int, indices: Sequence[int], settings: Keyframes) -> Between:
    steps = [both_ways(frames[f], frames[f - 1]) for f in range(1, len(frames))]
    last = len(frames) - 1
    if settings.painted is not None:
        keys = [f for f in range(known, last + 1) if indices[f - known] in settings.painted]
        return _given(frames, steps, [0] * known + keys)
    gaps = max(1, -(-last // settings.every))
    keys = [round(last * i / gaps) for i in range(gaps + 1)]
    found: dict[int, Sequence[tuple[int, Side, float]]] = {}
    for a, b in zip(keys, keys[1:], strict=False):
        found |= _gap(frames, steps, a, b)
    return found


def _gap(frames: Tensor, steps: Sequence[tuple[Tensor, Tensor]], a: int, b: int) -> Between:
    """Between keyframes a and b. The frame of which they show least becomes one more where that is
    too little.
    """
    from_a = _beside(frames, steps, a, range(a + 1, b))
    from_b = _beside(frames, steps, b, range(b - 1, a, -1))
    lost = {f: unseen([from_a[f], from_b[f]]) for f in range(a + 1, b)}
    worst = max(lost, key=lost.__getitem__, default=a)
    if lost.get(worst, 0) > LOST:
        return {**_gap(frames, steps, a, worst), **_gap(frames, steps, worst, b)}
    way = b - a
    return {f: [(a, from_a[f], (f - a) / way), (b, from_b[f], (b - f) / way)] for f in lost}


def _given(frames: Tensor, steps: Sequence[tuple[Tensor, Tensor]], keys: Sequence[int]) -> Between:
    """Between these keyframes; before the first and after the last from one side alone."""
    found: dict[int, list[tuple[int, Side, float]]] = {}
    for key, earlier, later in zip(keys, [-1, *keys], [*keys[1:], len(frames)], strict=False):
        for f, side in _beside(frames, steps, key, range(key - 1, earlier, -1)).items():
            found.setdefault(f, []).append((key, side, (key - f) / (key - earlier)))
        for f, side in _beside(frames, steps, key, range(key + 1, later)).items():
            found.setdefault(f, []).append((key, side, (f - key) / (later - key)))
    return found


def _beside(
    frames: Tensor, steps: Sequence[tuple[Tensor, Tensor]], key: int, away: range
) -> dict[int, Side]:
    """Frames beside a keyframe, from its neighbour on; the flow is chained from frame to frame.

    Args:
        steps: of each frame from the second on: its flow to the one before, and the way back.
    """
    there = back = torch.zeros(1, 2, *frames.shape[-2:])
    found = {}
    for f in away:
        to_nearer, from_nearer = steps[f - 1] if f > key else steps[f][::-1]
        there, back = chained(to_nearer, there), chained(back, from_nearer)
        found[f] = beside(frames[f : f + 1], frames[key : key + 1], there, back)
    return found
