"""The one way in: a video file → an engine → a video file, of any length, in bounded memory.

    one pass for the shots → segments of some frames each: read, stylized, refined, packed in the
    job directory → all of them encoded as one stream

Reading and refining run beside the engine. What is done survives the process: see run.job.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from ...weights.refiner import FILE as REFINER
from ..checks import check_count
from ..errors import StyleAVideoError
from ..media import VideoInfo, VideoWriter, check_target, probe, read_frames, seconds
from ..refine.frames import Past, Refining
from . import segments, shots
from .job import Job, digest, versions
from .overlap import ahead, behind
from .segments import Engine, Finished, Stylized, Work
from .shots import Plan, Segment, Shot

Progress = Callable[[str, int, int], None]
"""(stage, done, of): stage "shots", "stylize" or "write", in frames."""

MAX_SIDE = 512  # px; Huang et al. 2023 report 512x256, Stable Diffusion 1.5 was trained at 512
BYTES_PER_PIXEL = 4096  # what a frame of 1 px may cost at the worst place of an engine, the decoder
MAX_CHUNK = 8  # frames; larger batches gain nothing measurable on CPUs


@dataclass
class StylizeReport:
    """What a run did and what it cost. Times in seconds, memory in MiB (peak of the process).

    `resumed`: frames that a former run had finished. `engine_seconds`: the engine alone, of
    all workers together; reading and refining go on beside it, `plan_seconds` come before and
    `write_seconds` after it.
    """

    source: str
    target: str
    frames: int
    resumed: int
    width: int
    height: int
    frame_rate: float
    chunk_size: int
    shots: list[dict[str, Any]]
    seconds: float
    frames_per_second: float
    plan_seconds: float
    engine_seconds: float
    write_seconds: float
    peak_memory_mib: float | None
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


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


Runner = Callable[
    [Work, Sequence[Segment], Callable[[Segment], Past | None], Callable[[int], None]],
    Iterator[Finished],
]
"""(work, segments to do, the refiner's past before a segment, told of frames) → those segments,
in order: made by `here` or on a cluster (cluster.Cluster.runner)."""


def here(
    engine: Engine,
    work: Work,
    todo: Sequence[Segment],
    past_before: Callable[[Segment], Past | None],
    told: Callable[[int], None],
) -> Iterator[Finished]:
    """The segments in order, in this process: read ahead, and refined behind the engine's back."""
    last: Finished | None = None

    def made() -> Iterator[tuple[Segment, Any, Stylized]]:
        with closing(ahead(segments.read(work, todo))) as read:
            for segment, frames in zip(todo, read, strict=True):
                yield segment, frames, segments.stylize(work, engine, segment, frames, told)

    def finish(item: tuple[Segment, Any, Stylized]) -> Finished:
        nonlocal last
        segment, frames, stylized = item
        carried = last is not None and segment.follows(last.segment)
        past = last.past if last is not None and carried else past_before(segment)
        last = segments.finish(work, segment, frames, stylized, past)
        return last

    return behind(finish, made())


def stylize_video(
    source: str | os.PathLike[str] | VideoInfo,
    target: str | os.PathLike[str],
    engine: Engine | None,
    *,
    refining: Refining | None = None,
    start: Fraction | float | None = None,
    end: Fraction | float | None = None,
    max_frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int = MAX_SIDE,
    chunk_size: int | Literal["auto"] = "auto",
    codec: str | None = None,
    device: torch.device | str = "cpu",
    begins: Sequence[Shot] | None = None,
    job: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    fresh: bool = False,
    run: Runner | None = None,
    planned: Callable[[Plan], None] | None = None,
    progress: Progress | None = None,
) -> StylizeReport:
    """Read → resize → engine → refine → write. Memory does not grow with the clip.

    Frames are shown to the engine upright, at `size` (width, height) or, by default, in the
    source's shape with the longer side at most `max_side`; the output has the engine's size and the
    source's shape, frame rate, timestamps, transparency, and all its other tracks. With `start` (s)
    the output begins at 0. Frame indices count from the first frame of the range. No chunk holds
    frames of two shots.

    Args:
        source: a path, or what `probe` said of it.
        codec: of the target, by its name in `video.CODECS`; None: what its suffix stands for.
        refining: takes the flicker out; None leaves the frames as the engine gave them.
        device: where the engine computes; for `chunk_size="auto"` (see `auto_chunk`) and the peak.
        begins: the shots, where they are known (`shots.read_shots`); else cuts are looked for.
        job: a directory that keeps what is done: the same call goes on where another one ended.
            None: nothing is kept.
        settings: what decides the engine's pixels, as JSON values. A job of others is refused.
        fresh: throw away what the job directory holds.
        run: makes the segments instead of `engine` here (`cluster.Cluster.runner`).
        planned: told the shots and segments before the first of them is worked on.
        progress: called with (stage, frames done, frames in all).

    Raises:
        StyleAVideoError: a source that cannot be read, an empty range, a target that cannot be
            written, a job of other settings. Nothing is then left under the target's name.
    """
    began = time.perf_counter()
    info = source if isinstance(source, VideoInfo) else probe(source)
    target = check_target(target)
    check_not_input(target, info.path)
    if max_frames is not None:
        check_count("The number of frames", max_frames)
    begin, stop = seconds(start), seconds(end)
    check_range(info, begin, stop)
    where = torch.device(device)
    size = size or fit(info.width, info.height, max_side)
    chunk = auto_chunk(*size, where) if chunk_size == "auto" else chunk_size
    check_count("The chunk size", chunk)
    tell = progress or (lambda stage, done, total: None)

    trimmed = stop is not None or max_frames is not None
    writer = VideoWriter(
        target,
        frame_rate=info.frame_rate,
        time_base=info.time_base,
        aspect=info.aspect,
        tracks_from=info.path,
        trimmed=trimmed,
        codec=codec,
        alpha=info.alpha,
    )
    work = Work(info, size, chunk, writer.kind.pixels, refining, begin)
    identity = {
        "range": [str(begin), str(stop), max_frames],
        "size": list(size),
        "pixels": work.pixels,
        "read": [str(info.frame_rate), info.partial],
        "refine": None if refining is None else asdict(refining) | {"weights": digest(REFINER)},
        "shots": None if begins is None else [[shot.start, shot.prompt] for shot in begins],
        "settings": dict(settings or {}),
    }
    if job is not None:
        identity |= {"input": digest(info.path), "versions": versions()}
    with _folder(job, target) as folder, Job(Path(folder), identity, fresh) as kept:
        kept.will_write(writer.part)
        plan = kept.plan()
        if plan is None:
            total = expected_frames(info, begin, stop, max_frames)
            small = read_frames(info, begin, stop, max_frames, fit(*size, max_side=shots.SIDE))
            length = shots.segment_length(*size)
            with closing(ahead(small, 8)) as frames:
                plan = shots.plan(frames, length, begins, lambda n: tell("shots", n, max(n, total)))
            if not plan.frames:
                raise StyleAVideoError(
                    f"{info.path} shows no frame between {float(begin or 0):g} s and "
                    f"{float(stop or info.end):g} s: choose a longer range."
                )
            kept.keep_plan(plan)
        if planned is not None:
            planned(plan)
        began_work = time.perf_counter()
        if run is None:
            assert engine is not None, "give an engine or a runner"
            run = partial(here, engine)
        resumed, engine_seconds = _stylize(kept, plan, work, run, tell)
        stylized = time.perf_counter()
        writer.since = None if begin is None else plan.shots[0].time
        out_size = _write(kept, plan, writer, size, tell)
        if job is not None:
            kept.finish(target)
    took = time.perf_counter() - began
    return StylizeReport(
        source=str(info.path),
        target=str(target),
        frames=plan.frames,
        resumed=resumed,
        width=out_size[0],
        height=out_size[1],
        frame_rate=float(info.frame_rate),
        chunk_size=chunk,
        shots=[shots.as_dict(shot) for shot in plan.shots],
        seconds=took,
        frames_per_second=(plan.frames - resumed) / took,
        plan_seconds=began_work - began,
        engine_seconds=engine_seconds,
        write_seconds=time.perf_counter() - stylized,
        peak_memory_mib=peak_memory_mib(where),
        notes=[*info.notes, *writer.notes],
    )


def _folder(
    job: str | os.PathLike[str] | None, target: Path
) -> AbstractContextManager[str | os.PathLike[str]]:
    """The job's folder; one beside the target that vanishes, where nothing is to be kept."""
    if job is not None:
        return nullcontext(job)
    return tempfile.TemporaryDirectory(prefix=".style-a-video-", dir=target.parent)


def _stylize(job: Job, plan: Plan, work: Work, run: Runner, tell: Progress) -> tuple[int, float]:
    """Makes the segments that the job lacks → frames that it had, seconds in the engine."""
    pairs = zip(plan.segments, plan.segments[1:], strict=False)
    before = {segment: former for former, segment in pairs if segment.follows(former)}
    continued = set(before.values())
    todo = [segment for segment in plan.segments if not job.has(segment)]
    resumed = done = plan.frames - sum(map(len, todo))
    seconds = 0.0

    def told(count: int) -> None:
        nonlocal done
        done += count
        tell("stylize", done, plan.frames)

    def past_before(segment: Segment) -> Past | None:
        if work.refining is None or segment not in before:
            return None
        return job.past(before[segment])

    if todo:
        tell("stylize", resumed, plan.frames)
        for finished in run(work, todo, past_before, told):
            seconds += finished.seconds
            job.keep(finished, last=finished.segment not in continued)
            if finished.segment in before:
                job.forget_past(before[finished.segment])
    return resumed, seconds


def _write(
    job: Job, plan: Plan, writer: VideoWriter, size: tuple[int, int], tell: Progress
) -> tuple[int, int]:
    """All segments as one stream → its size."""
    shown = (0, 0)
    pictures = (picture for segment in plan.segments for picture in job.pictures(segment))
    with closing(ahead(pictures, 8)) as read, writer:
        for count, (picture, pts, duration) in enumerate(read, 1):
            if count == 1:
                shown = picture.width, picture.height
                if any(abs(a - b) > 1 for a, b in zip(shown, size, strict=True)):
                    writer.aspect = None  # a montage has a shape of its own
            writer.write_picture(picture, pts, duration)
            tell("write", count, plan.frames)
    return shown
