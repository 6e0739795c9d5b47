"""The built-in model as ComfyUI's own MODEL, CLIP, VAE and CLIP_VISION, and its loader block.

Nothing is patched: the U-Net is ComfyUI's UNetModel with our weights, so that KSampler, LoRA,
ControlNet and attention patches work on it.
"""

from __future__ import annotations

import json
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.taesd.taesd
import comfy.utils
import torch
from comfy_api.latest import io
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..pipelines.core.correction import fit_linear_decoder
from ..pipelines.engines.diffusion.decoders import (
    at_once,
    colour_chart,
    decoded,
    in_fast_layout,
)
from ..pipelines.errors import StyleAVideoError
from ..weights.styles import EMBEDDED

PATCH = 2
CHANNELS = 32
TEXT = 128


class Latents(comfy.latent_formats.LatentFormat):
    """2x2-patched latents of the built-in autoencoder: 32 channels, 8 px a position, unscaled."""

    latent_channels = CHANNELS

    def __init__(self) -> None:
        # The live preview: the linear map of diffusion.decoders, in ComfyUI's range of [-1,1].
        chart = colour_chart()
        weight, bias = fit_linear_decoder(Autoencoder().encode(2 * chart - 1), chart)
        self.latent_rgb_factors = (2 * weight.T).tolist()
        self.latent_rgb_factors_bias = (2 * bias - 1).tolist()


class _Config(comfy.supported_models.SD15_instructpix2pix):
    """The miniature's shape, as ComfyUI's detection would spell it if it knew it."""

    unet_config = {
        "image_size": 32,
        "in_channels": 2 * CHANNELS,
        "out_channels": CHANNELS,
        "model_channels": 128,
        "num_res_blocks": [1, 1, 1],
        "channel_mult": [1, 1, 1],
        "transformer_depth": [0, 0, 1],
        "transformer_depth_output": [0, 0, 0, 0, 1, 1],
        "transformer_depth_middle": 1,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "use_scale_shift_norm": True,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "context_dim": TEXT,
        "num_classes": "sequential",
        "adm_in_channels": TEXT,
        "legacy": False,
    }
    unet_extra_config = {"num_heads": 4, "num_head_channels": -1}
    sampling_settings = {"zsnr": True}
    latent_format = Latents

    def get_model(self, state_dict: dict[str, Tensor], prefix: str = "", device=None):
        return BuiltInModel(self, device=device)


class BuiltInModel(comfy.model_base.SD15_instructpix2pix):
    """The pooled text is the class of the U-Net."""

    def __init__(self, model_config: _Config, device=None) -> None:
        super().__init__(model_config, comfy.model_base.ModelType.V_PREDICTION, device=device)

    def encode_adm(self, **kwargs: Any) -> Tensor:
        pooled = kwargs.get("pooled_output")
        if pooled is None:
            raise StyleAVideoError(
                "The built-in model needs the pooled text: encode the prompt with the CLIP of "
                "Load Built-in Model."
            )
        return pooled


def load_model() -> comfy.model_patcher.ModelPatcher:
    """MODEL: ComfyUI's native U-Net in 8 px positions, v prediction at zero terminal SNR."""
    weights = load_file(EMBEDDED / "unet" / "diffusion_pytorch_model.safetensors")
    names = comfy.utils.unet_to_diffusers(_Config.unet_config)
    weights = {names[key]: value for key, value in weights.items()}
    device = comfy.model_management.get_torch_device()
    supported = _Config.supported_inference_dtypes
    dtype = comfy.model_management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(weights), supported_dtypes=supported
    )
    config = _Config(_Config.unet_config)
    cast = comfy.model_management.unet_manual_cast(dtype, device, supported)
    config.set_inference_dtype(dtype, cast)
    offload = comfy.model_management.unet_offload_device()
    model = config.get_model(weights, device=offload).load_model_weights(weights)
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)


class _TextModel(comfy.clip_model.CLIPTextModel):
    """ComfyUI's CLIP text model with a vocabulary of our size."""

    def __init__(self, config: dict[str, Any], dtype, device, operations) -> None:
        super().__init__(config, dtype, device, operations)
        self.text_model.embeddings = comfy.clip_model.CLIPEmbeddings(
            config["hidden_size"],
            vocab_size=config["vocab_size"],
            dtype=dtype,
            device=device,
            operations=operations,
        )


class _Encoder(comfy.sd1_clip.SDClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None) -> None:
        config = _config("text_encoder")
        start, end = config["bos_token_id"], config["eos_token_id"]
        super().__init__(
            device=device,
            dtype=dtype,
            model_options=model_options or {},
            textmodel_json_config=config,
            model_class=_TextModel,
            special_tokens={"start": start, "end": end, "pad": end},
        )


