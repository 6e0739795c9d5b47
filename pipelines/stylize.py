"""The one way in: a stream of frames → an engine → a stream of frames, in bounded memory.

An engine is any callable `(frames (T,3,H,W) in [0,1], frame_indices) → frames (T,3,H',W')`. What it
does to them is its own affair.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .checks import check_count
from .errors import StyleAVideoError
from .video import Frame, VideoInfo, VideoWriter, check_target, probe, read_frames, seconds

Engine = Callable[[Tensor, Sequence[int]], Tensor]
Progress = Callable[[int, int], None]
Observer = Callable[[Frame, Frame], None]

MAX_SIDE = 512  # px; Huang et al. 2023 report 512x256, Stable Diffusion 1.5 was trained at 512
BYTES_PER_PIXEL = 4096  # what a frame of 1 px may cost at the worst place of an engine, the decoder
MAX_CHUNK = 8  # frames; larger batches gain nothing measurable on CPUs


@dataclass
class StylizeReport:
    """What a run did and what it cost. Times in seconds, memory in MiB (peak of the process)."""

    source: str
    target: str
    frames: int
    width: int
    height: int
    frame_rate: float
    chunk_size: int
    seconds: float
    frames_per_second: float
    decode_seconds: float
    engine_seconds: float
    encode_seconds: float
    peak_memory_mib: float | None
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def stylize_frames(
    frames: Iterable[Frame], engine: Engine, chunk_size: int = 1, first_index: int = 0
) -> Iterator[Frame]:
    """Frames through the engine, `chunk_size` at a time, with their timestamps kept.

    The engine is told each frame's absolute index (counted from `first_index`), so that what it
    draws for a frame need not depend on the chunk the frame came in.

    Raises:
        StyleAVideoError: the engine gave numbers that are not finite.
        ValueError: the engine gave another number of frames.
    """
    stream, index = iter(frames), first_index
    while chunk := list(islice(stream, chunk_size)):
        indices = range(index, index + len(chunk))
        stylized = engine(torch.stack([frame.image for frame in chunk]), indices)
        if len(stylized) != len(chunk):
            raise ValueError(f"engine: {len(chunk)} frames in, {len(stylized)} out")
        if not stylized.isfinite().all():
            raise StyleAVideoError(
                f"The result of frames {indices[0]} to {indices[-1]} is not finite: use --dtype "
                "fp32 or lower scales."
            )
        for frame, image in zip(chunk, stylized, strict=True):
            yield replace(frame, image=image)
        index += len(chunk)


def fit(width: int, height: int, max_side: int = MAX_SIDE) -> tuple[int, int]:
    """The size of the same shape whose longer side is at most `max_side`; even, never larger."""
    scale = min(Fraction(1), Fraction(max_side, max(width, height)))
    return _even(width * scale), _even(height * scale)


def _even(length: Fraction) -> int:
    return max(16, 2 * round(length / 2))


def memory_of(device: torch.device) -> int:
    """Bytes that `device` has; 8 GiB where the system does not say.

    All of it, not what happens to be free: a kernel's rounding may differ by batch size, and the
    same command on the same machine is to give the same pixels.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 8 << 30


def auto_chunk(width: int, height: int, device: torch.device) -> int:
    """Frames at a time: an eighth of the memory at 4 KiB a pixel, between 1 and 8.

    4 KiB a pixel (512 MiB at 512x256) covers Stable Diffusion 1.5 in fp16 with four conditions.
    """
    affordable = memory_of(device) // 8 // (width * height * BYTES_PER_PIXEL)
    return max(1, min(MAX_CHUNK, affordable))


