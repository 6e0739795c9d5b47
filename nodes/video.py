"""Frames out of a clip and back into a video, with what the second needs to undo the first."""

from __future__ import annotations

import math
import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import Input, InputImpl, Types, io
from torch import Tensor
from torch.nn import functional as F

from ..pipelines import media as files
from ..pipelines.errors import StyleAVideoError

Size = tuple[int, int]

FrameInfoType = io.Custom("STYLEAVIDEO_FRAME_INFO")

EXAMPLE = "example clip"
"""A choice of `file`: the clip that comes with the pack, so that a first run needs nothing."""
_EXAMPLE_FILE = Path(__file__).parents[1] / "workflows" / "example.mp4"

UNCONNECTED = object()  # ComfyUI checks a connected input as None, and leaves out any other


@dataclass(frozen=True)
class FrameInfo:
    """Where frames come from and how they were brought to their size.

    Sizes are (width, height) in pixels: `source_size` of the clip as shown, `scaled_size` after
    resizing, `frame_size` after padding right and below or cropping; `offset` is the (left, top)
    corner of the crop in the scaled picture. `indices` number the frames in the whole clip from 0,
    `start` is when the first is shown (s), `frame_rate` that of the kept frames (1/s).
    """

    source_size: Size
    scaled_size: Size
    frame_size: Size
    offset: Size
    frame_rate: Fraction
    indices: tuple[int, ...]
    start: Fraction
    first_frame_only: bool = False

    @property
    def count(self) -> int:
        return len(self.indices)


# Clips: the same three questions to a file and to frames that are in memory


class FileClip:
    """A video file, decoded as it is read."""

    def __init__(self, path: str | os.PathLike[str], source: Any = None) -> None:
        """source: what ComfyUI opens instead, where `path` is a passing copy."""
        self.source = os.fspath(path) if source is None else source
        self.info = files.probe(path)
        self.size = (self.info.width, self.info.height)
        self.frame_rate = self.info.frame_rate
        self.times = _frame_times(self.info)

    def frames(
        self, start: Fraction | None, end: Fraction | None, size: Size
    ) -> Iterator[files.Frame]:
        return files.read_frames(self.info, start, end, size=size)

    def audio(self, start: Fraction, end: Fraction) -> dict[str, Any] | None:
        return read_audio(self.info.path, start, end) if self.info.has_audio else None

    def part(self, start: Fraction | None, end: Fraction | None) -> Input.Video:
        """That part as a VIDEO, which nobody has read yet."""
        begin = start or Fraction(0)
        length = 0.0 if end is None else float(end - begin)
        return InputImpl.VideoFromFile(self.source, start_time=float(begin), duration=length)


class MemoryClip:
    """A VIDEO that another block made from images: its own frames, not an encoded copy."""

    def __init__(self, components: Types.VideoComponents) -> None:
        self.images = components.images[..., :3]
        self.sound = components.audio
        self.size = (self.images.shape[2], self.images.shape[1])
        self.frame_rate = Fraction(components.frame_rate)
        self.times = [i / self.frame_rate for i in range(len(self.images))]

    def frames(
        self, start: Fraction | None, end: Fraction | None, size: Size
    ) -> Iterator[files.Frame]:
        for image, time in zip(self.images, self.times, strict=True):
            if (start is None or time >= start) and (end is None or time < end):
                yield files.Frame(
                    resize_image(image.movedim(-1, 0), size), time, 1 / self.frame_rate
                )

    def audio(self, start: Fraction, end: Fraction) -> dict[str, Any] | None:
        if self.sound is None:
            return None
        rate = self.sound["sample_rate"]
        cut = slice(round(start * rate), round(end * rate))
        return {"waveform": self.sound["waveform"][..., cut], "sample_rate": rate}

    def part(self, start: Fraction | None, end: Fraction | None) -> Input.Video:
        first = 0 if start is None else bisect_left(self.times, start)
        last = len(self.times) if end is None else bisect_left(self.times, end)
        sound = self.audio(first / self.frame_rate, last / self.frame_rate)
        return InputImpl.VideoFromComponents(
            Types.VideoComponents(
                images=self.images[first:last], audio=sound, frame_rate=self.frame_rate
            )
        )


