"""The image-editing pipelines that are known, and what the configs of their parts may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .parts import (
    CHANNELS,
    CLIP_TEXT,
    ID,
    IMAGES,
    KL,
    NAMES,
    NONE,
    PARTS,
    SCHEDULER,
    TOKENIZER,
    UNET,
    Part,
    Rule,
    either,
    flag,
    many,
    number,
    one_of,
    whole,
)


def within(rules: Mapping[str, Rule]) -> Rule:
    """An object of listed values that pass: with any other it is refused."""
    return lambda value: (
        isinstance(value, dict)
        and all(key in rules and rules[key](one) for key, one in value.items())
    )


def to_be_filtered(rules: Mapping[str, Rule]) -> Rule:
    """An object whose listed values pass, of which only `known` may be handed on."""
    return lambda value: (
        isinstance(value, dict) and all(rules[key](value[key]) for key in rules if key in value)
    )


def known(value: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """What of an object is listed."""
    return {key: value[key] for key in rules if key in value}


_BLOCKS = whole(1, 16)  # of transformers in a block of a U-Net; SDXL has 10
_WIDE = whole(1, 1 << 17)
SDXL_UNET = UNET | {
    "transformer_layers_per_block": either(_BLOCKS, many(_BLOCKS)),
    "addition_embed_type": one_of("text_time"),
    "addition_time_embed_dim": CHANNELS,
}
FLUX_KL = KL | {"shift_factor": either(NONE, number(-1e3, 1e3))}
FLUX2_KL = KL | {
    "decoder_block_out_channels": either(NONE, many(CHANNELS)),
    "batch_norm_eps": number(0, 1),
    "batch_norm_momentum": number(0, 1),
    "patch_size": many(one_of(2), 2),
}
QWEN_KL = NAMES | {
    "base_dim": CHANNELS,
    "z_dim": whole(1, 64),
    "dim_mult": many(whole(1, 16)),
    "num_res_blocks": whole(1, 8),
    "attn_scales": many(number(0, 1e3)),
    "temperal_downsample": many(flag, 4),
    "dropout": number(0, 1),
    "input_channels": whole(3, 3),
    "latents_mean": many(number(-1e3, 1e3), 64),
    "latents_std": many(number(1e-3, 1e3), 64),
}
_TRANSFORMER = NAMES | {
    "in_channels": CHANNELS,
    "out_channels": either(NONE, CHANNELS),
    "num_layers": whole(1, 128),
    "attention_head_dim": CHANNELS,
    "num_attention_heads": whole(1, 256),
    "joint_attention_dim": whole(1, 16384),
}
FLUX = _TRANSFORMER | {
    "patch_size": one_of(1),
    "num_layers": whole(1, 64),
    "num_single_layers": whole(0, 128),
    "pooled_projection_dim": whole(1, 16384),
    "guidance_embeds": flag,
    "axes_dims_rope": many(whole(2, 256), 3),
}
FLUX2 = _TRANSFORMER | {
    "patch_size": one_of(1),
    "num_single_layers": whole(0, 128),
    "timestep_guidance_channels": CHANNELS,
    "mlp_ratio": number(0.1, 16),
    "axes_dims_rope": many(whole(2, 256), 4),
    "rope_theta": whole(1, 1 << 30),
    "eps": number(0, 1),
    "guidance_embeds": one_of(False),
}
QWEN_IMAGE = _TRANSFORMER | {
    "patch_size": one_of(2),
    "guidance_embeds": one_of(False),
    "axes_dims_rope": many(whole(2, 256), 3),
    "zero_cond_t": flag,
    "use_additional_t_cond": one_of(False),
    "use_layer3d_rope": one_of(False),
}
T5 = {
    "vocab_size": whole(1, 1 << 18),
    "d_model": whole(1, 16384),
    "d_kv": CHANNELS,
    "d_ff": _WIDE,
    "num_layers": whole(1, 64),
    "num_heads": whole(1, 256),
    "relative_attention_num_buckets": whole(1, 4096),
    "relative_attention_max_distance": whole(1, 1 << 16),
    "dropout_rate": number(0, 1),
    "layer_norm_epsilon": number(0, 1),
    "initializer_factor": number(0, 10),
    "feed_forward_proj": one_of("relu", "gated-gelu", "gated-silu"),
    "pad_token_id": ID,
    "eos_token_id": ID,
}
_ROPE = within(
    {
        "type": one_of("default", "mrope"),
        "rope_type": one_of("default", "mrope"),
        "rope_theta": number(1, 1e9),
        "mrope_section": many(whole(1, 256), 3),
    }
)
QWEN3 = {
    "vocab_size": whole(1, 1 << 18),
    "hidden_size": whole(1, 16384),
    "intermediate_size": _WIDE,
    "num_hidden_layers": whole(1, 128),
    "num_attention_heads": whole(1, 256),
    "num_key_value_heads": whole(1, 256),
    "head_dim": CHANNELS,
    "hidden_act": one_of("silu"),
    "max_position_embeddings": whole(1, 1 << 20),
    "rms_norm_eps": number(0, 1),
    "rope_theta": number(1, 1e9),
    "rope_scaling": either(NONE, _ROPE),
    "rope_parameters": _ROPE,
    "attention_bias": flag,
    "attention_dropout": number(0, 1),
    "use_sliding_window": one_of(False),
}
QWEN_TEXT = {key: rule for key, rule in QWEN3.items() if key not in ("head_dim", "attention_bias")}
QWEN_VISION = {
    "depth": whole(1, 128),
    "hidden_size": CHANNELS,
    "hidden_act": one_of("silu"),
    "intermediate_size": _WIDE,
    "num_heads": whole(1, 256),
    "in_channels": whole(3, 3),
    "in_chans": whole(3, 3),
    "patch_size": whole(2, 64),
    "spatial_merge_size": whole(1, 8),
    "temporal_patch_size": whole(1, 8),
    "tokens_per_second": whole(1, 64),
    "window_size": whole(8, 4096),
    "out_hidden_size": whole(1, 16384),
    "fullatt_block_indexes": many(whole(0, 128), 128),
}
QWEN_VL = QWEN_TEXT | {
    "text_config": to_be_filtered(QWEN_TEXT),
    "vision_config": to_be_filtered(QWEN_VISION),
    "image_token_id": ID,
    "video_token_id": ID,
    "vision_start_token_id": ID,
    "vision_end_token_id": ID,
}
_LEAST, _MOST = whole(1, 1 << 20), whole(1, 1 << 24)  # px of a picture; Qwen's: 3136, 12,845,056
_CROP = ("crop_size", "do_center_crop")  # null where transformers 4 saved them; Qwen crops nothing
QWEN_IMAGES = {key: rule for key, rule in IMAGES.items() if key not in _CROP} | {
    "size": within({"shortest_edge": _LEAST, "longest_edge": _MOST}),
    "min_pixels": either(NONE, _LEAST),
    "max_pixels": either(NONE, _MOST),
    "patch_size": whole(2, 64),
    "temporal_patch_size": whole(1, 8),
    "merge_size": whole(1, 8),
}
FLOW = NAMES | {
    "num_train_timesteps": SCHEDULER["num_train_timesteps"],
    "shift": number(1e-3, 100),
    "use_dynamic_shifting": flag,
    "base_shift": number(0, 100),
    "max_shift": number(0, 100),
    "base_image_seq_len": whole(1, 1 << 20),
    "max_image_seq_len": whole(1, 1 << 20),
    "invert_sigmas": flag,
    "shift_terminal": either(NONE, number(0, 1)),
    "use_karras_sigmas": either(NONE, flag),
    "use_exponential_sigmas": either(NONE, flag),
    "use_beta_sigmas": either(NONE, flag),
    "time_shift_type": one_of("exponential", "linear"),
    "stochastic_sampling": flag,
}
T5_TOKENIZERS = ("T5TokenizerFast", "T5Tokenizer")
QWEN_TOKENIZERS = ("Qwen2TokenizerFast", "Qwen2Tokenizer")
_WEIGHTS = "diffusion_pytorch_model"


def _network(kind: str, rules: Mapping[str, Rule], library: str = "diffusers") -> Part:
    return Part(library, {kind: rules}, _WEIGHTS if library == "diffusers" else "model")


def _tokenizer(kinds: tuple[str, ...]) -> Part:
    rules = dict.fromkeys(kinds, TOKENIZER)
    return Part("transformers", rules, configs=("tokenizer_config.json",))


_TWO_CLIPS = {
    "text_encoder": _network("CLIPTextModel", CLIP_TEXT, "transformers"),
    "tokenizer": PARTS["tokenizer"],
}
_FLOW = Part(
    "diffusers", {"FlowMatchEulerDiscreteScheduler": FLOW}, configs=("scheduler_config.json",)
)


@dataclass(frozen=True)
class Editor:
    """A pipeline that can be built: its parts, and which flags its model_index.json may set."""

    parts: Mapping[str, Part]
    flags: tuple[str, ...] = ()


_QWEN_EDIT = Editor(
    {
        "transformer": _network("QwenImageTransformer2DModel", QWEN_IMAGE),
        "vae": _network("AutoencoderKLQwenImage", QWEN_KL),
        "text_encoder": _network("Qwen2_5_VLForConditionalGeneration", QWEN_VL, "transformers"),
        "processor": Part(
            "transformers", {"Qwen2VLProcessor": QWEN_IMAGES}, configs=("preprocessor_config.json",)
        ),
        "scheduler": _FLOW,
    }
)
EDITORS = {
    "StableDiffusionXLInstructPix2PixPipeline": Editor(
        {
            "unet": _network("UNet2DConditionModel", SDXL_UNET),
            "vae": _network("AutoencoderKL", KL),
            **_TWO_CLIPS,
            "text_encoder_2": _network("CLIPTextModelWithProjection", CLIP_TEXT, "transformers"),
            "tokenizer_2": PARTS["tokenizer"],
            "scheduler": PARTS["scheduler"],
        },
        ("force_zeros_for_empty_prompt", "is_cosxl_edit"),
    ),
    "FluxKontextPipeline": Editor(
        {
            "transformer": _network("FluxTransformer2DModel", FLUX),
            "vae": _network("AutoencoderKL", FLUX_KL),
            **_TWO_CLIPS,
            "text_encoder_2": _network("T5EncoderModel", T5, "transformers"),
            "tokenizer_2": _tokenizer(T5_TOKENIZERS),
            "scheduler": _FLOW,
        }
    ),
    "Flux2KleinPipeline": Editor(
        {
            "transformer": _network("Flux2Transformer2DModel", FLUX2),
            "vae": _network("AutoencoderKLFlux2", FLUX2_KL),
            "text_encoder": _network("Qwen3ForCausalLM", QWEN3, "transformers"),
            "tokenizer": _tokenizer(QWEN_TOKENIZERS),
            "scheduler": _FLOW,
        },
        ("is_distilled",),
    ),
    "QwenImageEditPipeline": _QWEN_EDIT,
    "QwenImageEditPlusPipeline": _QWEN_EDIT,
}
"""By diffusers' name of the class. The tokenizer of Qwen-Image-Edit is its processor's."""
