"""One segment of a clip: read, stylized, refined, packed. Any machine gives the same pixels.

What a segment needs of the one before is the refiner's past, handed over as a value.
"""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import av
import torch
from torch import Tensor

from ..device import is_out_of_memory
from ..engines.kinds import Carried, CarryingEngine, Engine
from ..errors import Remedy, StyleAVideoError
from ..media import Frame, VideoInfo, read_frames, to_picture
from ..media.opening import MAX_PIXELS, codec_of
from ..refine.frames import Past, Refining, refine
from ..refine.keyframes import Keyframes, keyframed
from .shots import Segment

# Lossless; every slice has its checksum.
_PACKED = {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}


@dataclass(frozen=True)
class Work:
    """How the segments of one run are made.

    Attributes:
        size: (width, height) px that the engine is shown.
        chunk: frames at a time.
        pixels: the pixel format of the target's encoder.
        refining: None leaves the frames as the engine gave them.
        start: where frame 0 is looked for (s); None: the first of the file.
        keyframes: None: the engine makes every frame.
    """

    source: VideoInfo
    size: tuple[int, int]
    chunk: int
    pixels: str
    refining: Refining | None = None
    start: Fraction | None = None
    keyframes: Keyframes | None = None


@dataclass(frozen=True)
class State:
    """What a segment needs of the one before in its shot: the refiner's past and the engine's."""

    past: Past | None = None
    carried: Carried | None = None

    @property
    def is_empty(self) -> bool:
        return self.past is None and self.carried is None


@dataclass(frozen=True)
class Stylized:
    """What became of a segment, (T,3,H',W'), the seconds that it took, what is carried on.

    `made`: how many of the frames the engine made; the others are carried from those.
    """

    images: Tensor
    seconds: float
    carried: Carried | None = None
    made: int = 0


@dataclass(frozen=True)
class Finished:
    """A segment's pictures, packed without loss, their times, and what the next one needs.

    `times`: when each is shown and for how long (s); `seconds` spent in the engine, which `made`
    so many of the frames.
    """

    segment: Segment
    video: bytes
    times: tuple[tuple[Fraction, Fraction], ...]
    state: State
    seconds: float
    made: int


def read(work: Work, segments: Sequence[Segment]) -> Iterator[list[Frame]]:
    """The frames of these segments, one list each; those in between are passed over.

    Raises:
        StyleAVideoError: the file has fewer frames than planned: it has changed.
    """
    stream: Iterator[Frame] = iter(())
    at = -1
    for segment in segments:
        if segment.start != at:
            stream = frames_from(work, segment)
        frames = list(islice(stream, len(segment)))
        if len(frames) < len(segment):
            raise StyleAVideoError(
                f"{work.source.path} ends before frame {segment.end}, which was there when the "
                "work on it began: has it changed? ",
                Remedy.START_OVER,
            )
        at = segment.end
        yield frames


def frames_from(work: Work, segment: Segment) -> Iterator[Frame]:
    """All frames from this segment on.

    They are found by their time; where that does not lead to the very frame (raw streams, broken
    timestamps, files whose index is wrong), all from the first one are decoded and counted.
    """
    if segment.start and segment.time is not None:
        with closing(read_frames(work.source, segment.time, size=work.size)) as sought:
            first = None
            with suppress(StyleAVideoError, OSError, av.FFmpegError):
                first = next(sought, None)
            if first is not None and first.pts == segment.time:
                yield first
                yield from sought
                return
    with closing(read_frames(work.source, work.start, size=work.size)) as counted:
        yield from islice(counted, segment.start, None)


def stylize(
    work: Work,
    engine: Engine | CarryingEngine,
    segment: Segment,
    frames: Sequence[Frame],
    carried: Carried | None = None,
    told: Callable[[int], None] = lambda done: None,
) -> Stylized:
    """The frames of a segment through the engine, `work.chunk` at a time; of keyframes those alone.

    Where the memory does not suffice a chunk is halved and tried again.

    Args:
        carried: from the segment before in the shot.
        told: called with the number of frames that one chunk brought.

    Raises:
        StyleAVideoError: one frame does not fit into memory; numbers that are not finite.
        ValueError: the engine gave another number of frames.
    """
    images, began, made = [frame.image for frame in frames], time.perf_counter(), 0

    def paint(positions: Sequence[int], before: Carried | None) -> tuple[Tensor, Carried | None]:
        nonlocal made
        made += len(positions)
        some = [images[i] for i in positions]
        indices = [segment.start + i for i in positions]
        return through(engine, some, indices, work.chunk, before, told)

    if work.keyframes is None:
        stylized, carried = paint(range(len(images)), carried)
    else:
        indices = range(segment.start, segment.end)
        stylized, carried = keyframed(torch.stack(images), indices, paint, carried, work.keyframes)
        told(len(images) - made)
    return Stylized(stylized, time.perf_counter() - began, carried, made)


