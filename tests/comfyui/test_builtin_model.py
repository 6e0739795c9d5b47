"""The built-in model as ComfyUI's own objects against the same weights in diffusers."""

from __future__ import annotations

import pytest
import torch
from style_a_video.nodes import builtin_model
from style_a_video.nodes.stylize import Stylize
from style_a_video.weights.loading import load


@pytest.fixture(scope="module")
def pipeline():
    pipeline = load()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def built_in():
    return builtin_model.LoadBuiltInModel.execute().args


LONG = "watercolour, " + "a young woman with a small brown dog in a crowded market, " * 4


@pytest.mark.parametrize(
    ("text", "windows"),
    [("watercolour", 1), ("a portrait as ink wash, quiet", 1), ("水彩画", 1), ("", 1), (LONG, 2)],
)
def test_text_is_that_of_transformers(pipeline, built_in, text, windows):
    clip = built_in[1]
    ((hidden, extra),) = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    known = pipeline.encode_prompt(text)
    assert known.hidden.shape[1] == 77 * windows
    torch.testing.assert_close(hidden, known.hidden, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(extra["pooled_output"], known.pooled, atol=1e-5, rtol=1e-4)


def test_latents_and_pixels_are_those_of_diffusers(pipeline, built_in):
    vae = built_in[2]
    frames = torch.rand(2, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    latents = vae.encode(frames)
    known = pipeline.encode_latents(frames.movedim(-1, 1))
    assert latents.shape == (2, 32, 8, 12)
    torch.testing.assert_close(latents, known, atol=1e-4, rtol=1e-4)
    pixels = pipeline.decode_latents(known).movedim(1, -1)
    torch.testing.assert_close(vae.decode(latents), pixels, atol=1e-4, rtol=1e-4)


def test_image_embeds_are_those_of_transformers(pipeline, built_in):
    frames = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    known = pipeline.encode_images(frames.movedim(-1, 1))
    embeds = built_in[3].encode_image(frames)["image_embeds"]
    # ComfyUI rounds pixels to 8 bits on the way in.
    assert torch.cosine_similarity(embeds, known).item() > 0.9999


def test_stylize_frames_offers_the_scales_of_the_model_s_preset(pipeline):
    (guidance,) = (one for one in Stylize.define_schema().inputs if one.id == "guidance")
    offered = {
        option.key: {one.id: one.default for one in option.inputs} for option in guidance.options
    }
    assert offered["paper"].items() <= pipeline.config.defaults["paper"].items()
    assert set(offered["paper"]) == {"frame_scale", "text_scale", "attention_scale"}
