"""Learned styles: those that ship or were learned before, and one learned from a picture here."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..pipelines.engines.style import LearnedStyle
from ..pipelines.errors import StyleAVideoError
from ..pipelines.run.learning import (
    STEPS,
    Learner,
    about_learning,
    check_name,
    learner_of,
    progress_beside,
    read_progress,
    write_progress,
)
from ..weights.stylebank import (
    SHIPPED,
    SUFFIX,
    about_style,
    find_style,
    own_styles,
    read_style,
    style_names,
    write_style,
)
from .engine import (
    StyleType,
    mask_input,
    pictures_of,
    previous_input,
    region_of,
    weight_input,
)

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
                weight_input("styles"),
                mask_input("style"),
                previous_input("Learned Style"),
            ],
            outputs=[StyleType.Output(display_name="STYLE", tooltip="For Load Engine.")],
        )

    @classmethod
    def execute(cls, name, weight, mask=None, previous=None) -> io.NodeOutput:
        filters = read_style(find_style(name, folders()))
        region = region_of(mask)
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
        check_name("The name of a style", name)
        (picture, *more) = pictures_of(image)
        if more:
            raise StyleAVideoError(
                f"Learn Style learns from one picture, and there are {1 + len(more)}: give one."
            )
        of = about_learning(picture, steps)
        path = folders()[0] / f"{name}{SUFFIX}"
        if not path.is_file():
            write_style(path, _learned(path, picture.image, steps, of), of)
        elif about_style(path) != of:
            raise StyleAVideoError(
                f"There is another style {name} already: choose another name, or delete "
                f"{path.name} in models/{FOLDER}."
            )
        return io.NodeOutput((LearnedStyle(read_style(path), name=name),))


def _learned(path: Path, picture: Tensor, steps: int, of: dict[str, str]) -> Tensor:
    """The filters, with progress and a preview on the block; kept when it is cancelled."""
    device = comfy.model_management.get_torch_device()
    kept = progress_beside(path)
    learner = learner_of(picture, device, steps)
    if state := read_progress(kept, of):
        learner.restore(state)
    bar = comfy.utils.ProgressBar(steps)
    try:
        while learner.step < steps:
            comfy.model_management.throw_exception_if_processing_interrupted()
            learner.learn()
            shown = _shown(learner) if learner.step % SHOWN_EVERY == 0 else None
            bar.update_absolute(learner.step, steps, shown)
            if learner.step % KEPT_EVERY == 0:
                write_progress(kept, learner, of)
    except comfy.model_management.InterruptProcessingException:
        write_progress(kept, learner, of)
        raise
    kept.unlink(missing_ok=True)
    return learner.filters


def _shown(learner: Learner) -> tuple:
    from .stream import PREVIEW, to_pil

    return "JPEG", to_pil(learner.preview().movedim(0, -1)), PREVIEW
