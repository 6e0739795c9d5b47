"""A ControlNet that follows a streamed video: a second VIDEO shows its hint for every frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from comfy.controlnet import ControlBase
from torch import Tensor

from ..pipelines.errors import StyleAVideoError
from . import frame_place
from .numbered import NumberedFrames

RATES, SHAPES = 0.01, 0.02
"""How far two frame rates or shapes may lie apart, in parts: 29.97 is 30, sides are rounded."""


def check_hint(hint: NumberedFrames, source: NumberedFrames) -> None:
    """Refuse a hint that is not one picture for each frame of the source.

    Raises:
        StyleAVideoError: another number of frames, frame rate or shape.
    """
    if len(hint) != len(source):
        raise StyleAVideoError(
            f"The hint has {len(hint)} frames and the video has {len(source)}: make the hint of "
            "the same part of the same video, a frame for every frame."
        )
    rates = float(hint.clip.frame_rate), float(source.clip.frame_rate)
    if abs(rates[0] - rates[1]) > RATES * rates[1]:
        raise StyleAVideoError(
            f"The hint has {rates[0]:g} frames a second and the video has {rates[1]:g}: make the "
            "hint of the same video, at its frame rate."
        )
    (w, h), (width, height) = hint.clip.size, source.clip.size
    if abs(w * height - width * h) > SHAPES * width * h:
        raise StyleAVideoError(
            f"The hint has frames of {w}x{h} and the video of {width}x{height}, which is another "
            "shape: make the hint of whole frames of the same video."
        )


def check_followed(conditions: dict[str, list[dict[str, Any]]]) -> None:
    """Refuse conditions whose ControlNets cannot all be given the hint's pictures.

    Raises:
        StyleAVideoError: there is none; they have different pictures; one also has a mask, or is
            none of ComfyUI's kind.
    """
    found = [c for e in conditions.values() for entry in e for c in chain(entry.get("control"))]
    if not found:
        raise StyleAVideoError(
            "A hint is connected and no condition of the guider has a ControlNet: put Apply "
            "ControlNet before the guider, with the hint's first frame, or take the hint off."
        )
    for control in found:
        if not isinstance(control, ControlBase) or not isinstance(_hint(control), Tensor):
            raise StyleAVideoError(
                f"A ControlNet of this kind ({type(control).__name__}) cannot be given other "
                "pictures: use ComfyUI's own Load ControlNet Model and Apply ControlNet."
            )
        if any(c.numel() > 1 for c in control.extra_concat_orig):
            raise StyleAVideoError(
                "A ControlNet has a picture to be filled in (inpainting), which was made for "
                "single frames: use one that follows edges, depth or poses."
            )
    first = _hint(found[0])
    if any(not _same(first, _hint(control)) for control in found):
        raise StyleAVideoError(
            "The guider has ControlNets with different pictures, and there is one hint for all of "
            "them: keep one ControlNet, or one that takes several kinds in one picture."
        )


class Follow:
    """ControlNet → the same with these pictures (T,3,H,W) for the frames; shared ones stay shared.

    The one that was given, and its networks, stay as they are.
    """

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures
        self._known: dict[int, Any] = {}

    def __call__(self, control: Any) -> Any:
        if id(control) not in self._known:
            copied = control.copy()
            copied.cond_hint_original = self.pictures
            if frame_place.is_of_video(copied.vae):
                copied.vae = _OneByOne(copied.vae)
            if control.previous_controlnet is not None:
                copied.previous_controlnet = self(control.previous_controlnet)
            self._known[id(control)] = copied
        return self._known[id(control)]


class _OneByOne:
    """The VAE of a video model, for pictures that are no video."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae

    def encode(self, pictures: Tensor) -> Tensor:
        return frame_place.encode(self.vae, pictures)

    def __getattr__(self, name: str) -> Any:
        if name == "vae":  # while it is copied
            raise AttributeError(name)
        return getattr(self.vae, name)


def chain(control: Any) -> Iterator[Any]:
    """A ControlNet and those that it adds to."""
    while control is not None:
        yield control
        control = getattr(control, "previous_controlnet", None)


def _hint(control: Any) -> Any:
    return getattr(control, "cond_hint_original", None)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
