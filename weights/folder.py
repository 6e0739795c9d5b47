"""A diffusers folder, checked before it is loaded."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from ..pipelines.errors import StyleAVideoError
from .files import PICKLES, check_finite, read_json, tensor_shapes

# Component → classes it may be of, and the stem of its weight file ("" where it has none).
COMPONENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "unet": (("UNet2DConditionModel",), "diffusion_pytorch_model"),
    "vae": (("AutoencoderKL", "AutoencoderTiny"), "diffusion_pytorch_model"),
    "text_encoder": (("CLIPTextModel", "CLIPTextModelWithProjection"), "model"),
    "tokenizer": (("CLIPTokenizer", "CLIPTokenizerFast"), ""),
    "scheduler": ((), ""),
}
OPTIONAL = {"image_encoder": "model", "tiny_vae": "diffusion_pytorch_model"}
LIBRARIES = ("diffusers", "transformers")


def check_folder(folder: Path) -> str | None:
    """Refuse a diffusers folder that cannot be used; returns its weights' variant, mostly None.

    Components that StyleAVideoPipeline does not have (a safety checker) are not looked at.

    Raises:
        StyleAVideoError: incomplete, another architecture, weights that are pickled, truncated, or
            hold NaN or infinity, or components that bring code of their own.
    """
    if not (folder / "model_index.json").is_file():
        raise StyleAVideoError(
            f"{folder} has no model_index.json; give a folder in diffusers format or a "
            ".safetensors file."
        )
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name", "unknown")

    def class_of(name: str) -> str | None:
        entry = index.get(name)
        return entry[1] if isinstance(entry, list) and len(entry) == 2 else None

    for name in ("transformer", "text_encoder_2"):
        if class_of(name):
            raise StyleAVideoError(
                f"{folder} is a {kind} (it has a {name}); give an InstructPix2Pix or plain Stable "
                "Diffusion 1.5 folder."
            )
    for name, (classes, _) in COMPONENTS.items():
        found = class_of(name)
        if found is None or not (folder / name).is_dir():
            raise StyleAVideoError(
                f"{folder} is incomplete: it has no {name}; give the whole diffusers folder."
            )
        if classes and found not in classes:
            raise StyleAVideoError(
                f"The {name} of {folder} is a {found}, not {' or '.join(classes)}; give an "
                "InstructPix2Pix or plain Stable Diffusion 1.5 folder."
            )
    for name in (*COMPONENTS, *OPTIONAL, "feature_extractor"):
        if class_of(name):
            _check_no_code(folder / name, index[name][0])
    parts = ("unet", "vae", "text_encoder")
    unet, vae, text = (read_json(folder / part / "config.json") for part in parts)
    channels, latent = unet.get("in_channels"), vae.get("latent_channels", 4)
    # A U-Net may take its latents in patches of 2x2, as the built-in one does.
    accepted = [latent, 2 * latent, 2 * 4 * latent]
    if channels not in accepted:
        raise StyleAVideoError(
            f"The U-Net of {folder} takes {channels} channels and its latents have {latent}: "
            f"{latent} or {2 * latent} are needed, so give InstructPix2Pix or a plain one."
        )
    if unet.get("cross_attention_dim") != text.get("hidden_size", 512):
        raise StyleAVideoError(
            f"The U-Net of {folder} reads text of width {unet.get('cross_attention_dim')} and its "
            f"text encoder gives {text.get('hidden_size', 512)}; give a folder whose parts belong "
            "together."
        )

    stems = {name: stem for name, (_, stem) in COMPONENTS.items() if stem}
    stems |= {name: stem for name, stem in OPTIONAL.items() if class_of(name)}
    weights = {name: weight_files(folder / name, stem) for name, stem in stems.items()}
    for _, files in weights.values():
        for file in files:
            tensor_shapes(file)
    for _, files in weights.values():
        for file in files:
            check_finite(file)
    return next((variant for variant, _ in weights.values() if variant), None)


def check_loaded(folder: Path, name: str, module: torch.nn.Module) -> None:
    """Refuse a component whose config describes another network than its weights are of.

    The libraries fill what is missing with chance and drop what is too much. Numbers are counted,
    not names: in old files these are others.

    Raises:
        StyleAVideoError: the weights hold fewer numbers than the module, or more; of an encoder
            more may be stored, such as a projection that its class leaves out.
    """
    stem = OPTIONAL[name] if name in OPTIONAL else COMPONENTS[name][1]
    shapes: dict[str, list[int]] = {}
    for file in weight_files(folder / name, stem)[1]:
        shapes |= tensor_shapes(file)
    stored = sum(math.prod(s) for key, s in shapes.items() if not key.endswith("position_ids"))
    needed = sum(p.numel() for p in module.parameters())
    if stored < needed or (stored > needed and not name.endswith("_encoder")):
        raise StyleAVideoError(
            f"The {name} of {folder} does not fit its config.json, which describes {needed:,} "
            f"weights where {stored:,} are stored; download the whole model again."
        )


def _check_no_code(component: Path, library: object) -> None:
    """diffusers would run a Python file of the component's folder, or import any library."""
    code = sorted(component.glob("*.py"))
    if code:
        raise StyleAVideoError(
            f"{code[0]} is code, which a model must not bring; get a folder without it."
        )
    if library not in LIBRARIES:
        raise StyleAVideoError(
            f"{component} is of the library {library!r}, not {' or '.join(LIBRARIES)}; give an "
            "InstructPix2Pix or plain Stable Diffusion 1.5 folder."
        )


def weight_files(folder: Path, stem: str) -> tuple[str | None, list[Path]]:
    """(variant, files) of a component's safetensors: one file, shards, or the fp16 variant."""
    plain, half = folder / f"{stem}.safetensors", folder / f"{stem}.fp16.safetensors"
    shards = folder / f"{stem}.safetensors.index.json"
    # diffusers takes the shards where both are there, transformers the one file: both are checked.
    files = [plain] if plain.is_file() else []
    if shards.is_file():
        files += [folder / name for name in _shard_names(shards)]
    if files:
        return None, files
    if half.is_file():
        return "fp16", [half]
    pickles = sorted(file for file in folder.glob("*") if file.suffix in PICKLES)
    if pickles:
        raise StyleAVideoError(
            f"{pickles[0]} is a pickle, which may run code; get the model's safetensors."
        )
    raise StyleAVideoError(f"{plain} is missing; download the model again.")


def _shard_names(index: Path) -> list[str]:
    """The files that an index of shards names, all of its own folder."""
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise StyleAVideoError(
            f"{index} does not name weight files of its own folder; download the model again."
        )
    return sorted(set(names))
