"""A frame found by optimisation, for the content of one picture and the style of another (Gatys et
al. 2016), that goes on from the frame before (Ruder et al. 2016).

Losses are relative: each is about 1 where nothing of what is wanted is there, whatever the picture,
its size or the network, so that weights mean the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .gram import gram

LEVELS = 5  # of the pyramid, halved each
REMEMBERED = 20  # steps that L-BFGS looks back on
SMALLEST = 1e-4  # of a picture's variance or roughness: a blank one has none


def style_loss(
    features: Mapping[str, Tensor],
    grams: Sequence[Mapping[str, Tensor]],
    masks: Sequence[Mapping[str, Tensor]] | None = None,
) -> Tensor:
    """Mean over the layers of |G - G'|² / |G'|² (Frobenius), as `gram.style_distance`.

    Args:
        features: (1,C,h,w) a layer.
        grams: G' (1,C,C) a layer, of each region.
        masks: (1,1,h,w) in [0,1] a layer, of each region: G is of its places alone, and it counts
            by its size. None: there is one region, the whole picture.
    """
    losses = []
    for k, wanted in enumerate(grams):
        for name, x in features.items():
            mask = x.new_ones(1, 1, 1, 1) if masks is None else masks[k][name]
            share = mask.mean()
            found = gram(x * mask.sqrt()) / share.clamp(min=1e-6)
            goal = wanted[name]
            error = (found - goal).square().sum() / goal.square().sum().clamp(min=1e-12)
            losses.append(share * error)
    return torch.stack(losses).sum() / len(features)


def content_loss(features: Tensor, wanted: Tensor) -> Tensor:
    """|F - F'|² / |F'|² of (1,C,h,w)."""
    return (features - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12)


def temporal_loss(frame: Tensor, warped: Tensor, visible: Tensor) -> Tensor:
    """Mean square of the difference to the frame before as the flow moves it, over the places that
    it shows too, in multiples of its variance.

    Args:
        frame, warped: (1,3,H,W); visible: (1,1,H,W), 0 or 1.
    """
    error = (visible * (frame - warped)).square().sum() / (3 * visible.sum()).clamp(min=1)
    return error / warped.var().clamp(min=SMALLEST)


def roughness(frame: Tensor) -> Tensor:
    """Mean square of the differences of neighbouring pixels of (1,3,H,W), across plus down."""
    across, down = frame.diff(dim=-1), frame.diff(dim=-2)
    return across.square().mean() + down.square().mean()


def clouded(frame: Tensor, amount: float) -> Tensor:
    """(1,3,H,W) with noise on every level of the pyramid but the finest, always the same.

    `amount`: its deviation.
    """
    size = frame.shape[-2:]
    generator = torch.Generator().manual_seed(0)
    for level in range(1, LEVELS):
        noise = torch.randn(1, 3, *_halved(size, level), generator=generator)
        frame = frame + amount / (LEVELS - 1) ** 0.5 * interpolate(
            noise.to(frame), size, mode="bilinear"
        )
    return frame


def optimized(start: Tensor, loss: Callable[[Tensor], Tensor], iterations: int) -> Tensor:
    """The frame (1,3,H,W) in [0,1] that so many steps of L-BFGS reach from `start`.

    What moves is a pyramid that is added to `start`: large strokes are a step away then, and the
    noise that single pixels would get stays out. The same values give the same result; inference
    mode around it makes no difference.
    """
    with torch.inference_mode(False), torch.enable_grad():
        start = start.detach().clone()
        size = start.shape[-2:]
        pyramid = [
            start.new_zeros(1, 3, *_halved(size, level)).requires_grad_() for level in range(LEVELS)
        ]
        steps = torch.optim.LBFGS(
            pyramid,
            max_iter=iterations,
            max_eval=2 * iterations,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=REMEMBERED,
            line_search_fn="strong_wolfe",
        )

        def frame() -> Tensor:
            finest, *coarser = pyramid
            return sum((interpolate(p, size, mode="bilinear") for p in coarser), start + finest)

        def closure() -> Tensor:
            steps.zero_grad()
            value = loss(frame())
            value.backward()
            return value

        steps.step(closure)
        return frame().detach().clamp(0, 1)


def _halved(size: Sequence[int], level: int) -> list[int]:
    return [-(-side // 2**level) for side in size]
