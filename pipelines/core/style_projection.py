"""A picture in the place of words: statistics of its features → a text condition.

Statistics that mean style (Huang & Belongie 2017, `core.adain`) go through a small network to the
vector that scales and shifts a painting network's features (Ghiasi et al. 2017, "Exploring the
structure of a real-time, arbitrary neural artistic stylization network"); here that vector enters
where text does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .perceptual import WIDTHS, PerceptualEncoder

LEVELS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
SHORT_SIDE = 256  # px, at which strokes are seen
STATISTICS = 2 * sum(WIDTHS[: len(LEVELS)]) + 9


@torch.no_grad()
def statistics_of(picture: Tensor, encoder: PerceptualEncoder) -> Tensor:
    """(T,3,H,W) in [0,1] → (T,STATISTICS) float32.

    Of each channel of the features the mean and the logarithm of the deviation, and the colours'
    mean and covariance. The picture is seen at SHORT_SIDE px whatever its size.
    """
    k = SHORT_SIDE / min(picture.shape[-2:])
    size = [max(round(side * k), SHORT_SIDE) for side in picture.shape[-2:]]
    x = F.interpolate(picture, size, mode="bilinear", antialias=True)
    features = encoder(x, LEVELS)
    found = []
    for name in LEVELS:
        deviation, mean = torch.std_mean(features[name].float(), (2, 3))
        found += [mean, (deviation + 1e-3).log()]
    colours = x.float().flatten(2)
    mean = colours.mean(2)
    centred = colours - mean[..., None]
    covariance = centred @ centred.mT / colours.shape[2]
    upper = torch.triu_indices(3, 3)
    return torch.cat([*found, mean, 10 * covariance[:, upper[0], upper[1]]], 1)


class StyleProjection(nn.Module):
    """Statistics (T,STATISTICS) → a token (T,D) that stands at every place of a prompt, and the
    pooled text (T,P).

    Args:
        hidden, pooled: D and P, of the text encoder whose place it takes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, hidden: int = 128, pooled: int = 128, width: int = 512) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(STATISTICS))
        self.register_buffer("deviation", torch.ones(STATISTICS))
        self.layers = nn.Sequential(
            nn.Linear(STATISTICS, width), nn.SiLU(), nn.Linear(width, hidden + pooled)
        )
        self.parts = [hidden, pooled]

    def forward(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        x = (statistics - self.mean) / self.deviation
        token, pooled = self.layers(x).split(self.parts, 1)
        return token, pooled


@torch.no_grad()
def as_text(
    pictures: Sequence[Tensor],
    shares: Sequence[float],
    encoder: PerceptualEncoder,
    projection: StyleProjection,
    places: int,
) -> tuple[Tensor, Tensor]:
    """Pictures (3,H,W) in [0,1] with shares that add up to 1 → hidden (1,places,D), pooled (1,P).

    One token at every place: cross-attention then gives its value, whatever a position asks for.
    """
    seen = torch.cat([statistics_of(picture[None], encoder) for picture in pictures])
    weights = seen.new_tensor(shares)
    token, pooled = (weights @ point for point in projection(seen))
    return token.expand(1, places, -1), pooled[None]
