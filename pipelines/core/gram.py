"""Style as what features do together: Gram matrices (Gatys et al. 2016) and distances of styles.

Features are dictionaries by layer name, as `perceptual.PerceptualEncoder` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .measures import frechet_distance, gaussian


def gram(features: Tensor) -> Tensor:
    """(T,C,h,w) → (T,C,C): products of two channels, averaged over the positions."""
    x = features.flatten(2)
    return x @ x.mT / x.shape[2]


def style_distance(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Mean over the layers of |G - G'|² / |G'|² (Frobenius), with G' of `wanted`.

    The relative square makes layers of many channels or large values count no more than others.
    Pictures need not be of one size.

    Returns:
        (T,) from 0 up: 0 for the same statistics, 1 for a picture of no features.

    Raises:
        ValueError: the layers differ, or there are none.
    """
    _check(found, wanted)
    distances = []
    for name, x in found.items():
        goal = gram(wanted[name].float())
        error = (gram(x.float()) - goal).square().sum((1, 2))
        distances.append(error / goal.square().sum((1, 2)))
    return torch.stack(distances).mean(0)


def style_frechet(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Fréchet distance of the features over the positions of each picture, averaged over layers.

    As SIFID (Rott Shaham et al. 2019), of these features in the place of Inception's, and divided
    by the trace of `wanted`'s covariance, so that layers of large values count no more than others.

    Returns:
        (T,) from 0 up.

    Raises:
        ValueError: the layers differ, or there are none.
    """
    _check(found, wanted)
    distances = []
    for name, x in found.items():
        goal = gaussian(wanted[name].double())
        size = goal[1].diagonal(dim1=1, dim2=2).sum(1)
        distances.append(frechet_distance(*gaussian(x.double()), *goal) / size)
    return torch.stack(distances).mean(0)


def _check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if not found or set(found) != set(wanted):
        raise ValueError(f"Features of the same layers, not {list(found)} and {list(wanted)}.")
