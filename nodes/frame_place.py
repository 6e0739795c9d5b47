"""Where a model takes a frame: the latent beside the noise, or tokens after it."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import torch
from torch import Tensor

from ..pipelines.core.attention import resize_to
from ..pipelines.errors import StyleAVideoError

CONCAT, REFERENCE, CONTEXT = "concat_latent_image", "reference_latents", "context_latents"
PLACE = "style_a_video_frame_place"
"""In an entry of a CONDITIONING: the place of the frame in it and, in a list, which one it is."""
MASK, PROBED = "style_a_video_mask", "style_a_video_probed"
"""In an entry: the MASK that its frame latent was multiplied by; that it was probed from frames."""
PLACES = {
    "HiDream": CONCAT,
    "Flux": REFERENCE,
    "Flux2": REFERENCE,
    "QwenImage": REFERENCE,
    "Omnigen2": REFERENCE,
    "WAN21": CONTEXT,
}
"""ComfyUI's classes of models (comfy/model_base.py) whose frames were tried, by name: a class that
builds on one of them may take its frame elsewhere, or nowhere. InstructPix2Pix's are beside."""
PACKED = {"QwenImage": 4}
"""Input channels of these over those of a latent; others have as many."""
LEARNED = {
    "HiDream": "HiDream-E1",
    "Flux": "Flux Kontext",
    "QwenImage": "Qwen-Image-Edit",
    "WAN21": "Bernini",
}
"""Which models of a class have learned it; others of the class only look the same."""


def known_place(model: Any) -> str | None:
    """The key of a CONDITIONING where this MODEL takes a frame for each latent; None: not tried."""
    if isinstance(model.model, comfy.model_base.IP2P):
        return CONCAT
    name = type(model.model).__name__
    channels = PACKED.get(name, 1) * int(model.model.latent_format.latent_channels)
    return PLACES.get(name) if input_channels(model) in (channels, None) else None


def takes_pictures(model: Any) -> bool:
    """Whether this MODEL, whose latents are those of a video, edits pictures too (T,C,1,h,w)."""
    return known_place(model) in (REFERENCE, CONTEXT)


def input_channels(model: Any) -> int | None:
    """Input channels as ComfyUI found them."""
    config = model.model.model_config.unet_config
    return config.get("in_dim", config.get("in_channels"))


def place_of(model: Any) -> str:
    """The key of a CONDITIONING where this MODEL takes a frame for each latent.

    Raises:
        StyleAVideoError: a class that was not tried, or one of its models with other channels.
    """
    place = known_place(model)
    if place is None:
        name = type(model.model).__name__
        if name == "BaseModel":  # Stable Diffusion 1.5, 2
            name = type(model.model.model_config).__name__
        channels = f" with {input_channels(model)} input channels" if name in PLACES else ""
        raise StyleAVideoError(
            f"Frame Condition does not know how {name}{channels} takes a frame; it knows "
            "InstructPix2Pix and CosXL Edit, HiDream-E1, Flux Kontext, Flux 2, Qwen-Image-Edit, "
            "OmniGen2 and Bernini. Steer this model with ControlNet, or with its own blocks."
        )
    return place


def describe(model: Any) -> str:
    """The model's class, the place, and whose weights have learned it."""
    name = type(model.model).__name__
    learned = "" if name not in LEARNED else f" ({LEARNED[name]})"
    return f"{name}{learned}: {place_of(model)}"


def frame_of(entry: dict[str, Any]) -> Tensor | None:
    """The frame latents (T,C,...) in an entry of a CONDITIONING or of a guider's conditions."""
    place, index = entry.get(PLACE, (CONCAT, None))
    value = entry.get(place)
    return value if index is None or value is None else value[index]


def with_frame(entry: dict[str, Any], latents: Tensor, place: str | None = None) -> dict[str, Any]:
    """The entry with these frame latents: instead of those it has or, where `place` is given, put
    there after what is there."""
    if place is None:
        place, index = entry.get(PLACE, (CONCAT, None))
        if index is None:
            return {**entry, place: latents}
        return {**entry, place: [latents if i == index else v for i, v in enumerate(entry[place])]}
    if place == CONCAT:
        return {**entry, CONCAT: latents}
    before = list(entry.get(place) or [])
    return {**entry, place: [*before, latents], PLACE: (place, len(before))}


def with_frame_of(conditioning: list[Any], frame: list[Any]) -> list[Any]:
    """The text of one CONDITIONING with the frame of another, and what is known of it.

    References beside the frame are those of both.

    Raises:
        StyleAVideoError: no frame in the other.
    """
    for _, extra in frame:
        latents = frame_of(extra)
        if latents is None:
            continue
        place, index = extra.get(PLACE, (CONCAT, None))
        known = {k: extra[k] for k in (place, PLACE, MASK, PROBED) if extra.get(k) is not None}
        if index is None:
            return [[text, {**own, **known}] for text, own in conditioning]
        mine = {id(v) for v in extra[place]}
        return [
            [text, {**own, **known, place: [*extra[place], *_others(own.get(place), mine)]}]
            for text, own in conditioning
        ]
    raise StyleAVideoError("frame has no frame latent: connect the output of Frame Condition.")


def _others(references: Any, known: set[int]) -> list[Any]:
    return [v for v in references or [] if id(v) not in known]


def masked_condition(frame: list[Any], mask: Tensor) -> list[Any]:
    """c_M = M ⊙ c_I: a frame condition with its latents multiplied by a MASK (1 or T,H,W)."""
    masked = []
    for text, extra in frame:
        latents = frame_of(extra)
        if latents is None:
            raise StyleAVideoError("frame has no frame latent: connect a Frame Condition.")
        if len(mask) not in (1, len(latents)):
            raise StyleAVideoError(
                f"There are {len(mask)} masks for {len(latents)} frames: give one for all frames, "
                "or one a frame."
            )
        masked.append([text, {**with_frame(extra, masked_latents(latents, mask)), MASK: mask}])
    return masked


def masked_latents(latents: Tensor, mask: Tensor) -> Tensor:
    return on_grid(resize_to(mask[:, None].to(latents), *latents.shape[-2:]), latents) * latents


def on_grid(mask: Tensor, latents: Tensor) -> Tensor:
    """A mask (T,1,h,w) that broadcasts to latents (T,C,h,w) or, of a video model, (T,C,1,h,w)."""
    return mask[:, :, None] if latents.ndim == 5 else mask


def is_of_video(vae: Any) -> bool:
    """Whether this VAE takes pictures for the frames of one video."""
    return getattr(vae, "latent_dim", 2) == 3 and not getattr(vae, "not_video", False)


def encode(vae: Any, frames: Tensor) -> Tensor:
    """Frames (T,H,W,3) in [0,1] → latents, one a frame: (T,C,h,w), or (T,C,1,h,w) by the VAE of a
    video model, which would take them for one video."""
    if is_of_video(vae):
        return torch.cat([vae.encode(frames[i : i + 1]) for i in range(len(frames))])
    return vae.encode(frames)


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Latents, one a frame → frames (T,H,W,3)."""
    frames = vae.decode(latents)
    return frames.flatten(0, 1) if frames.ndim == 5 else frames
