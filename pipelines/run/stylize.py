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
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...weights.refiner import FILE as REFINER
from ..checks import check_count
from ..engines.kinds import CarryingEngine, Engine
from ..errors import StyleAVideoError
from ..media import (
    WHOLE,
    Part,
    VideoInfo,
    VideoWriter,
    check_not_input,
    check_target,
    fit,
    probe,
)
from ..refine.frames import Refining
from ..refine.keyframes import Keyframes
from . import shots
from .here import Here, Runner
from .job import Job, digest, versions
from .overlap import ahead
from .painted import check_painted
from .segments import State, Work
from .shots import Begin, Plan, Segment

Progress = Callable[[str, int, int], None]
"""(stage, done, of): stage "shots", "stylize" or "write", in frames."""

MAX_CHUNK = 8  # frames; larger batches gain nothing measurable on CPUs


@dataclass
class StylizeReport:
    """What a run did and what it cost. Times in seconds, memory in MiB (peak of the process).

    `resumed`: frames that a former run had finished; `made`: those that the engine made in this one
    (of keyframes these alone). `engine_seconds`: the engine alone, of
    all workers together; reading and refining go on beside it, `plan_seconds` come before and
    `write_seconds` after it.
    """

    source: str
    target: str
    frames: int
    resumed: int
    made: int
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


def auto_chunk(width: int, height: int, device: torch.device, bytes_per_pixel: int) -> int:
    """Frames at a time: what an eighth of the memory holds, between 1 and `MAX_CHUNK`."""
    affordable = memory_of(device) // 8 // (width * height * bytes_per_pixel)
    return max(1, min(MAX_CHUNK, affordable))


