"""Statistics of several pictures as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T", bound=tuple)


def mix(pictures: Sequence[T], weights: Sequence[float]) -> T:
    """`adain.Statistics`, `wct.Colour` or `sctnet.StyleCovariance` of several pictures by weight.

    What `adain.adain` or `wct.wct` makes of it is the mean of what it makes of each, by weight.

    Args:
        weights: 0 or more, a picture each; brought to the sum 1.

    Raises:
        ValueError: not a weight a picture, one below 0, or none above it.
    """
    if len(weights) != len(pictures) or not pictures:
        raise ValueError(f"{len(pictures)} pictures need a weight each, not {len(weights)}.")
    if min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"Weights are 0 or more and not all 0; these are {list(weights)}.")
    shares = [weight / sum(weights) for weight in weights]
    parts = zip(*pictures, strict=True)
    mixed = (sum(k * p for k, p in zip(shares, part, strict=True)) for part in parts)
    return type(pictures[0])(*mixed)
