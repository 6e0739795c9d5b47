"""Edit models that see one frame a latent: ComfyUI's own classes, small, with random weights.

Tests and the table of docs/models.py go by this list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.samplers
import comfy.supported_models as kinds
import node_helpers
import torch
from comfy_extras.nodes_edit_model import ReferenceLatent
from style_a_video.nodes import conditions, guidance
from torch import Tensor

FRAMES, STEPS, TEXT_SCALE = 3, 2, 4.0


@dataclass(frozen=True)
class EditModel:
    """A model that takes a frame.

    Attributes:
        name, weights, licence: as people read them; where the weights are, and under which licence.
        size: parameters of the network that is sampled, as its authors tell them.
        kind, config: ComfyUI's class (comfy/supported_models.py) and a small shape of it.
        latent: a frame's latent (C,...).
        place: the key of a CONDITIONING where it takes the frame.
        told: how the frame enters, as people read it.
        extra: what its text encoder adds to a CONDITIONING, shapes by key.
        state: what of a checkpoint decides what the class is.
    """

    name: str
    weights: str
    licence: str
    size: str
    kind: Any
    config: dict[str, Any]
    latent: tuple[int, ...]
    place: str
    told: str
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)

    def build(self) -> Any:
        torch.manual_seed(0)
        config = self.kind(dict(self.config))
        config.set_inference_dtype(torch.float32, None)
        model = config.get_model(self.state)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(0.05 * torch.randn_like(p))
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)

    def text(self, seed: int) -> list[Any]:
        made = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=made)

        values = {key: drawn(*shape) for key, shape in self.extra.items()}
        values["attention_mask"] = torch.ones(1, 77, dtype=torch.long)
        return [[drawn(1, 77, 64), values]]


class Vae:
    """An autoencoder in name: frames → latents that look like them by chance, one by one."""

    def __init__(self, latent: tuple[int, ...]) -> None:
        self.latent, self.latent_dim = latent, len(latent) - 1

    def encode(self, frames: Tensor) -> Tensor:
        seeds = [int(1000 * frame.mean()) for frame in frames]
        made = [
            20 * torch.rand(self.latent, generator=torch.Generator().manual_seed(s)) for s in seeds
        ]
        if self.latent_dim == 3 and len(made) > 1:
            raise AssertionError("ComfyUI takes several frames for one video here")
        return torch.stack(made)


def frames() -> Tensor:
    """FRAMES pictures (T,64,96,3), each of its own brightness."""
    return torch.linspace(0.2, 0.8, FRAMES)[:, None, None, None].expand(-1, 64, 96, 3)


def sample(guider: Any, latent: tuple[int, ...], rows: slice = slice(None)) -> Tensor:
    """`rows` of FRAMES latents, each from noise of its own."""
    sampling = guider.model_patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", STEPS)
    noise = torch.randn(FRAMES, *latent, generator=torch.Generator().manual_seed(0))[rows]
    euler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        return guider.sample(
            noise, torch.zeros_like(noise), euler, sigmas, disable_pbar=True, seed=0
        )


def ours(one: EditModel, model: Any, chunk: int = 0, seen: Tensor | None = None) -> Tensor:
    """All frames by Frame Condition and Style Guider, InstructPix2Pix's formula at s_I 1."""
    null, seen = one.text(2), frames() if seen is None else seen
    frame = conditions.FrameCondition.execute(null, Vae(one.latent), seen, model=model)[0]
    args = (model, one.text(1), null, "instruct-pix2pix", 1.0, TEXT_SCALE, 0.0, chunk)
    return sample(guidance.PresetGuiderNode.execute(*args, frame=frame)[0], one.latent)


def stock(one: EditModel, model: Any) -> Tensor:
    """Each frame alone by ComfyUI's own blocks and CFGGuider, which then is the same formula."""
    put: dict[str, Callable[[list[Any], Tensor], list[Any]]] = {
        "reference_latents": lambda text, x: ReferenceLatent.execute(text, {"samples": x})[0],
        "concat_latent_image": lambda text, x: node_helpers.conditioning_set_values(
            text, {"concat_latent_image": x}
        ),
        "context_latents": lambda text, x: node_helpers.conditioning_set_values(
            text, {"context_latents": [x]}
        ),
    }
    made = []
    for i, frame in enumerate(frames()):
        latents = Vae(one.latent).encode(frame[None])
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(*(put[one.place](one.text(seed), latents) for seed in (1, 2)))
        guider.set_cfg(TEXT_SCALE)
        made.append(sample(guider, one.latent, slice(i, i + 1)))
    return torch.cat(made)


