"""Style from pictures: what a style is made of, engines, and frames through one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn.functional import interpolate

from ..pipelines.device import pick_dtype
from ..pipelines.engines.at_work import asking
from ..pipelines.engines.kinds import (
    LEARNED,
    PICTURES,
    WORDS,
    Carried,
    CarryingEngine,
    Engine,
    EngineKind,
    Loaded,
    identity,
)
from ..pipelines.engines.options import Options, kind_of
from ..pipelines.engines.registry import KINDS, kind_named
from ..pipelines.engines.style import (
    SEEN,
    SIDES,
    LearnedStyle,
    Style,
    StylePicture,
    read_style_picture,
)
from ..pipelines.errors import StyleAVideoError
from ..pipelines.media import WHOLE, Frame
from ..pipelines.refine.frames import InOrder
from ..pipelines.refine.keyframes import MOST, Keyframes, keyframed
from ..pipelines.run.painted import Painted, check_painted, check_shapes
from ..pipelines.run.segments import through
from ..pipelines.run.shots import Cuts, plan, segment_length
from ..weights.paintings import PAINTINGS, PHOTOS
from ..weights.paintings import painting as painting_named
from .video import UNCONNECTED, input_files, uploaded

StyleType = io.Custom("STYLEAVIDEO_STYLE")
"""Carries pictures or learned styles, a tuple: where it goes in, they are all."""
EngineType = io.Custom("STYLEAVIDEO_ENGINE")

SHIPPED = [one.name for one in (*PAINTINGS, *PHOTOS)]
LOADABLE = [kind for kind in KINDS if {PICTURES, LEARNED} & kind.takes and WORDS not in kind.takes]
"""Those that words lead too are wired of blocks of their own."""
LARGEST = 2.0**53  # of a widget that has no upper end


@dataclass(frozen=True)
class StyleEngine:
    """What an ENGINE socket carries: an engine's networks, and the style that they are to make."""

    name: str
    loaded: Loaded
    style: Style

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its pixels, as JSON values."""
        return identity(self.name, self.loaded, self.style)

    def engine(self) -> Engine | CarryingEngine:
        return watched(self.loaded.engine(self.style), self.loaded)


def keyframes_of(engine: Any, every: int) -> Keyframes | None:
    """Which frames are stylized: those that are painted, else one in so many; None: all.

    Raises:
        StyleAVideoError: painted keyframes beside `every`.
    """
    painted = getattr(engine, "loaded", None)
    if not isinstance(painted, Painted):
        return Keyframes(every) if every > 1 else None
    if every > 1:
        raise StyleAVideoError(
            "Painted Keyframes says which frames are keyframes: set keyframes to 1."
        )
    return painted.keyframes


def check_frames_of(engine: Any, size: tuple[int, int]) -> None:
    """Refuse painted keyframes of another shape than frames of this size (width, height)."""
    painted = getattr(engine, "loaded", None)
    if isinstance(painted, Painted):
        check_shapes(painted, size)


# widgets from an engine's options


def widget(options: type[Options], one: Field[Any]) -> io.Input:
    """The widget of one field of an engine's options."""
    about, kind = one.metadata, kind_of(options, one)
    given = {"default": one.default, "tooltip": _sentence(about["what"])}
    given["optional"] = True  # graphs of earlier versions lack the newest
    if about["choices"]:
        return io.Combo.Input(one.name, options=list(about["choices"]), **given)
    if kind is bool:
        return io.Boolean.Input(one.name, **given)
    if kind is int:
        ends = {"min": int(about["low"]), "max": int(min(about["high"], LARGEST))}
        return io.Int.Input(one.name, **given, **ends)
    if kind is float:
        high = min(about["high"], 1000.0)
        step = 0.05 if high <= 10 else 1.0
        return io.Float.Input(one.name, **given, min=about["low"], max=high, step=step)
    return io.String.Input(one.name, **given)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def choice(kind: EngineKind) -> io.DynamicCombo.Option:
    """An engine in the list of engines, with its options."""
    return io.DynamicCombo.Option(
        kind.name, [widget(kind.options, one) for one in fields(kind.options)]
    )


