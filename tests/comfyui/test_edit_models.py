"""Frame Condition on every edit model that it knows, against ComfyUI's own blocks a frame."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.model_base
import comfy.samplers
import edit_models
import pytest
import torch
from comfy_extras.nodes_edit_model import ReferenceLatent
from edit_models import FRAMES, MODELS, EditModel, Vae, error, frames, ours, stock
from style_a_video.nodes import builtin_model, frame_place, guidance, host, stream
from style_a_video.nodes.conditions import FrameCondition, TextCondition
from style_a_video.nodes.noise import FrameNoise
from style_a_video.nodes.sampling import Sampling
from style_a_video.nodes.two_models import TwoModelGuider
from style_a_video.pipelines.errors import StyleAVideoError

FLUX = next(one for one in MODELS if one.name == "Flux Kontext")
QWEN = next(one for one in MODELS if one.name == "Qwen-Image-Edit")


@pytest.mark.parametrize("one", MODELS, ids=lambda one: one.name)
def test_frames_are_those_of_comfyui_s_own_blocks(one: EditModel):
    model = one.build()
    assert frame_place.place_of(model) == one.place
    known = stock(one, model)
    for chunk in (0, 1, 2):
        assert error(ours(one, model, chunk), known) < 1e-5
    # Another frame's condition would be seen.
    assert error(ours(one, model, seen=frames().flip(0)), known) > 3e-5


@pytest.mark.parametrize("one", [FLUX, QWEN], ids=lambda one: one.name)
def test_the_block_says_where_the_frame_goes(one):
    output = FrameCondition.execute(one.text(2), Vae(one.latent), frames(), model=one.build())
    told = {"Flux Kontext": "Flux (Flux Kontext)", "Qwen-Image-Edit": "QwenImage (Qwen-Image-Edit)"}
    assert output.ui.as_dict()["text"] == (f"{told[one.name]}: reference_latents",)
    condition, empty = output.args
    assert empty["samples"].shape == (FRAMES, *one.latent) and not empty["samples"].any()
    assert condition[0][1]["reference_latents"][0].shape == (FRAMES, *one.latent)


def test_without_a_model_it_is_an_instruct_pix2pix():
    latent = (4, 8, 12)
    output = FrameCondition.execute(FLUX.text(2), Vae(latent), frames())
    assert output.ui.as_dict()["text"] == ("concat_latent_image",)
    assert output[0][0][1][host.FRAME_LATENTS].shape == (FRAMES, *latent)


def test_what_takes_no_frame_is_refused_by_name():
    def model(name, **config):
        base = type(name, (), {"latent_format": SimpleNamespace(latent_channels=16)})()
        base.model_config = SimpleNamespace(unet_config={"in_channels": 16} | config)
        return SimpleNamespace(model=base)

    for name, config, words in (
        ("Chroma", {}, "how Chroma takes a frame; it knows InstructPix2Pix"),  # builds on Flux
        ("HunyuanVideo", {}, "how HunyuanVideo takes a frame"),
        ("WAN21_Vace", {"in_dim": 16}, "how WAN21_Vace takes a frame"),
        ("WAN21", {"in_dim": 36}, "how WAN21 with 36 input channels takes a frame"),
        ("Flux", {"in_channels": 96}, "how Flux with 96 input channels takes a frame"),
    ):
        with pytest.raises(StyleAVideoError, match=words):
            frame_place.place_of(model(name, **config))


def test_every_class_it_knows_is_comfyui_s():
    assert all(hasattr(comfy.model_base, name) for name in frame_place.PLACES)
    tried = {type(one.build().model).__name__ for one in MODELS}
    assert tried - {"SD15_instructpix2pix", "SDXL_instructpix2pix"} == set(frame_place.PLACES)


def test_the_built_in_model_takes_it_beside_the_noise():
    model, clip, vae, _ = builtin_model.LoadBuiltInModel.execute().args
    null = TextCondition.execute(clip, "", True, 0)[0]
    output = FrameCondition.execute(null, vae, frames(), model=model)
    assert output.ui.as_dict()["text"] == ("BuiltInModel: concat_latent_image",)
    prompt = TextCondition.execute(clip, "Munch", True, 0)[0]
    args = (model, prompt, null, "instruct-pix2pix", 1.0, 1.0, 0.0, 0)
    guider = guidance.PresetGuiderNode.execute(*args, frame=output[0])[0]
    assert edit_models.sample(guider, output[1]["samples"].shape[1:]).isfinite().all()


def test_a_frame_made_for_another_model_is_refused():
    flux, qwen = FLUX.build(), QWEN.build()
    omni = next(one for one in MODELS if one.name == "InstructPix2Pix")
    beside = FrameCondition.execute(FLUX.text(2), Vae((16, 8, 12)), frames())[0]
    with pytest.raises(StyleAVideoError, match="Flux takes a frame as reference_latents: connect"):
        guidance.MultiConditionGuider(flux, beside, [])
    with pytest.raises(StyleAVideoError, match="QwenImage takes a frame as reference_latents"):
        guidance.MultiConditionGuider(qwen, beside, [])
    after = FrameCondition.execute(FLUX.text(2), Vae((16, 8, 12)), frames(), model=flux)[0]
    with pytest.raises(StyleAVideoError, match="as reference_latents, and this one takes it as co"):
        guidance.MultiConditionGuider(omni.build(), after, [])


def test_references_beside_the_frame_stay_where_they_are():
    style, other = torch.zeros(1, 16, 4, 4), torch.ones(1, 16, 4, 4)
    null = ReferenceLatent.execute(FLUX.text(2), {"samples": style})[0]
    frame = FrameCondition.execute(null, Vae((16, 8, 12)), frames(), model=FLUX.build())[0]
    references = frame[0][1]["reference_latents"]
    assert references[0] is style and len(references[1]) == FRAMES
    prompt = ReferenceLatent.execute(FLUX.text(1), {"samples": other})[0]
    prompt = ReferenceLatent.execute(prompt, {"samples": style})[0]
    both = host.with_frame_of(prompt, frame)[0][1]["reference_latents"]
    assert [id(r) for r in both] == [id(r) for r in (*references, other)]
    hidden = host.masked_condition(frame, torch.zeros(1, 64, 96))[0][1]["reference_latents"]
    assert hidden[0] is style and not hidden[1].any()


@pytest.mark.parametrize("one", [FLUX, QWEN], ids=lambda one: one.name)
def test_stylize_video_gives_each_segment_its_own_frames(one, monkeypatch):
    """Reference frames are made anew for every part of a stream."""
    model, vae = one.build(), Vae(one.latent)
    monkeypatch.setattr(
        Vae, "decode", lambda self, x: x.flatten(1)[:, :3].reshape(-1, 1, 1, 3), raising=False
    )
    first = FrameCondition.execute(one.text(2), vae, frames()[:1], model=model)[0]
    args = (model, one.text(1), one.text(2), "instruct-pix2pix", 1.0, 4.0, 0.0, 0)
    guider = guidance.PresetGuiderNode.execute(*args, frame=first)[0]
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 2)
    euler = comfy.samplers.sampler_object("euler")
    noise = FrameNoise(0, "per-frame", 0.5, None)
    given = frames().movedim(-1, 1)

    def engine(guider):
        return stream._Sampled(Sampling(guider, noise, euler, sigmas, vae, False))

    with torch.inference_mode():
        whole = engine(guider)(given, range(FRAMES))
        parts = torch.cat([engine(guider)(given[i : i + 1], [i]) for i in range(FRAMES)])
        pair = engine(TwoModelGuider(guider, guider, 0.9))(given, range(FRAMES))
    assert torch.equal(pair, whole)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(whole[0], whole[1], atol=1e-2)


def test_a_mask_of_a_condition_covers_latents_of_one_picture_each():
    one = QWEN
    model, left = one.build(), torch.zeros(1, 64, 96)
    left[..., :48] = 1
    positive, negative = one.text(1), one.text(2)
    weighted = [guidance.WeightedCondition(positive, 2.0, mask=left)]
    masked = edit_models.sample(
        guidance.MultiConditionGuider(model, negative, weighted), one.latent
    )
    assert masked.shape == (FRAMES, *one.latent) and masked.isfinite().all()