def error(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


UNET = {
    "image_size": 32,
    "in_channels": 8,
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
    "num_head_channels": 32,
    "legacy": False,
}
XL = UNET | {"num_classes": "sequential", "adm_in_channels": 2816}
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
FLUX_2 = FLUX | {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "axes_dim": [8] * 4,
    "txt_ids_dims": [3],
    "patch_size": 1,
    "qkv_bias": False,
    "guidance_embed": False,
    "ops_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
QWEN = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 1,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "axes_dims_rope": (8, 12, 12),
}
OMNIGEN = {
    "image_model": "omnigen2",
    "in_channels": 16,
    "hidden_size": 64,
    "num_layers": 1,
    "num_refiner_layers": 1,
    "num_attention_heads": 2,
    "num_kv_heads": 1,
    "multiple_of": 32,
    "axes_dim_rope": (8, 12, 12),
    "text_feat_dim": 64,
}
HIDREAM = {
    "image_model": "hidream",
    "in_channels": 16,
    "patch_size": 2,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "caption_channels": [64, 64],
    "text_emb_dim": 64,
    "num_routed_experts": 2,
    "num_activated_experts": 1,
    "axes_dims_rope": (16, 8, 8),
    "max_resolution": (32, 32),
    "llama_layers": [0, 1],
}
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 64,
    "ffn_dim": 128,
    "freq_dim": 32,
    "text_dim": 64,
    "in_dim": 16,
    "out_dim": 16,
    "num_heads": 2,
    "num_layers": 1,
}
BESIDE, AFTER = "channels beside the noise", "tokens after those of the picture"
MODELS = [
    EditModel(
        "InstructPix2Pix",
        "timbrooks/instruct-pix2pix",
        "MIT; CreativeML Open RAIL-M of Stable Diffusion 1.5",
        "0.9 B",
        kinds.SD15_instructpix2pix,
        UNET,
        (4, 8, 12),
        "concat_latent_image",
        BESIDE,
    ),
    EditModel(
        "SDXL InstructPix2Pix",
        "diffusers/sdxl-instructpix2pix-768",
        "CreativeML Open RAIL++-M",
        "2.6 B",
        kinds.SDXL_instructpix2pix,
        XL,
        (4, 8, 12),
        "concat_latent_image",
        BESIDE,
        {"pooled_output": (1, 1280)},
    ),
    EditModel(
        "CosXL Edit",
        "stabilityai/cosxl",
        "Stability AI, non-commercial",
        "2.6 B",
        kinds.SDXL_instructpix2pix,
        XL,
        (4, 8, 12),
        "concat_latent_image",
        BESIDE,
        {"pooled_output": (1, 1280)},
        {"edm_vpred.sigma_max": torch.tensor(120.0)},
    ),
    EditModel(
        "HiDream-E1",
        "HiDream-ai/HiDream-E1-Full, HiDream-E1-1",
        "MIT",
        "17 B",
        kinds.HiDream,
        HIDREAM,
        (16, 8, 12),
        "concat_latent_image",
        "tokens beside the noise",
        {"pooled_output": (1, 64), "conditioning_llama3": (1, 2, 77, 64)},
    ),
    EditModel(
        "Flux Kontext",
        "black-forest-labs/FLUX.1-Kontext-dev",
        "FLUX.1 [dev], non-commercial",
        "12 B",
        kinds.Flux,
        FLUX,
        (16, 8, 12),
        "reference_latents",
        AFTER,
        {"pooled_output": (1, 768)},
    ),
    EditModel(
        "Flux 2 klein",
        "black-forest-labs/FLUX.2-klein-4B",
        "Apache-2.0 (4B); FLUX non-commercial (9B, dev)",
        "4 B, 9 B; dev 32 B",
        kinds.Flux2,
        FLUX_2,
        (128, 4, 6),
        "reference_latents",
        AFTER,
    ),
    EditModel(
        "Qwen-Image-Edit",
        "Qwen/Qwen-Image-Edit-2509",
        "Apache-2.0",
        "20 B",
        kinds.QwenImage,
        QWEN,
        (16, 1, 8, 12),
        "reference_latents",
        AFTER,
    ),
    EditModel(
        "OmniGen2",
        "OmniGen2/OmniGen2",
        "Apache-2.0",
        "4 B",
        kinds.Omnigen2,
        OMNIGEN,
        (16, 8, 12),
        "reference_latents",
        "tokens before those of the picture",
    ),
    EditModel(
        "Bernini, frame by frame",
        "ByteDance/Bernini-R-1.3B-Diffusers, Bernini-R",
        "Apache-2.0",
        "1.3 B; 2 x 14 B",
        kinds.WAN21_T2V,
        WAN,
        (16, 1, 8, 12),
        "context_latents",
        AFTER,
    ),
]
