"""Image-editing pipelines of diffusers: checked and built part by part, as `folder` does."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import kind_of_place, parse_json, read_bounded, shown
from .building import build, plain, unloadable
from .files import PICKLES, finite, read_json, safetensors_of, tensor_shapes
from .folder import MAX_WORDS, check_no_code, entry_of, read_tokenizer, weight_files
from .hub import download
from .parts import (
    CHANNELS,
    CLIP_TEXT,
    ID,
    KL,
    NAMES,
    NONE,
    PARTS,
    SCHEDULER,
    TOKENIZER,
    UNET,
    Part,
    checked,
    either,
    flag,
    many,
    number,
    one_of,
    whole,
)

LARGEST = 20_000_000_000  # weights of a part; Flux's transformer has 12 thousand million
MAX_LORA = 4_000_000_000  # numbers of a LoRA, so that a header cannot ask for more

_BLOCKS = whole(1, 16)  # of transformers in a block of a U-Net; SDXL has 10
SDXL_UNET = UNET | {
    "transformer_layers_per_block": either(_BLOCKS, many(_BLOCKS)),
    "addition_embed_type": one_of("text_time"),
    "addition_time_embed_dim": CHANNELS,
}
FLUX_KL = KL | {"shift_factor": either(NONE, number(-1e3, 1e3))}
FLUX = NAMES | {
    "patch_size": one_of(1),
    "in_channels": CHANNELS,
    "out_channels": either(NONE, CHANNELS),
    "num_layers": whole(1, 64),
    "num_single_layers": whole(0, 128),
    "attention_head_dim": CHANNELS,
    "num_attention_heads": whole(1, 256),
    "joint_attention_dim": whole(1, 16384),
    "pooled_projection_dim": whole(1, 16384),
    "guidance_embeds": flag,
    "axes_dims_rope": many(whole(2, 256), 3),
}
T5 = {
    "vocab_size": whole(1, 1 << 18),
    "d_model": whole(1, 16384),
    "d_kv": CHANNELS,
    "d_ff": whole(1, 1 << 17),
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
_T5_TOKENIZERS = ("T5TokenizerFast", "T5Tokenizer")
_WEIGHTS = "diffusion_pytorch_model"
_TWO_CLIPS = {
    "text_encoder": Part("transformers", {"CLIPTextModel": CLIP_TEXT}, "model"),
    "tokenizer": PARTS["tokenizer"],
}


@dataclass(frozen=True)
class Editor:
    """A pipeline that can be built: its parts, and which flags its model_index.json may set."""

    parts: Mapping[str, Part]
    flags: tuple[str, ...] = ()


EDITORS = {
    "StableDiffusionXLInstructPix2PixPipeline": Editor(
        {
            "unet": Part("diffusers", {"UNet2DConditionModel": SDXL_UNET}, _WEIGHTS),
            "vae": Part("diffusers", {"AutoencoderKL": KL}, _WEIGHTS),
            **_TWO_CLIPS,
            "text_encoder_2": Part(
                "transformers", {"CLIPTextModelWithProjection": CLIP_TEXT}, "model"
            ),
            "tokenizer_2": PARTS["tokenizer"],
            "scheduler": PARTS["scheduler"],
        },
        ("force_zeros_for_empty_prompt", "is_cosxl_edit"),
    ),
    "FluxKontextPipeline": Editor(
        {
            "transformer": Part("diffusers", {"FluxTransformer2DModel": FLUX}, _WEIGHTS),
            "vae": Part("diffusers", {"AutoencoderKL": FLUX_KL}, _WEIGHTS),
            **_TWO_CLIPS,
            "text_encoder_2": Part("transformers", {"T5EncoderModel": T5}, "model"),
            "tokenizer_2": Part(
                "transformers",
                dict.fromkeys(_T5_TOKENIZERS, TOKENIZER),
                configs=("tokenizer_config.json",),
            ),
            "scheduler": Part(
                "diffusers",
                {"FlowMatchEulerDiscreteScheduler": FLOW},
                configs=("scheduler_config.json",),
            ),
        }
    ),
}
"""By diffusers' name of the class."""


def load_editor(model: str, dtype: torch.dtype) -> Any:
    """The pipeline of a folder or hub id, on the CPU.

    Raises:
        StyleAVideoError: it is not there, of another kind, incomplete, damaged, or brings code.
    """
    import diffusers

    folder = _folder(model)
    kind, index = _check(folder)
    editor = EDITORS[kind]
    configs = {}
    for name, part in editor.parts.items():
        path = folder / name / part.configs[0]
        configs[name] = checked(path, read_json(path), part.rules[index[name][1]])
    for name, part in editor.parts.items():
        for file in weight_files(folder / name, part.stem) if part.stem else ():
            tensor_shapes(file)
    parts = {
        name: _built(folder / name, index[name][1], editor.parts[name], config, dtype)
        for name, config in configs.items()
    }
    flags = {name: index[name] for name in editor.flags if isinstance(index.get(name), bool)}
    try:
        pipeline = getattr(diffusers, kind)(**parts, **flags)
    except Exception as error:  # the libraries agree on no class for parts that do not fit
        raise unloadable(folder, error) from error
    if getattr(pipeline, "watermark", None) is not None:
        pipeline.watermark = None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _folder(model: str) -> Path:
    path = Path(model).expanduser()
    if model and "\0" not in model and kind_of_place(path) == "folder":
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model, re.ASCII) or model.startswith("."):
        raise StyleAVideoError(
            f"{shown(model)!r} is no folder and no hub id: give a folder in diffusers format or "
            "OWNER/NAME."
        )
    allow = ["model_index.json"]
    for editor in EDITORS.values():
        for name, part in editor.parts.items():
            if part.stem:
                allow += [f"{name}/config.json", f"{name}/{part.stem}*.safetensors*"]
            else:
                allow += [f"{name}/*.json", f"{name}/*.txt"]
    help = (
        f"download it elsewhere with `hf download {model} --local-dir FOLDER`, copy FOLDER to this "
        "machine and give its path as the model"
    )
    return download(model, allow, ["*.fp16.*", "*.non_ema*"], help)


