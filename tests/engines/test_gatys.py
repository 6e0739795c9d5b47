"""Frames by optimisation: nearer to the picture, calm along the flow, the same every time."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.core import gatys as core
from style_a_video.pipelines.core.gram import gram, style_distance
from style_a_video.pipelines.engines.gatys import KIND, GatysOptions
from style_a_video.pipelines.engines.kinds import CarryingEngine
from style_a_video.pipelines.engines.style import Style, StylePicture
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import read_frames
from style_a_video.weights.perceptual_encoder import load_encoder

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))
RED, BLUE = (0.8, 0.2, 0.1), (0.1, 0.2, 0.8)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scene(count=1, by=2):
    """Frames (T,3,48,64) of something soft that moves by so many px a frame."""
    grid = noise(1, 3, 6, 12, seed=1)
    wide = torch.nn.functional.interpolate(grid, (48, 96), mode="bicubic").clamp(0, 1)
    return torch.cat([wide[..., by * i : by * i + 64] for i in range(count)])


def picture(colour=RED, **more):
    """Strokes of one colour."""
    strokes = noise(3, 32, 16, seed=2).repeat_interleave(2, 1).repeat_interleave(4, 2)
    tone = torch.tensor(colour)[:, None, None]
    return StylePicture((tone + 0.4 * (strokes - 0.5)).clamp(0, 1), **more)


def engine(*pictures, **options):
    few = {"iterations": 12, "style_size": 64}
    loaded = KIND.load(GatysOptions(**few | options), torch.device("cpu"), torch.float32)
    return loaded.engine(Style(pictures=pictures or (picture(),)))


def stylized(frames, *pictures, **options):
    return engine(*pictures, **options).carry(frames, range(len(frames)), None)[0]


def gap(frame, look):
    with torch.no_grad():
        encoder = load_encoder()
        return style_distance(encoder(frame), encoder(look.image[None])).item()


# the losses


def features(seed, t=1):
    return {
        "relu1_1": noise(t, 4, 10, 12, seed=seed),
        "relu2_1": 50 * noise(t, 6, 5, 6, seed=seed + 9),
    }


def grams(of):
    return {name: gram(x) for name, x in of.items()}


def test_the_loss_of_style_is_the_distance_of_styles():
    found, wanted = features(0), features(1)
    loss = core.style_loss(found, [grams(wanted)])
    assert loss.item() == pytest.approx(style_distance(found, wanted).item(), rel=1e-5)


def test_a_region_is_judged_by_its_own_places_and_counts_by_its_size():
    found, wanted = features(0), features(1)
    quarter = {name: torch.zeros_like(x[:, :1]) for name, x in found.items()}
    for mask in quarter.values():
        mask[..., : mask.shape[-1] // 2] = 0.5
    inside = {name: x[..., : x.shape[-1] // 2] for name, x in found.items()}
    loss = core.style_loss(found, [grams(wanted)], [quarter])
    alone = core.style_loss(inside, [grams(wanted)])
    assert loss.item() == pytest.approx(alone.item() / 4, rel=1e-5)
    nowhere = {name: torch.zeros_like(mask) for name, mask in quarter.items()}
    assert core.style_loss(found, [grams(wanted)], [nowhere]).item() == 0


def test_losses_do_not_depend_on_the_scale_of_what_they_are_of():
    x, y = noise(1, 4, 6, 6), noise(1, 4, 6, 6, seed=1)
    assert core.content_loss(0 * x, x).item() == pytest.approx(1)
    torch.testing.assert_close(core.content_loss(9 * y, 9 * x), core.content_loss(y, x))
    x, y, everywhere = x[:, :3], y[:, :3], torch.ones(1, 1, 6, 6)
    torch.testing.assert_close(
        core.temporal_loss(9 * y, 9 * x, everywhere), core.temporal_loss(y, x, everywhere)
    )
    assert core.temporal_loss(y, x, 0 * everywhere).item() == 0
    half = everywhere.clone()
    half[..., :3] = 0  # what cannot be seen there does not count
    torch.testing.assert_close(
        core.temporal_loss(y, x, half),
        (y - x)[..., 3:].square().mean() / x.var(),
    )


def test_the_optimum_is_found_in_the_range_of_pictures():
    goal = 1.5 * noise(1, 3, 33, 47)
    found = core.optimized(torch.zeros_like(goal), lambda y: (y - goal).square().mean(), 60)
    torch.testing.assert_close(found, goal.clamp(0, 1), atol=0.02, rtol=0)


# the engine


def test_a_frame_comes_nearer_to_the_picture_the_more_is_asked_for():
    frame, look = scene(), picture()
    weak, strong = (stylized(frame, style_strength=s) for s in (0.1, 0.9))
    assert gap(strong, look) < gap(weak, look) < gap(frame, look)
    longer = stylized(frame, style_strength=0.9, iterations=30)
    assert gap(longer, look) < gap(strong, look) < 0.35 * gap(frame, look)
    assert 0 <= strong.min() and strong.max() <= 1


def test_without_style_a_frame_stays_as_it_is():
    frame = scene()
    torch.testing.assert_close(stylized(frame, style_strength=0.0), frame)


def test_the_same_frames_give_the_same_bytes_in_chunks_of_any_size():
    made, frames = engine(), scene(3)
    assert isinstance(made, CarryingEngine)
    whole, last = made.carry(frames, range(3), None)
    first, carried = made.carry(frames[:1], range(1), None)
    with torch.inference_mode():  # as ComfyUI runs it
        rest, then = made.carry(frames[1:], range(1, 3), carried)
        assert torch.equal(engine().carry(frames[:1], range(1), None)[0], first)
    assert torch.equal(torch.cat([first, rest]), whole)
    assert all(torch.equal(then[name], last[name]) for name in last)


def test_a_video_is_calm_along_its_motion():
    """What moves by 2 px moves by 2 px in the result."""

    def flicker(**options):
        before, after = stylized(scene(2), **options)
        return (after[..., 8:-10] - before[..., 10:-8]).abs().mean().item()

    alone = [stylized(frame[None])[0] for frame in scene(2)]
    apart = (alone[1][..., 8:-10] - alone[0][..., 10:-8]).abs().mean().item()
    assert flicker(temporal_strength=100.0) < flicker(temporal_strength=0.0) < apart


def test_pictures_mix_by_weight_and_keep_to_their_regions():
    frame = scene()

    def colours(*pictures):
        red, _, blue = stylized(frame, *pictures, iterations=20)[0]
        return red - blue

    mostly_red = colours(picture(weight=3.0), picture(BLUE))
    mostly_blue = colours(picture(weight=1.0), picture(BLUE, weight=3.0))
    assert mostly_red.mean() > mostly_blue.mean() + 0.1
    left, right = torch.zeros(1, 48, 64), torch.zeros(1, 48, 64)
    left[..., :32], right[..., 32:] = 1, 1
    sides = colours(picture(mask=left), picture(BLUE, mask=right))
    assert sides[:, :28].mean() > 0.2 and sides[:, 36:].mean() < -0.2
    source = scene()[0, 0] - scene()[0, 2]
    alone = colours(picture(mask=left))  # where no picture counts the frame stays
    assert (alone - source)[:, 48:].abs().mean() < 0.5 * (alone - source)[:, :28].abs().mean()


def test_the_colours_of_the_video_stay_where_asked():
    frame = scene()
    kept = stylized(frame, keep_colour=True)
    hue = (kept - kept.mean(1, keepdim=True)) - (frame - frame.mean(1, keepdim=True))
    loose = stylized(frame)
    changed = (loose - loose.mean(1, keepdim=True)) - (frame - frame.mean(1, keepdim=True))
    assert hue.abs().mean() < 0.3 * changed.abs().mean()


@pytest.mark.parametrize("size", [(16, 16), (17, 63), (5, 40)])
def test_frames_of_any_size_keep_it(size):
    assert stylized(noise(2, 3, *size), iterations=2).shape == (2, 3, *size)


def test_blank_frames_and_blank_pictures_give_finite_frames():
    for frame, value in ((torch.zeros(2, 3, 32, 32), 1.0), (scene(2), 0.0)):
        look = StylePicture(torch.full((3, 32, 32), value))
        assert stylized(frame, look, iterations=4).isfinite().all()


def test_what_decides_the_pixels_is_told():
    def identity(**options):
        return KIND.load(GatysOptions(**options), torch.device("cpu"), torch.float16).identity()

    assert identity() == identity() and identity() != identity(iterations=7)
    assert identity()["encoder"] == "slim"
    with pytest.raises(StyleAVideoError, match="takes pictures, no words"):
        KIND.check(Style("oil"))


def test_the_command_line_takes_it(tmp_path, capsys):
    clip = clips.encode(tmp_path / "in.mp4", clips.ramp(3))
    look = picture().image.permute(1, 2, 0).numpy()
    Image.fromarray((255 * look).astype(np.uint8)).save(tmp_path / "red.png")
    options = ("--style-image", tmp_path / "red.png", "--engine", "gatys", "--iterations", 20)
    command = ("stylize", clip, tmp_path / "out.mp4", *options, "--device", "cpu", "--no-refine")
    assert cli.main([str(a) for a in command]) == 0, capsys.readouterr().err
    frames = [frame.image for frame in read_frames(tmp_path / "out.mp4")]
    red, _, blue = torch.stack(frames).mean((0, 2, 3))
    assert len(frames) == 3 and red > blue + 0.1  # of grey
