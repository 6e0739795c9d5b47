"""Means that run along a shot: what a frame brings changes them a little, never at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

WINDOW = 24  # frames: a second of film


class RunningMeans:
    """Running means by name, for one chunk of frames after those that `before` tells of.

    m_f = m_{f-1} + (x_f - m_{f-1}) / window, from m_0 = x_0 at the beginning of a shot. Chunks of
    any size give the same means.

    Args:
        before: `after` of the chunk before; None at the beginning of a shot.
        window: frames, 1 or more.
    """

    def __init__(self, before: Mapping[str, Tensor] | None, window: int = WINDOW) -> None:
        self.after: dict[str, Tensor] = dict(before or {})
        self.window = window

    def __call__(self, name: str, values: Tensor) -> Tensor:
        """Values (T,...) of these frames → the means (T,...) at each of them."""
        mean = self.after.get(name)
        means = []
        for value in values:
            mean = (
                value if mean is None else mean.to(value) + (value - mean.to(value)) / self.window
            )
            means.append(mean)
        self.after[name] = means[-1]
        return torch.stack(means)
