"""Contrastive coherence preserving loss (Wu et al. 2022, arXiv 2207.04808, equations 1 and 2).

Where the frame changes from a place to the next, so should the result: the difference of features
between neighbours is to resemble the same difference in the frame more than any other of it. That
keeps patches of neighbouring frames alike too, though no video is seen in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.07
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""(down, right) of a centre."""


class DifferenceHeads(nn.ModuleDict):
    """A head a layer: differences (...,C) → what is compared, (...,C/4).

    Args:
        widths: channels by layer name, as `perceptual.PerceptualEncoder.widths` has them.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__(
            {
                layer: nn.Sequential(nn.Linear(c, c), nn.ReLU(), nn.Linear(c, c // 4))
                for layer, c in widths.items()
            }
        )


def ccpl(
    result: Mapping[str, Tensor],
    content: Mapping[str, Tensor],
    heads: Mapping[str, nn.Module],
    centres: int = 64,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The loss: a sum over the layers of `heads`, averaged over differences and pictures.

    Args:
        result, content: features (T,C,h,w) by layer, both of one size, of 3x3 at least.
        heads: by layer, as `DifferenceHeads`; trained with the rest.
        centres: N random places a layer. Time and memory grow with (8 N)².
        generator: what chooses them, on the CPU.

    Returns:
        A scalar from 0 up. The content's side takes no gradient.
    """
    losses = []
    for layer, head in heads.items():
        height, width = result[layer].shape[-2:]
        places = random_centres(height, width, centres, generator)
        query, key = (head(differences(x[layer], places)) for x in (result, content))
        losses.append(contrast(query, key.detach()))
    return torch.stack(losses).sum()


def random_centres(
    height: int, width: int, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """(N,2) rows and columns of different places that have 8 neighbours; all there are, at most."""
    inner = width - 2
    chosen = torch.randperm((height - 2) * inner, generator=generator)[:count]
    return torch.stack([chosen // inner + 1, chosen % inner + 1], 1)


def differences(features: Tensor, centres: Tensor) -> Tensor:
    """(T,C,h,w) at centres (N,2) → (T,8N,C): each less its 8 neighbours, in their order."""
    rows, columns = centres.to(features.device).unbind(1)
    centre = features[:, :, rows, columns]
    found = [centre - features[:, :, rows + down, columns + right] for down, right in NEIGHBOURS]
    return torch.stack(found, 3).flatten(2).mT


def contrast(query: Tensor, key: Tensor) -> Tensor:
    """InfoNCE: each of (T,M,C) against its own of (T,M,C) among all of the same picture."""
    alike = F.normalize(query, dim=2) @ F.normalize(key, dim=2).mT / TEMPERATURE
    own = torch.arange(alike.shape[1], device=alike.device).expand(len(alike), -1)
    return F.cross_entropy(cast(Tensor, alike.mT), own)