def _frame_times(info: files.VideoInfo) -> list[Fraction]:
    """When each picture of the clip is shown (s), in order; packets are read, nothing decoded."""
    with files.open_input(info.path) as container:
        stream = files.video_stream(container, info.path)
        origin = files.origin_of(container)
        times = sorted(
            packet.pts * packet.time_base - origin
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size and not packet.is_discard
        )
    return times or [i / info.frame_rate for i in range(info.frames)]


def read_audio(path: Path, start: Fraction, end: Fraction) -> dict[str, Any]:
    """The first sound track in start ≤ t < end (s) as AUDIO; silence where the track has none."""
    with files.open_input(path) as container:
        origin = files.origin_of(container)
        stream = next(s for s in container.streams.audio if s.codec_context)
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        waveform = torch.zeros(1, channels, round((end - start) * rate))
        early = max(Fraction(0), start + origin - Fraction(1, 2))  # decoders need a run-up
        container.seek(int(early / stream.time_base), stream=stream)
        resampler = av.AudioResampler("fltp", stream.codec_context.layout, rate)
        try:
            for frame in container.decode(stream):
                comfy.model_management.throw_exception_if_processing_interrupted()
                at = round((frame.pts * frame.time_base - origin - start) * rate)
                if at >= waveform.shape[-1]:
                    break
                for part in resampler.resample(frame):
                    _place(waveform, torch.from_numpy(part.to_ndarray()), at)
                    at += part.samples
        except av.FFmpegError as error:
            raise StyleAVideoError(
                f"The sound of {path} cannot be decoded ({error.strerror}): convert the clip "
                "again, or remove its sound."
            ) from error
    return {"waveform": waveform, "sample_rate": rate}


def _place(waveform: Tensor, part: Tensor, at: int) -> None:
    """Writes part (C,S) into waveform (1,C,T) from sample `at`; what lies outside is dropped."""
    part = part[:, max(0, -at) :]
    room = waveform[0, :, max(0, at) : max(0, at) + part.shape[-1]]
    room.copy_(part[:, : room.shape[-1]])


def input_path(file: str) -> Path:
    """The path of a clip in ComfyUI's folders, or of the example; StyleAVideoError where there is
    none."""
    if not file:
        raise StyleAVideoError("There is no clip: choose a file, or connect a video.")
    return _EXAMPLE_FILE if file == EXAMPLE else uploaded(file)


def uploaded(file: str) -> Path:
    """The path of a file in ComfyUI's folders; StyleAVideoError where there is none."""
    outside = StyleAVideoError(
        f"{file} is outside ComfyUI's folders: upload it, or copy it into the input folder."
    )
    try:
        path = Path(os.path.abspath(folder_paths.get_annotated_filepath(file)))
    except ValueError as error:  # ComfyUI from 0.33 on refuses it there
        raise outside from error
    folders = (
        folder_paths.get_input_directory(),
        folder_paths.get_output_directory(),
        folder_paths.get_temp_directory(),
    )
    if not any(path.is_relative_to(os.path.abspath(folder)) for folder in folders):
        raise outside
    if not path.is_file():
        raise StyleAVideoError(
            f"{file} is not in ComfyUI's folder any more: upload it again or choose another file."
        )
    return path


@contextmanager
def open_clip(file: str, video: Input.Video | None) -> Iterator[FileClip | MemoryClip]:
    """The connected video, or else the file."""
    if video is None:
        yield FileClip(input_path(file))
    elif not isinstance(video, InputImpl.VideoFromFile):
        yield MemoryClip(video.get_components())
    else:
        with file_of(video) as path:
            yield FileClip(path, video.get_stream_source())


@contextmanager
def file_of(video: Input.Video) -> Iterator[Path]:
    """The file that a VIDEO is read from; one that lies in memory is written out for as long.

    Raises:
        StyleAVideoError: the video was made of images.
    """
    if not isinstance(video, InputImpl.VideoFromFile):
        raise StyleAVideoError(
            "This video was made of images that are all in memory: stylize the images with "
            "Stylize Frames, or connect Load Video."
        )
    source = video.get_stream_source()
    if isinstance(source, str | os.PathLike):
        yield Path(source)
        return
    temp = folder_paths.get_temp_directory()
    os.makedirs(temp, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=temp) as folder:
        path = Path(folder, "video")
        path.write_bytes(source.getbuffer())
        yield path


# Which frames, and of what size


