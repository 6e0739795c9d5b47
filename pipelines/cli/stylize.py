"""style-a-video stylize: clips and a style in, the stylized clips out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines.style import Style
from ..errors import StyleAVideoError
from ..files import shown, told
from . import options
from .progress import Bars, say, write_json

if TYPE_CHECKING:  # torch and diffusers take seconds to import: not for --help
    from ..engines.kinds import CarryingEngine, Engine, Loaded
    from ..media import Part, VideoInfo
    from ..refine.keyframes import Keyframes
    from ..run.cluster import Cluster
    from ..run.here import Runner
    from ..run.painted import Painted
    from ..run.shots import Begin
    from ..run.stylize import StylizeReport

VIDEOS = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")


def add(commands: Any) -> None:
    to = commands.add_parser(
        "stylize",
        help="a clip and a style in, the stylized clip out",
        description="Stylize IN by words or by a picture and write OUT, with IN's frame rate, "
        "timestamps, shape and audio; rotated clips come out upright. OUT appears only when it is "
        "complete; one that is there already is replaced then.",
    )
    to.add_argument(
        "source",
        metavar="IN",
        type=Path,
        help="video file, folder of PNG or JPEG pictures, or folder of videos: all of them",
    )
    to.add_argument(
        "target",
        metavar="OUT",
        type=Path,
        help=".mp4, .mov, .mkv, .webm, .gif or .webp file; no suffix: folder of PNG pictures",
    )
    to.add_argument(
        "--prompt",
        help="the style, in words: 'a watercolour painting', 水彩画; may be left out where --shots "
        "names one for every shot",
    )
    options.pictures(to)
    options.engine(to)
    options.keyframes(to)
    options.size(to)
    options.part(to)
    options.reading(to)
    options.codec(to)
    to.add_argument(
        "--shots",
        type=Path,
        metavar="FILE.json",
        help="where shots begin, each with a style of its own (see style-a-video shots)",
    )
    to.add_argument(
        "--job",
        type=Path,
        metavar="FOLDER",
        help="keeps what is done until all is: the same command goes on (OUT.job)",
    )
    to.add_argument(
        "--fresh", action="store_true", help="start over, whatever the job's folder holds"
    )
    to.add_argument(
        "--ray",
        metavar="auto|ADDRESS",
        help="make it on a Ray cluster; auto: the one that runs here, else one is started",
    )
    to.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="on Ray: how many hold the model, a GPU each where there are some (%(default)s)",
    )
    to.add_argument("--report", type=Path, metavar="FILE.json", help="what was done, at what cost")
    to.add_argument(
        "--preview",
        type=Path,
        metavar="FILE.jpg",
        help="a few frames before and after, as a picture",
    )


@dataclass(frozen=True)
class Asked:
    """What is to be made of every video, checked. `name`: of the engine."""

    name: str
    style: Style | None
    begins: Sequence[Begin] | None
    part: Part
    size: tuple[int, int] | None
    keyframes: Keyframes | None

    @property
    def styles(self) -> list[Style]:
        from ..run.styles import styles_of

        return styles_of(self.style, self.begins)


@dataclass(frozen=True)
class Unchanged:
    """Loads, on a worker too, what is there already."""

    painted: Painted
    name = "painted"

    def __call__(self) -> Painted:
        return self.painted


def run(args: argparse.Namespace) -> None:
    from ..media import check_target
    from ..run.painted import read_painted
    from ..run.shots import read_shots
    from ..run.styles import styles_of

    begins = None if args.shots is None else read_shots(args.shots)
    if begins and args.frames is not None:
        begins = [begin for begin in begins if begin.start < max(1, args.frames)]
    given = options.style_of(args, args.prompt)
    style: Style | None = given
    if given.is_empty and begins and any(begin.style for begin in begins):
        options.check_every_shot(begins)
        style = None
    part, size, keyframes = options.part_of(args), options.size_of(args), options.keyframes_of(args)
    load: options.Load | Unchanged | None = None
    if args.painted is None:
        kind, chosen = options.engine_of(args, styles_of(style, begins))
        load = options.Load(kind, chosen, args.device, args.dtype)
    else:
        options.check_painted(args, styles_of(style, begins))
    for path, suffixes in ((args.report, (".json",)), (args.preview, options.PICTURES)):
        if path is not None:
            check_target(path, suffixes)
    videos = _videos(args, part)
    if load is None:
        painted = read_painted(args.painted, videos[0][0], part)
        load, keyframes = Unchanged(painted), painted.keyframes
    asked = Asked(load.name, style, begins, part, size, keyframes)
    with _ready(args, load) as ready:
        for info, target in videos:
            _stylize_one(args, asked, ready, info, target)


def _videos(args: argparse.Namespace, part: Part) -> list[tuple[VideoInfo, Path]]:
    """What is to be made of what: one video, or all of a folder."""
    from ..media import check_not_input, check_target, foreseen, kind_of, probe, suffix_of

    sources = [(args.source, args.target)]
    if several := _in_folder(args.source):
        for name in ("job", "report", "preview", "shots", "painted"):
            if getattr(args, name) is not None:
                raise StyleAVideoError(
                    f"--{name} is for one video, and {args.source} holds several."
                )
        try:
            args.target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StyleAVideoError(
                f"The folder {args.target} cannot be made ({error.strerror}): the videos of "
                f"{args.source} go into a folder, name another one."
            ) from error
        suffix = suffix_of(args.codec)
        sources = [(path, args.target / f"{path.stem}{suffix}") for path in several]
        if len({target for _, target in sources}) < len(sources):
            sources = [(path, args.target / f"{path.name}{suffix}") for path in several]
    found = []
    for source, target in sources:
        kind_of(check_target(target), args.codec, quality=args.quality)
        if several and target.exists() and not args.fresh:
            say(f"{target} is there already; --fresh makes it anew.")
            continue
        info = probe(source, args.rate, args.partial)
        check_not_input(target, info.path)
        part.check(info)
        for note in foreseen(info, target, args.codec):
            say(note)
        found.append((info, target))
    return found


def _in_folder(source: Path) -> list[Path]:
    """The videos of a folder; none where it is a file, or a folder of pictures."""
    with told(source):
        inside = list(source.iterdir()) if source.is_dir() else []
    return sorted(path for path in inside if path.suffix.lower() in VIDEOS)


class _Here:
    """The engine's networks in this process, with the questions and the runner of a Cluster."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def ask(self, question: Callable[[Loaded], Any]) -> Any:
        return question(self.loaded)

    def runner(self, engine_of: Callable[[Loaded], Engine | CarryingEngine]) -> Runner:
        from ..run.here import Here

        return Here(engine_of(self.loaded))


