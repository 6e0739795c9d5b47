"""SCTNet (Wu et al. 2022, arXiv 2207.04808): one feed-forward network for any picture of a style.

The frame's features, each channel of mean 0 and deviation 1, go through few channels, where the
picture's covariance is put onto them, and back; then a decoder. Trained with `ccpl.ccpl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from .adain import Statistics, statistics
from .decoder import StyleDecoder
from .perceptual import CONVOLUTIONS, WIDTHS

COMPRESSED = 32  # channels that the covariance is of
LEVELS = {"art": 4, "photo": 3}
"""Variant → level of the layer it works at: the shallower one leaves every line in its place."""


class StyleCovariance(NamedTuple):
    """Of a picture, float32: covariance (1,32,32) of the compressed features, mean (1,C,1,1)."""

    covariance: Tensor
    mean: Tensor


class SCT(nn.Module):
    """The simple covariance transformation, between an encoder's features and a decoder's.

    Args:
        width: channels C of the features. level: of the layer; from 4 on, one step more lies
            between C and 32 channels.
    """

    def __init__(self, width: int, level: int) -> None:
        super().__init__()
        steps = [width, width // 2, *([width // 4] if level >= 4 else []), COMPRESSED]
        self.content = nn.Sequential(*_with_relu([nn.Conv2d(*c, 1) for c in _pairs(steps)]))
        sides = [3] * (len(steps) - 2) + [1]
        convolutions = [nn.Conv2d(*c, k) for c, k in zip(_pairs(steps), sides, strict=True)]
        self.style = nn.Sequential(*_with_relu(convolutions))
        self.restore = nn.Conv2d(COMPRESSED, width, 1)

    def see(self, features: Tensor) -> StyleCovariance:
        """What of a picture's features (T,C,h,w) is put onto frames; 5x5 places at least."""
        mean = features.float().mean((2, 3), keepdim=True)
        x = self.style(features - mean.to(features)).float().flatten(2)
        return StyleCovariance(x @ x.mT / x.shape[2], mean)

    def forward(
        self, features: Tensor, style: StyleCovariance, own: Statistics | None = None
    ) -> Tensor:
        """Features (T,C,h,w) of frames → features in the style, in the same precision.

        Args:
            style: `see` of a picture, a mix of several, or one for each frame.
            own: the frames' statistics, of which a shot may carry its own.
        """
        mean, deviation = own or statistics(features)
        x = self.content((features - mean.to(features)) / deviation.to(features))
        y = style.covariance.to(x) @ x.flatten(2)
        return self.restore(y.view_as(x)) + style.mean.to(features)


class SCTNet(nn.Module):
    """SCT and decoder of a variant. The encoder, which is frozen, stands beside it.

    Args:
        variant: art, at relu4_1, for strokes; or photo, at relu3_1, for colours.
        widths, convolutions: those of the encoder; for VGG-19's see `perceptual.py`.

    Raises:
        ValueError: there is no such variant.
    """

    def __init__(
        self,
        variant: str = "art",
        widths: Sequence[int] = WIDTHS,
        convolutions: Sequence[int] = CONVOLUTIONS,
    ) -> None:
        if variant not in LEVELS:
            raise ValueError(f"There is no variant {variant!r}; they are {', '.join(LEVELS)}.")
        super().__init__()
        self.level = LEVELS[variant]
        self.sct = SCT(widths[self.level - 1], self.level)
        self.decoder = StyleDecoder(self.level, widths, convolutions)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Features (T,C,h,w) and (T,C,h',w') of relu{level}_1 → pictures (T,3,H,W), unclamped."""
        return self.decoder(self.sct(content, self.sct.see(style)))


def _pairs(steps: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(steps, steps[1:], strict=False))


def _with_relu(convolutions: list[nn.Conv2d]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for convolution in convolutions:
        layers += [nn.ReLU(), convolution] if layers else [convolution]
    return layers
