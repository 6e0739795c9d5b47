"""Means that run along a shot: what a frame brings changes them a little, never at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

WINDOW = 12  # frames: half a second of film


class RunningMeans:
    """Running means by name, for one chunk of frames after those that `before` tells of.

    m_f = m_{f-1} + (x_f - m_{f-1}) / min(n, window), n counting the frames of the shot from 1: the
    mean of all frames at first, later one that forgets. Chunks of any size give the same means.

    Args:
        before: `after` of the chunk before; None at the beginning of a shot.
        window: frames, 1 or more.
    """

    def __init__(self, before: Mapping[str, Tensor] | None, window: int = WINDOW) -> None:
        self._before, self.window = before or {}, window
        self.after: dict[str, Tensor] = {}

    def __call__(self, name: str, values: Tensor) -> Tensor:
        """Values (T,...) of these frames → the means (T,...) at each of them."""
        mean = self._before.get(name)
        count = int(self._before[f"{name}.count"]) if mean is not None else 0
        means = []
        for value in values:
            count += 1
            at = value if mean is None else mean.to(value)
            mean = at + (value - at) / min(count, self.window)
            means.append(mean)
        assert mean is not None, "no frame"
        self.after |= {name: mean, f"{name}.count": torch.tensor(count)}
        return torch.stack(means)
