"""The whitening and colouring transform (Li et al. 2017, Universal Style Transfer via Feature
Transforms): a picture's covariance put onto a frame's features.

As in `adain.py`, statistics are values: a picture's are computed once, the frames' may be carried
along a shot. Eigenvalues are found in float64; those below 1e-5 are dropped (the authors do so).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

SMALLEST = 1e-5  # an eigenvalue below this is none


class Gaussian(NamedTuple):
    """Of features: mean (T,C) and covariance (T,C,C), float64 on the CPU."""

    mean: Tensor
    covariance: Tensor


class Colour(NamedTuple):
    """Of a picture: mean (1,C) and the square root of its covariance (1,C,C), float64."""

    mean: Tensor
    root: Tensor


def gaussian(features: Tensor, mask: Tensor | None = None) -> Gaussian:
    """Of (T,C,h,w) over its positions, weighted by a mask (T,1,h,w) from 0 up.

    Where a mask is 0 all over, the whole picture counts.
    """
    x = rearrange(features.float(), "t c h w -> t c (h w)")
    if mask is None:
        weights = x.new_ones(len(x), 1, x.shape[2])
    else:
        weights = rearrange(mask.float(), "t 1 h w -> t 1 (h w)")
        weights = torch.where(weights.amax(2, keepdim=True) > 0, weights, 1.0)
    weights = weights / weights.sum(2, keepdim=True)
    mean = (x * weights).sum(2, keepdim=True)
    centred = x - mean
    covariance = (centred * weights) @ centred.mT
    # On the CPU: not every device has float64 or eigenvalues, and these are small.
    return Gaussian(mean[..., 0].cpu().double(), covariance.cpu().double())


def steadied(carried: Gaussian, own: Gaussian) -> Gaussian:
    """As `adain.steadied`: the mean within one deviation of the frame's own, the covariance no less
    than a quarter of it, by the trace.
    """
    deviation = own.covariance.diagonal(dim1=1, dim2=2).sqrt()
    away = carried.mean - own.mean
    mean = own.mean + torch.minimum(torch.maximum(away, -deviation), deviation)
    size, least = (x.diagonal(dim1=1, dim2=2).sum(1) for x in (carried.covariance, own.covariance))
    scale = (least / 4 / size.clamp(min=1e-12)).clamp(min=1)
    return Gaussian(mean, carried.covariance * scale[:, None, None])


def colour(of: Gaussian, ridge: float = 0.0) -> Colour:
    """`ridge`: see `wct`."""
    return Colour(of.mean, _power(of.covariance, 0.5, ridge))


def wct(
    content: Tensor,
    style_mean: Tensor,
    style_root: Tensor,
    content_mean: Tensor | None = None,
    content_covariance: Tensor | None = None,
    strength: float = 0.6,
    ridge: float = 0.0,
) -> Tensor:
    """α (C_s^½ C_x^-½ (x - μ_x) + μ_s) + (1 - α) x, in which α is `strength` in [0,1].

    Args:
        content: x, features (T,C,h,w).
        style_mean, style_root: μ_s and C_s^½, the `Colour` of a picture or a mix.
        content_mean, content_covariance: μ_x and C_x, a `Gaussian` for each frame or one for all;
            those of each frame where they are not given.
        ridge: added to the eigenvalues of C_x, in units of their mean. Ours: directions in which
            the frame hardly varies hold its noise, which whitening would make as large as the rest.
            With the same ridge in the `Colour`, a frame of the picture's statistics stays as it is.

    Returns:
        (T,C,h,w), in the content's precision. The transform is one matrix and one shift a frame.
    """
    if content_mean is None or content_covariance is None:
        content_mean, content_covariance = gaussian(content)
    matrix = style_root @ _power(content_covariance, -0.5, ridge)
    shift = style_mean - (matrix @ content_mean[..., None])[..., 0]
    same = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    matrix, shift = same + strength * (matrix - same), strength * shift
    x = rearrange(content, "t c h w -> t c (h w)")
    y = matrix.to(content) @ x + shift.to(content)[..., None]
    return rearrange(y, "t c (h w) -> t c h w", h=content.shape[2])


def _power(covariance: Tensor, exponent: float, ridge: float) -> Tensor:
    """Of symmetric matrices (T,C,C), on the space of the eigenvalues that count."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values + ridge * values.mean(-1, keepdim=True)
    powers = torch.where(values < SMALLEST, 0, values.clamp(min=SMALLEST) ** exponent)
    return (vectors * powers[:, None, :]) @ vectors.mT
