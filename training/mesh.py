"""A mesh: texture of flat places that comes again at fixed distances, as networks draw it.

Held against pixels, a network answers what it cannot foresee, such as the places of strokes, with
a pattern of its own. Texture is what is finer than 4 px.
"""

from __future__ import annotations

import torch
from style_a_video.pipelines.core.measures import blur, luma
from torch import Tensor
from torch.nn import functional as F

NEAREST, FARTHEST = 8, 32  # px between repetitions
LEAST = 500  # pixels, for a correlation to mean something
UNSEEN = 1e-4  # variance of a texture, of pictures in [-1,1]: half a level of 255 as its deviation
HIGHEST = 16  # repetitions of all shifts that count


def fine(pictures: Tensor) -> Tensor:
    """Texture (B,1,H,W) of (B,3,H,W)."""
    return luma(pictures) - blur(luma(pictures), 2.0)


def flat_places(photos: Tensor) -> Tensor:
    """The half of each photo (B,3,H,W) with the least texture around, (B,1,H,W) bool."""
    rough = F.avg_pool2d(fine(photos).abs(), 17, 1, 8, count_include_pad=False)
    return rough <= rough.flatten(1).median(1).values[:, None, None, None]


def repetition(pictures: Tensor, flat: Tensor) -> Tensor:
    """Autocorrelation of the texture in flat places at every shift of NEAREST to FARTHEST px, down
    and across, (B,shifts), up to 1. pictures: (B,3,H,W) in [-1,1]; flat: (B,1,H,W).
    """
    flat = flat.float()
    size = [side + FARTHEST for side in flat.shape[-2:]]

    def products(x: Tensor) -> Tensor:
        x = torch.view_as_real(torch.fft.rfft2(x, s=size)).square().sum(-1)
        return torch.fft.irfft2(x, s=size)[:, 0]

    covariance = products(fine(pictures) * flat) / products(flat).clamp(min=LEAST)
    correlation = covariance / (covariance[:, :1, :1] + UNSEEN)
    window = correlation.roll(FARTHEST, -1)[:, : FARTHEST + 1, : 2 * FARTHEST + 1]
    down, across = (torch.arange(n) for n in window.shape[-2:])
    far = (down[:, None] >= NEAREST) | ((across - FARTHEST).abs() >= NEAREST)
    return window[:, far]


def mesh_loss(y: Tensor, x: Tensor, photos: Tensor) -> Tensor:
    """How far y repeats itself in the flat places of the photos beyond what x does there. All
    (B,3,H,W) in [-1,1].
    """
    flat = flat_places(photos)
    beyond = F.relu(repetition(y, flat) - repetition(x, flat))
    return beyond.topk(HIGHEST, 1).values.mean()
