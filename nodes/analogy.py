"""Deep Image Analogy (Liao et al. 2017): two pictures of like things, each in the other's look."""

from __future__ import annotations

import logging

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui
from torch import Tensor

from ..pipelines.core.analogy import COARSE_TO_FINE, flow_picture
from ..pipelines.engines.analogy import ENOUGH, Analogies, AnalogyOptions
from ..pipelines.engines.at_work import asking
from ..pipelines.engines.style import StylePicture
from ..pipelines.errors import StyleAVideoError
from . import host
from .engine import pictures_of

logger = logging.getLogger(__name__)


class DeepImageAnalogy(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoDeepImageAnalogy",
            display_name="Deep Image Analogy",
            category="Style-A-Video/pictures",
            description="Two pictures of like things, each in the other's look, patch by patch. "
            "Says where they have too little in common.",
            search_aliases=["image analogy", "patchmatch", "visual attribute transfer"],
            inputs=[
                io.Image.Input("image_a", tooltip="A picture, such as a photo."),
                io.Image.Input(
                    "image_b", tooltip="Another one of like things, such as a painting."
                ),
                io.Int.Input(
                    "content",
                    default=2,
                    min=1,
                    max=3,
                    tooltip="How much of its own shapes each picture keeps.",
                ),
                io.Boolean.Input(
                    "colours_only",
                    default=False,
                    tooltip="Only colours go over, lines and surfaces stay: for two photos.",
                ),
                io.Int.Input(
                    "size",
                    default=384,
                    min=64,
                    max=1024,
                    tooltip="The longer side of both results, px.",
                ),
                io.Combo.Input(
                    "reconstruct",
                    options=["warp", "lbfgs"],
                    default="warp",
                    tooltip="How features come to a finer level: warped, or by L-BFGS as in the "
                    "authors' code, where shapes stay better, in six times the time.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="A like B", tooltip="What A shows, in B's look."),
                io.Image.Output(display_name="B like A", tooltip="What B shows, in A's look."),
                io.Mask.Output(
                    display_name="confidence", tooltip="Where A has found something like it in B."
                ),
                io.Image.Output(
                    display_name="field",
                    tooltip="Where in B the match of each place of A lies: the hue is the "
                    "direction, white is the same place.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, image_a, image_b, content, colours_only, size, reconstruct) -> io.NodeOutput:
        a, b = _one_of("A", image_a), _one_of("B", image_b)
        options = AnalogyOptions(
            style_size=size, content=content, colours_only=colours_only, reconstruct=reconstruct
        )
        device = comfy.model_management.get_torch_device()
        comfy.model_management.free_memory(Analogies.bytes_per_pixel * size * size, device)
        bar = comfy.utils.ProgressBar(len(COARSE_TO_FINE))

        with asking(comfy.model_management.throw_exception_if_processing_interrupted):
            found = Analogies(options, device).pair(a, b, lambda: bar.update(1))
        text = f"{found.share:.0%} of the patches found a match."
        if found.share < ENOUGH:
            text = f"Too little in common: only {text} Choose pictures that show like things."
            logger.warning(text)
        host.show(text, cls)
        field = flow_picture(found.flow)
        return io.NodeOutput(
            _image(found.a_prime),
            _image(found.b),
            found.confidence[None].cpu(),
            _image(field),
            ui=ui.PreviewText(text),
        )


def _one_of(name: str, image: Tensor) -> StylePicture:
    (picture, *more) = pictures_of(image)
    if more:
        raise StyleAVideoError(
            f"Deep Image Analogy takes one picture as {name}, and there are {1 + len(more)}: give "
            "one; for frames there is Load Engine with analogy."
        )
    return picture


def _image(picture: Tensor) -> Tensor:
    """(3,H,W) → IMAGE (1,H,W,3)."""
    return picture.clamp(0, 1).movedim(0, -1)[None].cpu().float()
