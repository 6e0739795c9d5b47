"""A known shift and zoom of real frames is found and undone; what is not known stays alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from style_a_video.pipelines.core import alignment
from style_a_video.pipelines.core.alignment import Motion
from style_a_video.pipelines.media import read_frames
from torch.nn import functional as F

CLIP = Path(__file__).parents[2] / "workflows" / "example.mp4"
MOVES = [(1.0, 0.0, 0.0), (1.0, 6.3, -4.2), (0.95, 6.3, -4.2), (1.12, -9.4, 8.8), (1.003, 0.5, 0.4)]


@pytest.fixture(scope="module")
def frame():
    """A real frame (3,H,W)."""
    return next(islice(read_frames(CLIP), 5, None)).image


def moved(frame, scale, dx, dy):
    """The frame as an editor shows it that zooms by `scale` and shifts by (dx, dy) px."""
    h, w = frame.shape[-2:]
    theta = torch.tensor(
        [[[1 / scale, 0, -2 * dx / w / scale], [0, 1 / scale, -2 * dy / h / scale]]]
    )
    grid = F.affine_grid(theta, [1, 3, h, w], align_corners=False)
    out = F.grid_sample(frame[None], grid, "bicubic", "border", align_corners=False)
    return out[0].clamp(0, 1)


def painted(frame):
    """Other colours, flat areas, grain."""
    flat = (F.avg_pool2d(frame[None], 5, 1, 2)[0] * 6).round() / 6
    tinted = torch.stack([flat[0] ** 0.7, flat[1] * 0.8, flat[2] * 0.5 + 0.3])
    grain = torch.randn(tinted.shape, generator=torch.Generator().manual_seed(0))
    return (tinted + 0.04 * grain).clamp(0, 1)


@pytest.mark.parametrize("look", [lambda f: f, painted], ids=["same", "painted"])
@pytest.mark.parametrize("move", MOVES)
def test_shift_and_zoom_are_found(frame, move, look):
    motion = alignment.find(frame, look(moved(frame, *move)))
    assert motion.is_known
    assert abs(motion.scale / move[0] - 1) <= 0.003
    assert max(abs(a - b) for a, b in zip(motion.shift, move[1:], strict=True)) <= 0.5


def test_undone_it_lies_on_its_source(frame):
    """All but what the zoom or the shift left out of the picture."""
    edited = moved(frame, 1.08, 7.0, -3.0)
    back = alignment.undo(edited, alignment.find(frame, edited))
    inside = (slice(None), slice(30, -30), slice(30, -30))
    before = (edited - frame)[inside].abs().mean()
    assert (back - frame)[inside].abs().mean() < 0.15 * before
    assert back.shape == edited.shape and 0 <= back.min() and back.max() <= 1


def test_sizes_may_differ(frame):
    """An editor's frame at a size of its own: the shift is in its pixels."""
    half = F.interpolate(moved(frame, 1.05, 8.0, 4.0)[None], scale_factor=0.5, mode="area")[0]
    motion = alignment.find(frame, half)
    assert abs(motion.scale / 1.05 - 1) <= 0.003
    assert abs(motion.shift[0] - 4.0) <= 0.5 and abs(motion.shift[1] - 2.0) <= 0.5


@pytest.mark.parametrize("other", ["noise", "flat", "turned"])
def test_what_has_nothing_in_common_is_not_known(frame, other):
    noise = torch.rand(frame.shape, generator=torch.Generator().manual_seed(1))
    turned = frame.flip(1).movedim(1, 2).contiguous()
    edited = {"noise": noise, "flat": torch.full_like(frame, 0.5), "turned": turned}[other]
    assert not alignment.find(frame, edited).is_known


def test_nothing_moved_is_the_very_same(frame):
    assert alignment.undo(frame, Motion()) is frame
    assert alignment.undo(frame, Motion(1.0001, (0.1, -0.1))) is frame
    assert alignment.undo(frame, Motion(1.0, (0.5, 0.0))) is not frame
    assert alignment.undo(frame, Motion(1.01)) is not frame


def test_a_shot_s_motion_is_the_median_of_the_known():
    known = [Motion(1.0 + i / 100, (float(i), 2.0), 20.0) for i in (1, 2, 9)]
    assert alignment.of_shot([*known, Motion(3.0, (99.0, 99.0), 1.0)]).scale == pytest.approx(1.02)
    assert alignment.of_shot(known).shift == (2.0, 2.0)
    assert alignment.of_shot([Motion(3.0, (9.0, 9.0), 1.0)]) == Motion()


def test_tiny_frames_are_no_error():
    assert alignment.find(torch.rand(3, 8, 8), torch.rand(3, 8, 8)).scale > 0