def peak_memory_mib() -> float | None:
    """Highest memory so far: of the GPU where one is in use, else resident, of the process.

    None where the system does not say.
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@dataclass(frozen=True)
class Kept:
    """The job that keeps what is done until all of it is: the same call goes on where one ended.

    Attributes:
        folder: of the job.
        settings: what decides the engine's pixels, as JSON values. A job of others is refused.
        fresh: throw away what the folder holds.
    """

    folder: str | os.PathLike[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False


def stylize_video(
    source: str | os.PathLike[str] | VideoInfo,
    target: str | os.PathLike[str],
    engine: Engine | CarryingEngine | Runner,
    *,
    part: Part = WHOLE,
    size: tuple[int, int] | None = None,
    codec: str | None = None,
    quality: str | None = None,
    refining: Refining | None = None,
    chunk_size: int = MAX_CHUNK,
    begins: Sequence[Begin] | None = None,
    keyframes: Keyframes | None = None,
    together: shots.Together | None = None,
    job: Kept | None = None,
    planned: Callable[[Plan], None] | None = None,
    keeping: Callable[[int], None] | None = None,
    progress: Progress | None = None,
) -> StylizeReport:
    """Read → resize → engine → refine → write. Memory does not grow with the clip.

    Frames are shown to the engine upright, at `size` (width, height) or, by default, in the
    source's shape with the longer side at most `MAX_SIDE`; the output has the engine's size and the
    source's shape, frame rate, timestamps, transparency, and all its other tracks. Of a part the
    output begins at 0. Frame indices count from the first frame of the part. No chunk holds frames
    of two shots.

    Args:
        source: a path, or what `probe` said of it.
        engine: makes the frames in this process; or a `Runner`, which has them made elsewhere.
        part: of the source that is stylized.
        codec: of the target, by its name in `media.CODECS`; None: what its suffix stands for.
        quality: of the encoded pictures, one of `media.QUALITIES`; None: normal.
        refining: takes the flicker out; None leaves the frames as the engine gave them.
        chunk_size: frames at a time.
        begins: the shots, where they are known (`shots.read_shots`); else cuts are looked for.
        keyframes: the engine makes these, and the frames between take their style along the flow;
            None: it makes every frame.
        together: frames that the engine needs at once, in the place of `chunk_size`.
        job: None: nothing is kept.
        planned: told the shots and segments before the first of them is worked on.
        keeping: told how many frames the job has, each time that it has more.
        progress: called with (stage, frames done, frames in all); done is more than what the job
            has by the frames in hand.

    Raises:
        StyleAVideoError: a source that cannot be read, an empty range, a target that cannot be
            written, a job of other settings, a shot without a painted keyframe. Nothing is then
            left under the target's name.
    """
    began = time.perf_counter()
    info = source if isinstance(source, VideoInfo) else probe(source)
    target = check_target(target)
    check_not_input(target, info.path)
    part.check(info)
    size = size or fit(info.width, info.height)
    check_count("The chunk size", chunk_size)
    tell = progress or (lambda stage, done, total: None)
    writer = VideoWriter(
        target,
        frame_rate=info.frame_rate,
        time_base=info.time_base,
        aspect=info.aspect,
        tracks_from=info.path,
        trimmed=part.is_trimmed,
        codec=codec,
        quality=quality,
        alpha=info.alpha,
    )
    chunk = chunk_size if together is None else together.most
    work = Work(info, size, chunk, writer.kind.pixels, refining, part.start, keyframes)
    with _kept(job, work, part, begins, target) as kept:
        kept.will_write(writer.part)
        plan = kept.plan()
        if plan is None:
            plan = _planned(work, part, begins, tell, together)
            kept.keep_plan(plan)
        if keyframes is not None and keyframes.painted is not None:
            check_painted(keyframes.painted, plan, part)
        if planned is not None:
            planned(plan)
        began_work = time.perf_counter()
        runner = engine if isinstance(engine, Runner) else Here(engine)
        resumed, made, engine_seconds = _stylize(kept, plan, work, runner, tell, keeping)
        stylized = time.perf_counter()
        writer.since = None if part.start is None else plan.shots[0].time
        out_size = _write(kept, plan, writer, size, tell)
        if job is not None:
            kept.finish(target)
    took = time.perf_counter() - began
    return StylizeReport(
        source=str(info.path),
        target=str(target),
        frames=plan.frames,
        resumed=resumed,
        made=made,
        width=out_size[0],
        height=out_size[1],
        frame_rate=float(info.frame_rate),
        chunk_size=chunk,
        shots=_listed(plan, begins),
        seconds=took,
        frames_per_second=(plan.frames - resumed) / took,
        plan_seconds=began_work - began,
        engine_seconds=engine_seconds,
        write_seconds=time.perf_counter() - stylized,
        peak_memory_mib=peak_memory_mib(),
        notes=[*info.notes, *writer.notes],
    )


@contextmanager
def _kept(
    job: Kept | None, work: Work, part: Part, begins: Sequence[Begin] | None, target: Path
) -> Iterator[Job]:
    """The job; one beside the target that vanishes, where nothing is to be kept."""
    identity = {
        "range": [str(part.start), str(part.end), part.frames],
        "size": list(work.size),
        "pixels": work.pixels,
        "read": [str(work.source.frame_rate), work.source.partial],
        "refine": None
        if work.refining is None
        else asdict(work.refining) | {"weights": digest(REFINER)},
        "keyframes": None if work.keyframes is None else asdict(work.keyframes),
        "shots": None
        if begins is None
        else {str(begin.start): begin.style and begin.style.told for begin in begins},
    }
    if job is None:
        prefix = ".style-a-video-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as folder:
            with Job(Path(folder), identity) as kept:
                yield kept
        return
    identity |= {
        "settings": dict(job.settings),
        "input": digest(work.source.path),
        "versions": versions(),
    }
    with Job(Path(job.folder), identity, job.fresh) as kept:
        yield kept


def _planned(
    work: Work,
    part: Part,
    begins: Sequence[Begin] | None,
    tell: Progress,
    together: shots.Together | None = None,
) -> Plan:
    """The shots and segments, by one pass over small frames."""
    info, total = work.source, part.expected(work.source)
    small = part.read(info, fit(*work.size, shots.SIDE))
    length = shots.segment_length(*work.size, work.keyframes)
    with closing(ahead(small, 8)) as frames:
        plan = shots.plan(
            frames,
            length,
            begins,
            lambda n: tell("shots", n, max(n, total)),
            part.is_trimmed,
            frozenset(work.keyframes.painted or ()) if work.keyframes else (),
            together=together,
        )
    if not plan.frames:
        raise StyleAVideoError(
            f"{info.path} shows no frame between {float(part.start or 0):g} s and "
            f"{float(part.end or info.end):g} s: choose a longer range."
        )
    if plan.frames < total:  # the rate is not constant
        tell("shots", plan.frames, plan.frames)
    return plan


def _listed(plan: Plan, begins: Sequence[Begin] | None) -> list[dict[str, Any]]:
    """The shots for the report, each with its style where it has one of its own."""
    styles = [None] * len(plan.shots) if begins is None else [begin.style for begin in begins]
    return [  # of a part there may be more styles than shots
        shots.as_dict(shot) | ({} if style is None else {"prompt": style.words})
        for shot, style in zip(plan.shots, styles, strict=False)
    ]


def _stylize(
    job: Job,
    plan: Plan,
    work: Work,
    runner: Runner,
    tell: Progress,
    keeping: Callable[[int], None] | None,
) -> tuple[int, int, float]:
    """Makes the segments that the job lacks → frames that it had, that the engine made, seconds in
    the engine.
    """
    pairs = zip(plan.segments, plan.segments[1:], strict=False)
    before = {segment: former for former, segment in pairs if segment.follows(former)}
    continued = set(before.values())
    todo = [segment for segment in plan.segments if not job.has(segment)]
    resumed = done = kept = plan.frames - sum(map(len, todo))
    made, seconds = 0, 0.0

    def told(count: int) -> None:
        nonlocal done
        done += count
        tell("stylize", done, plan.frames)

    def state_before(segment: Segment) -> State:
        return job.state(before[segment]) if segment in before else State()

    if todo:
        tell("stylize", resumed, plan.frames)
        for finished in runner.run(work, todo, state_before, told):
            made, seconds = made + finished.made, seconds + finished.seconds
            job.keep(finished, last=finished.segment not in continued)
            kept += len(finished.segment)
            if keeping is not None:
                keeping(kept)
            if finished.segment in before:
                job.forget_state(before[finished.segment])
    return resumed, made, seconds


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