def time_range(
    video: Input.Video | None, start: float, end: float
) -> tuple[Fraction | None, Fraction | None]:
    """The wanted part on the clip's own clock (s); None: from its first frame, to its last.

    A video that was trimmed before counts from where its trim begins.
    """
    if end and end <= start:
        raise StyleAVideoError(
            f"end ({end:g} s) must be later than start ({start:g} s); 0 means the end of the clip."
        )
    begin, duration = (0.0, 0.0) if video is None else video.get_active_trim_window()
    ends = [begin + length for length in (end, duration) if length]
    return files.seconds(begin + start) or None, files.seconds(min(ends, default=None))


def choose_frames(
    clip: FileClip | MemoryClip,
    start: Fraction | None,
    end: Fraction | None,
    every_nth: int,
    limit: int,
) -> range:
    """The numbers of the frames to keep; a limit of 0 is none."""
    first = 0 if start is None else bisect_left(clip.times, start)
    last = len(clip.times) if end is None else bisect_left(clip.times, end)
    chosen = range(first, last, every_nth)
    if not chosen:
        length = float(clip.times[-1] + 1 / clip.frame_rate) if clip.times else 0
        raise StyleAVideoError(
            f"The clip has no frame from {float(start or 0):g} s on"
            + (f" to {float(end):g} s" if end is not None else "")
            + f", it ends at {length:.2f} s: change start or end."
        )
    return chosen[:limit] if limit else chosen


def scaled_size(size: Size, how: dict[str, Any]) -> Size:
    """`size` after resizing as the block's `resize` says, its shape kept."""
    factor = 1.0
    if how["resize"] == "max side":
        factor = min(1.0, how["max_side"] / max(size))
    elif how["resize"] == "area":
        factor = math.sqrt(how["area"] / (size[0] * size[1]))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def fitted_size(size: Size, fit: str, multiple: int) -> Size:
    """`size` brought to multiples: up for "pad", down for "crop", never below one multiple."""

    def side(length: int) -> int:
        return length + -length % multiple if fit == "pad" else length - length % multiple

    return max(multiple, side(size[0])), max(multiple, side(size[1]))


def crop_offset(size: Size, target: Size) -> Size:
    """The (left, top) corner of the centre of `size` that `target` keeps."""
    return max(0, size[0] - target[0]) // 2, max(0, size[1] - target[1]) // 2


def fit_image(image: Tensor, target: Size) -> Tensor:
    """(3,H,W) cropped at the centre or padded right and below by replication to `target`."""
    width, height = target
    left, top = crop_offset((image.shape[2], image.shape[1]), target)
    image = image[:, top : top + height, left : left + width]
    padding = (0, width - image.shape[2], 0, height - image.shape[1])
    return F.pad(image[None], padding, "replicate")[0] if any(padding) else image


def resize_image(image: Tensor, size: Size) -> Tensor:
    """(3,H,W) in [0,1] at `size` (width, height), antialiased."""
    if (image.shape[2], image.shape[1]) == size:
        return image
    scaled = F.interpolate(image[None].float(), (size[1], size[0]), mode="bicubic", antialias=True)
    return scaled[0].clamp(0, 1)


def decode(
    clip: FileClip | MemoryClip,
    span: tuple[Fraction | None, Fraction | None],
    chosen: range,
    scaled: Size,
    target: Size,
) -> tuple[Tensor, list[int]]:
    """The chosen frames (N,H,W,3) and their numbers; only these are held."""
    images = torch.empty(len(chosen), target[1], target[0], 3)
    indices: list[int] = []
    progress = comfy.utils.ProgressBar(len(chosen))
    with closing(clip.frames(*span, scaled)) as frames:  # type: ignore[type-var]
        for i, frame in enumerate(frames):
            comfy.model_management.throw_exception_if_processing_interrupted()
            if i % chosen.step:
                continue
            images[len(indices)] = fit_image(frame.image, target).movedim(0, -1)
            indices.append(bisect_left(clip.times, frame.pts))
            progress.update(1)
            if len(indices) == len(chosen):
                break
    if not indices:
        raise StyleAVideoError(
            "No frame of this part of the clip can be decoded: choose another start, or convert "
            "the clip again."
        )
    return images[: len(indices)], indices


# And back


