"""Networks of others that judge pictures, or see what measures are of.

CLIP (Radford et al. 2021), LPIPS (Zhang et al. 2018), SIFID (Rott Shaham et al. 2019); and our own
encoder of styles, which is always here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...weights.checkpoints import FITTING, OTHER_TORCHVISION, load_network
from ..core.correction import CLIP_MEAN, CLIP_STD, clip_preprocess
from ..core.measures import gaussian
from ..engines.style import read_style_picture
from ..errors import StyleAVideoError
from ..files import kind_of_place
from .words import Words, not_measured, printable


@dataclass(frozen=True)
class ClipNetwork:
    """CLIP: one space for pictures and words.

    encode_image: frames (T,3,H,W) in [0,1] → (T,d), of the centre square; encode_text: words →
    (1,d), or None where the words have no place in that space. `name` says whose it is; `own`, that
    it is the built-in model's.
    """

    name: str
    encode_image: Callable[[Tensor], Tensor]
    encode_text: Callable[[str], Tensor] | None
    own: bool = False


Lpips = Callable[[Tensor, Tensor], Tensor]
"""Two batches of frames (T,3,H,W) in [0,1] → their perceptual distances (T,)."""

Sifid = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Frames (T,3,H,W) in [0,1] → mean (T,C) and covariance (T,C,C) of each one's features, float64 on
the CPU. SIFID is `core.measures.frechet_distance` between those of two pictures."""

Encoder = Callable[[Tensor], dict[str, Tensor]]
"""Frames (T,3,H,W) in [0,1] → features by layer, in which statistics mean style, on the CPU."""

Judge = TypeVar("Judge")


@dataclass(frozen=True)
class Judges:
    """Whom to ask beyond what is measured without a network; None: nobody.

    `prompt`: for CLIP's style; `style_image` (3,H,W) in [0,1] and its name: for SIFID's, and for
    the encoder, which is asked where there is one; `missing`: what to say of those that cannot be.
    """

    clip_network: ClipNetwork | None = None
    prompt: str | None = None
    lpips: Lpips | None = None
    sifid: Sifid | None = None
    encoder: Encoder | None = None
    style_image: Tensor | None = None
    style_name: str | None = None
    missing: Sequence[Words] = ()


def judges_here(
    clip_network: ClipNetwork | None = None,
    prompt: str | None = None,
    style_image: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
) -> Judges:
    """These, with LPIPS and SIFID where their packages and weights are; the encoder sees the style.

    Raises:
        StyleAVideoError: a style image that cannot be read.
    """
    lpips, no_lpips = if_here("LPIPS", load_lpips, device)
    sifid, no_sifid = if_here("SIFID", load_sifid, device)
    missing = [*no_lpips, *no_sifid]
    if style_image is None:
        return Judges(clip_network, prompt, lpips, sifid, missing=missing)
    style = read_style_picture(style_image)
    return Judges(
        clip_network,
        prompt,
        lpips,
        sifid,
        load_encoder(device),
        style.image,
        printable(style.name),
        missing,
    )


def if_here(
    name: str, load: Callable[[torch.device | str], Judge], device: torch.device | str
) -> tuple[Judge | None, list[Words]]:
    """A judge whose packages and weights are optional, or the note that says what is missing."""
    try:
        return load(device), []
    except StyleAVideoError as missing:
        return None, [not_measured(name, str(missing))]


def load_clip(name: str | os.PathLike[str], device: torch.device | str = "cpu") -> ClipNetwork:
    """CLIP by its name: "embedded", the built-in model's, or a folder of transformers' CLIPModel.

    Raises:
        StyleAVideoError: there is no such folder, or no CLIP in it.
    """
    if os.fspath(name) != "embedded":
        return clip_of_folder(Path(name), device)
    from ...weights.loading import load

    return replace(clip_of_pipeline(load("embedded", device=device), "embedded"), own=True)


class HasClip(Protocol):
    """A pipeline with the two halves of a CLIP, as diffusers names them."""

    tokenizer: Any
    text_encoder: Any
    image_encoder: Any

    def encode_images(self, frames: Tensor) -> Tensor:
        """Frames (T,3,H,W) in [0,1] → embeddings (T,D)."""
        ...


def clip_of_pipeline(pipeline: HasClip, name: str) -> ClipNetwork:
    """The CLIP inside a pipeline: its image encoder, and its text encoder where both share a space.

    Raises:
        StyleAVideoError: the pipeline has no image encoder.
    """
    if pipeline.image_encoder is None:
        raise StyleAVideoError(
            f"The model {name} has no image encoder: measure by another CLIP, such as embedded."
        )

    @torch.no_grad()
    def encode_image(frames: Tensor) -> Tensor:
        return pipeline.encode_images(frames).float()

    @torch.no_grad()
    def encode_text(words: str) -> Tensor:
        tokens = _tokens(pipeline.tokenizer, words)
        return pipeline.text_encoder(tokens.to(pipeline.text_encoder.device)).text_embeds.float()

    def width(encoder: Any) -> int | None:
        projected = hasattr(encoder, "text_projection") or hasattr(encoder, "visual_projection")
        return encoder.config.projection_dim if projected else None

    together = width(pipeline.text_encoder) == width(pipeline.image_encoder)
    return ClipNetwork(name, encode_image, encode_text if together else None)


