"""One block for those who want one; inside it is nothing but the other blocks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..pipelines.engines.diffusion.settings import Settings
from ..pipelines.engines.diffusion.speeds import SPEEDS
from ..pipelines.errors import StyleAVideoError
from . import host, inner_levels
from .attention import AttentionCondition, AttentionMap
from .builtin_model import BuiltInModel, defaults
from .conditions import FrameCondition, TextCondition
from .engine import StyleType
from .guidance import PresetGuiderNode
from .noise import FrameNoise
from .picture_condition import PictureCondition
from .presets import scale_input
from .video import FrameInfoType


def own_settings(model: Any, **chosen: Any) -> dict[str, Any]:
    """What is chosen, beneath it what the model was made for, beneath that the library's values."""
    given = defaults() if isinstance(model.model, BuiltInModel) else {}
    return asdict(Settings.resolve(given, **chosen))


def at_speed(settings: dict[str, Any], speed: str) -> dict[str, Any]:
    """With the speed's steps and inner levels; the sampler stays."""
    return settings | SPEEDS[speed].saved(Settings(**settings)).settings


def sigmas_from(model: Any, scheduler: str, settings: Settings) -> Tensor:
    """The steps from the start level on, as ComfyUI's Basic Scheduler has them by `denoise`."""
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, settings.schedule_length)
    return sigmas[-(settings.num_inference_steps + 1) :]


def attended(model: Any, frame: Any, settings: dict[str, Any], seed: int) -> Any:
    """The attention condition as the settings say: a map of each frame, or of the step before."""
    layer = settings["attention_layer"].replace("mid", "middle")
    threshold = settings["attention_threshold"]
    mask = None
    if settings["attention_mode"] == "probe":
        level, noise = settings["attention_level"], settings["noise"]
        made = AttentionMap.execute(model, frame, layer, level, threshold, seed, noise)
        mask = made.args[0]
    return AttentionCondition.execute(frame, layer, threshold, mask)[0]


def stylize(
    model: Any,
    clip: Any,
    vae: Any,
    frames: Tensor,
    text: str,
    negative: str,
    settings: dict[str, Any],
    sampler: str,
    scheduler: str,
    seed: int,
    frame_info: Any,
    style: Any = None,
    picture_share: float = 1.0,
) -> Tensor:
    """Frames (T,H,W,3) in [0,1] → stylized frames, by this pack's blocks and stock samplers."""
    import latent_preview  # a module of ComfyUI's own folder

    if not host.sees_frames(model):
        raise StyleAVideoError(
            "Stylize needs a model that sees the frame (the built-in model, InstructPix2Pix, or "
            "Load Edit Model); for another model wire Style Guider with ControlNet instead."
        )
    prompt = None
    if style is None or picture_share < 1:
        prompt = TextCondition.execute(clip, text, True, len(frames), frame_info)[0]
    if style is not None:
        prompt = PictureCondition.execute(clip, style, prompt, picture_share)[0]
    null = TextCondition.execute(clip, negative, True, len(frames), frame_info)[0]
    frame, empty = FrameCondition.execute(null, vae, frames).args
    attention = attended(model, frame, settings, seed) if settings["attention_scale"] else None
    guider = PresetGuiderNode.execute(
        inner_levels.reused(model, settings["inner_every"]),
        prompt,
        null,
        settings["preset"],
        settings["frame_scale"],
        settings["text_scale"],
        settings["attention_scale"],
        0,
        frame=frame,
        attention=attention,
    )[0]
    sigmas = sigmas_from(model, scheduler, Settings(**settings))
    start = empty["samples"] if settings["start_level"] == 1 else frame[0][1][host.FRAME_LATENTS]
    indices = None if frame_info is None else list(frame_info.indices)
    noise = FrameNoise(seed, settings["noise"], settings["noise_blend"], indices)
    latents = guider.sample(
        noise.generate_noise(empty),
        start,
        comfy.samplers.sampler_object(sampler),
        sigmas,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=noise.seed,
    )
    return vae.decode(latents.to(comfy.model_management.intermediate_device()))


