"""Learned styles: those that ship or were learned before, and one learned from a picture here."""

from __future__ import annotations

import re
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..pipelines.engines.style import LearnedStyle
from ..pipelines.errors import StyleAVideoError
from ..pipelines.run.learning import STEPS, Learner, learner_of, read_progress, write_progress
from ..weights.stylebank import (
    SHIPPED,
    STYLE_NAME,
    SUFFIX,
    about_style,
    find_style,
    network_identity,
    own_styles,
    read_style,
    style_names,
    write_style,
)
from .engine import StyleType, pictures_of, region_of

FOLDER = "stylebank"  # of ComfyUI's models
folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))

SHOWN_EVERY = 10  # steps
KEPT_EVERY = 100  # steps


def folders() -> list[Path]:
    """Where learned styles lie, in the order in which they are looked for."""
    return [*map(Path, folder_paths.get_folder_paths(FOLDER)), own_styles(), SHIPPED]


class LearnedStyleNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoLearnedStyle",
            display_name="Learned Style",
            category="Style-A-Video/pictures",
            description="A style that was learned beforehand, for Load Engine with stylebank; with "
            "others before it, several at once.",
            search_aliases=["stylebank", "fast style transfer", "filter bank"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=style_names(folders()),
                    tooltip="One that comes with the pack, or one of your own from Learn Style.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    tooltip="Its share beside the other styles'.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the frame the style counts: white. Nothing: everywhere.",
                ),
                StyleType.Input(
                    "previous",
                    optional=True,
                    tooltip="From another Learned Style: both count, by their weights or masks.",
                ),
            ],
            outputs=[StyleType.Output(display_name="STYLE", tooltip="For Load Engine.")],
        )

    @classmethod
    def execute(cls, name, weight, mask=None, previous=None) -> io.NodeOutput:
        filters = read_style(find_style(name, folders()))
        region = None if mask is None else region_of(mask)
        return io.NodeOutput((*(previous or ()), LearnedStyle(filters, weight, region, name)))

    @classmethod
    def fingerprint_inputs(cls, name, **_) -> float:
        """A style that was learned anew is read anew."""
        return find_style(name, folders()).stat().st_mtime


class LearnStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoLearnStyle",
            display_name="Learn Style",
            category="Style-A-Video/pictures",
            description="Learns the style of a picture, in minutes, and saves it under a name. A "
            "run that was cancelled goes on where it was.",
            search_aliases=["train style", "stylebank", "fast style transfer", "filter bank"],
            inputs=[
                io.Image.Input("image", tooltip="The picture: a painting, a print, a drawing."),
                io.String.Input(
                    "name",
                    default="my_style",
                    tooltip="Under which Learned Style finds it: letters, digits, _ and -.",
                ),
                io.Int.Input(
                    "steps",
                    default=STEPS,
                    min=1,
                    max=100_000,
                    tooltip="How long it learns: more come nearer to the picture.",
                ),
            ],
            outputs=[StyleType.Output(display_name="STYLE", tooltip="For Load Engine.")],
        )

    @classmethod
    def execute(cls, image, name, steps) -> io.NodeOutput:
        if not re.fullmatch(STYLE_NAME, name):
            raise StyleAVideoError(
                f"The name of a style must be 1 to 64 letters, digits, _ or -, not {name!r:.100}."
            )
        (picture, *more) = pictures_of(image)
        if more:
            raise StyleAVideoError(
                f"Learn Style learns from one picture, and there are {1 + len(more)}: give one."
            )
        about = {
            "picture": picture.identity["picture"],
            "steps": str(steps),
            "network": network_identity(),
        }
        path = folders()[0] / f"{name}{SUFFIX}"
        if not path.is_file():
            write_style(path, _learned(path, picture.image, steps, about), about)
        elif about_style(path) != about:
            raise StyleAVideoError(
                f"There is another style {name} already: choose another name, or delete "
                f"{path.name} in models/{FOLDER}."
            )
        return io.NodeOutput((LearnedStyle(read_style(path), name=name),))


def _learned(path: Path, picture: Tensor, steps: int, about: dict[str, str]) -> Tensor:
    """The filters, with progress and a preview on the block; kept when it is cancelled."""
    device = comfy.model_management.get_torch_device()
    kept = path.with_name(f".{path.stem}.progress")
    about = {k: v for k, v in about.items() if k != "steps"}  # it may go on for longer
    learner = learner_of(picture, device, steps)
    if state := read_progress(kept, about):
        learner.restore(state)
    bar = comfy.utils.ProgressBar(steps)
    try:
        while learner.step < steps:
            comfy.model_management.throw_exception_if_processing_interrupted()
            learner.learn()
            shown = _shown(learner) if learner.step % SHOWN_EVERY == 0 else None
            bar.update_absolute(learner.step, steps, shown)
            if learner.step % KEPT_EVERY == 0:
                write_progress(kept, learner, about)
    except comfy.model_management.InterruptProcessingException:
        write_progress(kept, learner, about)
        raise
    kept.unlink(missing_ok=True)
    return learner.filters


def _shown(learner: Learner) -> tuple:
    from .stream import PREVIEW, to_pil

    return "JPEG", to_pil(learner.preview().movedim(0, -1)), PREVIEW
