"""A style carried from keyframes to the frames between, along the source's flow, from both sides.

Flows as in `core.flow`: `flow_to_key` lies on the grid of the frame and points into the keyframe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from . import flow as motion

TOLERANCE = 0.03  # of the source, in units of [0,1]: by which it is another thing
APART = 0.3  # what a place counts where going there and back does not come home
UNSEEN = 0.1  # trust below which a keyframe does not show a place
LEAST = 1e-6  # for a place that is no more like one side than the other
RADIUS = 2  # px, of the windows in which the sources are compared


class Side(NamedTuple):
    """A frame beside one keyframe: `flow_to_key` (1,2,H,W) px, `trust` (1,1,H,W) in (0,1]."""

    flow_to_key: Tensor
    trust: Tensor


def chained(flow: Tensor, then: Tensor) -> Tensor:
    """The flow (T,2,H,W) from a first grid into a third, of those into the second and from it."""
    return flow + motion.warp(then, flow)


def beside(frame: Tensor, key: Tensor, flow_to_key: Tensor, key_flow_to_frame: Tensor) -> Side:
    """How far what the keyframe shows is what the frame shows: x^f, x^k (1,3,H,W) in [0,1].

    τ(p) = u exp(-|x^f - x^k warped| / `TOLERANCE`), the difference averaged over windows; u is 1
    where the flow there and back comes home, else `APART`.
    """
    seen = motion.consistent(flow_to_key, key_flow_to_frame) & motion.inside(flow_to_key)
    gap = (frame - motion.warp(key, flow_to_key)).abs().mean(1, keepdim=True)
    likeness = torch.exp(-_mean(gap) / TOLERANCE)
    return Side(flow_to_key, likeness * torch.where(seen, 1, APART) + LEAST)


def resized(side: Side, size: Sequence[int]) -> Side:
    """The same for stylized frames of another size (H,W) than the source's."""
    if side.trust.shape[-2:] == tuple(size):
        return side
    scale = [new / old for new, old in zip(size, side.trust.shape[-2:], strict=True)]
    flow, trust = (interpolate(x, tuple(size), mode="bilinear") for x in side)
    return Side(flow * flow.new_tensor(scale[::-1])[:, None, None], trust)


def unseen(sides: Sequence[Side]) -> float:
    """Share of the frame that no keyframe shows: all trust below `UNSEEN`."""
    most = torch.stack([side.trust for side in sides]).amax(0)
    return float((most < UNSEEN).float().mean())


def carried(sides: Sequence[tuple[Side, Tensor, float]]) -> Tensor:
    """y^f (1,3,H,W) = Σ_k w_k y^k warped, w_k = (1-t_k) τ_k / Σ_j (1-t_j) τ_j, over windows.

    Where neither keyframe shows a place, the more like of the two counts: its colours are near.

    Args:
        sides: of each keyframe: where it is, y^k (1,3,H,W) in [0,1], and t_k in [0,1), how far
            away, as a share of the way from one keyframe to the other.
    """
    trust = torch.stack([(1 - away) * side.trust for side, _, away in sides])
    shares = [_mean(share) for share in trust / trust.sum(0)]  # or it shows where one gives way
    pictures = [motion.warp(key, side.flow_to_key, "bicubic") for side, key, _ in sides]
    mixed = torch.stack([k * y for k, y in zip(shares, pictures, strict=True)]).sum(0)
    return mixed.clamp(0, 1)


def _mean(x: Tensor) -> Tensor:
    return avg_pool2d(pad(x, [RADIUS] * 4, "replicate"), 2 * RADIUS + 1, stride=1)
