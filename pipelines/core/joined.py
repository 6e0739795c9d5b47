"""Upsampling and two convolutions as one convolution of the small picture.

Nearest upsampling by 2 and convolutions with nothing between them are one linear map. Of each small
pixel it makes four, from its 3x3 neighbours alone: a 3x3 convolution to four times the channels,
shuffled into place. A decoder's last layers are such a map, with most of its work.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def upsampled(x: Tensor, first: Tensor, second: Tensor, bias: Tensor) -> Tensor:
    """conv(conv(up(x), first), second) + bias, up to rounding.

    Both convolutions are padded with zeros. So is what lies between them, which the joined map
    knows nothing of: the outermost pixels are made step by step.

    Args:
        x: (T,I,h,w).
        first: (M,I,3,3), of a convolution without bias.
        second: (O,M,3,3); bias: (O,).

    Returns:
        (T,O,2h,2w).
    """

    def by_steps(part: Tensor) -> Tensor:
        middle = F.conv2d(F.interpolate(part, scale_factor=2.0), first, padding=1)
        return F.conv2d(middle, second, bias, padding=1)

    made = F.conv2d(x, joined(first, second), bias.repeat_interleave(4), padding=1)
    y = F.pixel_shuffle(made, 2)
    y[..., :1, :] = by_steps(x[..., :2, :])[..., :1, :]
    y[..., -1:, :] = by_steps(x[..., -2:, :])[..., -1:, :]
    y[..., :1] = by_steps(x[..., :2])[..., :1]
    y[..., -1:] = by_steps(x[..., -2:])[..., -1:]
    return y


def joined(first: Tensor, second: Tensor) -> Tensor:
    """The joined map's weights (4O,I,3,3), in the order that `pixel_shuffle` takes."""
    a, b = first.float(), second.float()
    both = F.conv2d(a.transpose(0, 1), b.flip(2, 3), padding=2).transpose(0, 1)  # (O,I,5,5)
    # Tap k of large row 2r+p lies in small row r + (p + k - 2) // 2.
    rows = torch.zeros(2, 3, 5, device=first.device)
    for p in range(2):
        for k in range(5):
            rows[p, (p + k - 2) // 2 + 1, k] = 1
    weights = torch.einsum("oikl,prk,qsl->opqirs", both, rows, rows)
    return weights.reshape(-1, first.shape[1], 3, 3).to(first.dtype)
