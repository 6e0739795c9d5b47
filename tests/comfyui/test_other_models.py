"""The guider on SDXL and Flux, small and random, must agree with ComfyUI's own guider."""

from __future__ import annotations

import comfy.model_patcher
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from style_a_video.nodes import guidance, host
from style_a_video.nodes.attention import AttentionReader
from style_a_video.pipelines.errors import StyleAVideoError

SDXL = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "context_dim": 64,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_head_channels": 32,
    "legacy": False,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 64,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [8, 12, 12],
    "txt_ids_dims": [],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
KINDS = {
    "SDXL": (comfy.supported_models.SDXL, SDXL, 4, 1280),
    "Flux": (comfy.supported_models.Flux, FLUX, 16, 768),
}


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    """model, positive, negative, and an empty latent of three frames."""
    kind, shape, channels, pooled = KINDS[request.param]
    torch.manual_seed(0)
    config = kind(dict(shape))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({})
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.05 * torch.randn_like(p))
    cpu = torch.device("cpu")
    model = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)

    def text() -> list:
        return [[torch.randn(1, 77, 64), {"pooled_output": torch.randn(1, pooled)}]]

    return model, text(), text(), torch.zeros(3, channels, 8, 12)


def run(guider, latent):
    sampling = guider.model_patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 3)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return guider.sample(
            noise, latent, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=0
        )


@pytest.mark.parametrize("chunk", [0, 2])
def test_the_guider_is_the_stock_guider_s(case, chunk):
    model, positive, negative, latent = case
    weighted = [guidance.WeightedCondition(positive, 3.5)]
    ours = guidance.MultiConditionGuider(model, negative, weighted, chunk)
    stock = comfy.samplers.CFGGuider(model)
    stock.set_conds(positive, negative)
    stock.set_cfg(3.5)
    a, b = run(ours, latent), run(stock, latent)
    assert b.std() > 0 and (a - b).norm() / b.norm() < 1e-4


def test_three_conditions_in_regions(case):
    model, positive, negative, latent = case
    left = torch.zeros(1, 8, 12)
    left[..., :6] = 1
    regions = [
        guidance.WeightedCondition(positive, 2.0, mask=left),
        guidance.WeightedCondition(negative, 2.0, mask=1 - left),
    ]
    out = run(guidance.MultiConditionGuider(model, negative, regions), latent)
    assert out.isfinite().all() and out.shape == latent.shape


def test_what_these_models_do_not_have_is_said(case):
    model, positive, negative, latent = case
    framed = host.with_values(positive, **{host.FRAME_LATENTS: latent})
    words = "A frame condition needs a model with|Flux takes a frame as reference_latents"
    with pytest.raises(StyleAVideoError, match=words):
        guidance.MultiConditionGuider(model, negative, [guidance.WeightedCondition(framed, 1.0)])
    if not hasattr(model.model.diffusion_model, "middle_block"):
        with pytest.raises(StyleAVideoError, match="Attention maps need a U-Net"):
            AttentionReader(model.model, "middle", 0)
