"""The frame and the words as CONDITIONING (Huang et al. 2023, section 3.2)."""

from __future__ import annotations

import re
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn import functional as F

from ..pipelines.checks import check_prompts
from ..pipelines.errors import StyleAVideoError
from . import frame_place, host
from .video import FrameInfoType

MAX_SCHEDULE = 100_000  # characters
_QUOTED = re.compile(r'\s*(\d{1,9})\s*:\s*"((?:[^"\\]|\\.)*)"\s*(?:[,;\n]|\Z)')
_LINE = re.compile(r'\s*(\d{1,9})\s*:\s*(?!["\s])([^\n]+)(?:\n|\Z)')


def parse_schedule(text: str) -> list[tuple[int, str]]:
    """`0: "sketch", 48: "oil"` → [(0, "sketch"), (48, "oil")], in rising order.

    Text without frame numbers is one prompt, at frame 0. Without quotes a prompt is all its line.

    Raises:
        StyleAVideoError: a part that is no `frame: "prompt"`, or a frame number that stands twice.
    """
    # "16:9 widescreen" is a prompt: a schedule has a quote or a space after the colon.
    if not re.match(r'\s*\d+\s*:[\s"]', text):
        return [(0, text)]
    if len(text) > MAX_SCHEDULE:
        raise StyleAVideoError(
            f"The prompt schedule has {len(text):,} characters; shorten it to {MAX_SCHEDULE:,}."
        )
    points, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _QUOTED.match(text, at)
        words = re.sub(r"\\(.)", r"\1", match[2]) if match else ""
        if match is None:
            match = _LINE.match(text, at)
            words = match[2].strip() if match else ""
        if match is None or re.search(r",\s*\d+\s*:\s", words):
            raise StyleAVideoError(
                f"The prompt schedule cannot be read from {text[at:].strip()[:30]!r} on: write "
                'frame numbers and quoted prompts, such as 0: "sketch", 48: "oil painting".'
            )
        points.append((int(match[1]), words))
        at = match.end()
    numbers = [frame for frame, _ in points]
    if len(set(numbers)) < len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise StyleAVideoError(
            f"The prompt schedule names frame {twice} twice: give it one prompt."
        )
    return sorted(points)


def travel(points: list[int], frame: int, interpolate: bool) -> tuple[int, int, float]:
    """Which two key frames a frame lies between, and how far from the first to the second."""
    after = sum(p <= frame for p in points)
    low, high = max(0, after - 1), min(after, len(points) - 1)
    if not interpolate or low == high:
        return low, low, 0.0
    return low, high, max(0.0, (frame - points[low]) / (points[high] - points[low]))


def encode_schedule(
    clip: Any, points: list[tuple[int, str]], frames: list[int], interpolate: bool
) -> list[Any]:
    """A CONDITIONING with one text a frame: (T,77,D), and pooled (T,P) where there is such."""
    texts = [_encode(clip, text) for _, text in points]
    length = max(hidden.shape[1] for hidden, _ in texts)
    # A shorter text is filled with zeros, as Conditioning (Average) does.
    hidden = torch.cat([F.pad(h, (0, 0, 0, length - h.shape[1])) for h, _ in texts])
    places = [travel([n for n, _ in points], f, interpolate) for f in frames]
    pooled = [p for _, p in texts if p is not None]
    extra = {"pooled_output": _blend(torch.cat(pooled), places)} if pooled else {}
    return [[_blend(hidden, places), extra]]


def _encode(clip: Any, text: str) -> tuple[Tensor, Tensor | None]:
    output = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True, return_dict=True)
    return output["cond"], output.get("pooled_output")


def _blend(texts: Tensor, places: list[tuple[int, int, float]]) -> Tensor:
    return torch.stack([torch.lerp(texts[a], texts[b], t) for a, b, t in places])


class FrameCondition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoFrameCondition",
            display_name="Frame Condition",
            category="Style-A-Video/conditions",
            description=(
                "c_I: every frame's latent, where the model takes it: beside the noise (the "
                "built-in model, InstructPix2Pix) or as a reference (Flux Kontext and others)."
            ),
            search_aliases=["instructpix2pix conditioning", "frame latent concatenation"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The text beside the frame; for Style Guider the empty or negative "
                    "one.",
                ),
                io.Vae.Input("vae", tooltip="The autoencoder of the model."),
                io.Image.Input("frames", tooltip="The video's frames, sides in multiples of 8."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the frame is seen: 1 seen, 0 hidden. All of it if absent.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that is to see the frame; it says where it takes it. An "
                    "InstructPix2Pix if absent.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="CONDITIONING"),
                io.Latent.Output(
                    display_name="empty latent", tooltip="Of the frames' number and size."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, conditioning, vae, frames, mask=None, model=None) -> io.NodeOutput:
        if vae is None:
            raise StyleAVideoError(
                "vae is missing: the checkpoint has no autoencoder, load one with Load VAE."
            )
        place = frame_place.CONCAT if model is None else frame_place.place_of(model)
        told = place if model is None else frame_place.describe(model)
        latents = frame_place.encode(vae, frames[..., :3])
        condition = [[t, frame_place.with_frame(e, latents, place)] for t, e in conditioning]
        if mask is not None:
            condition = frame_place.masked_condition(condition, mask)
        empty = {"samples": torch.zeros_like(latents)}
        host.show(told, cls)
        return io.NodeOutput(condition, empty, ui=ui.PreviewText(told))


class TextCondition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoTextCondition",
            display_name="Text Condition",
            category="Style-A-Video/conditions",
            description=(
                "c_T: the style in words, for all frames or changing over them: "
                '0: "sketch", 48: "oil painting".'
            ),
            search_aliases=["prompt travel", "prompt schedule", "text schedule"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    default="watercolour",
                    tooltip='A prompt, or prompts by frame number: 0: "sketch", 48: "oil".',
                ),
                io.Boolean.Input(
                    "interpolate",
                    default=True,
                    tooltip="Go over from prompt to prompt gradually; off: change at the frame.",
                ),
                FrameInfoType.Input(
                    "frame_info",
                    optional=True,
                    tooltip="From Load Video Frames: which frames there are. Prompts by frame "
                    "number need it, or frame_count.",
                ),
                io.Int.Input(
                    "frame_count",
                    default=0,
                    min=0,
                    max=1_000_000,
                    advanced=True,
                    tooltip="Number of frames where frame_info is not connected.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="CONDITIONING")],
        )

    @classmethod
    def execute(cls, clip, text, interpolate, frame_count, frame_info=None) -> io.NodeOutput:
        if clip is None:
            raise StyleAVideoError(
                "clip is missing: the checkpoint has no text encoder, load one with Load CLIP."
            )
        points = parse_schedule(text)
        check_prompts("The prompt", [words for _, words in points], len(points), empty=True)
        if len(points) == 1:
            tokens = clip.tokenize(points[0][1])
            return io.NodeOutput(clip.encode_from_tokens_scheduled(tokens))
        frames = list(range(frame_count)) if frame_info is None else list(frame_info.indices)
        if not frames:
            raise StyleAVideoError(
                "Prompts by frame number need to know the frames: connect frame_info of Load Video "
                "Frames, or set frame_count."
            )
        return io.NodeOutput(encode_schedule(clip, points, frames, interpolate))
