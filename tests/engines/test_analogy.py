"""Deep Image Analogy along a video: the look comes, stays where it is, the same every time."""

import logging
from functools import partial
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.core import analogy as core
from style_a_video.pipelines.engines.analogy import KIND, AnalogyOptions, _followed
from style_a_video.pipelines.engines.kinds import CarryingEngine
from style_a_video.pipelines.engines.style import Style, StylePicture
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import read_frames
from torch.nn.functional import interpolate

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Small pictures need fewer iterations."""
    monkeypatch.setattr(core, "analogy", partial(core.analogy, iterations=2))


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scene(count=1, by=2):
    """Frames (T,3,48,64) of something that moves by so many px a frame."""
    wide = interpolate(noise(1, 3, 6, 12, seed=1), (48, 96), mode="bicubic").clamp(0, 1)
    return torch.cat([wide[..., by * i : by * i + 64] for i in range(count)])


def picture(swap=True, **more):
    """The scene in other colours: red where it is blue, or all of it dark."""
    image = scene()[0]
    return StylePicture(image.flip(0) if swap else 0.3 * image, **more)


def engine(*pictures, **options):
    loaded = KIND.load(
        AnalogyOptions(**{"style_size": 64} | options), torch.device("cpu"), torch.float32
    )
    return loaded.engine(Style(pictures=pictures or (picture(),)))


def stylized(frames, *pictures, **options):
    return engine(*pictures, **options).carry(frames, range(len(frames)), None)[0]


def test_a_frame_gets_the_colours_of_like_things():
    frame = scene()
    wanted = frame.flip(1)
    before = (frame - wanted).abs().mean()
    assert (stylized(frame, content=3) - wanted).abs().mean() < 0.7 * before


def test_without_strength_a_frame_stays_and_half_of_it_is_between():
    frame = scene()
    none, half, full = (stylized(frame, style_strength=s) for s in (0.0, 0.5, 1.0))
    torch.testing.assert_close(none, frame)
    torch.testing.assert_close(half, (frame + full) / 2)
    assert (full - frame).abs().mean() > 0.05


@pytest.mark.parametrize("search_every", [24, 2])
def test_the_same_frames_give_the_same_bytes_in_chunks_of_any_size(search_every):
    made, frames = engine(search_every=search_every), scene(4)
    assert isinstance(made, CarryingEngine)
    whole, last = made.carry(frames, range(4), None)
    first, carried = made.carry(frames[:1], range(1), None)
    with torch.inference_mode():  # as ComfyUI runs it
        second, carried = made.carry(frames[1:3], range(1, 3), carried)
        rest, then = engine(search_every=search_every).carry(frames[3:], range(3, 4), carried)
    assert torch.equal(torch.cat([first, second, rest]), whole)
    assert all(torch.equal(then[name], last[name]) for name in last)


def test_a_video_is_calm_along_its_motion():
    """What moves by 2 px moves by 2 px in the result, at a keyframe too."""
    frames = scene(3)

    def flicker(results):
        before, after = results[-2:]
        return (after[..., 8:-10] - before[..., 10:-8]).abs().mean().item()

    apart = flicker([stylized(frame[None])[0] for frame in frames])
    assert flicker(stylized(frames)) < 0.3 * apart
    assert flicker(stylized(frames, search_every=2)) < 0.6 * apart


def test_keyframes_come_in_time_and_where_much_has_changed():
    made, frames, carried = engine(search_every=2), scene(4), None
    since = []
    for i in range(4):
        _, carried = made.carry(frames[i : i + 1], range(i, i + 1), carried)
        since.append(int(carried["since"]))
    assert since == [1, 2, 1, 2]
    made = engine()
    _, carried = made.carry(frames[:1], range(1), None)
    _, carried = made.carry(noise(1, 3, 48, 64), range(1, 2), carried)
    assert int(carried["since"]) == 1 and carried["lost"] == 0


def test_a_field_moves_with_the_video_by_parts_of_a_pixel():
    field = torch.stack([torch.arange(8.0).expand(4, 8), torch.arange(4.0)[:, None].expand(4, 8)])
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0] = 0.25
    for _ in range(4):
        field = _followed(field, flow)
    assert torch.equal(field[0, :, :-1], torch.arange(1.0, 8.0).expand(4, 7))


def test_pictures_mix_by_weight_and_keep_to_their_regions():
    frame = scene()
    red, dark = picture(), picture(swap=False)
    alone = [stylized(frame, one) for one in (red, dark)]
    both = stylized(frame, picture(weight=3.0), dark)
    torch.testing.assert_close(both, 0.75 * alone[0] + 0.25 * alone[1])
    left, right = torch.zeros(1, 48, 64), torch.zeros(1, 48, 64)
    left[..., :32], right[..., 32:] = 1, 1
    sides = stylized(frame, picture(mask=left), picture(swap=False, mask=right))
    torch.testing.assert_close(sides[..., :32], alone[0][..., :32])
    torch.testing.assert_close(sides[..., 32:], alone[1][..., 32:])
    half = stylized(frame, picture(mask=left))
    torch.testing.assert_close(half[..., 32:], frame[..., 32:])


def test_colours_alone_leave_the_lines_of_the_frame():
    frame = (scene() + 0.2 * (noise(1, 3, 48, 64, seed=3) - 0.5)).clamp(0, 1)

    def lines(x):
        return x.diff(dim=-1).mean(1).flatten()

    def kept(result):
        return torch.corrcoef(torch.stack([lines(result), lines(frame)]))[0, 1]

    alone = stylized(frame, colours_only=True)
    assert kept(alone) > 0.9 > kept(stylized(frame))
    assert (alone - frame).abs().mean() > 0.03


def test_the_colours_of_the_video_stay_where_asked():
    frame = scene()
    kept, loose = stylized(frame, keep_colour=True), stylized(frame)

    def change(result):
        hue = (result - result.mean(1, keepdim=True)) - (frame - frame.mean(1, keepdim=True))
        return hue.abs().mean()

    assert change(kept) < 0.3 * change(loose)


def test_a_picture_of_other_things_is_told_once_a_shot(caplog):
    frames, other = scene(2), StylePicture(noise(3, 48, 64), name="noise.png")
    with caplog.at_level(logging.WARNING):
        stylized(frames, other)
    (said,) = caplog.messages
    assert said.startswith("The picture noise.png and frame 0 have too little in common, only ")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        stylized(frames[:1], StylePicture(frames[0]))
    assert not caplog.messages


@pytest.mark.parametrize("size", [(16, 16), (17, 63), (5, 40)])
def test_frames_of_any_size_keep_it(size):
    assert stylized(noise(2, 3, *size)).shape == (2, 3, *size)


def test_blank_frames_and_blank_pictures_give_finite_frames():
    for frame, value in ((torch.zeros(2, 3, 32, 32), 1.0), (scene(2), 0.0)):
        look = StylePicture(torch.full((3, 32, 32), value))
        assert stylized(frame, look).isfinite().all()


def test_what_decides_the_pixels_is_told():
    def identity(**options):
        return KIND.load(AnalogyOptions(**options), torch.device("cpu"), torch.float16).identity()

    assert identity() == identity() and identity() != identity(search_every=7)
    with pytest.raises(StyleAVideoError, match="takes pictures, no words"):
        KIND.check(Style("oil"))
    for wrong in ({"content": 4}, {"content": 0}, {"search_every": 0}, {"colours_only": 1}):
        with pytest.raises(StyleAVideoError, match=next(iter(wrong))):
            AnalogyOptions(**wrong)


def test_the_command_line_takes_it(tmp_path, capsys):
    clip = clips.encode(tmp_path / "in.mp4", clips.ramp(3))
    look = picture().image.permute(1, 2, 0).numpy()
    Image.fromarray((255 * look).astype(np.uint8)).save(tmp_path / "red.png")
    options = (
        "--style-image",
        tmp_path / "red.png",
        "--engine",
        "analogy",
        "--search-every",
        2,
        "--style-size",
        64,
    )
    command = ("stylize", clip, tmp_path / "out.mp4", *options, "--device", "cpu", "--no-refine")
    assert cli.main([str(a) for a in command]) == 0, capsys.readouterr().err
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 3


def test_keyframes_may_be_optimised():
    frames, look = scene(2), StylePicture(noise(3, 48, 64))
    warped, optimised = (stylized(frames, look, reconstruct=way) for way in ("warp", "lbfgs"))
    assert optimised.isfinite().all() and not torch.equal(warped, optimised)