class _Clip(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None) -> None:
        super().__init__(device, dtype, model_options or {}, clip_model=_Encoder)


class _Words(comfy.sd1_clip.SDTokenizer):
    def __init__(self, embedding_directory=None, tokenizer_data=None) -> None:
        super().__init__(
            tokenizer_path=str(EMBEDDED / "tokenizer"),
            embedding_directory=embedding_directory,
            embedding_size=TEXT,
        )


class _Tokenizer(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, embedding_directory=None, tokenizer_data=None) -> None:
        super().__init__(embedding_directory, tokenizer=_Words)


def load_clip() -> comfy.sd.CLIP:
    """CLIP: text in English and Chinese, 128 wide, its own vocabulary of 1,024 tokens."""
    weights = load_file(EMBEDDED / "text_encoder" / "model.safetensors")
    weights = {f"clip_l.transformer.{key}": value for key, value in weights.items()}
    weights["clip_l.logit_scale"] = torch.tensor(4.6055)
    target = comfy.supported_models_base.ClipTarget(_Tokenizer, _Clip)
    return comfy.sd.CLIP(target, state_dict=weights)


def is_built_in(clip: Any) -> bool:
    """Whether a CLIP is the built-in model's."""
    return isinstance(getattr(clip, "cond_stage_model", None), _Clip)


class Autoencoder(nn.Module):
    """diffusers' AutoencoderTiny behind the two calls that ComfyUI's VAE makes.

    Pixels (B,3,H,W) in [-1,1] ↔ patched latents (B,32,H/8,W/8).
    """

    def __init__(self) -> None:
        super().__init__()
        from diffusers import AutoencoderTiny

        self.vae = AutoencoderTiny.from_pretrained(EMBEDDED / "vae", torch_dtype=torch.float32)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        some = pixels.split(at_once(pixels.device, len(pixels)))
        latents = [self.vae.encode(in_fast_layout(x)).latents for x in some]
        return F.pixel_unshuffle(torch.cat(latents), PATCH)

    def decode(self, latents: Tensor) -> Tensor:
        z = F.pixel_shuffle(latents, PATCH)
        return torch.cat([decoded(self.vae, one) for one in z.split(at_once(z.device, len(z)))])


def load_vae() -> comfy.sd.VAE:
    """VAE: 32 channels, 8 px a position.

    ComfyUI's VAE knows tiny autoencoders of one width only: it is made with one of those, which
    settles everything around it, and then given ours.
    """
    vae = comfy.sd.VAE(sd=comfy.taesd.taesd.TAESD(latent_channels=CHANNELS).state_dict())
    vae.first_stage_model = Autoencoder().to(vae.vae_dtype)
    vae.size = None
    vae.patcher = comfy.model_patcher.ModelPatcher(
        vae.first_stage_model,
        load_device=vae.device,
        offload_device=comfy.model_management.vae_offload_device(),
    )
    return vae


class BuiltInVision(comfy.clip_vision.ClipVisionModel):
    """Its type tells it from other CLIP_VISIONs: numbers by it compare with none by those."""


def load_clip_vision() -> BuiltInVision:
    """CLIP_VISION: 128 px, in the space of the text encoder."""
    vision = BuiltInVision(str(EMBEDDED / "image_encoder" / "config.json"))
    vision.load_sd(load_file(EMBEDDED / "image_encoder" / "model.safetensors"))
    return vision


def defaults() -> dict[str, Any]:
    """The settings that the built-in model was made for."""
    index = json.loads((EMBEDDED / "model_index.json").read_text(encoding="utf-8"))
    value = index["defaults"]
    return dict(value)


def _config(part: str) -> dict[str, Any]:
    return json.loads((EMBEDDED / part / "config.json").read_text(encoding="utf-8"))


class LoadBuiltInModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoLoadBuiltIn",
            display_name="Load Built-in Model",
            category="Style-A-Video/model",
            description=(
                "The small model that comes with Style-A-Video: nothing to download, fast on a "
                "CPU, 17 styles in English and Chinese, or the style of a picture. Its outputs "
                "work with stock blocks."
            ),
            search_aliases=["style a video", "embedded model", "video style transfer"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Clip.Output(display_name="CLIP"),
                io.Vae.Output(display_name="VAE"),
                io.ClipVision.Output(display_name="CLIP_VISION"),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        # Weights made in inference mode could never carry the correction's gradient.
        with torch.inference_mode(False):
            return io.NodeOutput(load_model(), load_clip(), load_vae(), load_clip_vision())