class Stylize(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def scales(preset: str, frame: float, text: float, *more: Any) -> io.DynamicCombo.Option:
            return io.DynamicCombo.Option(
                preset,
                [
                    scale_input(
                        "frame_scale", frame, "s_I: how closely the result follows the frame."
                    ),
                    scale_input(
                        "text_scale", text, "s_T: how strongly the result follows the words."
                    ),
                    *more,
                ],
            )

        attention = scale_input(
            "attention_scale",
            0.3,
            "s_M: how much more closely it does where the model attends.",
            optional=True,
        )

        return io.Schema(
            node_id="StyleAVideoStylize",
            display_name="Stylize Frames",
            category="Style-A-Video",
            description="Frames in, stylized frames out, in the style of words or of a picture: "
            "all the other blocks in one.",
            search_aliases=["style a video", "video style transfer", "video to painting"],
            inputs=[
                io.Model.Input("model", tooltip="Load Built-in Model, or an InstructPix2Pix."),
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                io.Vae.Input("vae", tooltip="The autoencoder of the model."),
                io.Image.Input("frames", tooltip="The video's frames, sides in multiples of 8."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="watercolour",
                    tooltip='The style in words, or prompts by frame: 0: "sketch", 48: "oil".',
                ),
                io.String.Input(
                    "negative", default="", tooltip="What the result should not be; may be empty."
                ),
                io.DynamicCombo.Input(
                    "guidance",
                    options=[
                        io.DynamicCombo.Option("model's own", []),
                        scales("instruct-pix2pix", 1.5, 7.5),
                        scales("paper", 2.0, 2.0, attention),
                    ],
                    tooltip="model's own: the scales that the model was made for; instruct-pix2pix "
                    "and paper: scales of your own.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Steps of the sampler; 0 is the model's own: 1 built-in (10 with "
                    "paper), else 30.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.SAMPLER_NAMES,
                    default="euler",
                    advanced=True,
                    tooltip="ComfyUI's samplers; euler is DDIM.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="simple",
                    advanced=True,
                    tooltip="Spacing of the steps.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of the noise that all frames share.",
                ),
                io.Float.Input(
                    "start_level",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="Where sampling starts: 1 noise, below it the frame noised so far; "
                    "0 is the model's own.",
                ),
                io.Combo.Input(
                    "speed",
                    options=list(SPEEDS),
                    default="exact",
                    optional=True,  # graphs of version 0.1 do not have it
                    advanced=True,
                    tooltip="Fewer steps where there are several: balanced takes two fifths of "
                    "them, fast one fifth; a U-Net's inner levels run in every other one.",
                ),
                FrameInfoType.Input(
                    "frame_info",
                    optional=True,
                    tooltip="From Load Video Frames; prompts by frame number follow it.",
                ),
                io.MultiType.Input(
                    "style",
                    [io.Image, StyleType],
                    optional=True,
                    tooltip="A picture in the place of the prompt; for the built-in model.",
                ),
                io.Float.Input(
                    "picture_share",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="How much the picture counts beside the prompt; at 1 the prompt is "
                    "left out.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE")],
        )

    # Where a dynamic input is unknown ComfyUI drops it and notes the error under another that is
    # asked for here: one with nothing to validate.
    @classmethod
    def validate_inputs(cls, negative="", guidance=None) -> bool | str:
        if guidance is None:
            return "guidance must be one of: model's own, instruct-pix2pix, paper."
        return True

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        frames,
        prompt,
        negative,
        guidance,
        steps,
        sampler_name,
        scheduler,
        seed,
        frame_info=None,
        start_level=0.0,
        speed="exact",
        style=None,
        picture_share=1.0,
    ) -> io.NodeOutput:
        chosen: dict[str, Any] = {}
        if guidance["guidance"] != "model's own":
            chosen = {
                "preset": guidance["guidance"],
                "frame_scale": guidance["frame_scale"],
                "text_scale": guidance["text_scale"],
                "attention_scale": guidance.get("attention_scale", 0.0),
            }
        if steps:
            chosen["num_inference_steps"] = steps
        if start_level:
            chosen["start_level"] = start_level
        settings = at_speed(own_settings(model, **chosen), speed)
        return io.NodeOutput(
            stylize(
                model,
                clip,
                vae,
                frames,
                text=prompt,
                negative=negative,
                settings=settings,
                sampler=sampler_name,
                scheduler=scheduler,
                seed=seed,
                frame_info=frame_info,
                style=style,
                picture_share=picture_share,
            )
        )
