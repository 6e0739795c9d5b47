"""Source and result in one picture: side by side, wiped, or as a grid of all candidates."""

from __future__ import annotations

import math

import torch
from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn import functional as F

from ..pipelines.errors import StyleAVideoError

MODES = ("side by side", "wipe", "grid")
LINE = 2
"""Width in px of the white line between two pictures."""


def same_size(images: list[Tensor]) -> list[Tensor]:
    """Frames (T,H,W,3), all brought to the first one's height and width.

    Raises:
        StyleAVideoError: other numbers of frames (one frame stands for all).
    """
    count = max(len(i) for i in images)
    if any(len(i) not in (1, count) for i in images):
        counts = ", ".join(str(len(i)) for i in images)
        raise StyleAVideoError(
            f"The clips to compare have {counts} frames: give all the same number, or one frame."
        )
    size = images[0].shape[1:3]
    scaled = []
    for image in images:
        x = image[..., :3].movedim(-1, 1)
        if x.shape[2:] != size:
            x = F.interpolate(x.float(), size, mode="bicubic", antialias=True).clamp(0, 1)
        scaled.append(x.movedim(1, -1).expand(count, -1, -1, -1))
    return scaled


def side_by_side(images: list[Tensor]) -> Tensor:
    """(T,H,W,3) each → (T,H,ΣW,3), a line between two."""
    line = torch.ones_like(images[0][:, :, :LINE])
    parts = [part for image in images for part in (line, image)]
    return torch.cat(parts[1:], dim=2)


def wipe(source: Tensor, result: Tensor, position: float) -> Tensor:
    """Source left of `position` (0 to 1), result right of it, a line between them."""
    edge = round(position * source.shape[2])
    wiped = torch.cat([source[:, :, :edge], result[:, :, edge:]], dim=2)
    wiped[:, :, max(0, edge - LINE // 2) : edge + LINE // 2] = 1
    return wiped


def grid(images: list[Tensor]) -> Tensor:
    """(T,H,W,3) each → as square a grid as they fill, empty places black."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    filled = images + [torch.zeros_like(images[0])] * (rows * columns - len(images))
    lines = [side_by_side(filled[r * columns : (r + 1) * columns]) for r in range(rows)]
    gap = torch.ones_like(lines[0][:, :LINE])
    return torch.cat([part for line in lines for part in (gap, line)][1:], dim=1)


class Compare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        more = io.Image.Input("more", optional=True, tooltip="A further result.")
        return io.Schema(
            node_id="StyleAVideoCompare",
            display_name="Compare Videos",
            category="Style-A-Video/video",
            description="Source and result in one video: side by side, wiped, or as a grid.",
            search_aliases=["before after", "side by side", "contact sheet"],
            inputs=[
                io.Image.Input("source", tooltip="The unedited frames."),
                io.Image.Input("stylized", tooltip="The result."),
                io.Autogrow.Input(
                    "others",
                    template=io.Autogrow.TemplatePrefix(more, prefix="other_", min=0, max=7),
                    optional=True,
                    tooltip="Further results, beside or below; not in the mode wipe.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="side by side",
                    tooltip="side by side, wipe (source left of a line) or grid.",
                ),
                io.Float.Input(
                    "position",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="In the mode wipe: where the line stands, 0 left, 1 right.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, source, stylized, mode, position, others=None) -> io.NodeOutput:
        more = [image for image in (others or {}).values() if image is not None]
        if mode == "wipe":
            source, stylized = same_size([source, stylized])
            compared = wipe(source, stylized, position)
        else:
            images = same_size([source, stylized, *more])
            compared = side_by_side(images) if mode == "side by side" else grid(images)
        return io.NodeOutput(compared, ui=ui.PreviewImage(compared[:16], cls=cls))
