"""Brush strokes that follow the picture: what makes a painter's hand known at a glance.

A stroke lies along a line of equal tone, as wide as the painter's brush whatever the slope, and is
made of nothing but what lies under it. So it turns with the forms, moves when they move, and a
small model can learn it; strokes in fixed places would stand still while the scene slides behind.
"""

from __future__ import annotations

import cv2
import numpy as np

TILE = 16  # px
FLAT = 6.0
"""Bands a tone unit, as a power of 2, from which on noise would be drawn."""


def _bands(tone: np.ndarray, width: float, sigma: float) -> np.ndarray:
    """Light in [-1,1] of bands along lines of equal tone, about `width` px from one to the next.

    Where the slope changes, one count of bands passes into its double, as strokes begin and end.
    Where there is no slope they fade. tone: (H,W) float32 in [0,1], smoothed by sigma.
    """
    gx, gy = (cv2.Sobel(tone, -1, x, 1 - x, scale=1 / 8) for x in (1, 0))
    slope = cv2.GaussianBlur(np.hypot(gx, gy), (0, 0), 2 * sigma) + np.float32(1e-5)
    wanted = -np.log2(width * slope)
    shown = np.clip((FLAT + 1 - wanted) / 1.5, 0, 1)
    wanted = np.clip(wanted, 0, FLAT)
    count = np.floor(wanted)
    share = wanted - count
    share = share * share * (3 - 2 * share)
    few, many = (np.cos(2 * np.pi * 2 ** (count + k) * tone) for k in (0, 1))
    return (few + (many - few) * share) * shown


def strokes(image: np.ndarray, width: float, sigma: float, dashes: float = 0) -> np.ndarray:
    """Light of strokes along the contours, (H,W) in [-1,1].

    Args:
        image: RGB (H,W,3) uint8.
        width: px from one stroke to the next.
        sigma: px by which the picture is smoothed first; more is calmer.
        dashes: how far (0 to 1) strokes are broken up along their way, by the colours' own bands.
    """
    tone = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32) / 255
    light = _bands(cv2.GaussianBlur(tone, (0, 0), sigma), width, sigma)
    if dashes:
        red, green, blue = cv2.split(image.astype(np.float32) / 255)
        colour = 1.5 * red - green - 0.5 * blue + 0.6 * cv2.GaussianBlur(tone, (0, 0), 3 * sigma)
        across = _bands(cv2.GaussianBlur(colour, (0, 0), sigma), 3 * width, sigma)
        light = light * (1 - dashes * np.clip(across, 0, 1))
    return light


def relief(x: np.ndarray, strength: float) -> np.ndarray:
    """Thick paint (H,W,3) in [0,1], lit from the upper left; strength 0 leaves it flat."""
    grey = cv2.GaussianBlur(x.mean(-1), (0, 0), 0.7)
    lit = cv2.Sobel(grey, -1, 1, 0) + cv2.Sobel(grey, -1, 0, 1)
    return np.clip(x + strength * np.clip(lit, -0.5, 0.5)[..., None], 0, 1)
