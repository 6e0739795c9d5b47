"""StyleBank (Chen et al. 2017): an encoder and a decoder for all styles, a filter bank for each.

The filters are linear, so styles mix exactly by mixing filters, in the whole frame or by region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .gram import gram
from .perceptual import LAYERS

WIDTHS = (32, 64, 128)
"""Channels at 1, 1/2 and 1/4 of the size."""
FACTOR = 4  # px of a frame a place of the features
BANK = (WIDTHS[-1], WIDTHS[-1], 3, 3)
"""The shape of a style's filters: 147,456 weights, the article's 0.5625 MiB in float32."""

LOOKS = LAYERS[:4]
"""Where style is measured."""
CONTENT = LAYERS[3]
WEIGHTS = {"style": 1.0, "content": 0.6, "rough": 0.02}
"""Of the losses; the article's 100 to 1 belongs to losses that are not relative."""


class _Layer(nn.Module):
    """A convolution over a mirrored border; instance normalisation and ReLU where not `plain`."""

    def __init__(
        self, before: int, after: int, side: int, stride: int = 1, plain: bool = False
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, side, stride, bias=plain)
        self.norm = None if plain else nn.InstanceNorm2d(after, affine=True)
        self.border = (side // 2,) * 4

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(F.pad(x, self.border, "reflect"))
        return x if self.norm is None else F.relu(self.norm(x))


class StyleBank(nn.Module):
    """Frames → features → frames; what is put between them makes the style."""

    def __init__(self) -> None:
        super().__init__()
        full, half, quarter = WIDTHS
        self.encoder = nn.Sequential(
            _Layer(3, full, 9), _Layer(full, half, 3, 2), _Layer(half, quarter, 3, 2)
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            _Layer(quarter, half, 3),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            _Layer(half, full, 3),
            _Layer(full, 3, 9, plain=True),
        )

    def encode(self, frames: Tensor) -> Tensor:
        """(T,3,H,W) in [0,1], sides in multiples of `FACTOR`, from 16 px → (T,128,H/4,W/4)."""
        return self.encoder(2 * frames - 1)

    def decode(self, features: Tensor) -> Tensor:
        """(T,128,h,w) → (T,3,4h,4w) about [0,1], unclamped."""
        return (self.decoder(features) + 1) / 2


def through_bank(features: Tensor, bank: Tensor) -> Tensor:
    """(T,128,h,w) convolved with a style's filters (`BANK`): Chen et al. 2017, equation 1."""
    return F.conv2d(F.pad(features, (1,) * 4, "reflect"), bank)


def through_banks(features: Tensor, banks: Sequence[Tensor], regions: Tensor) -> Tensor:
    """Regional fusion (their equation 9): the sum over i of K_i convolved with M_i F.

    Args:
        features: (T,128,h,w).
        banks: one a region.
        regions: (1,N,h,w) in [0,1], of the sum 1.
    """
    shares = regions.to(features).split(1, dim=1)
    parts = [through_bank(features * m, k) for k, m in zip(banks, shares, strict=True)]
    return torch.stack(parts).sum(0)


def unchanged() -> Tensor:
    """The filters (`BANK`) that leave features as they are."""
    bank = torch.zeros(BANK)
    bank[:, :, 1, 1] = torch.eye(BANK[0])
    return bank


def faded(progress: float, count: int) -> list[float]:
    """Shares of `count` styles, of the sum 1, on the way from the first (0) to the last (1)."""
    place = min(max(progress, 0.0), 1.0) * (count - 1)
    return [max(0.0, 1.0 - abs(place - k)) for k in range(count)]


def losses(
    results: Tensor,
    found: Mapping[str, Tensor],
    content: Tensor,
    grams: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Style, content and total variation (their equation 4), by the names of `WEIGHTS`.

    Style and content are relative: about 1 where nothing of what is wanted is there, so that every
    picture counts alike.

    Args:
        results: (T,3,H,W).
        found: their features at `LOOKS`, (T,C,h,w) each.
        content: the photos' features at `CONTENT`.
        grams: the wanted Gram matrices a layer, (T,C,C) or (1,C,C).
    """
    style = []
    for layer, goal in grams.items():
        error = (gram(found[layer].float()) - goal).square().sum((1, 2))
        style.append(error / goal.square().sum((1, 2)))
    lost = (found[CONTENT].float() - content.float()).square().sum()
    rough = results.diff(dim=-1).abs().mean() + results.diff(dim=-2).abs().mean()
    return {
        "style": torch.stack(style).mean(),
        "content": lost / content.float().square().sum(),
        "rough": rough,
    }
