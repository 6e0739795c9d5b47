"""Brush strokes that follow the picture: what makes a painter's hand known at a glance.

Bristles turn with the picture as in Litwinowicz 1997, "Processing Images and Video for an
Impressionist Effect" (SIGGRAPH), but each of a few directions has its strokes in fixed places,
which repeat every 16 px: the picture chooses the direction and the colour only. A small model can
learn that; strokes that are laid one by one along a path it answers with a blur.
"""

from __future__ import annotations

import cv2
import numpy as np

TILE = 16  # px

# Waves across the strokes, in periods a tile (x, y): half a turn of directions, each periodic.
_WAVES = {
    3: [(0, 3), (1, 3), (2, 2), (3, 1), (3, 0), (3, -1), (2, -2), (1, -3)],
    4: [(0, 4), (2, 4), (3, 3), (4, 2), (4, 0), (4, -2), (3, -3), (2, -4)],
}


def direction(image: np.ndarray, sigma: float, rest: tuple[float, float]) -> np.ndarray:
    """Angle along the contours, (H,W) float32 rad; `rest`, xy, where the picture has none.

    The smoothed structure tensor's minor axis (Kyprianidis & Kang 2011, section 3).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    grey = cv2.GaussianBlur(grey, (0, 0), 1.5)
    gx, gy = cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)
    a, b, c = (cv2.GaussianBlur(p, (0, 0), sigma) for p in (gx * gx, gx * gy, gy * gy))
    # A weak tensor of its own keeps flat areas from having a direction by chance.
    weak = 2e-3
    a, b, c = a + weak * rest[1] ** 2, b - weak * rest[0] * rest[1], c + weak * rest[0] ** 2
    return 0.5 * np.arctan2(2 * b, a - c) + np.float32(np.pi / 2)


def bristles(angle: np.ndarray, per_tile: int, dashes: float) -> np.ndarray:
    """Light of strokes along the angles, (H,W) in [-1,1]: `per_tile` (3 or 4) side by side.

    dashes: how far (0 to 1) they are broken up along their way.
    """
    h, w = angle.shape
    y, x = np.mgrid[:h, :w].astype(np.float32) * np.float32(2 * np.pi / TILE)
    total, weight = np.zeros((h, w), np.float32), np.full((h, w), 1e-6, np.float32)
    for u, v in _WAVES[per_tile]:
        # The wave runs across the stroke; its strokes bend a little, as a hand does.
        along = np.arctan2(u, -v)
        share = np.abs(np.cos(angle - along)) ** 24  # the nearest direction, and a little the next
        stroke = np.cos(u * x + v * y + 0.7 * np.sin(x + y))
        if dashes:
            # One break a tile along the stroke, not beside its neighbour's where v is not 0.
            broken = np.cos(y - np.sign(v) * x + 2 * stroke)
            stroke = stroke * (1 - dashes * np.clip(broken, 0, 1))
        total, weight = total + share * stroke, weight + share
    return total / weight


def dabs(colours: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
    """Colours (H,W,3) float in [0,1] as short dabs of `size` px (long, wide), 16 in every tile.

    They lie as chance has it; the picture gives their colour only.
    """
    h, w = colours.shape[:2]
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(colours.astype(np.float32), (0, 0), 1.5)
    canvas = smooth.copy()
    places = [(4 * i + 2, 4 * j + 2) for i in range(4) for j in range(4)]
    for k in rng.permutation(len(places)):
        dy, dx = (p + int(rng.integers(-1, 2)) for p in places[k])
        turn, light = rng.uniform(-40, 40), 1 + 0.07 * rng.choice([-1.0, 1.0])
        for cy in range(dy, h, TILE):
            for cx in range(dx, w, TILE):
                ink = np.clip(smooth[cy, cx] * light, 0, 1).tolist()
                axes = (4 * size[0], 4 * size[1])  # halves, in eighths of a px
                cv2.ellipse(canvas, (8 * cx, 8 * cy), axes, turn, 0, 360, ink, -1, shift=3)
    return canvas


def relief(x: np.ndarray, strength: float) -> np.ndarray:
    """Thick paint (H,W,3) in [0,1], lit from the upper left; strength 0 leaves it flat."""
    grey = cv2.GaussianBlur(x.mean(-1), (0, 0), 0.7)
    lit = cv2.Sobel(grey, -1, 1, 0) + cv2.Sobel(grey, -1, 0, 1)
    return np.clip(x + strength * np.clip(lit, -0.5, 0.5)[..., None], 0, 1)
