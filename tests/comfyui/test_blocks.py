"""What the other blocks promise: prompts over frames, noise, comparison, overlay, one block."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from style_a_video.nodes import (
    attention,
    builtin_model,
    compare,
    conditions,
    inner_levels,
    stylize,
)
from style_a_video.nodes.noise import FrameNoise
from style_a_video.nodes.video import FrameInfo
from style_a_video.pipelines.core.noise import frame_noise
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights.loading import load


@pytest.fixture(scope="module")
def built_in():
    return builtin_model.LoadBuiltInModel.execute().args


def info(*indices):
    size = (96, 64)
    return FrameInfo(size, size, size, (0, 0), Fraction(24), indices, Fraction(0))


@pytest.fixture(scope="module")
def frames():
    return torch.rand(3, 64, 96, 3, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "text, points",
    [
        ("ink wash, 3: no", [(0, "ink wash, 3: no")]),
        ('0: "sketch", 48: "oil painting"', [(0, "sketch"), (48, "oil painting")]),
        ('48: "b"\n0: "a, \\"x\\"; y"', [(0, 'a, "x"; y'), (48, "b")]),
        ("0: sketch\n12: oil, thick\n", [(0, "sketch"), (12, "oil, thick")]),
        ('0: "水墨", 5: ""', [(0, "水墨"), (5, "")]),
        ("16:9 widescreen, oil", [(0, "16:9 widescreen, oil")]),
    ],
)
def test_prompt_schedules(text, points):
    assert conditions.parse_schedule(text) == points


@pytest.mark.parametrize(
    "text, words",
    [
        ('0: "a" b', "cannot be read from"),
        ('0: "a", x: "b"', "cannot be read from 'x: "),
        ('0: "a", 0: "b"', "names frame 0 twice"),
        ("0: sketch, 48: oil", "cannot be read from '0: sketch, 48: oil'"),
    ],
)
def test_unreadable_schedules_say_where(text, words):
    with pytest.raises(StyleAVideoError, match=words):
        conditions.parse_schedule(text)


def test_prompts_travel_over_absolute_frames(built_in):
    clip = built_in[1]
    text = '10: "sketch", 20: "oil painting"'
    ((hidden, extra),) = conditions.TextCondition.execute(clip, text, True, 0, info(5, 10, 15, 30))[
        0
    ]
    ends = [
        conditions.TextCondition.execute(clip, t, True, 0)[0] for t in ("sketch", "oil painting")
    ]
    a, b = (e[0][0] for e in ends)
    torch.testing.assert_close(hidden, torch.cat([a, a, (a + b) / 2, b]))
    pooled = [e[0][1]["pooled_output"] for e in ends]
    torch.testing.assert_close(extra["pooled_output"][2:3], (pooled[0] + pooled[1]) / 2)
    ((stepped, _),) = conditions.TextCondition.execute(clip, text, False, 0, info(15, 20))[0]
    torch.testing.assert_close(stepped, torch.cat([a, b]))
    with pytest.raises(StyleAVideoError, match="connect frame_info"):
        conditions.TextCondition.execute(clip, text, True, 0)


def test_noise_belongs_to_the_frame():
    latent = {"samples": torch.zeros(2, 4, 8, 8)}
    cut = FrameNoise(3, "per-frame", 0.5, [7, 9]).generate_noise(latent)
    whole = frame_noise((4, 8, 8), 3, range(10), "per-frame")
    assert torch.equal(cut, whole[[7, 9]])
    with pytest.raises(StyleAVideoError, match="about 3 frames and the latent has 2"):
        FrameNoise(3, "shared", 0.5, [0, 1, 2]).generate_noise(latent)


def test_comparisons(frames):
    other = 1 - frames
    (both,) = compare.Compare.execute(frames, other, "side by side", 0.5).args
    assert both.shape == (3, 64, 2 * 96 + compare.LINE, 3)
    assert torch.equal(both[:, :, :96], frames) and torch.equal(both[:, :, -96:], other)
    (wiped,) = compare.Compare.execute(frames, other, "wipe", 0.25).args
    assert torch.equal(wiped[:, :, :23], frames[:, :, :23])
    assert torch.equal(wiped[:, :, 25:], other[:, :, 25:])
    (three,) = compare.Compare.execute(frames, other, "grid", 0.5, {"other_0": frames[:1]}).args
    assert three.shape == (3, 2 * 64 + compare.LINE, 2 * 96 + compare.LINE, 3)
    with pytest.raises(StyleAVideoError, match="have 3, 2 frames"):
        compare.Compare.execute(frames, other[:2], "grid", 0.5)


def test_overlay_goes_from_the_frame_to_the_map(frames):
    heat = torch.zeros(1, 8, 12)
    assert torch.equal(attention.overlay(frames, heat, 0.0), frames)
    cold = attention.overlay(frames, heat, 1.0)
    torch.testing.assert_close(cold[0, 0, 0], attention.HEAT[0])
    torch.testing.assert_close(
        attention.overlay(frames, heat + 1, 1.0)[0, 0, 0], attention.HEAT[-1]
    )
    with pytest.raises(StyleAVideoError, match="2 maps for 3 frames"):
        attention.overlay(frames, torch.zeros(2, 8, 8), 0.5)


def test_one_block_is_the_pipeline(built_in, frames):
    model, clip, vae, _ = built_in
    with torch.inference_mode():
        (ours,) = stylize.Stylize.execute(
            model, clip, vae, frames, "watercolour", "", {"guidance": "model's own"}, 0, "euler",
            "simple", 5, info(4, 5, 6),
        ).args  # fmt: skip
    pipeline = load()
    pipeline.set_progress_bar_config(disable=True)
    known = pipeline(frames.movedim(-1, 1), "watercolour", seed=5).frames.movedim(1, -1)
    assert (ours - known).abs().max() < 2e-2 and (ours - known).abs().mean() < 1e-3


@pytest.mark.parametrize("start_level", [1.0, 0.75])
def test_the_papers_guidance_in_one_block_is_the_pipelines(built_in, frames, start_level):
    model, clip, vae, _ = built_in
    scales = {"frame_scale": 1.0, "text_scale": 2.0, "attention_scale": 0.5}
    with torch.inference_mode():
        (ours,) = stylize.Stylize.execute(
            model, clip, vae, frames, "Munch", "", {"guidance": "paper", **scales}, 4, "euler",
            "simple", 5, info(4, 5, 6), start_level,
        ).args  # fmt: skip
    pipeline = load()
    pipeline.set_progress_bar_config(disable=True)
    given = {**scales, "preset": "paper", "num_inference_steps": 4, "start_level": start_level}
    known = pipeline(frames.movedim(-1, 1), "Munch", seed=5, **given).frames.movedim(1, -1)
    assert (ours - known).abs().max() < 2e-2 and (ours - known).abs().mean() < 1e-3


def test_a_speed_takes_a_share_of_the_steps_and_reuses_inner_levels(built_in, frames):
    model, clip, vae, _ = built_in
    scales = {"frame_scale": 1.0, "text_scale": 2.0, "attention_scale": 0.5}

    def made(guidance, steps, model=model, **more):
        given = ["Munch", "", guidance, steps, "euler", "simple", 5]
        return stylize.Stylize.execute(model, clip, vae, frames[:1], *given, **more).args[0]

    with torch.inference_mode():
        paper = {"guidance": "paper", **scales}
        reusing = inner_levels.reused(model, 2)
        assert torch.equal(made(paper, 15, speed="fast"), made(paper, 3, reusing))
        assert torch.equal(made(paper, 15, speed="balanced"), made(paper, 6, reusing))
        assert not torch.equal(made(paper, 6), made(paper, 6, reusing))
        one = {"guidance": "model's own"}
        assert torch.equal(made(one, 0, speed="fast"), made(one, 0))


def test_one_block_refuses_a_model_that_does_not_see_frames(built_in, frames):
    class Plain:
        model = type("M", (), {"model_config": type("C", (), {"unet_config": {"in_channels": 4}}),
                               "latent_format": type("L", (), {"latent_channels": 4})})  # fmt: skip

    with pytest.raises(StyleAVideoError, match="wire Style Guider with ControlNet"):
        stylize.Stylize.execute(
            Plain, built_in[1], built_in[2], frames, "oil", "", {"guidance": "model's own"}, 0,
            "euler", "simple", 0,
        )  # fmt: skip
