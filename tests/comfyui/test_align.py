"""Align to Source: one motion a shot or one a frame; frames that are something else stay alone."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch
from style_a_video.nodes.align import FRAME, SHOT, AlignToSource, aligned
from style_a_video.pipelines.errors import StyleAVideoError

known = runpy.run_path(str(Path(__file__).parents[1] / "core" / "test_alignment.py"))
pan = runpy.run_path(str(Path(__file__).parents[1] / "clips.py"))["pan"]
COUNT = 4


def pictures(seed):
    """(COUNT,3,H,W) of a camera that goes right over something with detail."""
    frames = torch.stack([torch.from_numpy(p) for p in pan(seed, COUNT, 2, 256, 160)])
    return frames.movedim(-1, 1).float() / 255


@pytest.fixture(scope="module")
def clip():
    """Two shots."""
    return torch.cat([pictures(1), pictures(2)])


MOVES = [(1.06, 4.0, -2.0)] * COUNT + [(0.96, -3.0, 5.0)] * COUNT


def edit(clip, moves):
    return torch.stack([known["moved"](f, *m) for f, m in zip(clip, moves, strict=True)])


def image(frames):
    return frames.movedim(1, -1)


def off(frames, clip):
    """Mean difference of each frame inside."""
    return (frames - image(clip))[:, 24:-24, 24:-24].abs().mean((1, 2, 3))


def test_every_shot_has_its_motion(clip):
    edited = image(edit(clip, MOVES))
    frames, report = aligned(image(clip), edited, SHOT)
    assert (off(frames, clip) < 0.25 * off(edited, clip)).all()
    first, second = report.splitlines()
    for line, frames, wanted in (
        (first, "frames 0 to 3: ", MOVES[0]),
        (second, "frames 4 to 7: ", MOVES[-1]),
    ):
        assert line.startswith(frames) and line.endswith(" px undone")
        told = [float(n) for n in re.findall(r"[-+]?\d+\.\d+", line)]
        assert told == pytest.approx(wanted, abs=0.1) and told[0] == pytest.approx(
            wanted[0], rel=0.002
        )


def test_frames_that_move_each_their_own_way(clip):
    clip, moves = clip[:COUNT], [(1.0, 4.0 * i, 0.0) for i in range(COUNT)]
    edited = image(edit(clip, moves))
    each, _ = aligned(image(clip), edited, FRAME)
    assert (off(each, clip) < 0.02).all()
    together, report = aligned(image(clip), edited, SHOT)
    assert off(together, clip).max() > 0.02
    assert "4 move otherwise than their shot: try one for each frame" in report


def test_something_else_stays_as_it_is(clip):
    edited = edit(clip[:COUNT], MOVES[:COUNT])
    edited[2] = torch.rand(edited[2].shape, generator=torch.Generator().manual_seed(0))
    frames, report = aligned(image(clip[:COUNT]), image(edited), SHOT)
    assert torch.equal(frames[2], image(edited)[2])
    assert "left as they are, too unlike their source: 2" in report
    assert off(frames, clip[:COUNT])[[0, 1, 3]].max() < 0.02
    noise = torch.rand(2, 160, 256, 3, generator=torch.Generator().manual_seed(1))
    frames, report = aligned(image(clip[:2]), noise, FRAME)
    assert torch.equal(frames, noise) and report == (
        "left as they are, too unlike their source to be aligned"
    )


def test_the_block(clip):
    frames, report = AlignToSource.execute(
        source=image(clip), edited=image(edit(clip, MOVES)), motion=SHOT
    ).args
    assert frames.shape == image(clip).shape and "undone" in report
    with pytest.raises(StyleAVideoError, match="The source has 8 frames and the edited clip 3"):
        AlignToSource.execute(source=image(clip), edited=image(clip[:3]), motion=SHOT)