def restore(images: Tensor, info: FrameInfo) -> Tensor:
    """Frames (N,H,W,3) without padding and at the clip's scale; what was cropped stays away.

    Frames may come enlarged or reduced: padding is taken off in proportion.
    """
    height, width = images.shape[1:3]
    kept_w, kept_h = (min(info.scaled_size[i], info.frame_size[i]) for i in (0, 1))
    cut_h = round(height * kept_h / info.frame_size[1])
    cut_w = round(width * kept_w / info.frame_size[0])
    return resize_all(
        images[:, :cut_h, :cut_w],
        (
            round(kept_w * info.source_size[0] / info.scaled_size[0]),
            round(kept_h * info.source_size[1] / info.scaled_size[1]),
        ),
    )


def resize_all(images: Tensor, size: Size) -> Tensor:
    """(N,H,W,3) at `size`, one image at a time."""
    if (images.shape[2], images.shape[1]) == size:
        return images
    resized = torch.empty(len(images), size[1], size[0], 3)
    progress = comfy.utils.ProgressBar(len(images))
    for i, image in enumerate(images):
        comfy.model_management.throw_exception_if_processing_interrupted()
        resized[i] = resize_image(image.movedim(-1, 0), size).movedim(0, -1)
        progress.update(1)
    return resized


def even(images: Tensor) -> Tensor:
    """(N,H,W,3) with an even width and height, which H.264 needs: the last line is repeated."""
    odd = (0, images.shape[2] % 2, 0, images.shape[1] % 2)
    if not any(odd):
        return images
    return F.pad(images.movedim(-1, 1), odd, "replicate").movedim(1, -1)


def check_count(images: Tensor, info: FrameInfo) -> None:
    """Refuse images that are not the frames that `info` is about."""
    if len(images) != info.count and not info.first_frame_only:
        raise StyleAVideoError(
            f"There are {len(images)} images and frame_info is about {info.count} frames: connect "
            "the frame_info of the same Load Video Frames, or use Create Video where frames were "
            "added or left out."
        )


# The blocks


def input_files(kind: str) -> list[str]:
    """The names of the files of a kind (video, image) in ComfyUI's input folder."""
    folder = folder_paths.get_input_directory()
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    return sorted(folder_paths.filter_files_content_types(names, [kind]))


def _resize_input() -> io.DynamicCombo.Input:
    return io.DynamicCombo.Input(
        "resize",
        options=[
            io.DynamicCombo.Option("none", []),
            io.DynamicCombo.Option(
                "max side",
                [
                    io.Int.Input(
                        "max_side",
                        default=512,
                        min=16,
                        max=16384,
                        tooltip="Longest allowed side in pixels, from 16 to 16384.",
                    )
                ],
            ),
            io.DynamicCombo.Option(
                "area",
                [
                    io.Int.Input(
                        "area",
                        default=262144,
                        min=256,
                        max=2**26,
                        tooltip="Width times height in pixels, from 256 to 67108864; 131072 is "
                        "512x256 and 262144 is 512x512.",
                    )
                ],
            ),
        ],
        tooltip="none keeps the size; max side shrinks larger clips to a longest side; area "
        "shrinks or enlarges to a number of pixels; the picture keeps its shape.",
    )


class LoadFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoLoadFrames",
            display_name="Load Video Frames",
            category="Style-A-Video/video",
            description=(
                "Frames of a clip at a size that models take, its sound, and what Frames to Video "
                "needs to bring them back to the clip's size. Only the frames kept are held."
            ),
            search_aliases=["load video", "video to images", "extract frames", "frame load cap"],
            inputs=[
                # Required, because ComfyUI gives only a required input its upload button.
                io.Combo.Input(
                    "file",
                    display_name="video file",
                    options=[EXAMPLE, *input_files("video")],
                    default=EXAMPLE,
                    upload=io.UploadType.video,
                    tooltip="A clip in ComfyUI's input folder, or the example; not read where "
                    "video is connected.",
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1e6,
                    step=0.01,
                    tooltip="Where to begin, in seconds, from 0; a trimmed video counts from its "
                    "trim.",
                ),
                io.Float.Input(
                    "end",
                    default=0.0,
                    min=0.0,
                    max=1e6,
                    step=0.01,
                    tooltip="Where to stop, in seconds, later than start; 0 is the clip's end.",
                ),
                io.Int.Input(
                    "every_nth",
                    default=1,
                    min=1,
                    max=1000,
                    tooltip="Keeps one frame of so many, from 1 to 1000, and lowers the frame rate "
                    "alike.",
                ),
                io.Int.Input(
                    "max_frames",
                    default=0,
                    min=0,
                    max=1000000,
                    tooltip="Stops after so many frames, up to 1000000; 0 is no limit.",
                ),
                io.Boolean.Input(
                    "first_frame_only",
                    default=False,
                    tooltip="Gives one frame, at start, to try settings quickly.",
                ),
                _resize_input(),
                io.Combo.Input(
                    "fit",
                    options=["pad", "crop"],
                    default="pad",
                    tooltip="How sides become multiples: pad repeats the right and lower edge, "
                    "which Frames to Video takes off again; crop keeps the centre for good.",
                ),
                io.Int.Input(
                    "multiple",
                    default=8,
                    min=1,
                    max=256,
                    advanced=True,
                    tooltip="Width and height become multiples of so many pixels, from 1 to 256; "
                    "most models need 8.",
                ),
                io.Video.Input(
                    "video", optional=True, tooltip="A video to use instead of the file."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The frames kept, upright."),
                io.Audio.Output(
                    display_name="audio",
                    tooltip="The sound of the same part; nothing where the clip has none.",
                ),
                io.Float.Output(display_name="fps", tooltip="Frames a second, of those kept."),
                FrameInfoType.Output(
                    display_name="frame_info",
                    tooltip="Size, rate and frame numbers, for Frames to Video, Frame Noise and "
                    "prompts by frame number.",
                ),
                io.Video.Output(
                    display_name="video",
                    tooltip="The clip from start to end, every frame of it and not read yet: for "
                    "Stylize Video.",
                ),
            ],
        )

    # ComfyUI hands over each dynamic input, `resize`, whether named or not.
    @classmethod
    def validate_inputs(cls, file="", video=UNCONNECTED, resize=None) -> bool | str:
        if resize is None:
            return "resize must be one of: none, max side, area."
        if video is not UNCONNECTED or file is None:  # a connected file is known only later
            return True
        try:
            input_path(file)
        except StyleAVideoError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file="", video=UNCONNECTED, **_: Any) -> float | None:
        if video is not UNCONNECTED or file is None:
            return None
        return os.path.getmtime(input_path(file))

    @classmethod
    def execute(
        cls,
        file,
        start,
        end,
        every_nth,
        max_frames,
        first_frame_only,
        resize,
        fit,
        multiple,
        video=None,
    ) -> io.NodeOutput:
        span = time_range(video, start, end)
        with open_clip(file, video) as clip:
            limit = 1 if first_frame_only else max_frames
            chosen = choose_frames(clip, *span, every_nth, limit)
            scaled = scaled_size(clip.size, resize)
            target = fitted_size(scaled, fit, multiple)
            images, indices = decode(clip, span, chosen, scaled, target)
            info = FrameInfo(
                source_size=clip.size,
                scaled_size=scaled,
                frame_size=target,
                offset=crop_offset(scaled, target),
                frame_rate=clip.frame_rate / every_nth,
                indices=tuple(indices),
                start=clip.times[indices[0]],
                first_frame_only=first_frame_only,
            )
            audio = clip.audio(info.start, info.start + info.count / info.frame_rate)
            part = clip.part(*span)
        return io.NodeOutput(images, audio, float(info.frame_rate), info, part)


class FramesToVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoFramesToVideo",
            display_name="Frames to Video",
            category="Style-A-Video/video",
            description=(
                "A video from frames of Load Video Frames, at its clip's frame rate and size. "
                "Connect it to Save Video. Odd sides get one repeated line: H.264 needs even ones."
            ),
            search_aliases=["create video", "images to video", "combine frames"],
            inputs=[
                io.Image.Input(
                    "images", tooltip="The finished frames, as many as Load Video Frames gave."
                ),
                FrameInfoType.Input(
                    "frame_info", tooltip="From the Load Video Frames that gave the frames."
                ),
                io.Boolean.Input(
                    "restore_size",
                    default=True,
                    tooltip="Takes padding off and scales to the clip's size; of a crop the kept "
                    "part is scaled to the size that it has in the clip.",
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="The sound, cut where the frames end."
                ),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="For Save Video.")],
        )

    @classmethod
    def execute(cls, images, frame_info, restore_size, audio=None) -> io.NodeOutput:
        check_count(images, frame_info)
        images = images[..., :3]
        images = even(restore(images, frame_info) if restore_size else images)
        components = Types.VideoComponents(
            images=images, audio=audio, frame_rate=frame_info.frame_rate
        )
        return io.NodeOutput(InputImpl.VideoFromComponents(components))