def _check(folder: Path) -> tuple[str, dict[str, Any]]:
    """The kind of a folder and its model_index.json, before anything of it is loaded."""
    if kind_of_place(folder / "model_index.json") != "file":
        raise StyleAVideoError(f"{shown(folder)} has no model_index.json; give the whole folder.")
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    if not isinstance(kind, str) or kind not in EDITORS:
        raise StyleAVideoError(
            f"{shown(folder)} is a {kind!r:.80}; the engine edit knows {' and '.join(EDITORS)}. "
            "Any other runs in ComfyUI: --engine comfyui."
        )
    for name, part in EDITORS[kind].parts.items():
        entry = entry_of(folder, index, name)
        if entry is None or kind_of_place(folder / name) != "folder":
            raise StyleAVideoError(
                f"{shown(folder)} is incomplete: it has no {name}; give the whole folder."
            )
        if entry[0] != part.library or entry[1] not in part.classes:
            raise StyleAVideoError(
                f"The {name} of {shown(folder)} is a {shown('.'.join(entry))[:120]}, not "
                f"{' or '.join(part.classes)}; give another model."
            )
    check_no_code(folder)
    return kind, index


def _built(where: Path, kind: str, part: Part, config: dict[str, Any], dtype: torch.dtype) -> Any:
    import diffusers
    import transformers

    if kind.startswith("CLIPTokenizer"):
        return read_tokenizer(where)
    if kind in _T5_TOKENIZERS:
        return _t5_tokenizer(where, config)
    if part.library == "diffusers":
        cls = getattr(diffusers, kind)
        if not part.stem:
            try:
                return cls.from_config(config)
            except Exception as error:  # as above
                raise unloadable(where, error) from error
        make = lambda: cls.from_config(config)  # noqa: E731
    elif kind == "T5EncoderModel":
        make = lambda: _tied(transformers.T5EncoderModel(transformers.T5Config(**config)))  # noqa: E731
    else:
        cls = getattr(transformers, kind)
        make = lambda: cls(cls.config_class(**config))  # noqa: E731
    files = weight_files(where, part.stem)
    name_of = _t5_name if kind == "T5EncoderModel" else plain
    return build(where, make, files, dtype, name_of, LARGEST).requires_grad_(False)


def _tied(encoder: Any) -> nn.Module:
    """T5's words have one table under two names."""
    encoder.encoder.embed_tokens = encoder.shared
    return encoder


def _t5_name(key: str) -> str:
    return "shared.weight" if key == "encoder.embed_tokens.weight" else key


def _t5_tokenizer(folder: Path, config: dict[str, Any]) -> Any:
    """From a copy of its one file that is checked."""
    from transformers import T5TokenizerFast

    path = folder / "tokenizer.json"
    if kind_of_place(path) != "file":
        raise StyleAVideoError(f"{shown(path)} is missing; download the model again.")
    data = read_bounded(path, MAX_WORDS)
    try:
        if not isinstance(parse_json(data), dict):
            raise ValueError("no object")
    except ValueError as error:
        raise StyleAVideoError(f"{shown(path)} is not JSON; download the model again.") from error
    with tempfile.TemporaryDirectory(prefix="style-a-video-") as copies:
        Path(copies, "tokenizer.json").write_bytes(data)
        try:
            return T5TokenizerFast.from_pretrained(copies, local_files_only=True, **config)
        except Exception as error:  # as above
            raise unloadable(folder, error) from error


def read_lora(path: Path) -> dict[str, Tensor]:
    """The tensors of a LoRA.

    Raises:
        StyleAVideoError: missing, a pickle, damaged, too large, NaN or infinity.
    """
    if path.suffix.lower() in PICKLES:
        raise StyleAVideoError(
            f"{shown(path)} is a pickle, which may run code; get the LoRA as .safetensors."
        )
    shapes = tensor_shapes(path)
    if not shapes or sum(_count(shape) for shape in shapes.values()) > MAX_LORA:
        raise StyleAVideoError(f"{shown(path)} is no LoRA: it has no weights, or far too many.")
    with safetensors_of(path) as opened:
        return {key: finite(path, key, opened.get_tensor(key)) for key in shapes}


def _count(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
