"""A picture as CONDITIONING, in the place of words or mixed with them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..pipelines.errors import StyleAVideoError
from ..weights import style_projection
from . import builtin_model
from .engine import StyleType, style_of


def entry_of(clip: Any, style: Any) -> tuple[Any, dict[str, Any]]:
    """An entry of CONDITIONING: hidden (1,77,D), and pooled (1,P).

    Raises:
        StyleAVideoError: a CLIP that is not the built-in model's, a learned style, or a mask.
    """
    if not builtin_model.is_built_in(clip):
        raise StyleAVideoError(
            "A picture in the place of words is for the built-in model: connect the CLIP of Load "
            "Built-in Model. For another model use its IP-Adapter."
        )
    wanted = style_of(style)
    if wanted.learned:
        raise StyleAVideoError("A learned style is no picture: connect it to Load Engine.")
    if any(picture.mask is not None for picture in wanted.pictures):
        raise StyleAVideoError(
            "A picture in the place of words is for the whole frame: leave its mask out. For a "
            "region give Weighted Condition a mask."
        )
    images = [picture.image for picture in wanted.pictures]
    hidden, pooled = style_projection.picture_text(images, wanted.shares)
    return hidden, {"pooled_output": pooled}


def beside_words(entry: tuple[Any, dict[str, Any]], words: Any, share: float) -> list[Any]:
    """CONDITIONING of words with so much of the picture's entry in each of its own.

    Raises:
        StyleAVideoError: words that another model's CLIP encoded.
    """
    hidden, extra = entry
    mixed = []
    for text, options in words:
        pooled = options.get("pooled_output")
        if text.shape[2:] != hidden.shape[2:] or pooled is None:
            raise StyleAVideoError("The words must come from the CLIP of Load Built-in Model.")
        # A picture's is the same at all places, however many the words have.
        everywhere = hidden[:, :1].to(text)
        by = {"pooled_output": pooled.lerp(extra["pooled_output"].to(pooled), share)}
        mixed.append([text.lerp(everywhere, share), {**options, **by}])
    return mixed


class PictureCondition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoPictureCondition",
            display_name="Picture Condition",
            category="Style-A-Video/conditions",
            description="c_T: the style of a picture in the place of words, or mixed with them; "
            "for the built-in model.",
            search_aliases=["style image", "image prompt", "ipadapter", "style reference"],
            inputs=[
                io.Clip.Input("clip", tooltip="CLIP of Load Built-in Model."),
                io.MultiType.Input(
                    "style",
                    [io.Image, StyleType],
                    tooltip="The picture: an IMAGE, or STYLE of Style Picture.",
                ),
                io.Conditioning.Input(
                    "words", optional=True, tooltip="From Text Condition: mixed with the picture."
                ),
                io.Float.Input(
                    "picture_share",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="Of the picture beside the words; without words it is all.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="CONDITIONING")],
        )

    @classmethod
    def execute(cls, clip, style, words=None, picture_share=0.5) -> io.NodeOutput:
        entry = entry_of(clip, style)
        if words is None:
            return io.NodeOutput([list(entry)])
        return io.NodeOutput(beside_words(entry, words, picture_share))
