"""Edited frames that are shifted or zoomed against their source, brought back onto it."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..pipelines.core import alignment
from ..pipelines.core.alignment import Motion
from ..pipelines.errors import StyleAVideoError
from ..pipelines.run.shots import Cuts
from . import host

SHOT, FRAME = "one for each shot", "one for each frame"
APART = (1.0, 0.005)
"""px and parts of the scale by which a frame differs from its shot, for people to be told."""


def aligned(source: Tensor, edited: Tensor, every: str) -> tuple[Tensor, str]:
    """IMAGEs (T,H,W,3) of the source and (T,H',W',C) edited → the edited ones in place, and what
    was done in words. Frames whose motion is not known stay as they are.

    Raises:
        StyleAVideoError: other numbers of frames.
    """
    if len(source) != len(edited):
        raise StyleAVideoError(
            f"The source has {len(source)} frames and the edited clip {len(edited)}: connect the "
            "frames that were edited."
        )
    bar, cuts = comfy.utils.ProgressBar(len(source)), Cuts()
    motions: list[Motion] = []
    starts: list[int] = []
    for i, (x, y) in enumerate(zip(source, edited, strict=True)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        x, y = (image[..., :3].movedim(-1, 0).cpu().float() for image in (x, y))
        if cuts(x) or not starts:
            starts.append(i)
        motions.append(alignment.find(x, y))
        bar.update(1)
    shots = [range(a, b) for a, b in zip(starts, [*starts[1:], len(source)], strict=True)]
    taken = [m if m.is_known else Motion() for m in motions]
    if every == SHOT:
        for shot in shots:
            whole = alignment.of_shot([motions[i] for i in shot])
            for i in shot:
                taken[i] = whole if motions[i].is_known else Motion()
    frames = [
        alignment.undo(image.movedim(-1, 0), motion).movedim(0, -1)
        for image, motion in zip(edited, taken, strict=True)
    ]
    return torch.stack(frames), said(motions, taken, shots)


def said(motions: Sequence[Motion], taken: Sequence[Motion], shots: Sequence[range]) -> str:
    """A line a shot: what was undone, how many frames were left alone, how many differ."""
    lines = []
    for shot in shots:
        known = [i for i in shot if motions[i].is_known]
        name = f"frames {shot.start} to {shot.stop - 1}: " if len(shots) > 1 else ""
        if not known:
            lines.append(f"{name}left as they are, too unlike their source to be aligned")
            continue
        median = alignment.of_shot([taken[i] for i in known])
        dx, dy = median.shift
        lines.append(f"{name}scale {median.scale:.4f}, shift {dx:+.1f} and {dy:+.1f} px undone")
        if alone := [str(i) for i in shot if i not in known]:
            lines.append(f"left as they are, too unlike their source: {', '.join(alone[:20])}")
        if others := [i for i in known if _apart(motions[i], taken[i])]:
            lines.append(f"{len(others)} move otherwise than their shot: try {FRAME}")
    return "\n".join(lines)


def _apart(a: Motion, b: Motion) -> bool:
    px = max(abs(p - q) for p, q in zip(a.shift, b.shift, strict=True))
    return px > APART[0] or abs(a.scale / b.scale - 1) > APART[1]


class AlignToSource(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoAlignToSource",
            display_name="Align to Source",
            category="Style-A-Video/video",
            description=(
                "Edited frames that are a little shifted or zoomed, as edit models make them, "
                "brought back onto their source. Before the Temporal Refiner."
            ),
            search_aliases=["register frames", "phase correlation", "stabilize edit", "zoom drift"],
            inputs=[
                io.Image.Input("source", tooltip="The unedited frames."),
                io.Image.Input("edited", tooltip="The same frames, edited; of any size."),
                io.Combo.Input(
                    "motion",
                    options=[SHOT, FRAME],
                    default=SHOT,
                    tooltip="Which shift and zoom is undone: the median of a shot, which is calm, "
                    "or each frame's own.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE"),
                io.String.Output(
                    display_name="report", tooltip="What was undone, and what was left as it is."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, source, edited, motion) -> io.NodeOutput:
        frames, report = aligned(source, edited, motion)
        host.show(report, cls)
        return io.NodeOutput(frames, report, ui=ui.PreviewText(report))
