"""What the parts of a model may be, and what their configs may say.

A config comes from strangers: a value is handed to a library only if it is listed here, of its type
and in its range. What is not listed is dropped; where it would change the network, the weights do
not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import shown

Rule = Callable[[Any], bool]


def whole(low: int, high: int) -> Rule:
    return lambda value: type(value) is int and low <= value <= high


def number(low: float = -1e6, high: float = 1e6) -> Rule:
    """A finite number, whole or not."""
    return lambda value: (
        type(value) in (int, float) and math.isfinite(value) and low <= value <= high
    )


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def one_of(*known: Any) -> Rule:
    return lambda value: any(value is k or (type(value) is type(k) and value == k) for k in known)


def many(rule: Rule, most: int = 8) -> Rule:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(rule, value))


def either(*rules: Rule) -> Rule:
    return lambda value: any(rule(value) for rule in rules)


NONE = one_of(None)
CHANNELS = whole(1, 4096)
LAYERS = whole(0, 8)  # blocks at one size; Stable Diffusion has 2
SIDE = either(NONE, whole(1, 4096), many(whole(1, 4096), 2))
ACTIVATION = one_of("silu", "swish", "mish", "gelu", "relu")
ID = either(NONE, whole(0, 1 << 20))


def _or_each(rule: Rule) -> Rule:
    """One for all blocks, or one a block."""
    return either(rule, many(rule), many(many(rule)))


NAMES: dict[str, Rule] = {
    "_class_name": lambda value: isinstance(value, str) and len(value) < 100,
    "_diffusers_version": lambda value: isinstance(value, str) and len(value) < 100,
}
UNET: dict[str, Rule] = NAMES | {
    "sample_size": SIDE,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "center_input_sample": flag,
    "flip_sin_to_cos": flag,
    "freq_shift": whole(0, 1),
    "down_block_types": many(one_of("CrossAttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D")),
    "mid_block_type": one_of("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None),
    "up_block_types": many(one_of("CrossAttnUpBlock2D", "UpBlock2D", "AttnUpBlock2D")),
    "only_cross_attention": _or_each(flag),
    "block_out_channels": many(CHANNELS),
    "layers_per_block": _or_each(whole(1, 8)),
    "downsample_padding": whole(0, 1),
    "mid_block_scale_factor": number(1e-3, 1e3),
    "dropout": number(0, 1),
    "act_fn": ACTIVATION,
    "norm_num_groups": whole(1, 4096),
    "norm_eps": number(0, 1),
    "cross_attention_dim": CHANNELS,
    "transformer_layers_per_block": _or_each(whole(1, 8)),
    "attention_head_dim": _or_each(CHANNELS),
    "num_attention_heads": either(NONE, _or_each(CHANNELS)),
    "dual_cross_attention": flag,
    "use_linear_projection": flag,
    "class_embed_type": one_of(None, "projection"),
    "upcast_attention": flag,
    "resnet_time_scale_shift": one_of("default", "scale_shift"),
    "resnet_skip_time_act": flag,
    "resnet_out_scale_factor": number(1e-3, 1e3),
    "time_embedding_dim": either(NONE, CHANNELS),
    "time_embedding_act_fn": either(NONE, ACTIVATION),
    "timestep_post_act": either(NONE, ACTIVATION),
    "conv_in_kernel": one_of(1, 3, 5),
    "conv_out_kernel": one_of(1, 3, 5),
    "projection_class_embeddings_input_dim": either(NONE, CHANNELS),
    "class_embeddings_concat": flag,
    "mid_block_only_cross_attention": either(NONE, flag),
    # What would want more than a frame and a text.
    "encoder_hid_dim": NONE,
    "encoder_hid_dim_type": NONE,
    "addition_embed_type": NONE,
    "num_class_embeds": NONE,
    "time_cond_proj_dim": NONE,
    "time_embedding_type": one_of("positional"),
    "attention_type": one_of("default"),
    "cross_attention_norm": NONE,
    "reverse_transformer_layers_per_block": NONE,
}
KL: dict[str, Rule] = NAMES | {
    "in_channels": whole(3, 3),
    "out_channels": whole(3, 3),
    "down_block_types": many(one_of("DownEncoderBlock2D")),
    "up_block_types": many(one_of("UpDecoderBlock2D")),
    "block_out_channels": many(CHANNELS),
    "layers_per_block": LAYERS,
    "act_fn": ACTIVATION,
    "latent_channels": whole(1, 64),
    "norm_num_groups": CHANNELS,
    "sample_size": SIDE,
    "scaling_factor": number(1e-3, 1e3),
    "shift_factor": NONE,
    "latents_mean": NONE,
    "latents_std": NONE,
    "force_upcast": flag,
    "use_quant_conv": flag,
    "use_post_quant_conv": flag,
    "mid_block_add_attention": flag,
}
TINY: dict[str, Rule] = NAMES | {
    "in_channels": whole(3, 3),
    "out_channels": whole(3, 3),
    "encoder_block_out_channels": many(CHANNELS),
    "decoder_block_out_channels": many(CHANNELS),
    "act_fn": ACTIVATION,
    "upsample_fn": one_of("nearest"),
    "latent_channels": whole(1, 64),
    "upsampling_scaling_factor": one_of(2),
    "num_encoder_blocks": many(LAYERS),
    "num_decoder_blocks": many(LAYERS),
    "latent_magnitude": number(1e-3, 1e3),
    "latent_shift": number(),
    "force_upcast": flag,
    "scaling_factor": number(1e-3, 1e3),
    "shift_factor": number(),
}
_CLIP: dict[str, Rule] = {
    "hidden_size": CHANNELS,
    "intermediate_size": whole(1, 16384),
    "projection_dim": CHANNELS,
    "num_hidden_layers": whole(1, 64),
    "num_attention_heads": whole(1, 256),
    "hidden_act": one_of("quick_gelu", "gelu", "gelu_new", "relu", "silu"),
    "layer_norm_eps": number(0, 1),
    "attention_dropout": number(0, 1),
    "initializer_range": number(0, 10),
    "initializer_factor": number(0, 10),
}
CLIP_TEXT: dict[str, Rule] = _CLIP | {
    "vocab_size": whole(1, 1 << 18),
    "max_position_embeddings": whole(2, 1024),
    "pad_token_id": ID,
    "bos_token_id": ID,
    "eos_token_id": ID,
}
CLIP_VISION: dict[str, Rule] = _CLIP | {
    "num_channels": whole(3, 3),
    "image_size": whole(1, 1024),
    "patch_size": whole(1, 256),
}
STEPS = whole(1, 10_000)  # of training; 1000 nearly everywhere
SCHEDULER: dict[str, Rule] = NAMES | {
    "num_train_timesteps": STEPS,
    "beta_start": number(0, 1),
    "beta_end": number(0, 1),
    "beta_schedule": one_of("linear", "scaled_linear", "squaredcos_cap_v2"),
    "trained_betas": either(NONE, many(number(0, 1), 10_000)),
    "prediction_type": one_of("epsilon", "v_prediction", "sample"),
    "timestep_spacing": one_of("linspace", "leading", "trailing"),
    "steps_offset": whole(0, 1),
    "clip_sample": flag,
    "clip_sample_range": number(0, 1e3),
    "set_alpha_to_one": flag,
    "thresholding": flag,
    "dynamic_thresholding_ratio": number(0, 1),
    "sample_max_value": number(0, 1e3),
    "rescale_betas_zero_snr": flag,
    "skip_prk_steps": flag,
    "solver_order": whole(1, 3),
    "solver_type": one_of("midpoint", "heun", "bh1", "bh2", "logrho"),
    "algorithm_type": one_of("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"),
    "lower_order_final": flag,
    "euler_at_final": flag,
    "final_sigmas_type": one_of("zero", "sigma_min"),
    "lambda_min_clipped": number(-1e3, 1e3),
    "predict_x0": flag,
    "disable_corrector": many(whole(0, 1000), 1000),
    "use_karras_sigmas": either(NONE, flag),
    "use_exponential_sigmas": either(NONE, flag),
    "use_beta_sigmas": either(NONE, flag),
    "interpolation_type": one_of("linear", "log_linear"),
    "timestep_type": one_of("discrete", "continuous"),
    "variance_type": either(NONE, one_of("fixed_small", "fixed_small_log", "fixed_large")),
    "original_inference_steps": whole(1, 1000),
    "timestep_scaling": number(0, 1e3),
}
TOKENIZER: dict[str, Rule] = {"model_max_length": whole(2, 10**31)}
_SIZE: Rule = either(
    whole(1, 4096),
    lambda value: isinstance(value, dict) and len(value) <= 4 and _sides(value),
)
IMAGES: dict[str, Rule] = {
    "image_mean": many(number(-10, 10), 3),
    "image_std": many(number(1e-3, 10), 3),
    "size": _SIZE,
    "crop_size": _SIZE,
    "do_resize": flag,
    "do_center_crop": flag,
    "do_rescale": flag,
    "do_normalize": flag,
    "do_convert_rgb": flag,
    "rescale_factor": number(0, 1),
}


def _sides(value: Mapping[str, Any]) -> bool:
    return all(k in ("shortest_edge", "height", "width") for k in value) and all(
        map(whole(1, 4096), value.values())
    )


@dataclass(frozen=True)
class Part:
    """A part of a model: of which classes of which library, what their configs may say, the stem of
    its weights' file ("" where it has none), and the names of its config's file, the first that is
    there. A class stands for another where its files are the same.
    """

    library: str
    rules: Mapping[str, Mapping[str, Rule]]
    stem: str = ""
    configs: tuple[str, ...] = ("config.json",)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.rules)


_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "LCMScheduler",
    "TCDScheduler",
)
_PROCESSORS = (
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
)
_DIFFUSERS = "diffusion_pytorch_model"
PARTS = {
    "unet": Part("diffusers", {"UNet2DConditionModel": UNET}, _DIFFUSERS),
    "vae": Part("diffusers", {"AutoencoderKL": KL, "AutoencoderTiny": TINY}, _DIFFUSERS),
    "text_encoder": Part(
        "transformers",
        {"CLIPTextModel": CLIP_TEXT, "CLIPTextModelWithProjection": CLIP_TEXT},
        "model",
    ),
    "tokenizer": Part(
        "transformers",
        {"CLIPTokenizer": TOKENIZER, "CLIPTokenizerFast": TOKENIZER},
        configs=("tokenizer_config.json",),
    ),
    "scheduler": Part(
        "diffusers", dict.fromkeys(_SCHEDULERS, SCHEDULER), configs=("scheduler_config.json",)
    ),
}
OPTIONAL = {
    "image_encoder": Part("transformers", {"CLIPVisionModelWithProjection": CLIP_VISION}, "model"),
    "tiny_vae": Part("diffusers", {"AutoencoderTiny": TINY}, _DIFFUSERS),
    "feature_extractor": Part(
        "transformers", dict.fromkeys(_PROCESSORS, IMAGES), configs=("preprocessor_config.json",)
    ),
}
PIPELINES = (
    "StyleAVideoPipeline",
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInstructPix2PixPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
)


def checked(path: Path, config: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """What of a config may be handed on.

    Raises:
        StyleAVideoError: a value of another type or out of its range; quantized weights.
    """
    if config.get("quantization_config"):
        raise StyleAVideoError(
            f"{shown(path)} is of a quantized model, which is not read here; get it unquantized."
        )
    kept = {key: config[key] for key in rules if key in config}
    for key, value in kept.items():
        if not rules[key](value):
            raise StyleAVideoError(
                f"{shown(path)} has {key} {value!r:.60}, which no model has that can be used here; "
                "download the whole model again, or give another."
            )
    return kept