# styles


def pictures_of(image: Tensor, first: int = 1) -> tuple[StylePicture, ...]:
    """IMAGE (N,H,W,3 or 4) → a picture each, at most `SEEN` px a side, called by its number."""
    given = (StylePicture(_on_white(one), name=str(n)) for n, one in enumerate(image, first))
    return tuple(replace(one, image=_scaled(one.image)) for one in given)


def _on_white(image: Tensor) -> Tensor:
    """(H,W,3 or 4) → (3,H,W)."""
    colours, alpha = image[..., :3].float(), image[..., 3:].float()
    if alpha.numel():
        colours = colours * alpha + 1 - alpha
    return colours.movedim(-1, 0).clamp(0, 1).cpu()


def _scaled(image: Tensor) -> Tensor:
    scale = SEEN / max(image.shape[-2:])
    if scale >= 1:
        return image
    size = [max(SIDES[0], round(side * scale)) for side in image.shape[-2:]]
    return interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)


def weight_input(others: str) -> io.Input:
    """Of a picture or a learned style in a chain of them."""
    tooltip = f"Its share beside the other {others}'."
    return io.Float.Input("weight", default=1.0, min=0.0, max=100.0, step=0.05, tooltip=tooltip)


def mask_input(one: str) -> io.Input:
    tooltip = f"Where in the frame the {one} counts: white. Nothing: everywhere."
    return io.Mask.Input("mask", optional=True, tooltip=tooltip)


def keyframes_input() -> io.Input:
    return io.Int.Input(
        "keyframes",
        default=1,
        min=1,
        max=MOST,
        optional=True,  # graphs of version 0.1 do not have it
        tooltip="Stylize one frame in so many, more where much changes, and carry the style to the "
        "others along the motion. 1: stylize every frame.",
    )


def previous_input(block: str) -> io.Input:
    tooltip = f"From another {block}: both count, by their weights or masks."
    return StyleType.Input("previous", optional=True, tooltip=tooltip)


def picture_path(name: str) -> Path:
    """Of a picture that comes with the pack, or of a file in ComfyUI's folders; StyleAVideoError
    where there is none."""
    if not isinstance(name, str) or not name:
        raise StyleAVideoError("There is no picture: choose a file, or connect an image.")
    return painting_named(name).path if name in SHIPPED else uploaded(name)


class StylePictureNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoStylePicture",
            display_name="Style Picture",
            category="Style-A-Video/pictures",
            description="A picture whose style is wanted; with others before it, several at once.",
            search_aliases=["style image", "painting", "style reference", "mix styles"],
            inputs=[
                # Required, because ComfyUI gives only a required input its upload button.
                io.Combo.Input(
                    "painting",
                    display_name="picture",
                    options=[*SHIPPED, *input_files("image")],
                    default=SHIPPED[0],
                    upload=io.UploadType.image,
                    tooltip="A picture in ComfyUI's input folder, or one that comes with the pack; "
                    "not used where image is connected.",
                ),
                weight_input("pictures"),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Pictures of other blocks, such as Load Image; a batch is several.",
                ),
                mask_input("picture"),
                previous_input("Style Picture"),
            ],
            outputs=[
                StyleType.Output(
                    display_name="STYLE", tooltip="For Load Engine or Picture Condition."
                ),
                io.Image.Output(display_name="IMAGE", tooltip="The picture, to look at."),
            ],
        )

    @classmethod
    def validate_inputs(cls, painting="", image=UNCONNECTED) -> bool | str:
        if image is not UNCONNECTED or painting is None:  # a connected name is known only later
            return True
        try:
            picture_path(painting)
        except StyleAVideoError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, painting="", image=UNCONNECTED, **_: Any) -> float | None:
        if image is not UNCONNECTED or painting is None:
            return None
        return os.path.getmtime(picture_path(painting))

    @classmethod
    def execute(cls, painting, weight, image=None, mask=None, previous=None) -> io.NodeOutput:
        before = previous or ()
        pictures: tuple[StylePicture, ...]
        if image is None:
            pictures = (read_style_picture(picture_path(painting)),)
        else:
            pictures = pictures_of(image, len(before) + 1)
        region = region_of(mask)
        mine = (replace(one, weight=weight, mask=region) for one in pictures)
        shown = torch.stack([one.image.movedim(0, -1) for one in pictures])
        return io.NodeOutput((*before, *mine), shown, ui=ui.PreviewImage(shown[:16], cls=cls))


