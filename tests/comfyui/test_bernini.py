"""Bernini's guidance on ComfyUI's own Wan, small and random, against its authors' formulas."""

from __future__ import annotations

import comfy.samplers
import comfy.supported_models as kinds
import pytest
import torch
from comfy_extras.nodes_bernini import BerniniConditioning
from edit_models import WAN, error
from style_a_video.nodes.guidance import PresetGuiderNode
from style_a_video.pipelines.errors import StyleAVideoError
from test_guidance_split import build, drawn, text

OMEGA_V, OMEGA_I, OMEGA_T = 1.25, 4.5, 4.0
"""The scales of the authors' own commands."""
LATENT = (1, 16, 3, 8, 12)


class _Vae:
    """Wan's autoencoder in its sizes: 8 x 8 pixels by 1 + 4 n frames are a latent."""

    def encode(self, pixels):
        t, h, w, _ = pixels.shape
        return drawn((1, 16, (t - 1) // 4 + 1, h // 8, w // 8), seed=t)


@pytest.fixture(scope="module")
def model():
    return build(kinds.WAN21_T2V, WAN)


def conditioned(model, video=True, pictures=2):
    """prompt and negative as Bernini Conditioning makes them, and the streams in both."""
    positive, negative = text(model, 1), text(model, 2)
    given = {f"reference_image_{i}": drawn((1, 64, 64 + 16 * i, 3)) for i in range(pictures)}
    source = drawn((9, 64, 96, 3)) if video else None
    prompt, null, _ = BerniniConditioning.execute(
        positive, negative, _Vae(), 96, 64, 9, 1, source, None, given or None
    ).args
    return prompt, null, prompt[0][1].get("context_latents", [])


def sample(guider, steps=3):
    sampling = guider.model_patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    noise = torch.randn(LATENT, generator=torch.Generator().manual_seed(0))
    euler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        return guider.sample(
            noise, torch.zeros_like(noise), euler, sigmas, disable_pbar=True, seed=0
        )


def known(model, guided, steps=3):
    """Euler over the flow with the velocity that `guided` makes of eps(text, streams)."""
    base = model.model
    sigmas = comfy.samplers.calculate_sigmas(base.model_sampling, "simple", steps)
    x = torch.randn(LATENT, generator=torch.Generator().manual_seed(0)) * sigmas[0]
    texts = {"positive": text(model, 1)[0][0], "negative": text(model, 2)[0][0]}
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        t = base.model_sampling.timestep(sigma[None])

        def eps(name, streams, x=x, t=t):
            context = [base.process_latent_in(s) for s in streams]
            return base.diffusion_model(
                x, t, texts[name], **({"context_latents": context} if context else {})
            )

        with torch.inference_mode():
            x = x + (following - sigma) * guided(eps, x, sigma)
    return base.process_latent_out(x)


def rv2v(eps, both):
    null, v = eps("negative", []), eps("negative", both[:1])
    vi, vti = eps("negative", both), eps("positive", both)
    return null + OMEGA_V * (v - null) + OMEGA_I * (vi - v) + OMEGA_T * (vti - vi)


def v2v(eps, both):
    vi, vti = eps("negative", both), eps("positive", both)
    return vi + OMEGA_T * (vti - vi)


def v2v_chain(eps, both):
    null, v, vti = eps("negative", []), eps("negative", both[:1]), eps("positive", both)
    return null + OMEGA_V * (v - null) + OMEGA_T * (vti - v)


def r2v(eps, both):
    images = [s for s in both if s.shape[2] == 1]
    null, i, ti = eps("negative", []), eps("negative", images), eps("positive", images)
    return null + OMEGA_I * (i - null) + OMEGA_T * (ti - i)


def t2v(eps, both):
    null, t = eps("negative", []), eps("positive", [])
    return null + OMEGA_T * (t - null)


class Apg:
    """The authors' normalized_guidance_chain on x0, with its buffers."""

    eta, norm_threshold, momentum = 0.5, 3.0, -0.3

    def __init__(self, chain):
        self.chain, self.sums = chain, {}

    def __call__(self, eps, x, sigma):
        preds = [x - sigma * e for e in self.chain[0](eps)]
        guided = preds[0]
        for i, scale in enumerate(self.chain[1]):
            before, cond = preds[i], preds[i + 1]
            self.sums[i] = cond - before + self.momentum * self.sums.get(i, 0)
            diff = self.sums[i]
            dims = (-1, -2, -4)
            norm = diff.square().sum(dims, keepdim=True).sqrt()
            diff = diff * torch.minimum(torch.ones_like(diff), self.norm_threshold / norm)
            unit = cond.double() / cond.double().square().sum(dims, keepdim=True).sqrt()
            parallel = (diff.double() * unit).sum(dims, keepdim=True) * unit
            guided = guided + scale * (diff - parallel + self.eta * parallel).float()
        return (x - guided) / sigma


def chains(both):
    return {
        "r2v": (
            lambda eps: (eps("negative", []), eps("negative", both), eps("positive", both)),
            (OMEGA_I, OMEGA_T),
        ),
        "v2v": (lambda eps: (eps("negative", both), eps("positive", both)), (OMEGA_T,)),
        "t2v": (lambda eps: (eps("negative", []), eps("positive", [])), (OMEGA_T,)),
    }


CASES = {
    "rv2v": (rv2v, {}),
    "v2v": (v2v, {"pictures": 0}),
    "v2v_chain": (v2v_chain, {"pictures": 0}),
    "r2v": (r2v, {"video": False}),
    "t2v": (t2v, {"video": False, "pictures": 0}),
}


def guided(model, mode, prompt, null, **options):
    args = (model, prompt, null, f"Bernini {mode}", OMEGA_V, OMEGA_T, 0.0, 0)
    return PresetGuiderNode.execute(*args, reference_scale=OMEGA_I, **options)


@pytest.mark.parametrize("mode", CASES)
def test_a_mode_is_its_authors_formula(model, mode):
    formula, given = CASES[mode]
    prompt, null, both = conditioned(model, **given)
    ours = sample(guided(model, mode, prompt, null)[0])
    assert error(ours, known(model, lambda eps, *_: formula(eps, both))) < 1e-5


@pytest.mark.parametrize("mode", ["r2v", "v2v", "t2v"])
def test_a_projected_mode_is_its_authors_apg(model, mode):
    prompt, null, both = conditioned(model, **CASES[mode][1])
    options = {name: getattr(Apg, name) for name in ("eta", "norm_threshold", "momentum")}
    ours = sample(guided(model, mode, prompt, null, **options)[0])
    assert error(ours, known(model, Apg(chains(both)[mode]))) < 1e-5
    assert error(ours, sample(guided(model, mode, prompt, null)[0])) > 1e-3  # it changes much


def test_references_beside_a_video_are_all_that_r2v_sees(model):
    prompt, null, both = conditioned(model)
    ours = sample(guided(model, "r2v", prompt, null)[0])
    assert error(ours, known(model, lambda eps, *_: r2v(eps, both))) < 1e-5


def test_the_block_shows_the_weights(model):
    prompt, null, _ = conditioned(model)
    assert guided(model, "rv2v", prompt, null)[1].split("\n") == [
        "null: -0.25", "VTI: 4", "VI: 0.5", "V: -3.25"
    ]  # fmt: skip
    assert guided(model, "v2v", prompt, null)[1] == "VI: -3\nVTI: 4"


@pytest.mark.parametrize(
    ("mode", "given", "missing"),
    [
        ("rv2v", {"pictures": 0}, "source_video and reference_images"),
        ("v2v", {"video": False, "pictures": 0}, "source_video"),
        ("r2v", {"pictures": 0}, "reference_images"),
    ],
)
def test_what_a_mode_misses_is_said(model, mode, given, missing):
    prompt, null, _ = conditioned(model, **given)
    with pytest.raises(StyleAVideoError, match=f"Bernini {mode} needs {missing}: connect"):
        guided(model, mode, prompt, null)
    with pytest.raises(StyleAVideoError, match="leave frame and attention unconnected"):
        guided(model, mode, prompt, null, frame=null)