def through(
    engine: Engine | CarryingEngine,
    images: Sequence[Tensor],
    indices: Sequence[int],
    chunk: int,
    carried: Carried | None = None,
    told: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, Carried | None]:
    """Images (3,H,W) through the engine, `chunk` at a time; all that comes of it is on the CPU."""
    results = []
    for i in range(0, len(images), chunk):
        some = torch.stack(list(images[i : i + chunk]))
        # Refined on the CPU, beside the engine: the same pixels whatever the engine runs on.
        stylized, carried = _within_memory(engine, some, indices[i : i + chunk], carried)
        results.append(stylized.cpu())
        told(len(some))
    if carried is not None:  # a driver, and the disk, need no GPU
        carried = {name: value.cpu() for name, value in carried.items()}
    return torch.cat(results), carried


def _within_memory(
    engine: Engine | CarryingEngine,
    images: Tensor,
    indices: Sequence[int],
    carried: Carried | None,
) -> tuple[Tensor, Carried | None]:
    try:
        if isinstance(engine, CarryingEngine):
            stylized, then = engine.carry(images, indices, carried)
        else:
            stylized, then = engine(images, indices), None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(indices) == 1:
            height, width = images.shape[-2:]
            raise StyleAVideoError(
                f"There is too little memory for a frame of {width}x{height}: use a smaller ",
                Remedy.SMALLER,
            ) from error
    else:
        return _checked(stylized, indices), then
    gc.collect()  # what the failed attempt held
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = (len(indices) + 1) // 2
    first, carried = _within_memory(engine, images[:half], indices[:half], carried)
    second, carried = _within_memory(engine, images[half:], indices[half:], carried)
    return torch.cat([first, second]), carried


def _checked(stylized: Tensor, indices: Sequence[int]) -> Tensor:
    if len(stylized) != len(indices):
        raise ValueError(f"engine: {len(indices)} frames in, {len(stylized)} out")
    if not all(image.isfinite().all() for image in stylized):  # one by one: of all it is large
        raise StyleAVideoError(
            f"The result of frames {indices[0]} to {indices[-1]} is not finite: ",
            Remedy.OTHER_PRECISION,
        )
    return stylized


def finish(
    work: Work, segment: Segment, frames: Sequence[Frame], stylized: Stylized, past: Past | None
) -> Finished:
    """Refined (`past`: of the segment before in the same shot, else None), and packed."""
    pictures = []
    for frame, image in zip(frames, stylized.images, strict=True):
        if work.refining is not None:
            image, past = refine(frame.image, image, past, work.refining)
        pictures.append(to_picture(image, work.pixels, frame.alpha))
    times = tuple((frame.pts, frame.duration) for frame in frames)
    state = State(past, stylized.carried)
    return Finished(segment, pack(pictures), times, state, stylized.seconds, stylized.made)


def pack(pictures: Sequence[av.VideoFrame]) -> bytes:
    """Pictures of one size and format as a Matroska file of FFV1."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25, options=_PACKED)
        stream.width, stream.height = pictures[0].width, pictures[0].height
        stream.pix_fmt = pictures[0].format.name
        for i, picture in enumerate(pictures):
            picture.pts, picture.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()


def unpack(video: bytes) -> Iterator[av.VideoFrame]:
    """What `pack` was given.

    Raises:
        ValueError, av.FFmpegError: it is something else; a job's folder may come from elsewhere.
    """
    options = {"protocol_whitelist": "", "max_pixels": str(MAX_PIXELS)}
    with av.open(io.BytesIO(video), "r", format="matroska", options=options) as container:
        (stream,) = container.streams
        if not isinstance(stream, av.VideoStream) or codec_of(stream) != "ffv1":
            raise ValueError("no FFV1")
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield from container.decode(stream)
