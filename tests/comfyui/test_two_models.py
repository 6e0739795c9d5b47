"""Two-model Guider: a pair of ComfyUI's own Wans, small and random, as one."""

from __future__ import annotations

import comfy.samplers
import comfy.supported_models as kinds
import pytest
import test_windows as windowed
import torch
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SplitSigmas
from edit_models import WAN
from style_a_video.nodes import windows
from style_a_video.nodes.guidance import PresetGuiderNode
from style_a_video.nodes.two_models import TwoModelGuider, TwoModelGuiderNode, steps_of_high
from style_a_video.pipelines.errors import StyleAVideoError
from test_bernini import LATENT, conditioned
from test_guidance_split import SDXL, build, drawn

STEPS = 5


@pytest.fixture(scope="module")
def pair():
    """Two models of one shape and other weights."""
    high, low = build(kinds.WAN21_T2V, WAN), build(kinds.WAN21_T2V, WAN)
    with torch.no_grad():
        for p in low.model.parameters():
            p.copy_(p.flip(0))
    return high, low


def guided(model, text_scale=4.0, **more):
    prompt, null, _ = conditioned(model, pictures=1)
    return PresetGuiderNode.execute(
        model, prompt, null, "Bernini rv2v", 1.25, text_scale, 0.0, 0, reference_scale=4.5, **more
    )[0]


def steps_of(model, count=STEPS):
    sampling = model.get_model_object("model_sampling")
    return comfy.samplers.calculate_sigmas(sampling, "simple", count)


def sample(guider, sigmas, noise, latents, sampler="euler", **more):
    with torch.inference_mode():
        return guider.sample(
            noise, latents, comfy.samplers.sampler_object(sampler), sigmas,
            disable_pbar=True, seed=0, **more,
        )  # fmt: skip


def error(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("boundary", [0.0, 0.8, 0.9, 1.0])
def test_one_model_twice_is_that_model(pair, boundary):
    """To the bit, also where latents are partly held, as windows hold them."""
    guider, sigmas = guided(pair[0]), steps_of(pair[0])
    noise, latents = drawn(LATENT, seed=1), drawn(LATENT, seed=2)
    ramp = torch.tensor([0.0, 0.5, 1.0])[None, None, :, None, None].expand(1, 1, -1, 8, 12)
    for mask in (None, ramp):
        one = sample(guider, sigmas, noise, latents, denoise_mask=mask)
        both = sample(TwoModelGuider(guider, guider, boundary), sigmas, noise, latents,
                      denoise_mask=mask)  # fmt: skip
        assert torch.equal(one, both)


@pytest.mark.parametrize("sampler", ["euler", "res_multistep", "heun", "dpmpp_2m"])
def test_it_is_two_samplers_over_split_sigmas(pair, sampler):
    """As ComfyUI's own blueprint of Bernini-R wires them, each with its own scales."""
    high, low = guided(pair[0], eta=0.5), guided(pair[1], text_scale=3.2)
    sigmas, noise = steps_of(pair[0]), drawn(LATENT, seed=1)
    first = steps_of_high(pair[0], sigmas, 0.9)
    assert 0 < first < STEPS
    ours = sample(TwoModelGuider(high, low, 0.9), sigmas, noise, torch.zeros(LATENT), sampler)
    before, after = SplitSigmas.execute(sigmas, first).args
    between = sample(high, before, noise, torch.zeros(LATENT), sampler)
    empty = Noise_EmptyNoise().generate_noise({"samples": between})
    stock = sample(low, after, empty, between, sampler)
    assert error(ours, stock) < 1e-5
    assert error(ours, sample(high, sigmas, noise, torch.zeros(LATENT), sampler)) > 1e-3


def test_progress_counts_the_steps_of_both(pair):
    told = []
    guider = TwoModelGuider(guided(pair[0]), guided(pair[1]), 0.9)
    sample(guider, steps_of(pair[0]), drawn(LATENT), torch.zeros(LATENT),
           callback=lambda step, denoised, x, of: told.append((step, of)))  # fmt: skip
    assert told == [(step, STEPS) for step in range(STEPS)]


def test_a_step_that_begins_at_the_boundary_is_the_first_model_s(pair):
    """As in the authors' pipeline: t ≥ boundary · 1000."""
    sigmas = torch.tensor([1.0, 0.95, 0.875, 0.874, 0.5, 0.0])
    assert steps_of_high(pair[0], sigmas, 0.875) == 3
    assert steps_of_high(pair[0], sigmas, 0.0) == 5
    assert steps_of_high(pair[0], sigmas[3:], 0.875) == 0


def test_windows_of_a_stream_take_both(pair):
    """Source and noise are the window's for either; a pair of one model is that model."""
    frames = torch.from_numpy(windowed.np.stack(windowed.coarse(33))).float() / 255

    def made(guider):
        return windowed.engine_of(guider, frames, steps=4)[0]

    high, low = (windowed.v2v(model, frames[:5]) for model in pair)
    one = made(high)
    assert torch.equal(made(TwoModelGuider(high, high, 0.9)), one)
    both = made(TwoModelGuider(high, low, 0.9))
    assert error(both, one) > 1e-3
    blind = comfy.samplers.CFGGuider(pair[1])
    with pytest.raises(StyleAVideoError, match="Nothing of the video reaches the model"):
        windows.check_guider(TwoModelGuider(high, blind), False)


def test_what_is_no_pair_is_refused(pair):
    high, low = guided(pair[0]), guided(pair[1])
    made = TwoModelGuiderNode.execute(high, low, 0.9)[0]
    with pytest.raises(StyleAVideoError, match="A sampler of this kind .Odd. cannot go from one"):
        made.sample(drawn(LATENT), torch.zeros(LATENT), Odd(), steps_of(pair[0]))
    other = comfy.samplers.CFGGuider(build(kinds.SDXL, SDXL))
    with pytest.raises(StyleAVideoError, match="different latents .Wan21, SDXL."):
        TwoModelGuiderNode.execute(high, other, 0.9)


class Odd(comfy.samplers.Sampler):
    """One that ComfyUI does not make."""
