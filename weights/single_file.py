"""A Stable Diffusion 1.5 checkpoint in one file → the pipeline's components."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..pipelines.errors import StyleAVideoError
from .expand import expand_input_channels
from .files import finite, read_json, safetensors_of, tensor_shapes
from .folder import read_tokenizer
from .hub import download

SD15 = Path(__file__).parent / "configs" / "sd15"
TOKENIZER = "openai/clip-vit-large-patch14"
TOKENIZER_VARIABLE = "STYLE_A_VIDEO_TOKENIZER"

# What a single file looks like by its keys, the first that matches.
LOOKS = (
    ("a LoRA", r"lora_(up|down|A|B)\b|\.lora\.|^lora_(unet|te)"),
    ("a ControlNet", r"^control_model\.|controlnet_cond_embedding|input_hint_block"),
    ("Flux", r"double_blocks\.\d+\.(img|txt)_"),
    ("Stable Diffusion 3", r"joint_blocks\."),
    ("SDXL", r"^conditioner\.embedders\.|\blabel_emb\.|\badd_embedding\."),
    ("Stable Diffusion 2", r"^cond_stage_model\.model\."),
    ("the U-Net of a diffusers folder", r"^(down_blocks|conv_in|time_embedding)\."),
    ("a U-Net without autoencoder and text encoder", r"\binput_blocks\."),
    ("an autoencoder alone", r"^(first_stage_model|encoder|decoder|quant_conv|post_quant_conv)\."),
    ("a text encoder alone", r"^(text_model|cond_stage_model)\."),
)


def load_single_file(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    tokenizer: str | os.PathLike[str] | None = None,
    configs: Path = SD15,
) -> dict[str, Any]:
    """Components of a Stable Diffusion 1.5 checkpoint in one file (the original LDM format).

    Takes 8 input channels (InstructPix2Pix) as they are and expands 4. The scheduler is DDIM, the
    paper's. Of a checkpoint that has averaged weights too (model_ema) the plain ones are taken, as
    InstructPix2Pix's own code does.

    Args:
        configs: folder of the components' diffusers configs.

    Returns:
        vae, text_encoder, tokenizer, unet, scheduler: what StyleAVideoPipeline is made of.

    Raises:
        StyleAVideoError: not a file, not safetensors, another architecture, or NaN or infinity.
    """
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import (
        convert_ldm_clip_checkpoint,
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    path = Path(path)
    config = {part: read_json(configs / part / "config.json") for part in ("unet", "vae")}
    text_config = CLIPTextConfig.from_pretrained(configs / "text_encoder")
    shapes = tensor_shapes(path)
    channels = _check_architecture(path, shapes, config["unet"]["cross_attention_dim"])
    words = load_tokenizer(tokenizer)

    prefixes = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.")
    wanted = [k for k in shapes if k.startswith(prefixes) and not k.endswith("position_ids")]
    with init_empty_weights():  # every weight comes from the file
        unet = UNet2DConditionModel.from_config(config["unet"] | {"in_channels": channels})
        vae = AutoencoderKL.from_config(config["vae"])
        text_encoder = CLIPTextModel(text_config)

    def converted(checkpoint: dict[str, Tensor]) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
        text_state = convert_ldm_clip_checkpoint(checkpoint)
        if not hasattr(text_encoder, "text_model"):  # flattened in transformers 5.6
            text_state = {k.removeprefix("text_model."): v for k, v in text_state.items()}
        return {
            "U-Net": (unet, convert_ldm_unet_checkpoint(checkpoint, unet.config)),
            "autoencoder": (vae, convert_ldm_vae_checkpoint(checkpoint, vae.config)),
            "text encoder": (text_encoder, text_state),
        }

    # First with nothing but the shapes of the header, then with what they are of.
    for name, (model, state) in _tried(
        path,
        converted,
        {_with_text_model(k): torch.empty(shapes[k], device="meta") for k in wanted},
    ).items():
        _check_fit(f"{path} ({name})", model, state)
    with safetensors_of(path) as file:
        checkpoint = {_with_text_model(k): finite(path, k, file.get_tensor(k)) for k in wanted}
    for model, state in _tried(path, converted, checkpoint).values():
        model.load_state_dict({key: value.to(dtype) for key, value in state.items()}, assign=True)
        model.eval()
    if channels == config["vae"]["latent_channels"]:
        expand_input_channels(unet)
    return {
        "vae": vae,
        "text_encoder": text_encoder,
        "tokenizer": words,
        "unet": unet,
        "scheduler": DDIMScheduler.from_config(
            read_json(configs / "scheduler/scheduler_config.json")
        ),
    }


def load_tokenizer(folder: str | os.PathLike[str] | None = None) -> Any:
    """Stable Diffusion 1.5's tokenizer, which a single file does not hold.

    From `folder`, else from the one that the environment variable STYLE_A_VIDEO_TOKENIZER names,
    else from openai/clip-vit-large-patch14 on the hub (2 MB) or in the hub's cache.
    """
    folder = folder or os.environ.get(TOKENIZER_VARIABLE)
    if folder is None or not os.fspath(folder):
        folder = download(
            TOKENIZER,
            ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"],
            [],
            f"a single-file checkpoint has no tokenizer: download vocab.json and merges.txt of "
            f"{TOKENIZER} and name their folder in {TOKENIZER_VARIABLE}",
        )
    forms = (("vocab.json", "merges.txt"), ("tokenizer.json",))
    if not any(all((Path(folder) / name).is_file() for name in form) for form in forms):
        raise StyleAVideoError(
            f"There is no CLIP tokenizer in {os.fspath(folder)!r}; download vocab.json and "
            f"merges.txt of {TOKENIZER} into it."
        )
    return read_tokenizer(Path(folder), model_max_length=77)


def _check_architecture(path: Path, shapes: Mapping[str, list[int]], text_width: int) -> int:
    """Input channels of a Stable Diffusion 1.5 checkpoint; anything else is refused by name."""
    first = shapes.get("model.diffusion_model.input_blocks.0.0.weight")
    attention = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    width = (shapes.get(attention) or [0])[-1]
    parts = {"autoencoder": "first_stage_model.", "text encoder": "cond_stage_model.transformer."}
    lacks = [part for part in parts if not any(key.startswith(parts[part]) for key in shapes)]
    if not first or len(first) != 4 or width != text_width or len(lacks) == len(parts):
        looks = (what for what, keys in LOOKS if any(re.search(keys, key) for key in shapes))
        unknown = f"no model known here (its first tensor is {next(iter(shapes), None)})"
        raise StyleAVideoError(
            f"{path} looks like {next(looks, unknown)}; give a Stable Diffusion 1.5 checkpoint, "
            "InstructPix2Pix or plain, with its autoencoder and text encoder."
        )
    if lacks:
        raise StyleAVideoError(f"{path} has no {lacks[0]}; give a checkpoint that has one.")
    if first[1] == 9:
        raise StyleAVideoError(
            f"{path} is an inpainting model (9 input channels); give InstructPix2Pix (8) or a "
            "plain one (4)."
        )
    if first[1] not in (4, 8):
        raise StyleAVideoError(
            f"{path} takes {first[1]} input channels; give InstructPix2Pix (8) or a plain one (4)."
        )
    return first[1]


def _with_text_model(key: str) -> str:
    """Some checkpoints leave the `text_model.` level out."""
    return re.sub(
        r"^(cond_stage_model\.transformer\.)(embeddings|encoder|final_layer_norm)\.",
        r"\1text_model.\2.",
        key,
    )


def _tried(path: Path, convert: Callable[[Any], Any], checkpoint: dict[str, Tensor]) -> Any:
    """diffusers' conversion, which takes any key to be there and to have its shape."""
    try:
        return convert(checkpoint)
    except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise StyleAVideoError(
            f"{path} is not of Stable Diffusion 1.5: its tensors have other names or shapes "
            f"({str(error)[:100]}); give another checkpoint."
        ) from error


def _check_fit(where: str, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    expected = {key: list(value.shape) for key, value in model.state_dict().items()}
    found = {key: list(value.shape) for key, value in state.items()}
    for key in [*expected, *found]:
        want, have = expected.get(key), found.get(key)
        if want != have:
            told = "has no" if have is None else "should not have" if want is None else "misfits"
            sizes = f" of shape {have}, not {want}" if want and have else ""
            raise StyleAVideoError(
                f"{where} is not of Stable Diffusion 1.5: it {told} {key}{sizes}; give another "
                "checkpoint."
            )
