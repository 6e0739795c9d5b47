"""What techniques and painters share: tones, lines, flat areas. Images are RGB (H,W,3) uint8."""

from __future__ import annotations

import cv2
import numpy as np

Image = np.ndarray
Stops = list[tuple[float, tuple[int, int, int]]]
"""(tone in [0,1], RGB in 8 bits), the darkest first."""


def grey(image: Image) -> np.ndarray:
    """(H,W) float32 in [0,1]."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def byte(x: np.ndarray) -> Image:
    """[0,1], clipped, → uint8."""
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)


def saturate(image: Image, factor: float, value: float = 1.0) -> Image:
    """Saturation times `factor`, brightness times `value` (both of HSV)."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor, 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * value, 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def warmth(image: Image, neutral: float, gain: float) -> np.ndarray:
    """0 where colours are cool, 1 where they are warm, (H,W); `neutral` is what grey counts as."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    return np.clip(neutral + gain * ((lab[..., 1] - 128) / 32 + (lab[..., 2] - 128) / 40), 0, 1)


def edges(grey: np.ndarray, sigma: float, k: float = 1.6, gain: float = 12.0) -> np.ndarray:
    """Soft difference-of-Gaussians lines, (H,W) 1 on paper, 0 on a line (Winnemoeller 2012, XDoG).

    sigma: px, of the finer Gaussian, the coarser is k times it; gain: how black a weak line is.
    """
    fine = cv2.GaussianBlur(grey, (0, 0), sigma)
    coarse = cv2.GaussianBlur(grey, (0, 0), sigma * k)
    return np.clip(1 + gain * np.minimum(fine - coarse + 0.004, 0), 0, 1)


def gradient(grey: np.ndarray, sigma: float) -> np.ndarray:
    """Gradient magnitude by Sobel's filter, (H,W); sigma: px, of the Gaussian before it."""
    smooth = cv2.GaussianBlur(grey, (0, 0), sigma)
    return np.hypot(cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1))


def posterise(x: np.ndarray, steps: int, slope: float) -> np.ndarray:
    """x in [0,1] in so many steps, with soft risers: a hard one turns noise into patches.

    slope: of a riser; below 10 the steps do not meet.
    """
    level = np.floor(x * steps)
    return (level + 1 / (1 + np.exp(-(x * steps - level - 0.5) * slope))) / steps


def tint(tone: np.ndarray, stops: Stops) -> np.ndarray:
    """Tone (H,W) in [0,1] → colour along the stops, float RGB in [0,1]."""
    at = [s for s, _ in stops]
    return np.stack(
        [np.interp(tone, at, [c[i] / 255 for _, c in stops]) for i in range(3)], axis=-1
    )


def flatten(image: Image, space: int, colour: int) -> Image:
    """Mean-shift flattening over `space` px and `colour` 8-bit steps, at half size: these areas
    have no finer detail to lose."""
    h, w = image.shape[:2]
    half = cv2.resize(image, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    half = cv2.pyrMeanShiftFiltering(half, space, colour, maxLevel=1)
    return cv2.resize(half, (w, h), interpolation=cv2.INTER_CUBIC)


def kuwahara(image: Image, radius: int) -> Image:
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
    return byte(np.take_along_axis(np.stack(means), best[None, ..., None], 0)[0])
