"""Image-editing pipelines of diffusers: checked and built part by part, as `folder` does."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import kind_of_place, shown
from .building import build, making, plain
from .edit_parts import (
    EDITORS,
    QWEN_TEXT,
    QWEN_TOKENIZERS,
    QWEN_VISION,
    T5_TOKENIZERS,
    known,
)
from .files import PICKLES, finite, read_bounded, read_json, safetensors_of, tensor_shapes
from .folder import (
    MAX_WORDS,
    WORDS,
    check_no_code,
    copies_of,
    entry_of,
    read_tokenizer,
    weight_files,
)
from .hub import by_hand, download
from .parts import NAMES, Part, checked
from .qwen import QwenWords, read_qwen_tokenizer

LARGEST = 24_000_000_000  # weights of a part; Qwen-Image's transformer has 20 thousand million
MAX_LORA = 4_000_000_000  # numbers of a LoRA, so that a header cannot ask for more


def load_editor(model: str, dtype: torch.dtype) -> tuple[Any, str]:
    """The pipeline of a folder or hub id, on the CPU, and the SHA-256 of what its configs and its
    tokenizers say.

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
    flags = {name: index[name] for name in editor.flags if isinstance(index.get(name), bool)}
    tokenizers = {name: _tokenizer_hashes(folder / name) for name in editor.parts}
    said = _fingerprint(flags, index, configs, tokenizers)  # before anything takes them apart
    parts = {
        name: _built(folder / name, index[name][1], editor.parts[name], config, dtype)
        for name, config in configs.items()
    }
    if "processor" in parts:
        parts["tokenizer"] = parts["processor"].tokenizer
    with making(folder):
        pipeline = getattr(diffusers, kind)(**parts, **flags)
    if getattr(pipeline, "watermark", None) is not None:
        pipeline.watermark = None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, said


def _tokenizer_hashes(folder: Path) -> list[str]:
    """SHA-256 of each file of a tokenizer that the folder of a part holds."""
    files = [folder / name for name in WORDS if kind_of_place(folder / name)]
    return [hashlib.sha256(read_bounded(file, MAX_WORDS)).hexdigest() for file in files]


def _fingerprint(
    flags: dict[str, bool],
    index: dict[str, Any],
    configs: dict[str, dict[str, Any]],
    tokenizers: dict[str, list[str]],
) -> str:
    """SHA-256 of all that decides pixels beside the weights; paths and versions are not in it."""
    parts = {
        name: [
            index[name][1],
            {key: config[key] for key in config if key not in NAMES},
            tokenizers[name],
        ]
        for name, config in configs.items()
    }
    return hashlib.sha256(json.dumps([flags, parts], sort_keys=True).encode()).hexdigest()


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
    return download(model, allow, ["*.fp16.*", "*.non_ema*"], by_hand(model))


def _check(folder: Path) -> tuple[str, dict[str, Any]]:
    """The kind of a folder and its model_index.json, before anything of it is loaded."""
    if kind_of_place(folder / "model_index.json") != "file":
        raise StyleAVideoError(f"{shown(folder)} has no model_index.json; give the whole folder.")
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    if not isinstance(kind, str) or kind not in EDITORS:
        raise StyleAVideoError(
            f"{shown(folder)} is a {kind!r:.80}; the engine edit knows {_listed(EDITORS)}. "
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


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"


def _built(where: Path, kind: str, part: Part, config: dict[str, Any], dtype: torch.dtype) -> Any:
    import diffusers
    import transformers

    if kind.startswith("CLIPTokenizer"):
        return read_tokenizer(where)
    if kind in T5_TOKENIZERS:
        return _t5_tokenizer(where, config)
    if kind in QWEN_TOKENIZERS:
        return read_qwen_tokenizer(where)
    if kind == "Qwen2VLProcessor":
        return _qwen_words(where, config)
    if part.library == "diffusers":
        cls = getattr(diffusers, kind)
        if not part.stem:
            with making(where):
                return cls.from_config(config)
        make = lambda: cls.from_config(config)  # noqa: E731
    else:
        make = lambda: _ENCODERS.get(kind, _encoder)(getattr(transformers, kind), config)  # noqa: E731
    files = weight_files(where, part.stem)
    return build(where, make, files, dtype, _NAMES.get(kind, plain), LARGEST).requires_grad_(False)


def _encoder(cls: Any, config: dict[str, Any]) -> nn.Module:
    return cls(cls.config_class(**config))


def _t5(cls: Any, config: dict[str, Any]) -> nn.Module:
    """Its words have one table under two names."""
    encoder: Any = _encoder(cls, config)
    encoder.encoder.embed_tokens = encoder.shared
    return encoder


def _t5_name(key: str) -> str:
    return "shared.weight" if key == "encoder.embed_tokens.weight" else key


def _qwen3(cls: Any, config: dict[str, Any]) -> nn.Module:
    """Without its last layer, which would choose a word: what lies before it is read."""
    encoder = _encoder(cls, config)
    encoder.lm_head = nn.Identity()
    return encoder


def _qwen_vl(cls: Any, config: dict[str, Any]) -> nn.Module:
    """What older files say of the words stands beside what they say of pictures."""
    text = known(config.get("text_config", config), QWEN_TEXT)
    vision = known(config.get("vision_config", {}), QWEN_VISION)
    ids = {key: config[key] for key in config if key.endswith("_token_id")}
    return _qwen3(cls, {"text_config": text, "vision_config": vision, **ids})


def _qwen_vl_name(key: str) -> str:
    return re.sub(r"^model\.(language_model\.|(?=visual\.))", r"", key).removeprefix("model.")


_ENCODERS = {
    "T5EncoderModel": _t5,
    "Qwen3ForCausalLM": _qwen3,
    "Qwen2_5_VLForConditionalGeneration": _qwen_vl,
}
_NAMES = {"T5EncoderModel": _t5_name, "Qwen2_5_VLForConditionalGeneration": _qwen_vl_name}
"""What a network's weights are called, whatever the version that saved them."""


def _qwen_words(folder: Path, config: dict[str, Any]) -> QwenWords:
    least, most = config.pop("min_pixels", None), config.pop("max_pixels", None)
    if least and most and "size" not in config:
        config["size"] = {"shortest_edge": least, "longest_edge": most}
    tokenizer = read_qwen_tokenizer(folder)
    with making(folder):
        return QwenWords(tokenizer, config)


def _t5_tokenizer(folder: Path, config: dict[str, Any]) -> Any:
    """From a copy of its one file that is checked."""
    from transformers import T5TokenizerFast

    with copies_of([folder / "tokenizer.json"]) as copies:
        with making(folder):
            return T5TokenizerFast.from_pretrained(copies, local_files_only=True, **config)


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
    if not shapes or sum(math.prod(shape) for shape in shapes.values()) > MAX_LORA:
        raise StyleAVideoError(f"{shown(path)} is no LoRA: it has no weights, or far too many.")
    with safetensors_of(path) as opened:
        return {key: finite(path, key, opened.get_tensor(key)) for key in shapes}
