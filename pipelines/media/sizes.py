"""The size to work at."""

from __future__ import annotations

from fractions import Fraction

MAX_SIDE = 512  # px


def fit(width: int, height: int, max_side: int = MAX_SIDE, multiple: int = 2) -> tuple[int, int]:
    """The size of the same shape whose longer side is at most `max_side`; never larger.

    Sides are multiples of `multiple`, and at least 16.
    """
    scale = min(Fraction(1), Fraction(max_side, max(width, height)))
    return _rounded(width * scale, multiple), _rounded(height * scale, multiple)


def _rounded(length: Fraction, multiple: int) -> int:
    return max(16, multiple * round(length / multiple))
