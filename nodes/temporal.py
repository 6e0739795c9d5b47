"""Temporal consistency as blocks: a refiner for any stylized clip, and its measures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn import functional as F

from ..pipelines.errors import StyleAVideoError
from ..pipelines.flow import FLOWS
from ..pipelines.media import Frame
from ..pipelines.refine.frames import METHODS, Refining, refine_frames
from ..pipelines.report import charts, report
from ..pipelines.report.judges import ClipNetwork, Judges, if_here, load_encoder, load_sifid
from ..pipelines.report.measures import Measures, measure, stretched
from . import correction
from .builtin_model import BuiltInVision


class TemporalRefiner(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoTemporalRefiner",
            display_name="Temporal Refiner",
            category="Style-A-Video/video",
            description=(
                "Takes the flicker out of a clip that was stylized frame by frame, by whatever "
                "means: every frame follows the one before along the motion of the source."
            ),
            search_aliases=["deflicker", "temporal consistency", "stabilize style", "flicker"],
            inputs=[
                io.Image.Input("source", tooltip="The unedited frames, whose motion counts."),
                io.Image.Input("stylized", tooltip="The same frames, stylized."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0 leaves every frame as it is, 1 is the whole refinement.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="learned",
                    tooltip="learned: a small network. blend: the past blended in where the motion "
                    "explains the source, without a network.",
                ),
                io.Combo.Input(
                    "flow",
                    options=list(FLOWS),
                    default="dis",
                    advanced=True,
                    tooltip="Who estimates the motion: OpenCV's DIS, or RAFT with its weights.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE")],
        )

    @classmethod
    def execute(cls, source, stylized, strength, method, flow) -> io.NodeOutput:
        return io.NodeOutput(refined(source, stylized, Refining(strength, method, flow)))


def refined(source: Tensor, stylized: Tensor, settings: Refining) -> Tensor:
    """IMAGE (T,H,W,3) beside its source → the refined IMAGE; the very same at strength 0.

    A fourth channel of `stylized` stays as it is.

    Raises:
        StyleAVideoError: other numbers of frames, or no OpenCV.
    """
    if len(source) != len(stylized):
        raise StyleAVideoError(
            f"The source has {len(source)} frames and the stylized clip {len(stylized)}: connect "
            "the frames that were stylized."
        )
    if settings.strength == 0:
        return stylized
    device = comfy.model_management.get_torch_device()
    bar = comfy.utils.ProgressBar(len(source))

    def pairs():
        for x, y in zip(source, stylized, strict=True):
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update(1)
            yield (i[..., :3].movedim(-1, 0).to(device) for i in (x, y))

    frames = [frame.movedim(0, -1).cpu() for frame in refine_frames(pairs(), settings)]
    return torch.cat([torch.stack(frames).to(stylized), stylized[..., 3:]], -1)


class ConsistencyReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        result = io.Image.Input("result", tooltip="A clip made from the source.")
        return io.Schema(
            node_id="StyleAVideoConsistencyReport",
            display_name="Consistency Report",
            category="Style-A-Video/video",
            description=(
                "How much do clips flicker? Measures any number of results beside their source: "
                "warping error, flicker, strength, sharpness; as a plot, a table and JSON."
            ),
            search_aliases=["flicker", "warping error", "metrics", "temporal consistency"],
            inputs=[
                io.Image.Input(
                    "source", tooltip="The unedited frames: the floor of every measure."
                ),
                io.Autogrow.Input(
                    "results",
                    template=io.Autogrow.TemplatePrefix(result, prefix="result_", min=1, max=8),
                    tooltip="Clips to measure; a new place appears for each one connected.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For likeness by CLIP: to the source, and of neighbouring frames.",
                ),
                io.Image.Input(
                    "style_image",
                    optional=True,
                    tooltip="A picture in the style asked for, the first one counts: how near the "
                    "style of every frame comes to it.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frames a second: for the time axis of the plot.",
                ),
                io.Combo.Input(
                    "flow",
                    options=list(FLOWS),
                    default="dis",
                    advanced=True,
                    tooltip="Who estimates the motion: OpenCV's DIS, or RAFT with its weights.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot"),
                io.String.Output(display_name="table"),
                io.String.Output(display_name="json", tooltip="All numbers, frame by frame."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, source, results, fps, flow, clip_vision=None, style_image=None
    ) -> io.NodeOutput:
        charts.check_matplotlib()
        given = [image for image in results.values() if image is not None]
        measured = measured_clips(source, given, fps, flow, clip_vision, style_image)
        plot = charts.plot(measured).movedim(1, -1)
        said = report.table(measured), *report.said(measured), report.notes(measured)
        table = "\n\n".join(said).rstrip()
        numbers = json.dumps(report.as_dict(measured), ensure_ascii=False)
        shown = {**ui.PreviewImage(plot, cls=cls).as_dict(), **ui.PreviewText(table).as_dict()}
        return io.NodeOutput(plot, table, numbers, ui=shown)


def measured_clips(
    source: Tensor,
    results: list[Tensor],
    fps: float,
    flow: str,
    vision: Any,
    style_image: Tensor | None = None,
) -> Measures:
    """IMAGEs (T,H,W,3) beside their source, which takes the first result's size.

    SIFID is measured where its network is here; where not, a style image gets a note instead.

    Raises:
        StyleAVideoError: clips of other lengths or sizes, an empty one, or no OpenCV.
    """
    height, width = size = results[0].shape[1:3]
    clips = [source, *results]
    names = ["source", *(f"result {k}" for k in range(1, len(clips)))]
    for name, clip in zip(names, clips, strict=True):
        if len(clip) != len(source) or len(clip) == 0:
            raise StyleAVideoError(
                f"The source has {len(source)} frames and {name} {len(clip)}: connect clips of "
                "the same frames."
            )
    bar = comfy.utils.ProgressBar(len(source))

    def frames(clip: Tensor) -> Iterator[Frame]:
        for i, image in enumerate(clip[..., :3]):
            x = image.movedim(-1, 0)[None].float()
            if clip is source and x.shape[2:] != size:
                x = F.interpolate(x, size, mode="area")
            yield Frame(x[0], Fraction(i / fps), Fraction(1 / fps))

    def tell(done: int, _: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done)

    streams = [frames(clip) for clip in clips]
    measured = measure(
        streams[0],
        streams[1:],
        names,
        flow=FLOWS[flow],
        judges=_judges(vision, style_image),
        device=comfy.model_management.get_torch_device(),
        progress=tell,
    )
    measured.notes += stretched("source", source.shape[2] / source.shape[1], (width, height))
    return measured


def _judges(vision: Any, style_image: Tensor | None) -> Judges:
    device = comfy.model_management.get_torch_device()
    sifid, no_sifid = if_here("SIFID", load_sifid, device)
    network = None
    if vision is not None:
        own = isinstance(vision, BuiltInVision)
        network = ClipNetwork("CLIP_VISION", partial(_likeness, vision), None, own)
    if style_image is None:  # nobody asked for SIFID
        return Judges(network, sifid=sifid)
    style = style_image[0, ..., :3].movedim(-1, 0).float()
    return Judges(
        network,
        sifid=sifid,
        encoder=load_encoder(device),
        style_image=style,
        style_name="IMAGE",
        missing=no_sifid,
    )


def _likeness(vision: Any, frames: Tensor) -> Tensor:
    """CLIP's embeddings (T,d) of frames (T,3,H,W)."""
    comfy.model_management.load_models_gpu([vision.patcher])
    return correction.embed(vision, frames).cpu()
