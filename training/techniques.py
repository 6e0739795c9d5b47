"""Drawing and print techniques: classic non-photorealistic filters that make the training targets.

Each function maps an RGB image (H,W,3) uint8, sides in multiples of 16, to one of the same shape.
All are deterministic, and everything with a grid is locked to a 16 px lattice whose origin is the
image's corner: a model that sees latents of 8 px can then infer the phase of dots and blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Image = np.ndarray


def _grey(image: Image) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _byte(x: np.ndarray) -> Image:
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)


def _saturate(image: Image, factor: float, value: float = 1.0) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor, 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * value, 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def _edges(grey: np.ndarray, sigma: float, k: float = 1.6, gain: float = 12.0) -> np.ndarray:
    """Soft difference-of-Gaussians lines, 1 on paper and 0 on a line (Winnemoeller 2012, XDoG)."""
    fine = cv2.GaussianBlur(grey, (0, 0), sigma)
    coarse = cv2.GaussianBlur(grey, (0, 0), sigma * k)
    return np.clip(1 + gain * np.minimum(fine - coarse + 0.004, 0), 0, 1)


def _gradient(grey: np.ndarray, sigma: float) -> np.ndarray:
    smooth = cv2.GaussianBlur(grey, (0, 0), sigma)
    return np.hypot(cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1))


def _posterise(x: np.ndarray, steps: int, slope: float) -> np.ndarray:
    """x in [0,1] in so many steps, with soft risers: a hard one turns noise into patches."""
    level = np.floor(x * steps)
    return (level + 1 / (1 + np.exp(-(x * steps - level - 0.5) * slope))) / steps


def _tint(tone: np.ndarray, stops: list[tuple[float, tuple[int, int, int]]]) -> np.ndarray:
    """Tone (H,W) in [0,1] → colour along the stops, float RGB in [0,1]."""
    at = [s for s, _ in stops]
    return np.stack(
        [np.interp(tone, at, [c[i] / 255 for _, c in stops]) for i in range(3)], axis=-1
    )


def pencil(image: Image) -> Image:
    """Grey pencil lines and light shading on white paper (colour dodge)."""
    grey = _grey(image)
    blur = cv2.GaussianBlur(grey, (0, 0), 6)
    dodge = np.clip((grey + 0.08) / (blur + 0.08), 0, 1) ** 1.6
    shade = 0.78 + 0.22 * cv2.GaussianBlur(grey, (0, 0), 2)
    lines = _edges(grey, 0.9, gain=9)
    return cv2.cvtColor(_byte(dodge * shade * lines), cv2.COLOR_GRAY2RGB)


def _flatten(image: Image, space: int, colour: int) -> Image:
    """Mean-shift flattening, at half size: these areas have no finer detail to lose."""
    h, w = image.shape[:2]
    half = cv2.resize(image, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    half = cv2.pyrMeanShiftFiltering(half, space, colour, maxLevel=1)
    return cv2.resize(half, (w, h), interpolation=cv2.INTER_CUBIC)


def watercolour(image: Image) -> Image:
    """Pale washes with dark rims over a drawing, bare paper between them and where it is light."""
    wash = cv2.medianBlur(_flatten(image, 6, 34), 9)
    x = _saturate(wash, 2.3).astype(np.float32) / 255
    x = 1 - (1 - x**0.7) * 0.68
    light = cv2.GaussianBlur(_grey(image), (0, 0), 5)[..., None]
    edge = _gradient(_grey(wash), 1.5)
    between = cv2.GaussianBlur(np.clip(edge * 2, 0, 1), (0, 0), 5)[..., None] * 1.1
    paper = np.clip(np.maximum((light - 0.42) * 2.6, between), 0, 1)
    x = x + (1 - x) * paper * 0.94
    rim = np.clip(edge * 1.8 - 0.05, 0, 0.55)[..., None]
    drawing = 0.35 + 0.65 * _edges(_grey(image), 1.3, gain=14)[..., None]
    return _byte(x * (1 - rim * (1.1 - x * 0.7)) * drawing)


def oil(image: Image) -> Image:
    """Thick daubs of deep saturated colour, lit as relief."""
    daubs = _kuwahara(image, 5)
    daubs = _saturate(daubs, 1.7, 0.9)
    grey = cv2.GaussianBlur(_grey(daubs), (0, 0), 1.0)
    relief = cv2.Sobel(grey, -1, 1, 0) + cv2.Sobel(grey, -1, 0, 1)
    x = daubs.astype(np.float32) / 255
    x = x * x * (3 - 2 * x)
    return _byte(x + np.clip(relief, -0.35, 0.35)[..., None] * 0.45)


def _kuwahara(image: Image, radius: int) -> Image:
    """Mean of the calmest of four quadrants (Kuwahara et al. 1976)."""
    x = image.astype(np.float32) / 255
    k = radius + 1
    means, spreads = [], []
    for ax in (0, radius):
        for ay in (0, radius):
            mean = cv2.blur(x, (k, k), anchor=(ax, ay), borderType=cv2.BORDER_REFLECT)
            square = cv2.blur(x * x, (k, k), anchor=(ax, ay), borderType=cv2.BORDER_REFLECT)
            means.append(mean)
            spreads.append((square - mean * mean).sum(-1))
    best = np.argmin(np.stack(spreads), axis=0)
    return _byte(np.take_along_axis(np.stack(means), best[None, ..., None], 0)[0])


def comic(image: Image) -> Image:
    """Flat bright colours in few tones inside bold black outlines."""
    flat = _flatten(image, 6, 35)
    hsv = cv2.cvtColor(flat, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.clip(hsv[..., 1] * 1.9, 0, 255)
    v = _posterise(hsv[..., 2] / 255, 4, 12)
    hsv[..., 2] = np.clip(v * 1.1 + 0.14, 0, 1) * 255
    x = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32) / 255
    lines = _edges(_grey(cv2.bilateralFilter(image, 5, 40, 5)), 1.5, gain=40)
    return _byte(x * lines[..., None])


def halftone(image: Image) -> Image:
    """Newspaper print: one black dot a cell of 8 px, its area the darkness of the cell."""
    grey = cv2.GaussianBlur(_grey(image), (0, 0), 1.5)
    grey = np.clip((grey - 0.5) * 1.25 + 0.53, 0.03, 0.97)
    h, w = grey.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    screen = (2 + np.cos(2 * np.pi * (x + 0.5) / 8) + np.cos(2 * np.pi * (y + 0.5) / 8)) / 4
    ink = 1 / (1 + np.exp(-(screen - grey) * 14))
    return _byte(_tint(1 - ink, [(0, (20, 18, 24)), (1, (246, 240, 226))]))


def ink_wash(image: Image) -> Image:
    """East Asian ink painting: wet grey washes and black brush lines on bare warm paper."""
    grey = _grey(cv2.medianBlur(image, 9))
    wet = cv2.GaussianBlur(grey, (0, 0), 5)
    tone = np.clip((wet - 0.05) / 0.5, 0, 1) ** 0.8
    stroke = np.clip((1 - _edges(_grey(cv2.medianBlur(image, 5)), 2.4, gain=45)) * 1.3, 0, 1)
    stroke = cv2.GaussianBlur(stroke, (0, 0), 0.8)
    tone = tone * (1 - 0.9 * stroke)
    return _byte(_tint(tone, [(0, (20, 20, 24)), (0.5, (126, 124, 120)), (1, (242, 233, 213))]))


def neon(image: Image) -> Image:
    """Glowing tubes of saturated colour along the contours, on near-black."""
    grey = cv2.bilateralFilter(image, 7, 45, 5)
    edge = np.clip(_gradient(_grey(grey), 1.3) * 2.6 - 0.12, 0, 1)
    # The hue of a grey is chance: what has little colour glows from magenta (dark) to cyan (light).
    colour = cv2.GaussianBlur(image, (0, 0), 4).astype(np.float32) / 255
    tone = colour.mean(-1, keepdims=True)
    grey_tube = np.array([1.0, 0.1, 0.75]) + tone * np.array([-1.1, 0.9, 0.3])
    hue = grey_tube + (colour - tone) * 5
    hue = np.clip((hue - hue.min(-1, keepdims=True)) / np.ptp(hue, -1, keepdims=True), 0, 1)
    glow = cv2.GaussianBlur(edge, (0, 0), 5)
    x = np.array([0.03, 0.02, 0.09]) + edge[..., None] * hue * 1.1 + glow[..., None] * hue * 0.8
    return _byte(x + (np.clip(edge - 0.6, 0, 1) * 0.9)[..., None])


def ukiyo_e(image: Image) -> Image:
    """Woodblock print: indigo, grey-green, ochre and cream in flat areas, with brown key lines."""
    flat = cv2.medianBlur(_flatten(image, 6, 30), 5)
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).astype(np.float32)
    tone = lab[..., 0] / 255
    warm = np.clip((lab[..., 1] - 128) / 16 + (lab[..., 2] - 128) / 20 - 0.1, -1, 1)
    warm = 0.5 + 0.5 * warm
    tone = _posterise(tone, 5, 10)
    blue = _tint(
        tone,
        [(0, (20, 32, 66)), (0.45, (56, 96, 140)), (0.75, (160, 190, 190)), (1, (240, 230, 202))],
    )
    red = _tint(
        tone,
        [(0, (58, 30, 36)), (0.4, (178, 78, 54)), (0.7, (222, 172, 112)), (1, (243, 228, 196))],
    )
    x = blue + (red - blue) * warm[..., None]
    lines = _edges(_grey(cv2.bilateralFilter(image, 5, 40, 5)), 1.2, gain=22)[..., None]
    return _byte(x * lines + np.array([0.16, 0.11, 0.12]) * (1 - lines))


def pixel_art(image: Image) -> Image:
    """Blocks of 8 px in a small bright palette (five levels a channel)."""
    h, w = image.shape[:2]
    small = cv2.resize(_saturate(image, 1.9), (w // 8, h // 8), interpolation=cv2.INTER_AREA)
    small = _posterise(small.astype(np.float32) / 255, 4, 14)
    return _byte(cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST))


def blueprint(image: Image) -> Image:
    """White construction lines on Prussian blue, over a faint 16 px grid."""
    grey = _grey(cv2.bilateralFilter(image, 5, 40, 5))
    line = np.clip(_gradient(grey, 1.0) * 1.9 - 0.08, 0, 1)
    h, w = grey.shape
    grid = np.zeros((h, w), np.float32)
    grid[::16] = 0.14
    grid[:, ::16] = 0.14
    tone = np.clip(np.maximum(line, grid) + 0.12 * cv2.GaussianBlur(grey, (0, 0), 3), 0, 1)
    return _byte(_tint(tone, [(0, (16, 52, 122)), (0.5, (104, 142, 196)), (1, (240, 247, 255))]))


def pop_art(image: Image) -> Image:
    """Screen print in four flat inks: purple, magenta, orange, yellow."""
    tone = cv2.GaussianBlur(_grey(cv2.medianBlur(image, 5)), (0, 0), 1)
    inks = [(52, 20, 96), (226, 28, 120), (255, 128, 34), (255, 232, 72)]
    cuts = [0.2, 0.42, 0.66]
    soft = 0.015
    stops = [(0.0, inks[0])]
    for cut, below, above in zip(cuts, inks, inks[1:], strict=False):
        stops += [(cut - soft, below), (cut + soft, above)]
    return _byte(_tint(tone, [*stops, (1.0, inks[-1])]))


TECHNIQUES: dict[str, Callable[[Image], Image]] = {
    "pencil": pencil,
    "watercolour": watercolour,
    "oil": oil,
    "comic": comic,
    "halftone": halftone,
    "ink_wash": ink_wash,
    "neon": neon,
    "ukiyo_e": ukiyo_e,
    "pixel_art": pixel_art,
    "blueprint": blueprint,
    "pop_art": pop_art,
}
