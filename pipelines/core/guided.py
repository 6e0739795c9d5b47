"""The guided filter (He et al. 2010): a picture smoothed, not across the edges of another."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

RADIUS, EPSILON = 8, 1e-3


def guided(
    picture: Tensor, guide: Tensor, radius: int = RADIUS, epsilon: float = EPSILON
) -> Tensor:
    """In every window the result is a p + b of the guide p, as near to the picture as can be
    (equations 5, 6 and 8).

    Args:
        picture: (T,C,H,W); guide: (T,1,H,W).
        radius: px, of the windows.
        epsilon: variance of the guide from which on an edge stays.
    """
    of_guide, of_picture = _mean(guide, radius), _mean(picture, radius)
    variance = _mean(guide * guide, radius) - of_guide * of_guide
    covariance = _mean(guide * picture, radius) - of_guide * of_picture
    a = covariance / (variance + epsilon)
    b = of_picture - a * of_guide
    return _mean(a, radius) * guide + _mean(b, radius)


def _mean(x: Tensor, radius: int) -> Tensor:
    """Of the windows around each place."""
    return avg_pool2d(pad(x, [radius] * 4, "replicate"), 2 * radius + 1, stride=1)