def region_of(mask: Tensor | None) -> Tensor | None:
    """MASK (H,W) or (1,H,W) → (1,H,W); None: everywhere."""
    if mask is None:
        return None
    masks = mask.reshape(-1, *mask.shape[-2:])
    if len(masks) > 1:
        raise StyleAVideoError(
            f"The mask of a style has {len(masks)} pictures, one a frame: give one for all."
        )
    return masks.float().cpu().clamp(0, 1)


# engines


def style_of(given: Tensor | tuple[StylePicture | LearnedStyle, ...]) -> Style:
    """Of an IMAGE or a STYLE."""
    if isinstance(given, Tensor):
        return Style(pictures=pictures_of(given))
    pictures = tuple(one for one in given if isinstance(one, StylePicture))
    return Style("", pictures, tuple(one for one in given if isinstance(one, LearnedStyle)))


class LoadEngine(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoLoadEngine",
            display_name="Load Engine",
            category="Style-A-Video/pictures",
            description="A way to stylize frames after pictures or by learned styles, with its "
            "networks and settings.",
            search_aliases=[
                "style transfer",
                "neural style",
                "sctnet",
                "ccpl",
                "adain",
                "wct",
                "gatys",
                "image analogy",
                "stylebank",
            ],
            inputs=[
                io.MultiType.Input(
                    "style",
                    [io.Image, StyleType],
                    tooltip="The picture: an IMAGE, or STYLE of Style Picture or Learned Style.",
                ),
                io.DynamicCombo.Input(
                    "engine",
                    options=[choice(kind) for kind in LOADABLE],
                    tooltip="How it is done: each has its own settings, which appear below.",
                ),
            ],
            outputs=[
                EngineType.Output(
                    display_name="ENGINE", tooltip="For Stylize Video or Stylize Frames by Engine."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, style=None, engine=None) -> bool | str:
        # style, though not looked at: ComfyUI asks only where an input of these is given.
        if engine is None:
            return f"engine must be one of: {', '.join(kind.name for kind in LOADABLE)}."
        return True

    @classmethod
    def execute(cls, style, engine) -> io.NodeOutput:
        wanted = style_of(style)
        settings = {name: value for name, value in engine.items() if value is not None}
        kind = kind_named(settings.pop("engine"))
        kind.check(wanted)
        device = comfy.model_management.get_torch_device()
        precise = comfy.model_management.FORCE_FP32
        dtype = torch.float32 if precise else pick_dtype("auto", device)
        loaded = kind.load(kind.options(**settings), device, dtype)
        return io.NodeOutput(StyleEngine(kind.name, loaded, wanted))


# frames through an engine


class _Watched:
    """An engine between whose chunks ComfyUI can end the run and take its memory back."""

    def __init__(self, engine: Any, loaded: Loaded) -> None:
        self.engine, self.loaded = engine, loaded
        self.last: Tensor | None = None

    def _ready(self, frames: Tensor) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        needed = self.loaded.bytes_per_pixel * frames[:, 0].numel()
        comfy.model_management.free_memory(needed, self.loaded.device)

    def __call__(self, frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        self._ready(frames)
        with asking(comfy.model_management.throw_exception_if_processing_interrupted):
            stylized = self.engine(frames, frame_indices)
        self.last = stylized[-1].movedim(0, -1)
        return stylized


class _WatchedCarrying(_Watched):
    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        self._ready(frames)
        with asking(comfy.model_management.throw_exception_if_processing_interrupted):
            stylized, then = self.engine.carry(frames, frame_indices, carried)
        self.last = stylized[-1].movedim(0, -1)
        return stylized, then


def watched(engine: Engine | CarryingEngine, loaded: Loaded) -> _Watched:
    """The same engine, which keeps its last frame (H,W,3) as `last` for a preview."""
    carries = isinstance(engine, CarryingEngine)
    return (_WatchedCarrying if carries else _Watched)(engine, loaded)


def stylized_frames(
    frames: Tensor, engine: StyleEngine, chunk: int, keyframes: Keyframes | None = None
) -> Tensor:
    """IMAGE (T,H,W,3) → IMAGE; what the engine carries begins anew at every cut.

    keyframes: None: the engine makes all of them.
    """
    images = frames[..., :3].movedim(-1, 1)
    made, bar = engine.engine(), comfy.utils.ProgressBar(len(frames))
    if keyframes is not None:
        results = _by_keyframes(images.cpu(), made, chunk, keyframes, bar.update)
        return torch.cat(results).movedim(1, -1)
    cuts, results = Cuts(), []
    starts = [i for i, image in enumerate(images) if cuts(image.cpu()) or not i]
    ends = [*starts[1:], len(images)]
    for start, end in zip(starts, ends, strict=True):
        in_order = InOrder(made, None)
        for i in range(start, end, chunk):
            some = images[i : min(i + chunk, end)]
            results.append(in_order(some, range(i, i + len(some))).cpu().float())
            bar.update(len(some))
    return torch.cat(results).movedim(1, -1)


def _by_keyframes(
    images: Tensor,
    engine: Any,
    chunk: int,
    settings: Keyframes,
    told: Callable[[int], None],
) -> list[Tensor]:
    """Frames (T,3,H,W), a segment at a time, as a run of a whole video has them."""
    length = segment_length(images.shape[-1], images.shape[-2], settings)
    numbered = (Frame(image, Fraction(i), Fraction(1)) for i, image in enumerate(images))
    found = plan(numbered, length, ends=settings.painted or ())
    if settings.painted is not None:
        check_painted(settings.painted, found, WHOLE)
    results: list[Tensor] = []
    carried: Carried | None = None
    shot = 0
    for segment in found.segments:
        some, indices = images[segment.start : segment.end], range(segment.start, segment.end)

        def paint(
            positions: Sequence[int],
            before: Carried | None,
            some: Tensor = some,
            indices: range = indices,
        ) -> tuple[Tensor, Carried | None]:
            images, at = [some[p] for p in positions], [indices[p] for p in positions]
            return through(engine, images, at, chunk, before)

        before = carried if segment.shot == shot else None
        stylized, carried = keyframed(some, indices, paint, before, settings)
        results.append(stylized)
        shot = segment.shot
        told(len(some))
    return results


class EngineFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoEngineFrames",
            display_name="Stylize Frames by Engine",
            category="Style-A-Video/pictures",
            description="Frames through an engine; for a whole video there is Stylize Video.",
            search_aliases=["style transfer", "picture style"],
            inputs=[
                io.Image.Input("frames", tooltip="The video's frames, or any picture."),
                EngineType.Input("engine", tooltip="From Load Engine or Painted Keyframes."),
                io.Int.Input(
                    "frames_per_batch",
                    default=4,
                    min=1,
                    max=256,
                    tooltip="Frames at a time: fewer take less memory.",
                ),
                keyframes_input(),
            ],
            outputs=[io.Image.Output(display_name="IMAGE")],
        )

    @classmethod
    def execute(cls, frames, engine, frames_per_batch, keyframes=1) -> io.NodeOutput:
        chosen = keyframes_of(engine, keyframes)
        check_frames_of(engine, (frames.shape[2], frames.shape[1]))
        return io.NodeOutput(stylized_frames(frames, engine, frames_per_batch, chosen))