@contextmanager
def _ready(
    args: argparse.Namespace, load: Callable[[], Loaded]
) -> Iterator[_Here | Cluster[Loaded]]:
    if args.ray is None:
        yield _Here(load())
        return
    from ..run.cluster import Cluster

    with Cluster(load, args.workers, args.ray) as cluster:
        yield cluster


@dataclass(frozen=True)
class _Answer:
    """What a machine says of a style that it is to make."""

    identity: dict[str, Any]
    remarks: list[str]
    hardware: str
    size: tuple[int, int]
    chunk: int


def _answer(
    loaded: Loaded, asked: Asked, info: VideoInfo, max_side: int | None, chunk: int | None
) -> _Answer:
    from ..device import hardware
    from ..engines.kinds import identity
    from ..media import fit
    from ..run.stylize import auto_chunk

    size = asked.size or fit(info.width, info.height, max_side or loaded.side)
    if chunk is None:
        chunk = auto_chunk(*size, loaded.device, loaded.bytes_per_pixel)
    return _Answer(
        identity(asked.name, loaded, asked.style),
        [remark for style in asked.styles for remark in loaded.remarks(style)],
        hardware(loaded.device),
        size,
        chunk,
    )


def _stylize_one(
    args: argparse.Namespace,
    asked: Asked,
    ready: _Here | Cluster[Loaded],
    info: VideoInfo,
    target: Path,
) -> None:
    from ..media import foreseen
    from ..run.job import frames_kept
    from ..run.styles import engine_of_shots
    from ..run.stylize import Kept, stylize_video

    question = partial(
        _answer, asked=asked, info=info, max_side=args.max_side, chunk=options.chunk_of(args)
    )
    answer: _Answer = ready.ask(question)
    for remark in answer.remarks:
        say(remark)
    job = args.job or target.with_name(f"{target.name}.job")
    try:
        with Bars() as bars:
            report = stylize_video(
                info,
                target,
                ready.runner(partial(engine_of_shots, style=asked.style, begins=asked.begins)),
                part=asked.part,
                size=answer.size,
                codec=args.codec,
                quality=args.quality,
                refining=options.refining_of(args),
                chunk_size=answer.chunk,
                begins=asked.begins,
                keyframes=asked.keyframes,
                job=Kept(job, answer.identity, args.fresh),
                planned=bars.planned,
                keeping=bars.kept,
                progress=bars,
            )
    except KeyboardInterrupt:
        if job.is_dir():
            say(
                f"Finished and kept in {shown(job)}: {frames_kept(job)} frames; the same command "
                "goes on."
            )
        raise
    for note in report.notes:
        if note not in foreseen(info, target, args.codec):
            say(note)
    report.notes += answer.remarks
    refine = args.refine_strength if args.refine else 0.0
    prompt = asked.style.words if asked.style else None
    more = {"prompt": prompt, "refine": refine, "hardware": answer.hardware}
    report.settings = answer.identity | more
    if args.preview:
        _write_preview(args, asked, info, report)
    if args.report:
        write_json(args.report, report.as_dict())
    if asked.keyframes is not None:
        say(f"{report.made} of {report.frames - report.resumed} frames were keyframes.")
    if report.resumed:
        say(f"{report.resumed} frames were done by a former run.")
    say(
        f"{report.frames} frames of {report.width}x{report.height} in {report.seconds:.1f} s "
        f"({report.frames_per_second:.2f} frames/s)"
    )
    print(target)


def _write_preview(
    args: argparse.Namespace, asked: Asked, info: VideoInfo, report: StylizeReport
) -> None:
    """Both clips are read once more: the frames of a former run are gone."""
    from ..media import read_frames
    from ..report import sheet

    sampled = sheet.Sampled()
    before = asked.part.read(info, (report.width, report.height))
    for pair in zip(before, read_frames(args.target), strict=False):
        sampled(*pair)
    words = "by shots" if args.shots else asked.styles[0].words or asked.name
    sheet.save(sheet.contact_sheet(sampled.rows(["source", words])), args.preview)
