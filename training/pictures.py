"""Photos and pictures of styles as random crops, for the networks that learn styles from pictures.

DIR holds photos/ with photos.csv, styles/ and paintings/ (JPEG). What is held out is never seen in
training of any kind: the figures of picture styles are measured with it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from . import data

HELD_OUT = (  # in paintings/, and other pictures of the same works in styles/
    *("starry_night_vangogh_1889", "vincent-van-gogh-the-starry-night-1"),
    *("scream_munch_1893", "wave_hokusai_1831"),
    "katsushika-hokusai-the-great-wave-off-kanagawa-1",
    *("composition_vii_kandinsky_1913", "wassily-kandinsky-composition-vii-1"),
    *("udnie_picabia_1913", "francis-picabia-udnie-1"),
    *("woman_hat_matisse_1905", "henri-matisse-woman-with-a-hat-1"),
    *("mondrian", "piet-mondrian-tableau-cubist-composition-1"),
    "water_lilies_monet_1919",
)
LONG_SIDE = 512  # px


def styles(folder: Path, held_out: bool = False) -> list[Path]:
    """The pictures of styles to learn from, or those in paintings/ that are held out."""
    files = sorted([*(folder / "paintings").glob("*.jpg"), *(folder / "styles").glob("*.jpg")])
    if held_out:
        return [f for f in files if f.stem in HELD_OUT and f.parent.name == "paintings"]
    return [f for f in files if f.stem not in HELD_OUT]


def read(path: Path) -> np.ndarray:
    """(H,W,3) uint8 RGB, its longer side at most LONG_SIDE px."""
    image = data.read_rgb(path)
    k = LONG_SIDE / max(image.shape[:2])
    return cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA) if k < 1 else image


class Crops:
    """Random crops of pictures, all held in memory.

    Args:
        colours: how much hue, saturation, brightness and contrast are varied, from 0 (not at all);
            0.15 of the crops become negatives at 1.
    """

    def __init__(self, files: list[Path], seed: int, colours: float = 1.0) -> None:
        self.pictures = [read(f) for f in files]
        self.rng, self.colours = np.random.default_rng(seed), colours

    def batch(self, count: int, side: int) -> Tensor:
        """(count,3,side,side) in [0,1]."""
        return torch.stack([self.one(side) for _ in range(count)])

    def one(self, side: int) -> Tensor:
        """(3,side,side): from half a picture's size to all of it, mirrored or not."""
        rng = self.rng
        picture = self.pictures[rng.integers(len(self.pictures))]
        h, w = picture.shape[:2]
        size = int(min(h, w) * rng.uniform(0.4, 1.0))
        top, left = rng.integers(h - size + 1), rng.integers(w - size + 1)
        crop = picture[top : top + size, left : left + size]
        way = cv2.INTER_AREA if size > side else cv2.INTER_CUBIC
        crop = cv2.resize(crop, (side, side), interpolation=way)
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        x = self._coloured(np.ascontiguousarray(crop).astype(np.float32) / 255)
        return torch.from_numpy(x).permute(2, 0, 1)

    def _coloured(self, x: np.ndarray) -> np.ndarray:
        rng, k = self.rng, self.colours
        if not k or rng.random() < 0.3:
            return x
        hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + k * rng.uniform(-180, 180) * (rng.random() < 0.4)) % 360
        hsv[..., 1] = (hsv[..., 1] * (1 + k * rng.uniform(-0.6, 0.5))).clip(0, 1)
        x = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).clip(0, 1)
        x = x ** (1 + k * rng.uniform(-0.4, 0.6))
        x = x.mean() + (x - x.mean()) * (1 + k * rng.uniform(-0.4, 0.4))
        if rng.random() < 0.15 * k:
            x = 1 - x
        return x.clip(0, 1).astype(np.float32)
