"""Keyframes that were painted by hand, or made by any other workflow, as an ENGINE."""

from __future__ import annotations

import re

from comfy_api.latest import io

from ..pipelines.engines.style import Style
from ..pipelines.errors import StyleAVideoError
from ..pipelines.run.painted import painted_pictures
from .engine import EngineType, StyleEngine


def numbers_in(text: str) -> list[int]:
    """Frames of "0, 40 80"."""
    words = re.split(r"[,;\s]+", text.strip(" \t\r\n,;"))
    if not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise StyleAVideoError(f"{text!r:.100} are no numbers of frames: write them as 0, 40, 80.")
    return [int(word) for word in words]


class PaintedKeyframes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoPaintedKeyframes",
            display_name="Painted Keyframes",
            category="Style-A-Video/pictures",
            description=(
                "Some frames of a video as you want them: painted by hand, or made by any other "
                "blocks. The others take their look from these, along the motion."
            ),
            search_aliases=["ebsynth", "hand-painted frames", "propagate style", "keyframe images"],
            inputs=[
                io.Image.Input(
                    "images",
                    tooltip="The painted frames as a batch, of the video's size or shape.",
                ),
                io.String.Input(
                    "frames",
                    default="0",
                    tooltip="The number of its frame for each picture, counted from 0, the first "
                    "of the video or of its part: 0, 40, 80.",
                ),
            ],
            outputs=[
                EngineType.Output(
                    display_name="ENGINE",
                    tooltip="For Stylize Video or Stylize Frames by Engine, in the place of Load "
                    "Engine.",
                )
            ],
        )

    @classmethod
    def execute(cls, images, frames) -> io.NodeOutput:
        pictures = list(images[..., :3].movedim(-1, 1).float().cpu().clamp(0, 1))
        painted = painted_pictures(pictures, numbers_in(frames))
        return io.NodeOutput(StyleEngine("painted", painted, Style()))
