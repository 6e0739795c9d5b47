"""SCTNet (Wu et al. 2022, arXiv 2207.04808): one feed-forward network for any picture of a style.

The frame's features, each channel of mean 0 and deviation 1, go through few channels, where the
picture's covariance is put onto them, and back; then a decoder. Trained with `ccpl.ccpl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .adain import Statistics, adain, statistics
from .decoder import StyleDecoder
from .perceptual import CONVOLUTIONS, LAYERS, WIDTHS

COMPRESSED = 32  # channels that the covariance is of
SMALLEST = 5  # places a side: what two 3x3 convolutions without a border need, the most there are
SPIKE = 5.0  # deviations
LEVELS = {"art": 4, "photo": 3}
"""Variant → level of the layer it works at: the shallower one leaves every line in its place."""
SKIPS = {"art": ("relu3_1",), "photo": ("relu2_1", "relu1_1")}
"""Where the frame's own features reach the decoder."""


class StyleCovariance(NamedTuple):
    """Of pictures, float32: second moments (T,32,32) of the compressed features, which are not
    centred again (nor in the authors' code), and the mean (T,C,1,1) of the features."""

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
        self.content = nn.Sequential(*_with_relu([nn.Conv2d(*c, 1) for c in pairwise(steps)]))
        sides = [3] * (len(steps) - 2) + [1]
        convolutions = [nn.Conv2d(*c, k) for c, k in zip(pairwise(steps), sides, strict=True)]
        self.style = nn.Sequential(*_with_relu(convolutions))
        self.restore = nn.Conv2d(COMPRESSED, width, 1)

    def see(self, features: Tensor) -> StyleCovariance:
        """What of a picture's features (T,C,h,w) is put onto frames."""
        mean = features.float().mean((2, 3), keepdim=True)
        height, width = (max(0, SMALLEST - side) for side in features.shape[-2:])
        x = F.pad(features - mean.to(features), (0, width, 0, height), "replicate")
        x = self.style(x).float().flatten(2)
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
        y = (style.covariance @ x.float().flatten(2)).view_as(x)  # float16 may not hold it
        return self.restore(y.to(x)) + style.mean.to(features)


class SCTNet(nn.Module):
    """SCT and decoder of a variant. The encoder, which is frozen, stands beside it.

    Ours: a slim decoder is too narrow to bring back colours and lines from the deepest layer alone.
    At each finer layer its features get the picture's mean and deviation (the style-aware skip
    links of Avatar-Net, Sheng et al. 2018), at some the frame's own features are added before.

    Args:
        variant: art, at relu4_1, for strokes; or photo, at relu3_1, for colours.
        widths, convolutions: those of the encoder; for VGG-19's see `perceptual.py`.
        links: False for the network as published.

    Raises:
        ValueError: there is no such variant.
    """

    def __init__(
        self,
        variant: str = "art",
        widths: Sequence[int] = WIDTHS,
        convolutions: Sequence[int] = CONVOLUTIONS,
        links: bool = True,
    ) -> None:
        if variant not in LEVELS:
            raise ValueError(f"There is no variant {variant!r}; they are {', '.join(LEVELS)}.")
        super().__init__()
        level = LEVELS[variant]
        self.layers = LAYERS[level - 1 :: -1]  # from coarse to fine
        self.links, self.skips = links, SKIPS[variant]
        self.sct = SCT(widths[level - 1], level)
        self.decoder = StyleDecoder(level, widths, convolutions)

    def see(self, features: Mapping[str, Tensor]) -> dict[str, StyleCovariance | Statistics]:
        """What of a picture's features is put onto frames, by layer."""
        deepest, *finer = self.layers
        finer_looks = {k: statistics(features[k]) for k in finer} if self.links else {}
        return {deepest: self.sct.see(features[deepest]), **finer_looks}

    def forward(self, content: Mapping[str, Tensor], style: Mapping[str, Tensor]) -> Tensor:
        """Features of `layers`, of frames (T,...) and pictures (T,...) → (T,3,H,W), unclamped.

        The frames' sides are multiples of 2^(level - 1).
        """
        looks = self.see(style)
        return self.draw(content, lambda layer, x: self.put(x, statistics(x), looks[layer]))

    def draw(
        self, content: Mapping[str, Tensor], styled: Callable[[str, Tensor], Tensor]
    ) -> Tensor:
        """From coarse to fine. `styled`: (layer, features) → features in the style, as by `put`."""
        deepest = self.layers[0]

        def finer(level: int, x: Tensor) -> Tensor:
            layer = LAYERS[level - 1]
            return styled(layer, x + content[layer].to(x) if layer in self.skips else x)

        x = styled(deepest, content[deepest])
        return self.decoder(x, finer if self.links else None)

    def put(
        self, features: Tensor, own: Statistics, wanted: StyleCovariance | Statistics
    ) -> Tensor:
        """One of `see` onto features (T,C,h,w) whose own statistics are known.

        Features further than `SPIKE` deviations from their mean are brought there: a decoder that
        is normalised learns to draw spikes, which show as dark drops (Karras et al. 2020).
        """
        least, most = own.mean - SPIKE * own.deviation, own.mean + SPIKE * own.deviation
        features = torch.maximum(torch.minimum(features, most.to(features)), least.to(features))
        if isinstance(wanted, StyleCovariance):
            return self.sct(features, wanted, own)
        return adain(features, *wanted, *own)


def _with_relu(convolutions: list[nn.Conv2d]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for convolution in convolutions:
        layers += [nn.ReLU(), convolution] if layers else [convolution]
    return layers