def clip_of_folder(folder: Path, device: torch.device | str = "cpu") -> ClipNetwork:
    """A local CLIP as transformers saves it, such as a copy of openai/clip-vit-large-patch14.

    Raises:
        StyleAVideoError: it is not there, or is no CLIP with its tokenizer.
    """
    if kind_of_place(folder) != "folder":
        raise StyleAVideoError(
            f"There is no folder {folder}: give one of a CLIPModel, or embedded."
        )
    from ...weights.clip import load_clip_folder

    model, tokenizer, images = load_clip_folder(folder)
    mean, std = images.get("image_mean", CLIP_MEAN), images.get("image_std", CLIP_STD)
    model = model.to(device).eval()
    size = model.config.vision_config.image_size

    @torch.no_grad()
    def encode_image(frames: Tensor) -> Tensor:
        pixels = clip_preprocess(frames.to(device), size, mean, std)
        return model.visual_projection(model.vision_model(pixels).pooler_output).float()

    @torch.no_grad()
    def encode_text(words: str) -> Tensor:
        tokens = _tokens(tokenizer, words).to(device)
        return model.text_projection(model.text_model(tokens).pooler_output).float()

    return ClipNetwork(folder.name, encode_image, encode_text)


def _tokens(tokenizer: Any, words: str) -> Tensor:
    length = min(77, tokenizer.model_max_length)
    options = {"padding": "max_length", "max_length": length, "truncation": True}
    return tokenizer([words], return_tensors="pt", **options).input_ids


def load_lpips(device: torch.device | str = "cpu") -> Lpips:
    """LPIPS v0.1 on AlexNet, by its authors' package; nothing is downloaded.

    Raises:
        StyleAVideoError: the package or AlexNet's weights are not here, or these are damaged.
    """
    try:
        import lpips
        from torchvision.models import AlexNet_Weights, alexnet
    except OTHER_TORCHVISION:
        raise StyleAVideoError(f"LPIPS needs the package lpips and a {FITTING}.") from None
    # lpips loads these by itself, and would fetch them or end in a traceback: they are tried first.
    load_network(alexnet, "LPIPS", "AlexNet", AlexNet_Weights.IMAGENET1K_V1.url)
    with warnings.catch_warnings():  # it calls torchvision by a name of older days
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(net="alex", verbose=False).to(device)

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        a, b = _at_least(64, a.to(device)), _at_least(64, b.to(device))
        return network(a, b, normalize=True).flatten()

    return distance


def load_sifid(device: torch.device | str = "cpu") -> Sifid:
    """What SIFID sees of a frame, by torchvision's Inception v3; nothing is downloaded.

    The features are those of the authors' code: 64 channels, before the first pooling, where their
    paper speaks of the second. Frames keep their size, as there.

    Raises:
        StyleAVideoError: torchvision or Inception's weights are not here, or these are damaged.
    """
    try:
        from torchvision.models import Inception_V3_Weights, inception_v3
    except OTHER_TORCHVISION:
        raise StyleAVideoError(f"SIFID needs a {FITTING}.") from None
    url = Inception_V3_Weights.IMAGENET1K_V1.url
    build = partial(inception_v3, init_weights=False)  # they would take a minute
    inception: Any = load_network(build, "SIFID", "Inception v3", url)
    layers = inception.Conv2d_1a_3x3, inception.Conv2d_2a_3x3, inception.Conv2d_2b_3x3
    network = torch.nn.Sequential(*layers).to(device).eval()

    @torch.no_grad()
    def statistics(frames: Tensor) -> tuple[Tensor, Tensor]:
        # One at a time: 64 channels of half its sides are many times a frame.
        each = [gaussian(network(2 * x - 1)) for x in _at_least(16, frames.to(device)).split(1)]
        mean, covariance = (torch.cat(parts).cpu().double() for parts in zip(*each, strict=True))
        return mean, covariance

    return statistics


def load_encoder(device: torch.device | str = "cpu") -> Encoder:
    """The features that engines take styles from (core/perceptual.py)."""
    from ...weights import perceptual_encoder

    network = perceptual_encoder.load_encoder().to(device)

    @torch.no_grad()
    def encode(frames: Tensor) -> dict[str, Tensor]:
        found = network(_at_least(32, frames.to(device)))  # so that two places are left of it
        return {name: x.cpu() for name, x in found.items()}

    return encode


def _at_least(side: int, frames: Tensor) -> Tensor:
    """Enlarged where the shorter side is below `side` px: too little is left of it."""
    h, w = frames.shape[-2:]
    scale = side / min(h, w)
    if scale <= 1:
        return frames
    size = max(side, round(h * scale)), max(side, round(w * scale))
    return F.interpolate(frames, size, mode="bilinear", align_corners=False)
