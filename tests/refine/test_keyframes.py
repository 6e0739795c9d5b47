"""The style of keyframes carried to the frames between, on pictures whose motion is known."""

import numpy as np
import pytest
import torch
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.refine import keyframes
from style_a_video.pipelines.refine.keyframes import Keyframes, keyframed
from torch.nn import functional as F

pytest.importorskip("cv2")
HEIGHT, WIDTH = 64, 96


def smooth(seed: int, width: int) -> torch.Tensor:
    """(3,H,width) with detail at all scales, like a photo."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        k**0.5
        * F.interpolate(
            torch.rand(1, 3, HEIGHT // k, width // k, generator=generator),
            (HEIGHT, width),
            mode="bicubic",
        )
        for k in (4, 8, 16)
    ]
    made = sum(layers)[0]
    return (made - made.min()) / (made.max() - made.min())


def pan(count: int, step: int = 2, seed: int = 0) -> torch.Tensor:
    """(T,3,H,W): a camera that goes right by `step` px a frame."""
    wide = smooth(seed, WIDTH + step * count)
    return torch.stack([wide[..., step * i : step * i + WIDTH] for i in range(count)])


class Painter:
    """Inverts, and remembers which frames it was asked for."""

    def __init__(self, frames, tint=lambda n: 0.0):
        self.frames, self.tint, self.asked, self.given = frames, tint, [], []

    def __call__(self, positions, carried):
        self.given.append(carried)
        made = torch.stack([1 - self.frames[p] + self.tint(p) for p in positions])
        self.asked += positions
        return made.clamp(0, 1), carried


def run(frames, settings, before=None, first=0, painter=None):
    painter = painter or Painter(frames)
    indices = range(first, first + len(frames))
    made, then = keyframed(frames, indices, painter, before, settings)
    assert made.shape == frames.shape
    return made, then, painter


def psnr(a, b):
    return -10 * np.log10(float((a - b).square().mean()) + 1e-12)


def test_a_still_clip_is_its_keyframe():
    frames = pan(1).expand(9, -1, -1, -1)
    made, _, painter = run(frames, Keyframes(4))
    assert painter.asked == [0, 4, 8]
    assert (made - (1 - frames)).abs().max() < 1e-5


def test_a_moving_picture_is_carried_and_keyframes_are_as_painted():
    frames = pan(9)
    made, _, painter = run(frames, Keyframes(8))
    assert painter.asked == [0, 8]
    assert torch.equal(made[0], 1 - frames[0]) and torch.equal(made[8], 1 - frames[8])
    assert min(psnr(a, 1 - b) for a, b in zip(made[1:8], frames[1:8], strict=True)) > 32


def test_what_one_keyframe_does_not_show_is_taken_from_the_other():
    """At the right edge everything is new: it is seen by the later keyframe alone."""
    frames = pan(9, step=3)
    made, _, _ = run(frames, Keyframes(8))
    assert psnr(made[4, ..., -10:], 1 - frames[4, ..., -10:]) > 26


def test_the_style_goes_over_from_one_keyframe_to_the_next_by_and_by():
    frames = pan(1).expand(9, -1, -1, -1) * 0.5 + 0.25
    painter = Painter(frames, tint=lambda n: -0.2 if n else 0.0)
    made, _, _ = run(frames, Keyframes(8), painter=painter)
    light = (made - (1 - frames)).mean((1, 2, 3))
    assert torch.allclose(light, torch.linspace(0, -0.2, 9), atol=1e-4)


@pytest.mark.parametrize(("count", "every", "keys"), [(1, 8, 1), (2, 8, 2), (16, 8, 3), (9, 1, 9)])
def test_how_many_frames_are_painted(count, every, keys):
    frames = pan(1).expand(count, -1, -1, -1)
    _, _, painter = run(frames, Keyframes(every))
    assert len(painter.asked) == keys and painter.asked[-1] == count - 1
    assert np.diff([0, *painter.asked]).max() <= every


def test_in_a_shot_that_goes_on_one_frame_in_so_many_is_painted():
    """What the frame before left is the keyframe that the next ones start from."""
    frames = pan(17)
    _, then, _ = run(frames[:9], Keyframes(8))
    made, _, painter = run(frames[9:], Keyframes(8), then, 9)
    assert painter.asked == [7]
    assert min(psnr(a, 1 - b) for a, b in zip(made, frames[9:], strict=True)) > 32


def test_a_frame_that_keyframes_do_not_show_becomes_one():
    frames = torch.cat([pan(4), pan(1, seed=7), pan(9)[5:]])  # a picture between, out of nowhere
    made, _, painter = run(frames, Keyframes(8))
    assert 4 in painter.asked and torch.equal(made[4], 1 - frames[4])
    assert len(painter.asked) <= 6


def test_keyframes_are_painted_in_order_after_all_are_chosen():
    frames = torch.cat([pan(4), pan(5, seed=7)])
    _, _, painter = run(frames, Keyframes(8))
    assert painter.asked == sorted(painter.asked) and len(painter.given) == 1


def test_what_an_engine_carries_is_handed_to_it_alone():
    class Counting(Painter):
        def __call__(self, positions, carried):
            made, _ = super().__call__(positions, carried)
            count = 0 if carried is None else int(carried["count"])
            return made, {"count": torch.tensor(count + len(positions))}

    frames = pan(9)
    _, then, first = run(frames[:5], Keyframes(4), painter=Counting(frames[:5]))
    _, then, later = run(frames[5:], Keyframes(4), then, 5, Counting(frames[5:]))
    assert first.given == [None] and set(later.given[0]) == {"count"}
    assert int(then["count"]) == 3


def test_an_engine_may_give_another_size():
    frames = pan(5)

    def paint(positions, carried):
        some = torch.stack([1 - frames[p] for p in positions])
        return F.interpolate(some, scale_factor=2, mode="bilinear"), carried

    made, _ = keyframed(frames, range(5), paint, None, Keyframes(4))
    wanted = F.interpolate(1 - frames, scale_factor=2, mode="bilinear")
    assert made.shape == wanted.shape and psnr(made[2], wanted[2]) > 28


# painted by hand


def test_painted_frames_are_the_only_keyframes():
    frames = pan(9)
    made, _, painter = run(frames, Keyframes(painted=(12, 16)), first=10)
    assert painter.asked == [2, 6]
    assert torch.equal(made[2], 1 - frames[2])
    assert min(psnr(a, 1 - b) for a, b in zip(made[2:7], frames[2:7], strict=True)) > 32
    for f in (0, 1, 7, 8):  # from one side: what it does not show is not known
        edge = 2 * max(2 - f, f - 6) + 2
        inner = slice(edge, -edge)
        assert psnr(made[f][..., inner], 1 - frames[f][..., inner]) > 28


def test_frames_after_the_last_painted_one_go_on_from_the_frame_before():
    frames = pan(9)
    _, then, _ = run(frames[:5], Keyframes(painted=(0, 4)))
    made, _, painter = run(frames[5:], Keyframes(painted=(0, 4)), then, 5)
    assert psnr(made[0][..., :-6], 1 - frames[5][..., :-6]) > 30 and not painter.asked


@pytest.mark.parametrize("every", [0, -1, 17])
def test_a_distance_of_no_use_is_refused(every):
    with pytest.raises(
        StyleAVideoError, match=rf"^There is a keyframe every 1 to 16 .* {every}\.$"
    ):
        Keyframes(every)


def test_the_longest_distance_is_that_of_a_segment():
    from style_a_video.pipelines.run import shots

    assert keyframes.MOST == shots.SEGMENT
