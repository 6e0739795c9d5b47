"""Draws the pack's icon and banner for registry.comfy.org: `python docs/banner.py`.

A photo in strips: as it is, in styles by words, and after paintings, all by the networks that come
with the package. The photos are scikit-image's: of NASA (public domain), and of a cat (CC0).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from style_a_video.pipelines.engines.registry import default_for
from style_a_video.pipelines.engines.style import Style, read_style_picture
from style_a_video.pipelines.refine.frames import InOrder
from style_a_video.weights.paintings import PAINTINGS, painting
from torch import Tensor

FOLDER = Path(__file__).parent
STYLES = ("watercolour", "Starry Night, Van Gogh", "pencil sketch", "The Scream, Munch", "ukiyo-e")
"""Words, or a painting's name."""
BANNER, WIDE = (1260, 540), (0, 4, 512, 223)  # px; of the photo: left, top, right, bottom
ICON, FACE = (400, 400), (96, 20, 346, 270)
LINE = 4  # px of white between strips


def part(photo: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """A part of a photo, (1,3,H,W) in [0,1]."""
    part = Image.fromarray(photo).crop(box).resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)[None] / 255


def in_style(frame: Tensor, name: str) -> Tensor:
    """The frame by the engine that is chosen where none is named."""
    style = Style(name)
    if name in {one.name for one in PAINTINGS}:
        style = Style(pictures=(read_style_picture(painting(name).path),))
    kind = default_for(style)
    loaded = kind.load(kind.options(), torch.device("cpu"), torch.float32)
    return InOrder(loaded.engine(style), None)(frame, [0])


def strips(pictures: Sequence[Tensor]) -> Image.Image:
    """Side by side, the n-th strip from the n-th picture, a white line between them."""
    width = pictures[0].shape[-1]
    edges = [round(i * width / len(pictures)) for i in range(len(pictures) + 1)]
    page = torch.ones_like(pictures[0])
    for picture, left, right in zip(pictures, edges, edges[1:], strict=False):
        left += LINE * (left > 0)
        page[..., left:right] = picture[..., left:right]
    pixels = page[0].permute(1, 2, 0).mul(255).round().byte()
    return Image.fromarray(pixels.numpy())


def main() -> None:
    wide, face = part(data.astronaut(), WIDE, BANNER), part(data.chelsea(), FACE, ICON)
    banner = strips([wide, *(in_style(wide, name) for name in STYLES)])
    banner.save(FOLDER / "banner.jpg", quality=88, optimize=True)
    icon = strips([face, in_style(face, "Starry Night, Van Gogh")])
    icon.save(FOLDER / "icon.jpg", quality=92, optimize=True)


if __name__ == "__main__":
    main()
