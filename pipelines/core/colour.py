"""The colours of the one picture with the light of another."""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def keep_colour(stylized: Tensor, source: Tensor) -> Tensor:
    """The source's colours with the light of the stylized frames (Gatys et al. 2016, "Preserving
    color in neural artistic style transfer", luminance only).

    Both (T,3,H,W) in [0,1]; the result is clamped to it.
    """
    change = light(stylized.to(source) - source)
    return (source + change).clamp(0, 1)


def light(picture: Tensor) -> Tensor:
    """(T,3,H,W) → (T,1,H,W)."""
    luma = torch.tensor(LUMA, device=picture.device, dtype=picture.dtype).view(1, 3, 1, 1)
    return (picture * luma).sum(1, keepdim=True)
