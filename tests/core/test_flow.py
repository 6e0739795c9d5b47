"""Warping and occlusion, where the answer is known."""

from __future__ import annotations

import pytest
import torch
from style_a_video.pipelines.core import flow


def steady(x: float, y: float, height: int = 24, width: int = 32) -> torch.Tensor:
    return (
        torch.tensor([float(x), float(y)])[None, :, None, None]
        .expand(1, 2, height, width)
        .contiguous()
    )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_a_whole_shift_moves_pixels_unchanged(mode):
    prev = torch.rand(1, 3, 24, 32)
    moved = flow.warp(prev, steady(-3, 2), mode)  # this frame's (y,x) was at (y+2,x-3)
    torch.testing.assert_close(moved[..., :-2, 3:], prev[..., 2:, :-3], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        moved[..., :-2, :3], prev[..., 2:, :1].expand(-1, -1, -1, 3), atol=1e-5, rtol=0
    )  # outside: the border


def test_no_motion_is_the_picture_itself():
    prev = torch.rand(2, 3, 7, 9)
    for mode in ("bilinear", "bicubic"):
        moved = flow.warp(prev, torch.zeros(2, 2, 7, 9), mode)
        torch.testing.assert_close(moved, prev, atol=1e-5, rtol=0)


def test_bicubic_stays_sharper():
    prev = torch.rand(1, 1, 32, 32)
    spread = {
        m: flow.warp(prev, steady(0.5, 0.5, 32, 32), m).std() for m in ("bilinear", "bicubic")
    }
    assert spread["bilinear"] < spread["bicubic"] < prev.std()


def test_the_gradient_reaches_picture_and_flow():
    prev, move = torch.rand(1, 2, 8, 8).double(), (0.3 * torch.rand(1, 2, 8, 8)).double()
    assert torch.autograd.gradcheck(
        flow.warp, (prev.requires_grad_(), move.requires_grad_()), atol=1e-4
    )


def test_inside_is_where_the_flow_stays_in_the_picture():
    known = torch.ones(1, 1, 24, 32, dtype=torch.bool)
    known[..., :3] = False
    known[..., -2:, :] = False
    assert torch.equal(flow.inside(steady(-3, 2)), known)


def test_consistency_is_lai_s_inequality():
    """|w + v|² ≤ 0.01 (|w|² + |v|²) + 0.5: for steady flows w = (4,0), v = (-4+e,0)."""
    for e in (0.0, 0.8, 0.88, 0.9, 2.0):
        w, v = torch.tensor([4.0, 0.0]), torch.tensor([-4.0 + e, 0.0])
        bound = 0.01 * (w @ w + v @ v) + 0.5
        expected = bool((w + v) @ (w + v) <= bound)
        found = flow.consistent(steady(4, 0), steady(-4 + e, 0))
        assert found.all() == expected and found.any() == expected


def test_motion_boundaries_are_lai_s_inequality():
    """A step of 1 px of a flow of 3 px: 1 > 0.01 * 9 + 0.002, in the column before the step."""
    move = steady(3, 0)
    move[..., 20:] = 2
    known = torch.ones(1, 1, 24, 32, dtype=torch.bool)
    known[..., 19] = False
    assert torch.equal(flow.within_a_motion(move), known)


def test_an_object_that_moves_uncovers_what_was_behind_it():
    """A block that was 4 px further left: the strip that it leaves is not visible before."""
    to_prev, back = torch.zeros(1, 2, 24, 32), torch.zeros(1, 2, 24, 32)
    to_prev[:, 0, 8:16, 12:20] = -4
    back[:, 0, 8:16, 8:16] = 4
    visible = flow.consistent(to_prev, back)
    known = torch.ones(1, 1, 24, 32, dtype=torch.bool)
    known[..., 8:16, 8:12] = False  # the strip behind the block, now seen for the first time
    assert torch.equal(visible, known)
    assert not (flow.visible_before(to_prev, back) & ~visible).any()


def test_a_motion_boundary_is_not_visible_before():
    """Two halves that slide along each other: nothing is covered, and the flow jumps."""
    flow_to_prev = torch.zeros(1, 2, 24, 32)
    flow_to_prev[:, 1, :, 16:] = 3
    there = flow.visible_before(flow_to_prev, -flow_to_prev)[0, 0, 6:18]
    assert not there[:, 15].any()
    assert there[:, :14].all() and there[:, 18:].all()
