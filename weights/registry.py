"""What can be loaded: an explicit list, shown by `style-a-video info`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """One kind of model that `loading.load` accepts.

    Attributes:
        name: what to give as the model; upper case stands for the user's own.
        what: what it is.
        licence: under which terms it may be used.
        how: how to get it.
    """

    name: str
    what: str
    licence: str
    how: str


MODELS = (
    Model(
        name="embedded",
        what="the built-in miniature, for a laptop's CPU",
        licence="Apache-2.0; its training data are named in weights/embedded/README.md",
        how="comes with the package",
    ),
    Model(
        name="timbrooks/instruct-pix2pix",
        what="InstructPix2Pix on Stable Diffusion 1.5 (Brooks et al. 2023): 8 input channels",
        licence="MIT; the Stable Diffusion 1.5 it comes from: CreativeML Open RAIL-M",
        how="downloaded from the hub at first use (about 4 GB) and kept in its cache",
    ),
    Model(
        name="OWNER/NAME",
        what="a hub repository in diffusers format: an InstructPix2Pix or a plain "
        "Stable Diffusion 1.5",
        licence="the repository's",
        how="downloaded from the hub at first use and kept in its cache",
    ),
    Model(
        name="FOLDER",
        what="a diffusers folder (model_index.json): an InstructPix2Pix, a plain "
        "Stable Diffusion 1.5, or one of this package's",
        licence="its author's",
        how="any folder of this machine",
    ),
    Model(
        name="FILE.safetensors",
        what="a Stable Diffusion 1.5 checkpoint in one file, InstructPix2Pix (8 input channels) "
        "or plain (4)",
        licence="its author's",
        how="any file of this machine; the tokenizer comes from openai/clip-vit-large-patch14 "
        "on the hub or from the folder in STYLE_A_VIDEO_TOKENIZER",
    ),
)
