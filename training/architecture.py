"""The built-in model's parts as ordinary diffusers and transformers objects, untrained.

Shape of Stable Diffusion 1.5 InstructPix2Pix in miniature (Brooks et al. 2023, section 3.2): the
U-Net sees z_t with the frame latent concatenated. The pooled text also enters through the class
embedding, since cross-attention alone steers a U-Net of this size poorly.
"""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

LATENT_CHANNELS = 8
PATCH = 2
"""The U-Net sees 2x2 latents as one position of four times the channels, as FLUX pipelines do: an
autoencoder of factor 4 learns detail far sooner than one of 8, and costs the U-Net nothing."""
TEXT_DIM = 128
IMAGE_SIZE = 128
VOCABULARY = 1024
START, END = 0, 1
DEFAULTS: dict[str, Any] = {
    "preset": "instruct-pix2pix",
    "num_inference_steps": 1,
    "frame_scale": 1.0,
    "text_scale": 1.0,
    "attention_scale": 0.0,
    "noise": "shared",
    "correction_decoder": "full",
    "paper": {
        "num_inference_steps": 10,
        "text_scale": 2.0,
        "frame_scale": 2.0,
        "attention_scale": 0.3,
        "start_level": 0.5,
    },
}
"""Of the model's own pipeline, and of the preset `paper`."""


def autoencoder() -> AutoencoderTiny:
    """Frames (B,3,H,W) in [-1,1] ↔ latents (B,8,H/4,W/4), about unit variance per channel."""
    return AutoencoderTiny(
        encoder_block_out_channels=(48, 48, 48),
        decoder_block_out_channels=(48, 48, 48),
        num_encoder_blocks=(0, 2, 3),
        num_decoder_blocks=(3, 2, 0),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=1.0,
    )


def unet() -> UNet2DConditionModel:
    """z_t and frame latent, patched (B,64,H/8,W/8) → v prediction (B,32,H/8,W/8).

    Every width is a multiple of 32 and of the first, which ComfyUI's native U-Net needs.
    """
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=2 * LATENT_CHANNELS * PATCH**2,
        out_channels=LATENT_CHANNELS * PATCH**2,
        block_out_channels=(128, 128, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=32,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=4,
        cross_attention_dim=TEXT_DIM,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=TEXT_DIM,
    )


def text_encoder() -> CLIPTextModelWithProjection:
    """Token ids (B,77) → hidden states (B,77,128) and pooled text embeds (B,128)."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=TEXT_DIM,
            intermediate_size=4 * TEXT_DIM,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=TEXT_DIM,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=END,
        )
    )


def image_encoder() -> CLIPVisionModelWithProjection:
    """Frames (B,3,128,128), normalised → image embeds (B,128) in the text's space."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=IMAGE_SIZE,
            patch_size=16,
            projection_dim=TEXT_DIM,
        )
    )


def scheduler() -> DDIMScheduler:
    """DDIM on v, betas rescaled to zero terminal SNR (Lin et al. 2024, sections 3.1-3.3)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
