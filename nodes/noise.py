"""Noise that belongs to a frame, whatever batch the frame is in, as ComfyUI's NOISE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..pipelines.core.noise import MODES, frame_noise
from ..pipelines.errors import StyleAVideoError
from .video import FrameInfoType


class FrameNoise:
    """ComfyUI's NOISE: `seed`, and `generate_noise` of a latent.

    Args:
        indices: absolute frame numbers; 0, 1, ... where None.
    """

    def __init__(self, seed: int, mode: str, blend: float, indices: Sequence[int] | None) -> None:
        self.frame_seed = seed
        # Samplers that add noise of their own count on from here and must not leave 64 bits.
        self.seed = seed % 2**63
        self.mode = mode
        self.blend = blend
        self.indices = indices

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        samples = latent["samples"]
        if samples.ndim != 4 and samples.shape[2:3] != (1,):  # (T,C,1,h,w): single pictures too
            raise StyleAVideoError(
                "Frame Noise makes noise for image models, one latent a frame; for a video model "
                "use Random Noise."
            )
        indices = range(len(samples)) if self.indices is None else self.indices
        if len(indices) != len(samples):
            raise StyleAVideoError(
                f"frame_info is about {len(indices)} frames and the latent has {len(samples)}: "
                "connect the frame_info of the same Load Video Frames."
            )
        return frame_noise(
            tuple(samples.shape[1:]), self.frame_seed, indices, self.mode, self.blend
        )


class FrameNoiseNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoFrameNoise",
            display_name="Frame Noise",
            category="Style-A-Video/sampling",
            description=(
                "Noise of each frame by its own number in the video: the same frame gets the same "
                "noise however the clip is cut or batched. Shared noise flickers least."
            ),
            search_aliases=["per-frame noise", "shared noise", "video seed"],
            inputs=[
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="The same seed gives the same noise on every machine.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="shared",
                    tooltip="shared: one noise for all frames; per-frame: each its own; blended: "
                    "between the two.",
                ),
                io.Float.Input(
                    "blend",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="In the mode blended: 0 each frame's own noise, 1 the shared one.",
                ),
                FrameInfoType.Input(
                    "frame_info",
                    optional=True,
                    tooltip="From Load Video Frames: the frames' numbers in the video.",
                ),
            ],
            outputs=[io.Noise.Output(display_name="NOISE")],
        )

    @classmethod
    def execute(cls, seed, mode, blend, frame_info=None) -> io.NodeOutput:
        indices = None if frame_info is None else list(frame_info.indices)
        return io.NodeOutput(FrameNoise(seed, mode, blend, indices))
