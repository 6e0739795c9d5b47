"""Drawing and print techniques: classic non-photorealistic filters that make the training targets.

Each function maps an RGB image (H,W,3) uint8, sides in multiples of 16, to one of the same shape.
All are deterministic, and everything with a grid is locked to a 16 px lattice whose origin is the
image's corner: a model that sees latents of 8 px can then infer the phase of dots and blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from .filters import (
    Image,
    byte,
    edges,
    flatten,
    gradient,
    grey,
    kuwahara,
    posterise,
    saturate,
    tint,
    warmth,
)
from .strokes import relief, strokes


def pencil(image: Image) -> Image:
    """Grey pencil lines and light shading on white paper (colour dodge)."""
    light = grey(image)
    blur = cv2.GaussianBlur(light, (0, 0), 6)
    dodge = np.clip((light + 0.08) / (blur + 0.08), 0, 1) ** 1.6
    shade = 0.78 + 0.22 * cv2.GaussianBlur(light, (0, 0), 2)
    lines = edges(light, 0.9, gain=9)
    return cv2.cvtColor(byte(dodge * shade * lines), cv2.COLOR_GRAY2RGB)


def watercolour(image: Image) -> Image:
    """Pale washes with dark rims over a drawing, bare paper between them and where it is light."""
    wash = cv2.medianBlur(flatten(image, 6, 34), 9)
    x = saturate(wash, 2.3).astype(np.float32) / 255
    x = 1 - (1 - x**0.7) * 0.68
    light = cv2.GaussianBlur(grey(image), (0, 0), 5)[..., None]
    edge = gradient(grey(wash), 1.5)
    between = cv2.GaussianBlur(np.clip(edge * 2, 0, 1), (0, 0), 5)[..., None] * 1.1
    paper = np.clip(np.maximum((light - 0.42) * 2.6, between), 0, 1)
    x = x + (1 - x) * paper * 0.94
    rim = np.clip(edge * 1.8 - 0.05, 0, 0.55)[..., None]
    drawing = 0.35 + 0.65 * edges(grey(image), 1.3, gain=14)[..., None]
    return byte(x * (1 - rim * (1.1 - x * 0.7)) * drawing)


def oil(image: Image) -> Image:
    """Thick daubs of deep saturated colour, lit as relief."""
    x = saturate(kuwahara(image, 5), 1.45, 0.95).astype(np.float32) / 255
    x = 0.3 * x + 0.7 * x * x * (3 - 2 * x)
    bristles = strokes(image, 5, 2.5, dashes=0.9)[..., None]
    return byte(relief(x * (1 + 0.07 * bristles), 0.35))


def comic(image: Image) -> Image:
    """Flat bright colours in few tones inside bold black outlines."""
    flat = flatten(image, 6, 35)
    hsv = cv2.cvtColor(flat, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.clip(hsv[..., 1] * 1.9, 0, 255)
    v = posterise(hsv[..., 2] / 255, 4, 12)
    hsv[..., 2] = np.clip(v * 1.1 + 0.14, 0, 1) * 255
    x = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32) / 255
    lines = edges(grey(cv2.bilateralFilter(image, 5, 40, 5)), 1.5, gain=40)
    return byte(x * lines[..., None])


def halftone(image: Image) -> Image:
    """Newspaper print: one black dot a cell of 8 px, its area the darkness of the cell."""
    light = cv2.GaussianBlur(grey(image), (0, 0), 1.5)
    light = np.clip((light - 0.5) * 1.25 + 0.53, 0.03, 0.97)
    h, w = light.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    screen = (2 + np.cos(2 * np.pi * (x + 0.5) / 8) + np.cos(2 * np.pi * (y + 0.5) / 8)) / 4
    ink = 1 / (1 + np.exp(-(screen - light) * 14))
    return byte(tint(1 - ink, [(0, (20, 18, 24)), (1, (246, 240, 226))]))


def ink_wash(image: Image) -> Image:
    """East Asian ink painting: wet grey washes and black brush lines on bare warm paper."""
    light = grey(cv2.medianBlur(image, 9))
    wet = cv2.GaussianBlur(light, (0, 0), 5)
    tone = np.clip((wet - 0.05) / 0.5, 0, 1) ** 0.8
    stroke = np.clip((1 - edges(grey(cv2.medianBlur(image, 5)), 2.4, gain=45)) * 1.3, 0, 1)
    stroke = cv2.GaussianBlur(stroke, (0, 0), 0.8)
    tone = tone * (1 - 0.9 * stroke)
    return byte(tint(tone, [(0, (20, 20, 24)), (0.5, (126, 124, 120)), (1, (242, 233, 213))]))


def neon(image: Image) -> Image:
    """Glowing tubes of saturated colour along the contours, on near-black."""
    smooth = cv2.bilateralFilter(image, 7, 45, 5)
    edge = np.clip(gradient(grey(smooth), 1.3) * 2.6 - 0.12, 0, 1)
    # The hue of a grey is chance: what has little colour glows from magenta (dark) to cyan (light).
    colour = cv2.GaussianBlur(image, (0, 0), 4).astype(np.float32) / 255
    tone = colour.mean(-1, keepdims=True)
    grey_tube = np.array([1.0, 0.1, 0.75]) + tone * np.array([-1.1, 0.9, 0.3])
    hue = grey_tube + (colour - tone) * 5
    hue = np.clip((hue - hue.min(-1, keepdims=True)) / np.ptp(hue, -1, keepdims=True), 0, 1)
    glow = cv2.GaussianBlur(edge, (0, 0), 5)
    x = np.array([0.03, 0.02, 0.09]) + edge[..., None] * hue * 1.1 + glow[..., None] * hue * 0.8
    return byte(x + (np.clip(edge - 0.6, 0, 1) * 0.9)[..., None])


def ukiyo_e(image: Image) -> Image:
    """Woodblock print: Prussian blue, grey-blue and cream in few flat tones, brick red where the
    picture is warm, bold indigo key lines, and the grain of the block."""
    flat = cv2.medianBlur(flatten(image, 8, 40), 7)
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).astype(np.float32)
    tone = posterise(lab[..., 0] / 255, 4, 14)
    warm = np.clip(0.5 + 1.2 * ((lab[..., 1] - 128) / 16 + (lab[..., 2] - 128) / 20 - 1.1), 0, 1)
    blue = tint(
        tone,
        [(0, (14, 30, 78)), (0.3, (30, 74, 128)), (0.55, (116, 156, 172)), (0.8, (222, 212, 178)),
         (1, (242, 230, 198))],
    )  # fmt: skip
    red = tint(
        tone,
        [(0, (60, 26, 34)), (0.3, (168, 62, 44)), (0.55, (214, 140, 84)), (0.8, (234, 200, 140)),
         (1, (242, 230, 198))],
    )  # fmt: skip
    x = blue + (red - blue) * warm[..., None]
    row, column = np.mgrid[: image.shape[0], : image.shape[1]]
    grain = np.cos(2 * np.pi * (row + 1.5 * np.cos(2 * np.pi * column / 16)) / 8)
    x = x * (1 + 0.025 * grain[..., None])
    calm = cv2.bilateralFilter(cv2.medianBlur(image, 5), 5, 40, 5)
    lines = edges(grey(calm), 1.9, gain=60)[..., None]
    return byte(x * lines + np.array([0.05, 0.08, 0.20]) * (1 - lines))


def pixel_art(image: Image) -> Image:
    """Blocks of 8 px, bright, in six tones. Steps of each channel would tint what is grey."""
    h, w = image.shape[:2]
    small = cv2.resize(saturate(image, 1.9), (w // 8, h // 8), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    tone = posterise(lab[..., 0].astype(np.float32) / 255, 6, 14)
    lab[..., 0] = byte(tone)
    small = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST)


def blueprint(image: Image) -> Image:
    """White construction lines on Prussian blue, over a faint 16 px grid."""
    light = grey(cv2.bilateralFilter(image, 5, 40, 5))
    line = np.clip(gradient(light, 1.0) * 1.9 - 0.08, 0, 1)
    h, w = light.shape
    grid = np.zeros((h, w), np.float32)
    grid[::16] = 0.14
    grid[:, ::16] = 0.14
    tone = np.clip(np.maximum(line, grid) + 0.12 * cv2.GaussianBlur(light, (0, 0), 3), 0, 1)
    return byte(tint(tone, [(0, (16, 52, 122)), (0.5, (104, 142, 196)), (1, (240, 247, 255))]))


def pop_art(image: Image) -> Image:
    """Screen print in flat inks that are not the picture's: magenta, coral and yellow where it is
    warm, blue and turquoises where it is cool, black where it is dark and along contours."""
    calm = cv2.medianBlur(image, 7)
    tone = cv2.cvtColor(cv2.GaussianBlur(calm, (0, 0), 1), cv2.COLOR_RGB2LAB)[..., 0]
    black = (24, 18, 30)

    def inks(ink: list[tuple[int, int, int]], cuts: list[float]) -> np.ndarray:
        stops = [(0.0, black)]
        for cut, below, above in zip(cuts, [black, *ink], ink, strict=False):
            stops += [(cut - 0.015, below), (cut + 0.015, above)]
        return tint(tone / np.float32(255), [*stops, (1.0, ink[-1])])

    warm = inks([(236, 30, 130), (255, 112, 60), (255, 226, 40)], [0.24, 0.48, 0.70])
    cool = inks([(30, 60, 190), (0, 170, 190), (120, 226, 214)], [0.24, 0.44, 0.66])
    warm_share = warmth(cv2.GaussianBlur(image, (0, 0), 5), neutral=0.5, gain=1.6)
    share = 1 / (1 + np.exp(-14 * (warm_share - 0.5)))[..., None]
    lines = edges(grey(cv2.bilateralFilter(cv2.medianBlur(image, 5), 5, 40, 5)), 1.6, gain=30)
    x = cool + (warm - cool) * share
    return byte(x * lines[..., None] + np.array(black) / 255 * (1 - lines[..., None]))


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
