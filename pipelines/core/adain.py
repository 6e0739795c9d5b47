"""Adaptive instance normalisation (Huang and Belongie 2017): a picture's statistics, channel by
channel, put onto a frame's features.

Statistics are values: those of a picture are computed once, those of the frames may be carried
along a shot, so that what comes into view does not change the look of the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-5  # added to variances, as in the authors' code


class Statistics(NamedTuple):
    """Of features by channel, float32: (T,C,1,1), or a place each, (T,C,h,w)."""

    mean: Tensor
    deviation: Tensor


def statistics(features: Tensor, mask: Tensor | None = None) -> Statistics:
    """Mean and deviation of (T,C,h,w) over its positions, weighted by a mask (T,1,h,w) from 0 up.

    Where a mask is 0 all over, the whole picture counts.
    """
    x = features.float()
    if mask is None:
        weights = x.new_ones(1, 1, *x.shape[-2:])
    else:
        weights = mask.float()
        weights = torch.where(weights.amax((2, 3), keepdim=True) > 0, weights, 1.0)
    weights = weights / weights.sum((2, 3), keepdim=True)
    mean = (x * weights).sum((2, 3), keepdim=True)
    variance = ((x - mean).square() * weights).sum((2, 3), keepdim=True)
    return Statistics(mean, (variance + EPSILON).sqrt())


def steadied(carried: Statistics, own: Statistics) -> Statistics:
    """Statistics carried along a shot, kept near the frame's own: the mean within one deviation of
    it, the deviation no less than half of it.

    Ours: a shot that fades in from black begins with next to none, which would blow the rest up.
    """
    away = carried.mean - own.mean
    mean = own.mean + torch.minimum(torch.maximum(away, -own.deviation), own.deviation)
    return Statistics(mean, torch.maximum(carried.deviation, own.deviation / 2))


def adain(
    content: Tensor,
    style_mean: Tensor,
    style_deviation: Tensor,
    content_mean: Tensor | None = None,
    content_deviation: Tensor | None = None,
    strength: float = 1.0,
) -> Tensor:
    """σ_s (x - μ_x) / σ_x + μ_s, mixed with x by `strength` in [0,1].

    Args:
        content: x, features (T,C,h,w).
        style_mean, style_deviation: μ_s and σ_s, `Statistics` of a picture, a mix or regions.
        content_mean, content_deviation: μ_x and σ_x; those of each frame where they are not given.

    Returns:
        (T,C,h,w), in the content's precision.
    """
    if content_mean is None or content_deviation is None:
        content_mean, content_deviation = statistics(content)
    scale = style_deviation / content_deviation
    shift = style_mean - scale * content_mean
    scale, shift = 1 + strength * (scale - 1), strength * shift
    return content * scale.to(content.dtype) + shift.to(content.dtype)
