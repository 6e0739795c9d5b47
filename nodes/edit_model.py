"""Edit models that the stock loaders refuse: diffusers folders, and 4 channels widened to 8."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import comfy.model_detection
import comfy.sd
import comfy.utils
import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..pipelines.errors import StyleAVideoError
from ..weights.expand import expand_weight
from . import host

FIRST = "input_blocks.0.0.weight"
FOLDER = "diffusers/"


def listed() -> list[str]:
    """Checkpoints (.safetensors) and diffusers folders of ComfyUI's model folders."""
    names = folder_paths.get_filename_list("checkpoints")
    files = [name for name in names if name.endswith(".safetensors")]
    return [*sorted(FOLDER + name for name in _folders()), *sorted(files)]


def _folders() -> dict[str, Path]:
    found = {}
    for root in folder_paths.get_folder_paths("diffusers"):
        for folder, _, files in os.walk(root):
            if "model_index.json" in files:
                found[Path(folder).relative_to(root).as_posix()] = Path(folder)
    return found


def load(name: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE by a name of `listed`.

    Raises:
        StyleAVideoError: not in the list, or no Stable Diffusion 1.5 of 4 or 8 channels.
    """
    if name not in listed():
        raise StyleAVideoError(
            f"There is no edit model {name!r}: put a .safetensors file into models/checkpoints or "
            "a diffusers folder into models/diffusers, then refresh."
        )
    folder = _folders().get(name.removeprefix(FOLDER)) if name.startswith(FOLDER) else None
    if folder is not None:
        return load_folder(folder)
    return load_file(folder_paths.get_full_path_or_raise("checkpoints", name))


def load_file(path: str) -> tuple[Any, Any, Any]:
    """A checkpoint in one file, LDM format; 4 input channels become 8."""
    weights, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    key = f"model.diffusion_model.{FIRST}"
    if key not in weights:
        raise StyleAVideoError(
            f"{os.path.basename(path)} is no Stable Diffusion checkpoint: it has no U-Net. Load a "
            "U-Net alone with Load Diffusion Model."
        )
    weights[key] = _widened(weights[key], os.path.basename(path))
    loaded = comfy.sd.load_state_dict_guess_config(
        weights, embedding_directory=_embeddings(), metadata=metadata
    )
    if loaded is None or not host.sees_frames(loaded[0]):
        raise StyleAVideoError(
            f"{os.path.basename(path)} is not of Stable Diffusion 1.5's shape: Load Edit Model "
            "takes such checkpoints with 4 or 8 input channels."
        )
    return loaded[:3]


def load_folder(folder: Path) -> tuple[Any, Any, Any]:
    """A diffusers folder of Stable Diffusion 1.5, with 4 or 8 input channels."""
    unet = comfy.utils.load_torch_file(_weights(folder / "unet"), safe_load=True)
    model = comfy.sd.load_diffusion_model_state_dict(_native(unet, folder.name))
    if model is None:
        raise StyleAVideoError(f"ComfyUI does not know the U-Net of {folder.name}.")
    clip = comfy.sd.load_clip([_weights(folder / "text_encoder")], _embeddings())
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(_weights(folder / "vae"), safe_load=True))
    return model, clip, vae


def _native(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The U-Net's weights under ComfyUI's names, with 8 input channels.

    ComfyUI knows diffusers' Stable Diffusion 1.5 by 4 channels, and InstructPix2Pix by its own
    names: so the shape is recognised without the frame's channels.
    """
    first = weights.get("conv_in.weight")
    if first is None:
        raise StyleAVideoError(f"The U-Net of {name} is not in diffusers' format.")
    known = comfy.model_detection.unet_config_from_diffusers_unet(
        {**weights, "conv_in.weight": first[:, :4]}
    )
    if known is None:
        raise StyleAVideoError(
            f"The U-Net of {name} is not of Stable Diffusion's shape: Load Edit Model takes "
            "Stable Diffusion 1.5 with 4 or 8 input channels."
        )
    names = comfy.utils.unet_to_diffusers(known)
    native = {names[key]: value for key, value in weights.items() if key in names}
    native[FIRST] = _widened(native[FIRST], name)
    return native


def _widened(first: Tensor, name: str) -> Tensor:
    channels = first.shape[1]
    if channels == 8:
        return first
    if channels == 4:
        return expand_weight(first)
    raise StyleAVideoError(
        f"{name} has a U-Net with {channels} input channels; Load Edit Model takes 8 "
        "(InstructPix2Pix) or 4 (Stable Diffusion 1.5)."
    )


def _weights(folder: Path) -> str:
    for stem in ("diffusion_pytorch_model", "model"):
        for variant in ("", ".fp16"):
            file = folder / f"{stem}{variant}.safetensors"
            if file.is_file():
                return str(file)
    raise StyleAVideoError(
        f"{folder.parent.name}/{folder.name} has no .safetensors weights: download the model's "
        "safetensors files (pickles such as .bin are not read)."
    )


def _embeddings() -> list[str]:
    return folder_paths.get_folder_paths("embeddings")


class LoadEditModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoLoadEditModel",
            display_name="Load Edit Model",
            category="Style-A-Video/model",
            description=(
                "Models with room for the frame that the stock loaders refuse: InstructPix2Pix as "
                "a diffusers folder, and Stable Diffusion 1.5 checkpoints widened from 4 to 8 "
                "channels (the frame has no effect until such a model is trained)."
            ),
            search_aliases=["instructpix2pix loader", "load diffusers"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=listed(),
                    tooltip="From models/checkpoints (.safetensors) and models/diffusers.",
                )
            ],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Clip.Output(display_name="CLIP"),
                io.Vae.Output(display_name="VAE"),
            ],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(*load(model))
