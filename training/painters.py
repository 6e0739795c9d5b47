"""Painters' hands: a palette, a brush and what the painter did with contours.

Palettes are read off the public-domain works that are named; none is needed to make the targets.
Like the techniques, all take RGB (H,W,3) uint8 with sides in multiples of 16 and give the same
shape; all are deterministic and local. Only Mondrian's planes stand on a lattice, of 16 px.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from .filters import (
    Image,
    Stops,
    byte,
    edges,
    flatten,
    grey,
    kuwahara,
    posterise,
    saturate,
    tint,
    warmth,
)
from .strokes import TILE, relief, strokes


def _palette(image: Image, cool: Stops, warm: Stops, neutral: float, gain: float) -> np.ndarray:
    """Tones as colours of two ramps, float RGB in [0,1]: cool colours of the one, warm of the
    other. The same map for every frame: it can be learned from a crop and does not flicker."""
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5)
    tone = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)[..., 0] / np.float32(255)
    a, b = tint(tone, cool), tint(tone, warm)
    return a + (b - a) * warmth(smooth, neutral, gain)[..., None]


def _key_lines(image: Image, sigma: float, gain: float) -> np.ndarray:
    return edges(grey(cv2.bilateralFilter(image, 5, 40, 5)), sigma, gain=gain)[..., None]


def van_gogh(image: Image) -> Image:
    """Thick curving strokes of cobalt and chrome yellow ("The Starry Night", 1889)."""
    colours = _palette(
        image,
        [(0, (8, 12, 48)), (0.3, (20, 50, 140)), (0.55, (58, 118, 196)), (0.8, (150, 200, 215)),
         (1, (240, 240, 170))],
        [(0, (16, 20, 50)), (0.25, (40, 72, 90)), (0.5, (190, 140, 30)), (0.75, (248, 205, 50)),
         (1, (255, 245, 160))],
        neutral=0.01, gain=1.4,
    )  # fmt: skip
    light = strokes(image, 6, 2.3, dashes=0.9)[..., None]
    return byte(relief(colours * (1 + 0.32 * light) + 0.04 * light, 0.15))


def munch(image: Image) -> Image:
    """Long winding bands of burning orange and dark teal ("The Scream", 1893)."""
    colours = _palette(
        image,
        [(0, (14, 20, 40)), (0.3, (28, 58, 88)), (0.6, (80, 120, 130)), (0.85, (210, 150, 90)),
         (1, (250, 200, 120))],
        [(0, (30, 16, 22)), (0.25, (120, 40, 30)), (0.5, (225, 80, 35)), (0.75, (245, 140, 55)),
         (1, (255, 215, 130))],
        neutral=0.26, gain=1.2,
    )  # fmt: skip
    bands = strokes(image, 10, 3)[..., None]
    return byte(colours * (1 + 0.35 * bands) * _key_lines(image, 1.6, 16))


def monet(image: Image) -> Image:
    """Short dabs of violet, green and rose in a bright haze ("Water Lilies", 1919)."""
    colours = _palette(
        image,
        [(0, (48, 52, 120)), (0.35, (100, 116, 190)), (0.65, (168, 170, 226)),
         (1, (246, 242, 252))],
        [(0, (44, 76, 70)), (0.35, (104, 156, 100)), (0.65, (228, 172, 182)), (1, (255, 240, 208))],
        neutral=0.34, gain=0.8,
    )  # fmt: skip
    pastel = saturate(image, 1.6).astype(np.float32) / 255
    colours = 0.6 * colours + 0.4 * (1 - (1 - pastel**0.8) * 0.85)
    # Broken colour: dabs differ as the picture does there, only more so.
    colours = np.clip(colours + 1.2 * (colours - cv2.GaussianBlur(colours, (0, 0), 4)), 0, 1)
    colours = kuwahara(byte(colours), 4).astype(np.float32) / 255
    light = strokes(image, 6, 1.8, dashes=0.9)[..., None]
    violet = np.array([0.05, -0.015, 0.035])
    return byte(relief(colours * (1 + 0.1 * light) + violet * light, 0.12))


def kandinsky(image: Image) -> Image:
    """Patches of every colour within wild black lines ("Composition VII", 1913)."""
    flat = flatten(image, 8, 40)
    tone = posterise(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB)[..., 0] / np.float32(255), 6, 10)
    cool = tint(
        tone,
        [(0, (14, 14, 30)), (0.2, (24, 44, 120)), (0.4, (30, 110, 170)), (0.6, (80, 160, 130)),
         (0.8, (240, 190, 200)), (1, (252, 246, 232))],
    )  # fmt: skip
    warm = tint(
        tone,
        [(0, (40, 10, 40)), (0.2, (150, 20, 50)), (0.4, (225, 60, 40)), (0.6, (245, 140, 30)),
         (0.8, (250, 210, 60)), (1, (255, 246, 215))],
    )  # fmt: skip
    colours = cool + (warm - cool) * warmth(flat, 0.2, 2.0)[..., None]
    light = strokes(image, 8, 2.5, dashes=0.5)[..., None]
    return byte(colours * (1 + 0.14 * light) * (0.1 + 0.9 * _key_lines(image, 1.8, 40)))


def hoitsu(image: Image) -> Image:
    """Ink, malachite green and vermilion on gold leaf (the screens of the Rinpa school, 1815)."""
    colours = _palette(
        flatten(image, 8, 44),
        [(0, (14, 26, 28)), (0.2, (24, 70, 62)), (0.36, (60, 116, 88)), (0.5, (196, 160, 66)),
         (0.62, (222, 182, 76)), (0.84, (228, 190, 86)), (1, (250, 240, 206))],
        [(0, (36, 18, 14)), (0.2, (120, 44, 28)), (0.34, (176, 84, 40)), (0.46, (214, 164, 64)),
         (0.62, (224, 182, 74)), (0.84, (230, 192, 88)), (1, (252, 242, 208))],
        neutral=0.35, gain=1.0,
    )  # fmt: skip
    lines = _key_lines(image, 1.2, 30)
    return byte(colours * lines + np.array([0.1, 0.08, 0.05]) * (1 - lines))


_PLANES = np.array([(236, 232, 222), (176, 180, 184), (18, 18, 22), (206, 30, 36), (244, 204, 44),
                    (24, 66, 160)]) / 255  # fmt: skip


def _planes(image: Image) -> np.ndarray:
    """Which of white, grey, black, red, yellow, blue every 16 px square is, (h,w,6) shares."""
    h, w = image.shape[:2]
    mean = cv2.resize(image, (w // TILE, h // TILE), interpolation=cv2.INTER_AREA)
    light, a, b = cv2.split(cv2.cvtColor(mean, cv2.COLOR_RGB2LAB).astype(np.float32))
    a, b = a - 128, b - 128
    # In steps of OpenCV's 8-bit Lab; /3 makes the borders between planes some 10 steps soft.
    scores = np.stack(
        [light - 150, 44 - abs(light - 106), 62 - light, 3 * (a - abs(b) / 2) - 18,
         3 * (b - abs(a) / 2) - 18, 3 * (-b - abs(a) / 2) - 12], -1,
    )  # fmt: skip
    shares = np.exp(np.minimum(scores, 60) / 3)
    return shares / shares.sum(-1, keepdims=True)


def mondrian(image: Image) -> Image:
    """Planes of primary colour, white, grey and black between black lines ("Composition", 1920s).

    Squares of 16 px; a line stands between two that differ, so that those of one colour are one.
    """
    planes = _planes(image) @ _PLANES
    x = planes.repeat(TILE, 0).repeat(TILE, 1)
    across = np.clip(4 * abs(np.diff(planes, axis=1)).mean(-1), 0, 1).repeat(TILE, 0)
    down = np.clip(4 * abs(np.diff(planes, axis=0)).mean(-1), 0, 1).repeat(TILE, 1)
    paper = np.ones((*image.shape[:2], 1))
    for k in range(across.shape[1]):
        at = TILE * (k + 1)
        paper[:, at - 2 : at + 2, 0] *= 1 - across[:, k : k + 1]
    for k in range(down.shape[0]):
        at = TILE * (k + 1)
        paper[at - 2 : at + 2, :, 0] *= 1 - down[k]
    return byte(cv2.GaussianBlur((x - 0.07) * paper + 0.07, (0, 0), 0.5))


PAINTERS: dict[str, Callable[[Image], Image]] = {
    "van_gogh": van_gogh,
    "munch": munch,
    "monet": monet,
    "kandinsky": kandinsky,
    "hoitsu": hoitsu,
    "mondrian": mondrian,
}
