"""Motion between two frames: warping, and which pixels can be followed.

A flow is (T,2,H,W) in pixels, xy order. Its name says where it points, its grid is the frame it
starts from: `flow_to_prev` lies on the grid of this frame and points into the previous one,
`prev_flow_to_this` lies on the previous frame's grid and points back.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def warp(prev: Tensor, flow_to_prev: Tensor, mode: str = "bilinear") -> Tensor:
    """The previous frame as this one would show it: out(p) = prev(p + flow_to_prev(p)).

    Args:
        prev: (T,C,H,W); what lies outside is the nearest border pixel.
        flow_to_prev: (T,2,H,W) px.
        mode: bilinear | bicubic | nearest. Bicubic keeps what is warped again and again sharp; it
            overshoots by up to a few percent.
    """
    x, y = _targets(flow_to_prev)
    h, w = prev.shape[-2:]
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], -1)
    return F.grid_sample(prev, grid.to(prev.dtype), mode, "border", align_corners=False)


def inside(flow_to_prev: Tensor) -> Tensor:
    """(T,1,H,W) bool: where the flow does not leave the picture, which ends half a pixel beyond the
    middle of its last one.
    """
    x, y = _targets(flow_to_prev)
    h, w = flow_to_prev.shape[-2:]
    return ((x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5))[:, None]


def consistent(flow_to_prev: Tensor, prev_flow_to_this: Tensor) -> Tensor:
    """(T,1,H,W) bool: where going there and back comes home (Lai et al. 2018, section 3.1, after
    Sundaram et al. 2010): |w + v|² ≤ 0.01 (|w|² + |v|²) + 0.5.
    """
    back = warp(prev_flow_to_this, flow_to_prev)
    gap = _square(flow_to_prev + back)
    return gap <= 0.01 * (_square(flow_to_prev) + _square(back)) + 0.5


def within_a_motion(flow_to_prev: Tensor) -> Tensor:
    """(T,1,H,W) bool: where no motion boundary runs (Lai et al. 2018, after Sundaram et al. 2010):
    |∇u|² + |∇v|² ≤ 0.01 |w|² + 0.002.
    """
    dx = F.pad(flow_to_prev[..., 1:] - flow_to_prev[..., :-1], (0, 1))
    dy = F.pad(flow_to_prev[..., 1:, :] - flow_to_prev[..., :-1, :], (0, 0, 0, 1))
    return _square(dx) + _square(dy) <= 0.01 * _square(flow_to_prev) + 0.002


def visible_before(flow_to_prev: Tensor, prev_flow_to_this: Tensor) -> Tensor:
    """M_{f,f-1} (T,1,H,W) bool on this frame's grid: pixels that the previous frame shows too.

    Neither occluded nor on a motion boundary nor from outside the picture.
    """
    return (
        consistent(flow_to_prev, prev_flow_to_this)
        & within_a_motion(flow_to_prev)
        & inside(flow_to_prev)
    )


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (T,H,W) in px that the flow points to."""
    h, w = flow.shape[-2:]
    y = torch.arange(h, device=flow.device, dtype=flow.dtype)[:, None]
    x = torch.arange(w, device=flow.device, dtype=flow.dtype)
    return x + flow[:, 0], y + flow[:, 1]


def _square(flow: Tensor) -> Tensor:
    return flow.square().sum(1, keepdim=True)
