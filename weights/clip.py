"""A folder of transformers' CLIPModel: checked, and built as the parts of a model are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import kind_of_place, shown
from .building import build
from .files import read_json
from .folder import read_tokenizer, weight_files
from .parts import CHANNELS, CLIP_TEXT, CLIP_VISION, OPTIONAL, checked, number

_BOTH = {"projection_dim": CHANNELS, "logit_scale_init_value": number()}
_PARTS = {"text_config": CLIP_TEXT, "vision_config": CLIP_VISION}


def load_clip_folder(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """The CLIPModel, its tokenizer, and what preprocessor_config.json says.

    Raises:
        StyleAVideoError: it is no CLIP, its weights do not fit, or its tokenizer is missing.
    """
    from transformers import CLIPConfig, CLIPModel

    path = folder / "preprocessor_config.json"
    rules = OPTIONAL["feature_extractor"].rules["CLIPImageProcessor"]
    try:
        config = _config(folder)
        images = checked(path, read_json(path), rules) if kind_of_place(path) else {}
        files = weight_files(folder, "model")
        model = build(folder, lambda: CLIPModel(CLIPConfig(**config)), files, torch.float32, str)
        return model, read_tokenizer(folder), images
    except StyleAVideoError as error:
        raise StyleAVideoError(
            f"{shown(folder)} holds no CLIP that can be loaded (config.json, model.safetensors and "
            f"the tokenizer's files of a CLIPModel): {error}"
        ) from error


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    given = read_json(path)
    config = checked(path, given, _BOTH)
    for name, rules in _PARTS.items():
        part = given.get(name, {})
        if not isinstance(part, dict):
            raise StyleAVideoError(f"{shown(path)} has a {name} that is none.")
        config[name] = checked(path, part, rules)
    return config
