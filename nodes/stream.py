"""A whole video through an engine or any guider, a few frames at a time, resumable."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import Input, InputImpl, io
from PIL import Image
from torch import Tensor

from ..pipelines import media as files
from ..pipelines.errors import StyleAVideoError
from ..pipelines.refine.frames import Refining
from ..pipelines.refine.keyframes import Keyframes
from ..pipelines.run.job import digest, versions
from ..pipelines.run.leftovers import clear
from ..pipelines.run.shots import MOST
from ..pipelines.run.stylize import Kept, memory_of, stylize_video
from . import correction, frame_place, host
from .engine import EngineType, check_frames_of, keyframes_input, keyframes_of
from .hint import Follow, check_followed, check_hint
from .noise import FrameNoise
from .numbered import NumberedFrames, numbered
from .sampling import Sampling
from .two_models import TwoModelGuider, guiders_in
from .video import FileClip, file_of, input_path, time_range
from .windows import Windowed, check_memory, is_for

JOBS = "style_a_video_jobs"
"""A folder in ComfyUI's output folder: what is done of videos that are not finished."""
TO_CLEAR = f"To free that, delete the folder {JOBS} in ComfyUI's output folder"
WRAPPER = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
PREVIEW = 512  # px
PARTS = tuple(part.name for part in fields(Sampling) if part.name != "from_frames")


def with_frames(guider: Any, latents: Tensor, images: Tensor, hint: Tensor | None = None) -> Any:
    """A guider for these frames, whatever frames the given one was made with.

    Args:
        latents: of the frames (T,C,h,w).
        images: the frames (T,H,W,3) in [0,1].
        hint: what ControlNets see of the frames (T,3,H,W).

    Raises:
        StyleAVideoError: something in it belongs to single frames and cannot be made anew: a probed
            attention mask, a mask or a prompt a frame, a ControlNet without hint, a picture to
            fill in.
    """
    if isinstance(guider, TwoModelGuider):
        return guider.changed(lambda one: with_frames(one, latents, images, hint))
    if not isinstance(guider, comfy.samplers.CFGGuider):
        raise StyleAVideoError(
            f"This guider ({type(guider).__name__}) cannot be given other frames: connect Style "
            "Guider, Multi-condition Guider or ComfyUI's CFGGuider."
        )
    if latents.ndim != 4 and not frame_place.takes_pictures(guider.model_patcher):
        name = type(guider.model_patcher.model).__name__
        raise StyleAVideoError(
            f"The VAE is that of a video model, which wants all frames at once: of these Wan and "
            f"Bernini are known (not {name}); else use a model of single images."
        )
    for condition in getattr(guider, "conditions", []):
        _check_one("masks", getattr(condition, "mask", None))
    follow = None if hint is None else Follow(hint)
    changed = copy.copy(guider)
    changed.original_conds = {
        name: [_entry_for(entry, latents, follow) for entry in entries]
        for name, entries in guider.original_conds.items()
    }
    model = _model_for(guider.model_patcher, images)
    if model is not guider.model_patcher:
        changed.model_patcher, changed.model_options = model, model.model_options
    return changed


def _check_one(what: str, value: Any) -> None:
    """Refuse a value a frame."""
    if isinstance(value, Tensor) and len(value) > 1:
        raise StyleAVideoError(
            f"A condition has {len(value)} {what}, one a frame: give one for all frames."
        )


def _entry_for(
    entry: dict[str, Any], latents: Tensor, follow: Follow | None = None
) -> dict[str, Any]:
    if host.PROBED in entry:
        raise StyleAVideoError(
            "The attention condition has a mask that was made for single frames: take the mask off "
            "Attention Condition, which then makes one for every frame as it runs."
        )
    if entry.get("control") is not None:
        if follow is None:
            raise StyleAVideoError(
                "A ControlNet sees pictures that were made for single frames: connect a video of "
                "such pictures, one for every frame, to hint."
            )
        entry = {**entry, "control": follow(entry["control"])}
    if "concat_mask" in entry:
        raise StyleAVideoError(
            "A condition has a picture to be filled in (inpainting), which was made for single "
            "frames: use Frame Condition, or a model that does without."
        )
    for key, what in (("mask", "masks"), ("cross_attn", "prompts"), (host.MASK, "masks")):
        _check_one(what, entry.get(key))
    if frame_place.frame_of(entry) is None:
        return entry
    mask = entry.get(host.MASK)
    seen = latents if mask is None else host.masked_latents(latents, mask)
    return frame_place.with_frame(entry, seen)