def peak_memory_mib(device: torch.device) -> float | None:
    """Highest memory so far: of the accelerator where there is one, else resident, of the process.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def check_range(info: VideoInfo, start: Fraction | None, end: Fraction | None) -> None:
    """Refuse a range of times (s) that holds no moment of the clip."""
    length = f"{info.path} is {float(info.end):.2f} s long"
    if start is not None and start < 0:
        raise StyleAVideoError(f"The start must be 0 s or later, not {float(start):g} s.")
    if end is not None and end <= (start or 0):
        raise StyleAVideoError(
            f"The time range from {float(start or 0):g} s to {float(end):g} s is empty: the end "
            f"must be later than the start ({length})."
        )
    if start is not None and start >= info.end:
        raise StyleAVideoError(
            f"The time range begins at {float(start):g} s, but {length}: choose an earlier start."
        )
    if end is not None and end <= info.start:
        raise StyleAVideoError(
            f"The time range ends at {float(end):g} s, before the first frame of {info.path} at "
            f"{float(info.start):.2f} s: choose a later end."
        )


def check_not_input(target: Path, source: Path) -> None:
    """Refuse to write over what is read."""
    if target.exists() and target.samefile(source):
        raise StyleAVideoError(f"{target} is the input itself: write to another file.")


def expected_frames(
    info: VideoInfo, start: Fraction | None, end: Fraction | None, max_frames: int | None
) -> int:
    """How many frames a range will have, for progress: exact at a constant frame rate."""
    span = min(end or info.end, info.end) - max(start or info.start, info.start)
    share = span / info.duration if info.duration else Fraction(1)
    count = max(1, round(info.frames * share))
    return count if max_frames is None else min(count, max_frames)


def stylize_video(
    source: str | os.PathLike[str] | VideoInfo,
    target: str | os.PathLike[str],
    engine: Engine,
    *,
    start: Fraction | float | None = None,
    end: Fraction | float | None = None,
    max_frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int = MAX_SIDE,
    chunk_size: int | Literal["auto"] = "auto",
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    observe: Observer | None = None,
) -> StylizeReport:
    """Read → resize → engine → write. Memory does not grow with the clip.

    Frames are shown to the engine upright, at `size` (width, height) or, by default, in the
    source's shape with the longer side at most `max_side`; the output has the engine's size and the
    source's shape, frame rate, timestamps and audio. With `start` (s) the output begins at 0. Frame
    indices count from the first frame of the range.

    Args:
        source: a path, or what `probe` said of it.
        device: where the engine computes; for `chunk_size="auto"` (see `auto_chunk`) and the peak.
        progress: called with (frames written, frames expected) after each.
        observe: called with each frame before and after the engine.

    Raises:
        StyleAVideoError: a source that cannot be read, an empty range, a target that cannot be
            written. Nothing is then left under the target's name.
    """
    began = time.perf_counter()
    info = source if isinstance(source, VideoInfo) else probe(source)
    source = info.path
    target = check_target(target)
    check_not_input(target, source)
    if max_frames is not None:
        check_count("The number of frames", max_frames)
    begin, stop = seconds(start), seconds(end)
    check_range(info, begin, stop)
    where = torch.device(device)
    width, height = size or fit(info.width, info.height, max_side)
    chunk = auto_chunk(width, height, where) if chunk_size == "auto" else chunk_size
    check_count("The chunk size", chunk)
    total = expected_frames(info, begin, stop, max_frames)

    clock = _Clock()
    frames = clock.each("decode", read_frames(source, begin, stop, max_frames, (width, height)))
    shown: list[Frame] = []  # at most a chunk of them waits for its stylized counterpart

    def watched() -> Iterator[Frame]:
        for frame in frames:
            shown.append(frame)
            yield frame

    def timed(images: Tensor, indices: Sequence[int]) -> Tensor:
        with clock("engine"):
            return engine(images, indices).cpu()

    stream = stylize_frames(watched(), timed, chunk)
    first = next(stream, None)
    if first is None:
        raise StyleAVideoError(
            f"{source} shows no frame between {float(begin or 0):g} s and "
            f"{float(stop or info.end):g} s: choose a longer range."
        )
    count = 0
    with VideoWriter(
        target,
        frame_rate=info.frame_rate,
        time_base=info.time_base,
        aspect=info.aspect if _same_picture(first, width, height) else None,
        audio_from=source if info.has_audio else None,
        since=None if begin is None else first.pts,
        trimmed=stop is not None or max_frames is not None,
    ) as writer:
        for frame in _chain(first, stream):
            with clock("encode"):
                writer.write(frame)
            before = shown.pop(0)
            count += 1
            if observe is not None:
                observe(before, frame)
            if progress is not None:
                progress(count, max(total, count))
        finishing = time.perf_counter()
    clock.seconds["encode"] += time.perf_counter() - finishing
    took = time.perf_counter() - began
    out_height, out_width = first.image.shape[-2:]
    return StylizeReport(
        source=str(source),
        target=str(target),
        frames=count,
        width=out_width,
        height=out_height,
        frame_rate=float(info.frame_rate),
        chunk_size=chunk,
        seconds=took,
        frames_per_second=count / took,
        decode_seconds=clock.seconds["decode"],
        engine_seconds=clock.seconds["engine"],
        encode_seconds=clock.seconds["encode"],
        peak_memory_mib=peak_memory_mib(where),
        notes=writer.notes,
    )


def _same_picture(frame: Frame, width: int, height: int) -> bool:
    """Whether the engine kept the size it was given; a montage has a shape of its own."""
    return frame.image.shape[-2:] == (height, width)


def _chain(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest


class _Clock:
    """Seconds spent in the named parts of one run; one part at a time, never nested."""

    def __init__(self) -> None:
        self.seconds = {"decode": 0.0, "engine": 0.0, "encode": 0.0}
        self._part = ""
        self._since = 0.0

    def __call__(self, part: str) -> _Clock:
        self._part = part
        return self

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._part] += time.perf_counter() - self._since

    def each(self, part: str, items: Iterator[Frame]) -> Iterator[Frame]:
        while True:
            with self(part):
                item = next(items, None)
            if item is None:
                return
            yield item
