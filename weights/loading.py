"""A model's name, folder or file → StyleAVideoPipeline.

What cannot be loaded is refused from names, headers and configs where they tell.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import kind_of_place, shown
from .building import unloadable
from .expand import expand_input_channels
from .files import PICKLES
from .folder import check_folder, load_parts
from .hub import download_model
from .single_file import load_tokenizer
from .styles import EMBEDDED

if TYPE_CHECKING:
    from ..pipelines.engines.diffusion.pipeline import StyleAVideoPipeline


def load(
    model: str | os.PathLike[str] = "embedded",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    *,
    tokenizer: str | os.PathLike[str] | None = None,
) -> StyleAVideoPipeline:
    """Load a model of any kind in `registry.MODELS`.

    Args:
        model: "embedded", a diffusers folder, a single .safetensors file or a hub id. A U-Net
            that takes z_t alone is given room for the frame (`expand`).
        dtype: of all weights.
        device: where to put them.
        tokenizer: folder of the CLIP tokenizer to use, see `load_tokenizer`.

    Raises:
        StyleAVideoError: a model that is not there, cannot be had, or cannot be used.
    """
    path = resolve(model)
    _check_torchvision()
    from ..pipelines.engines.diffusion.pipeline import StyleAVideoPipeline

    if kind_of_place(path) == "file":
        return StyleAVideoPipeline.from_single_file(
            path, torch_dtype=dtype, tokenizer=tokenizer
        ).to(device)

    index = check_folder(path)
    given = {} if tokenizer is None else {"tokenizer": load_tokenizer(tokenizer)}
    parts = load_parts(path, index, dtype, skip=tuple(given)) | given
    pipeline = StyleAVideoPipeline(**parts, **_own(path, index))
    if pipeline.unet.config.in_channels == pipeline.vae.config.latent_channels:
        expand_input_channels(pipeline.unet)
    pipeline = pipeline.to(device)
    if path != EMBEDDED:
        _try(path, pipeline)
    return pipeline


def _own(path: Path, index: dict[str, Any]) -> dict[str, Any]:
    """What model_index.json says for our pipeline; its values are refused where they are used."""
    own = {key: index[key] for key in index if key in ("defaults", "scale_image_latents")}
    if not isinstance(own.get("defaults", {}), dict):
        raise StyleAVideoError(f"{shown(path)} has defaults that are no settings; remove them.")
    if not isinstance(own.get("scale_image_latents", False), bool):
        raise StyleAVideoError(f"{shown(path)} has a scale_image_latents other than true or false.")
    return own


def _try(path: Path, pipeline: StyleAVideoPipeline) -> None:
    """Refuse parts that fit their weights but not each other: by a small frame in two steps."""
    pipeline.set_progress_bar_config(disable=True)
    try:
        pipeline(torch.full((1, 3, 64, 64), 0.5), "a", num_inference_steps=2)
    except (StyleAVideoError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # whatever their layers say of each other's shapes
        raise unloadable(path, error) from error
    finally:
        pipeline.set_progress_bar_config()


def load_quietly() -> None:
    """From now on without the libraries' own progress bars."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _check_torchvision() -> None:
    """diffusers and transformers import it where it is, and end in pages of a traceback where it
    was made for another torch.
    """
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError, AttributeError) as error:
        raise StyleAVideoError(
            f"The torchvision here was not made for torch {torch.__version__}: install the one "
            "that was, from where torch came, or remove it (pip uninstall torchvision)."
        ) from error


def resolve(model: str | os.PathLike[str]) -> Path:
    """The folder or file that `model` names; a hub id is downloaded into the hub's cache."""
    text = os.fspath(model)
    if text == "embedded":
        if not (EMBEDDED / "model_index.json").is_file():
            raise StyleAVideoError(
                f"The built-in model is missing from {EMBEDDED}; install the package again or name "
                "another model."
            )
        return EMBEDDED
    path = os.path.expanduser(text)
    if path and "\0" not in path and kind_of_place(Path(path)):
        return Path(path)
    a_file = Path(text).suffix.lower() in (".safetensors", *PICKLES)
    if a_file or re.search(r"^[.~/]|\\|/.*/", text):
        raise StyleAVideoError(f"There is no file or folder {text!r}; check the path.")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text, re.ASCII):
        raise StyleAVideoError(
            f"{text!r} is not a model: give 'embedded', a folder, a .safetensors file or a hub id "
            f"such as timbrooks/instruct-pix2pix."
        )
    return download_model(text)