def _model_for(model: Any, images: Tensor) -> Any:
    """The model; where it is corrected towards frames, towards these."""
    wrappers = model.get_wrappers(WRAPPER, correction.KEY)
    if not wrappers:
        return model
    model = model.clone()
    model.remove_wrappers_with_key(WRAPPER, correction.KEY)
    for wrapper in wrappers:
        model.add_wrapper_with_key(WRAPPER, correction.KEY, wrapper.towards(images))
    return model


class _Sampled:
    """The engine (pipelines.engines.kinds) that a guider, a sampler and a VAE make of pictures."""

    def __init__(self, sampling: Sampling, hint: NumberedFrames | None = None) -> None:
        self.sampling, self.hint = sampling, hint
        self.last: Tensor | None = None

    def __call__(self, frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        images = frames.movedim(1, -1)
        latents = frame_place.encode(self.sampling.vae, images)
        size = frames.shape[3], frames.shape[2]
        hint = None if self.hint is None else self.hint(frame_indices, size)
        guider = with_frames(self.sampling.guider, latents, images, hint)
        start = self.sampling.start(latents)
        samples = self.sampling.run(guider, self._noise(start, frame_indices), start)
        stylized = self.sampling.decode(samples)
        self.last = stylized[-1]
        return stylized.movedim(-1, 1)

    def _noise(self, latents: Tensor, frame_indices: Sequence[int]) -> Tensor:
        given = self.sampling.noise
        if isinstance(given, FrameNoise):
            mine = FrameNoise(given.frame_seed, given.mode, given.blend, list(frame_indices))
            return mine.generate_noise({"samples": latents})
        # Other noise depends on the batch; that of one frame serves all.
        return given.generate_noise({"samples": latents[:1]}).expand_as(latents)


class _Told:
    """Progress and previews on the block; ends the run where Cancel was pressed."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.bar: comfy.utils.ProgressBar | None = None
        self.stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if stage != self.stage:
            self.bar, self.stage = comfy.utils.ProgressBar(total), stage
        assert self.bar is not None
        picture = self.engine.last if stage == "stylize" else None
        preview = None if picture is None else ("JPEG", to_pil(picture), PREVIEW)
        self.bar.update_absolute(done, total, preview)


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().clamp(0, 255).byte().cpu().numpy())


def signature(graph: Any, node_id: str) -> str:
    """SHA-256 of what a node and all that leads to it are, whatever the nodes are numbered; of
    files in ComfyUI's folders, what they hold.

    graph: ComfyUI's DynamicPrompt.
    """
    known: dict[str, str] = {}

    def of(key: str) -> str:
        if key not in known:
            known[key] = "a loop"
            node = graph.get_node(key)
            inputs = {name: value_of(value) for name, value in node["inputs"].items()}
            known[key] = _sha256([node["class_type"], inputs])
        return known[key]

    def value_of(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 2 and graph.has_node(str(value[0])):
            return [of(str(value[0])), value[1]]
        return [value, _held(value)] if isinstance(value, str) else value

    return of(node_id)


def _held(name: str) -> str | None:
    """The SHA-256 of a file that an input names."""
    try:
        return digest(input_path(name))
    except (StyleAVideoError, OSError, ValueError):
        return None


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def stylized_video(
    video: Input.Video,
    engine: Any,
    graph: str,
    max_side: int,
    chunk: int,
    refining: Refining | None,
    quality: str = files.NORMAL,
    keyframes: Keyframes | None = None,
    hint: NumberedFrames | None = None,
) -> tuple[Input.Video, str]:
    """The stylized VIDEO, a file in ComfyUI's temporary folder, and what is to be said about it.

    hint: what the engine reads beside the frames, one for each.

    The job's folder is named after all that decides the pixels: it is never one of others.
    """
    begin, end = time_range(video, 0.0, 0.0)
    temp = Path(folder_paths.get_temp_directory())
    jobs = Path(folder_paths.get_output_directory(), JOBS)
    for folder in (temp, jobs):
        folder.mkdir(parents=True, exist_ok=True)
    with file_of(video) as path:
        info = files.probe(path)  # before it is read whole: it may be no file, or no video
        check_frames_of(engine, (info.width, info.height))
        decisive = [graph, digest(path), str(begin), str(end), versions()]
        if hint is not None:
            check_hint(hint, NumberedFrames(FileClip(path), begin, end))
            decisive.append(hint.identity())
        name = f"{path.stem[:40]}-{_sha256(decisive)[:16]}"
        windows = engine if isinstance(engine, Windowed) else None
        if windows is not None and keyframes is not None:
            raise StyleAVideoError(
                "A video model makes every frame from those around it: set keyframes to 1."
            )
        size = files.fit(info.width, info.height, max_side, multiple=16 if windows else 8)
        if windows is not None:
            check_memory(windows.length, size, memory_of(torch.device("cpu")))
        report = stylize_video(
            info,
            temp / f"style_a_video_{name}.mp4",
            engine,
            quality=quality,
            refining=refining,
            part=files.Part.of(begin, end),
            size=size,
            chunk_size=chunk,
            keyframes=keyframes,
            together=None if windows is None else windows.together,
            planned=None if windows is None else windows.plan,
            job=Kept(jobs / name, {"graph": graph}),
            progress=_Told(engine),
        )
    kept = clear(jobs)
    lines = [
        f"{report.frames} frames of {report.width}x{report.height} in {report.seconds:.1f} s",
        f"{len(report.shots)} shot" + "s" * (len(report.shots) != 1),
        *([f"{report.made} of them were keyframes"] if keyframes else []),
        *([f"{report.resumed} frames were done before"] if report.resumed else []),
        *report.notes,
        *kept.notes,
        *([TO_CLEAR] if kept.count else []),
    ]
    return InputImpl.VideoFromFile(report.target), "\n".join(lines)


class StylizeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoStylizeVideo",
            display_name="Stylize Video",
            category="Style-A-Video/video",
            description=(
                "A video of any length through an engine or a guider: a few frames are in memory "
                "at a time, the sound stays, and after Cancel or a restart the same graph goes on."
            ),
            search_aliases=["stream video", "long video", "video to video", "resume"],
            inputs=[
                io.Video.Input(
                    "video",
                    tooltip="From Load Video Frames or Load Video: a file, read as it is needed.",
                ),
                EngineType.Input(
                    "engine",
                    optional=True,
                    tooltip="From Load Engine or Painted Keyframes; or connect guider, noise, "
                    "sampler, sigmas and vae.",
                ),
                io.Guider.Input(
                    "guider",
                    optional=True,
                    tooltip="Made with any one frame (Load Video Frames, first frame only): every "
                    "frame of the video takes its place in turn.",
                ),
                io.Noise.Input(
                    "noise",
                    optional=True,
                    tooltip="From Frame Noise; of any other noise one frame's serves them all.",
                ),
                io.Sampler.Input("sampler", optional=True, tooltip="From KSampler Select."),
                io.Sigmas.Input("sigmas", optional=True, tooltip="From a scheduler: the steps."),
                io.Vae.Input("vae", optional=True, tooltip="The autoencoder of the model."),
                io.Combo.Input(
                    "start_from",
                    options=["noise", "frames"],
                    default="noise",
                    tooltip="noise: from an empty latent. frames: from the frames, with sigmas of "
                    "less than full denoise.",
                ),
                io.Int.Input(
                    "max_side",
                    default=512,
                    min=16,
                    max=8192,
                    step=8,
                    tooltip="The longer side to work and write at, px; never enlarged.",
                ),
                io.Int.Input(
                    "frames_per_batch",
                    default=8,
                    min=1,
                    max=256,
                    tooltip="Frames at a time; halved where the memory does not suffice.",
                ),
                io.Float.Input(
                    "refine",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the flicker the temporal refiner takes out; 0 is off.",
                ),
                io.Combo.Input(
                    "quality",
                    options=list(files.QUALITIES),
                    default=files.NORMAL,
                    optional=True,  # graphs of version 0.1 do not have it
                    tooltip="Of the encoded file. high: for further editing, larger; low: smaller.",
                ),
                keyframes_input(),
                io.Video.Input(
                    "hint",
                    optional=True,
                    tooltip="What the guider's ControlNet sees: edges, depth or poses of the same "
                    "video, a frame for every frame.",
                ),
                io.Int.Input(
                    "context_length",
                    default=81,
                    min=9,
                    max=MOST,
                    step=4,
                    optional=True,
                    advanced=True,
                    tooltip="Video models (Wan, Bernini) alone: frames of a window, 4 k + 1.",
                ),
                io.Int.Input(
                    "context_overlap",
                    default=16,
                    min=4,
                    max=256,
                    step=4,
                    optional=True,
                    advanced=True,
                    tooltip="Video models alone: frames in which a window goes over into the next.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="VIDEO", tooltip="For Save Video, with the sound."),
                io.String.Output(display_name="report", tooltip="Frames, shots, what was resumed."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        video,
        start_from,
        max_side,
        frames_per_batch,
        refine,
        quality=files.NORMAL,
        keyframes=1,
        engine=None,
        hint=None,
        context_length=81,
        context_overlap=16,
        **parts,
    ) -> io.NodeOutput:
        with ExitStack() as opened:
            pictures = None if hint is None else opened.enter_context(numbered(hint))
            window = context_length, context_overlap
            maker = sampled_or_engine(engine, parts, start_from == "frames", pictures, window)
            if isinstance(maker, Windowed):
                maker.ahead = opened.enter_context(numbered(video))
            graph = signature(cls.hidden.dynprompt, cls.hidden.unique_id)
            if engine is not None:  # networks and pictures, wherever these came from
                graph = _sha256([graph, engine.identity])
            made = stylized_video(
                video,
                maker,
                graph,
                max_side,
                frames_per_batch,
                Refining(refine) if refine else None,
                quality,
                keyframes_of(engine, keyframes),
                pictures,
            )
        return io.NodeOutput(*made)


def sampled_or_engine(
    engine: Any,
    parts: dict[str, Any],
    from_frames: bool,
    hint: NumberedFrames | None = None,
    window: tuple[int, int] = (81, 16),
) -> Any:
    """What makes the frames: an ENGINE, or the one that a guider and its parts make.

    window: of a video model, its length and overlap in frames.

    Raises:
        StyleAVideoError: both are connected, or neither is, or a part is missing; a hint that the
            guider cannot follow.
    """
    if engine is not None:
        connected = [*parts, *(["hint"] if hint is not None else [])]
        if connected:
            raise StyleAVideoError(
                f"An engine and {', '.join(connected)} are connected: connect the engine alone, or "
                "all the others without it."
            )
        return engine.engine()
    if missing := [name for name in PARTS if name not in parts]:
        raise StyleAVideoError(
            f"Connect engine, or {', '.join(PARTS)}: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    sampling = Sampling(**parts, from_frames=from_frames)
    if is_for(sampling.guider, sampling.vae):
        if hint is not None:
            raise StyleAVideoError("A video model has no ControlNet to see a hint: take it off.")
        return Windowed(sampling, *window)
    if hint is not None:
        for guider in guiders_in(sampling.guider):
            check_followed(getattr(guider, "original_conds", {}))
    return _Sampled(sampling, hint)
