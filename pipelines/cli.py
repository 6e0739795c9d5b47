"""style-a-video stylize | demo | refine | report | shots | info

Exit codes: 0 done, 2 arguments or input that cannot be used (one line on stderr says which and what
to do), 130 interrupted, 1 anything unforeseen (with its traceback).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import StyleAVideoError
from .files import shown, told, unusable
from .loaded import PRESETS, SCHEDULERS, Loaded, lists_styles, load_quietly

if TYPE_CHECKING:  # torch and diffusers take seconds to import: not for --help
    from .cluster import Cluster
    from .refine import Refining
    from .segments import Engine
    from .shots import Plan, Shot
    from .stylize import Runner, StylizeReport
    from .video import VideoInfo

SIDES = (16, 8192)  # px
PICTURES = (".jpg", ".jpeg", ".png")
VIDEOS = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")


class _Parser(argparse.ArgumentParser):
    """A wrong argument is told like any other bad input."""

    def error(self, message: str) -> NoReturn:
        raise StyleAVideoError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    main = _Parser(
        prog="style-a-video",
        description="Stylize a video from words (Style-A-Video, arXiv 2305.05464).",
    )
    commands = main.add_subparsers(
        dest="command", required=True, metavar="stylize | demo | refine | report | shots | info"
    )

    stylize = commands.add_parser(
        "stylize",
        help="a clip and a prompt in, the stylized clip out",
        description="Stylize IN by a prompt and write OUT, with IN's frame rate, timestamps, shape "
        "and audio; rotated clips come out upright. OUT appears only when it is complete; one that "
        "is there already is replaced then.",
    )
    stylize.add_argument(
        "source",
        metavar="IN",
        type=Path,
        help="video file, folder of PNG or JPEG pictures, or folder of videos: all of them",
    )
    stylize.add_argument(
        "target",
        metavar="OUT",
        type=Path,
        help=".mp4, .mov, .mkv, .webm, .gif or .webp file; no suffix: folder of PNG pictures",
    )
    stylize.add_argument(
        "--prompt",
        help="the style, in words: 'a watercolour painting', 水彩画; may be left out where --shots "
        "names one for every shot",
    )
    _engine_options(stylize)
    size = stylize.add_mutually_exclusive_group()
    size.add_argument("--size", metavar="WxH", help="size to work and write at, such as 512x256")
    size.add_argument(
        "--max-side",
        type=int,
        metavar="N",
        help="longer side to work and write at, in the source's shape, never enlarged (512)",
    )
    _range_options(stylize)
    _reading_options(stylize)
    _codec_option(stylize)
    stylize.add_argument(
        "--shots",
        type=Path,
        metavar="FILE.json",
        help="where shots begin, each with a prompt of its own (see style-a-video shots)",
    )
    stylize.add_argument(
        "--job",
        type=Path,
        metavar="FOLDER",
        help="keeps what is done until all is: the same command goes on (OUT.job)",
    )
    stylize.add_argument(
        "--fresh", action="store_true", help="start over, whatever the job's folder holds"
    )
    stylize.add_argument(
        "--ray",
        metavar="auto|ADDRESS",
        help="make it on a Ray cluster; auto: the one that runs here, else one is started",
    )
    stylize.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="on Ray: how many hold the model, a GPU each where there are some (%(default)s)",
    )
    stylize.add_argument(
        "--report", type=Path, metavar="FILE.json", help="what was done, at what cost"
    )
    stylize.add_argument(
        "--preview",
        type=Path,
        metavar="FILE.jpg",
        help="a few frames before and after, as a picture",
    )

    demo = commands.add_parser(
        "demo",
        help="one clip in several styles: a video and a contact sheet",
        description="Write OUTPUT.mp4 (the source and up to three styles, moving side by side) and "
        "OUTPUT.jpg (a row of frames for the source and for each prompt).",
    )
    demo.add_argument("--input", type=Path, metavar="FILE", help="a clip of yours (else our own)")
    demo.add_argument(
        "--prompt", action="append", metavar="TEXT", help="a style; repeat for more (else a choice)"
    )
    demo.add_argument("--output", type=Path, default=Path("output/demo"), help="(%(default)s)")
    demo.add_argument(
        "--seconds", type=float, default=4.0, help="how much of the clip is shown (%(default)s)"
    )
    _engine_options(demo)

    refine = commands.add_parser(
        "refine",
        help="take the flicker out of a video that something else has stylized",
        description="Refine STYLIZED, frame by frame beside the SOURCE that it was made from, and "
        "write OUT with STYLIZED's timestamps and tracks; where it has no sound, SOURCE's.",
    )
    refine.add_argument("source", metavar="SOURCE", type=Path, help="file or folder of pictures")
    refine.add_argument("stylized", metavar="STYLIZED", type=Path, help="as many frames, any size")
    refine.add_argument("target", metavar="OUT", type=Path, help="video file to write")
    refine.add_argument(
        "--strength", type=float, default=1.0, metavar="X", help="how much, 0 to 1 (%(default)g)"
    )
    refine.add_argument(
        "--method", default="learned", metavar="learned|blend", help="refiner (%(default)s)"
    )
    _flow_option(refine)
    refine.add_argument(
        "--start", type=float, metavar="S", help="where in SOURCE the stylized part begins, seconds"
    )
    _codec_option(refine)
    _reading_options(refine)

    report = commands.add_parser(
        "report",
        help="how steady, strong and sharp results are, beside their source",
        description="Measure results against the source they were made from, frame by frame: print "
        "a table with the unedited source in the first row, and write a page with the clips side "
        "by side and curves over time.",
    )
    report.add_argument(
        "source", metavar="SOURCE", type=Path, help="video file or folder of pictures"
    )
    report.add_argument(
        "results", metavar="RESULT", type=Path, nargs="+", help="made from it: as many frames"
    )
    report.add_argument("--html", type=Path, metavar="FILE.html", help="page to look at and share")
    report.add_argument("--json", type=Path, metavar="FILE.json", help="all numbers")
    _range_options(report, "of SOURCE, where the results are of a part: ")
    _reading_options(report)
    _flow_option(report)
    report.add_argument("--prompt", metavar="TEXT", help="the style asked for, for CLIP's style")
    report.add_argument(
        "--style-image",
        type=Path,
        metavar="FILE",
        help="a PNG or JPEG picture of the style, for SIFID's: how near the textures come to it",
    )
    report.add_argument(
        "--clip",
        default="embedded",
        metavar="embedded|FOLDER|none",
        help="CLIP to ask (%(default)s: the built-in model's; a folder of transformers' CLIPModel)",
    )
    _device_option(report)

    shots = commands.add_parser(
        "shots",
        help="where a clip cuts",
        description="List the shots of a clip, and write the file that stylize --shots reads: put "
        "a prompt to each.",
    )
    shots.add_argument("source", metavar="IN", type=Path, help="video file or folder of pictures")
    shots.add_argument("--json", type=Path, metavar="FILE.json", help="file to write prompts into")
    _range_options(shots)
    _reading_options(shots)

    info = commands.add_parser("info", help="models, styles, device and precision")
    _device_options(info)
    return main


def _range_options(to: argparse.ArgumentParser, of: str = "") -> None:
    to.add_argument("--start", type=float, metavar="S", help=f"{of}from here, seconds")
    until = to.add_mutually_exclusive_group()
    until.add_argument("--end", type=float, metavar="S", help=f"{of}to here, seconds")
    until.add_argument("--frames", type=int, metavar="N", help="at most this many frames")


def _codec_option(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--codec",
        metavar="NAME",
        help="h264, hevc, av1, vp9, prores (alpha: 4444) or ffv1 (what OUT's suffix stands for)",
    )


def _flow_option(to: argparse.ArgumentParser) -> None:
    to.add_argument("--flow", default="dis", metavar="dis|raft", help="optical flow (%(default)s)")


def _reading_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--rate",
        type=_frame_rate,
        metavar="N",
        help="pictures a second of a folder: 24, 29.97, 30000/1001 (25)",
    )
    to.add_argument(
        "--partial",
        action="store_true",
        help="of a file that is cut short or damaged, take what can be decoded",
    )


def _frame_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1000 pictures/s, not {text!r}")
    return rate


def _engine_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--negative", default="", metavar="TEXT", help="what the style is not")
    to.add_argument(
        "--model",
        default="embedded",
        metavar="embedded|HUB_ID|FOLDER|FILE",
        help="(%(default)s: the built-in model; see style-a-video info)",
    )
    to.add_argument(
        "--preset", choices=PRESETS, default="fast", help="(%(default)s: the model's own)"
    )
    for name, what in (
        ("text", "how strong the style, s_T"),
        ("frame", "how faithful to the frame, s_I"),
        ("attention", "how much more so where the model attends, s_M"),
    ):
        to.add_argument(
            f"--{name}-scale", type=float, metavar="X", help=f"{what} (the model's own)"
        )
    to.add_argument(
        "--correction", type=float, metavar="X", help="pull towards the frame's content, lambda (0)"
    )
    to.add_argument("--steps", type=int, metavar="N", help="sampling steps (the model's own)")
    to.add_argument("--scheduler", choices=SCHEDULERS, help="sampler (the model's own)")
    to.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (%(default)s)")
    to.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take out the flicker, along the source's motion (on)",
    )
    to.add_argument(
        "--refine-strength",
        type=float,
        default=1.0,
        metavar="X",
        help="how much of that, 0 to 1 (%(default)g)",
    )
    to.add_argument(
        "--chunk",
        default="auto",
        metavar="N|auto",
        help="frames at a time (auto: by the machine's memory)",
    )
    _device_options(to)


def _device_option(to: argparse.ArgumentParser) -> None:
    to.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))


def _device_options(to: argparse.ArgumentParser) -> None:
    _device_option(to)
    to.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "fp32", "bf16", "fp16"),
        help="(auto: fp16 on a GPU, bf16 on a CPU that is fast at it, else fp32)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints its settings otherwise
    try:
        args, unknown = parser().parse_known_args(argv)
        if unknown:
            raise StyleAVideoError(
                f"unrecognized arguments: {' '.join(unknown)} (see style-a-video {args.command} "
                "--help)"
            )
        COMMANDS[args.command](args)
    except StyleAVideoError as error:
        print(f"style-a-video: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not error.filename:
            raise
        print(f"style-a-video: error: {unusable(error.filename, error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("style-a-video: stopped.", file=sys.stderr)
        return 130
    return 0


# checks, before anything heavy


def _check_engine(args: argparse.Namespace, prompts: Sequence[str]) -> None:
    from .checks import check_count, check_number, check_prompts

    for prompt in prompts:
        check_prompts("The prompt", prompt, 1)
    check_prompts("The negative prompt", args.negative, 1, empty=True)
    for name in ("text_scale", "frame_scale", "attention_scale", "correction"):
        value = getattr(args, name)
        if value is not None:
            check_number(f"--{name.replace('_', '-')}", value)
    if args.steps is not None:
        check_count("--steps", args.steps)
        check_number("--steps", args.steps, high=1000)
    check_number("--seed", args.seed, high=2**63 - 1)
    check_number("--refine-strength", args.refine_strength, high=1)
    if args.refine:
        from .flow import check_flow

        check_flow("dis")
    if args.chunk != "auto":
        if not re.fullmatch(r"[0-9]{1,6}", args.chunk):
            raise StyleAVideoError(f"--chunk must be a whole number or auto, not {args.chunk!r}.")
        args.chunk = check_count("--chunk", int(args.chunk))


def _check_size(args: argparse.Namespace) -> tuple[int, int] | None:
    if args.max_side is not None and not SIDES[0] <= args.max_side <= SIDES[1]:
        raise StyleAVideoError(
            f"--max-side must be between {SIDES[0]} and {SIDES[1]} pixels, not {args.max_side}."
        )
    if args.size is None:
        return None
    sides = re.fullmatch(r"([0-9]{1,5})[xX×]([0-9]{1,5})", args.size.strip())
    if sides is None:
        raise StyleAVideoError(f"--size must be WIDTHxHEIGHT such as 512x256, not {args.size!r}.")
    width, height = int(sides[1]), int(sides[2])
    if not all(SIDES[0] <= side <= SIDES[1] for side in (width, height)):
        raise StyleAVideoError(
            f"--size must be between {SIDES[0]} and {SIDES[1]} pixels a side, not {args.size}."
        )
    return width, height


def _check_range(args: argparse.Namespace) -> None:
    from .checks import check_count, check_number

    if args.frames is not None:
        check_count("--frames", args.frames)
    for name in ("start", "end"):
        if getattr(args, name) is not None:
            check_number(f"--{name}", getattr(args, name))


# progress and files


class _Bars:
    """A progress bar a stage, on a terminal: frames a second, the time left. No bar in a log."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None
        self._shots: list[int] = []

    def planned(self, plan: Plan) -> None:
        self._shots = [shot.start for shot in plan.shots]

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if stage != self._stage:
            self._stage = stage
            self._bar = tqdm(
                desc=stage,
                initial=done,  # what a former run has done says nothing about the speed of this one
                total=total,
                unit=" frames",
                disable=None,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} "
                "[{rate_noinv_fmt}, {remaining} left]",
            )
        if stage == "stylize" and len(self._shots) > 1:
            shot = bisect_right(self._shots, max(0, done - 1))
            self._bar.set_description_str(f"stylize, shot {shot} of {len(self._shots)}", False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _write_json(path: Path, what: dict[str, Any]) -> None:
    _write_text(path, json.dumps(what, indent=2, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StyleAVideoError(
            f"{path} cannot be written ({error.strerror}): free space or choose another place."
        ) from error


# the commands


def _stylize(args: argparse.Namespace) -> None:
    from .shots import read_shots

    begins = None if args.shots is None else read_shots(args.shots)
    if args.prompt is None and begins and all(shot.prompt for shot in begins):
        args.prompt = begins[0].prompt
    if args.prompt is None:
        raise StyleAVideoError("Name the style: --prompt TEXT (see style-a-video stylize --help).")
    _check_engine(args, [args.prompt])
    size = _check_size(args)
    _check_range(args)
    from .video import check_target

    for path, suffixes in ((args.report, (".json",)), (args.preview, PICTURES)):
        if path is not None:
            check_target(path, suffixes)
    from .stylize import MAX_SIDE, fit

    videos = _videos(args)
    with _ready(args) as ready:
        for info, target in videos:
            shown = size or fit(info.width, info.height, args.max_side or MAX_SIDE)
            _stylize_one(args, ready, info, target, shown, begins)


def _videos(args: argparse.Namespace) -> list[tuple[VideoInfo, Path]]:
    """What is to be made of what: one video, or all of a folder."""
    from .stylize import check_not_input, check_range
    from .video import check_target, foreseen, kind_of, probe, seconds, suffix_of

    sources = [(args.source, args.target)]
    if several := _in_folder(args.source):
        for name in ("job", "report", "preview", "shots"):
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
        kind_of(check_target(target), args.codec)
        if several and target.exists() and not args.fresh:
            _say(f"{target} is there already; --fresh makes it anew.")
            continue
        info = probe(source, args.rate, args.partial)
        check_not_input(target, info.path)
        check_range(info, seconds(args.start), seconds(args.end))
        for note in foreseen(info, target, args.codec):
            _say(note)
        found.append((info, target))
    return found


def _in_folder(source: Path) -> list[Path]:
    """The videos of a folder; none where it is a file, or a folder of pictures."""
    with told(source):
        inside = list(source.iterdir()) if source.is_dir() else []
    return sorted(path for path in inside if path.suffix.lower() in VIDEOS)


class _Here:
    """The model in this process, with the questions and the runner of a cluster.Cluster."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.loaded = Loaded(args)

    def ask(self, question: Callable[[Loaded], Any]) -> Any:
        return question(self.loaded)

    def runner(self, engine_of: Callable[[Loaded], Engine]) -> Runner:
        from .stylize import here

        return partial(here, engine_of(self.loaded))


@contextmanager
def _ready(args: argparse.Namespace) -> Iterator[_Here | Cluster[Loaded]]:
    if args.ray is None:
        yield _Here(args)
        return
    from .cluster import Cluster

    with Cluster(partial(Loaded, args), args.workers, args.ray) as cluster:
        yield cluster


def _stylize_one(
    args: argparse.Namespace,
    ready: _Here | Cluster[Loaded],
    info: VideoInfo,
    target: Path,
    size: tuple[int, int],
    begins: Sequence[Shot] | None,
) -> None:
    from .stylize import auto_chunk, stylize_video
    from .video import foreseen

    def question(loaded: Loaded) -> tuple[dict[str, Any], list[str], str, int]:
        from .device import hardware

        prompts = dict.fromkeys([args.prompt, *(s.prompt for s in begins or [] if s.prompt)])
        return (
            loaded.describe(args.prompt),
            [remark for prompt in prompts for remark in loaded.place(prompt)],
            hardware(loaded.device),
            auto_chunk(*size, loaded.device) if args.chunk == "auto" else args.chunk,
        )

    settings, remarks, machine, chunk = ready.ask(question)
    for remark in remarks:
        _say(remark)
    job = args.job or target.with_name(f"{target.name}.job")
    bars = _Bars()
    try:
        report = stylize_video(
            info,
            target,
            None,
            refining=_refining(args),
            start=args.start,
            end=args.end,
            max_frames=args.frames,
            size=size,
            chunk_size=chunk,
            codec=args.codec,
            device="cpu" if args.ray else settings["device"],
            begins=begins,
            job=job,
            settings=settings,
            fresh=args.fresh,
            run=ready.runner(partial(Loaded.engine_of_shots, prompt=args.prompt, begins=begins)),
            planned=bars.planned,
            progress=bars,
        )
    except KeyboardInterrupt:
        if job.is_dir():
            _say(f"What is done is kept in {shown(job)}: the same command goes on.")
        raise
    for note in report.notes:
        if note not in foreseen(info, target, args.codec):
            _say(note)
    report.notes += remarks
    refine = args.refine_strength if args.refine else 0.0
    report.settings = settings | {"refine": refine, "hardware": machine}
    if args.preview:
        _write_preview(args, info, report)
    if args.report:
        _write_json(args.report, report.as_dict())
    if report.resumed:
        _say(f"{report.resumed} frames were done by a former run.")
    _say(
        f"{report.frames} frames of {report.width}x{report.height} in {report.seconds:.1f} s "
        f"({report.frames_per_second:.2f} frames/s)"
    )
    print(target)


def _write_preview(args: argparse.Namespace, info: VideoInfo, report: StylizeReport) -> None:
    """Both clips are read once more: the frames of a former run are gone."""
    from . import sheet
    from .video import read_frames

    sampled = sheet.Sampled()
    before = read_frames(
        info, args.start, args.end, args.frames, size=(report.width, report.height)
    )
    for pair in zip(before, read_frames(args.target), strict=False):
        sampled(*pair)
    words = "by shots" if args.shots else args.prompt
    sheet.save(sheet.contact_sheet(sampled.rows(["source", words])), args.preview)


def _shots(args: argparse.Namespace) -> None:
    _check_range(args)
    from . import shots
    from .stylize import check_range, expected_frames, fit
    from .video import check_target, probe, read_frames, seconds

    if args.json is not None:
        check_target(args.json, (".json",))
    info = probe(args.source, args.rate, args.partial)
    begin, end = seconds(args.start), seconds(args.end)
    check_range(info, begin, end)
    small = read_frames(info, begin, end, args.frames, fit(info.width, info.height, shots.SIDE))
    total, bars = expected_frames(info, begin, end, args.frames), _Bars()
    found = shots.plan(small, told=lambda done: bars("shots", done, max(done, total))).shots
    for n, shot in enumerate(found, 1):
        print(f"{n:5d}  {float(shot.time):9.3f} s  frames {shot.start} to {shot.end - 1}")
    if args.json is not None:
        _write_text(args.json, shots.as_text(found))
        print(args.json)


def _demo(args: argparse.Namespace) -> None:
    from . import demo
    from .checks import check_number
    from .video import probe

    _check_engine(args, args.prompt or [])
    check_number("--seconds", args.seconds, low=0.04)
    if args.input is not None:
        probe(args.input)
    loaded = Loaded(args)
    prompts = list(dict.fromkeys(args.prompt or demo.PROMPTS))
    for remark in [remark for prompt in args.prompt or [] for remark in loaded.place(prompt)]:
        _say(remark)
    video, picture = demo.run(
        loaded.engine,
        prompts,
        args.output,
        args.input,
        seconds=args.seconds,
        refining=_refining(args),
        chunk_size=None if args.chunk == "auto" else args.chunk,
        device=loaded.device,
        progress=_Bars(),
    )
    for n, prompt in enumerate(prompts, 1):
        _say(f"row {n}: {prompt}")
    print(video)
    print(picture)


def _refining(args: argparse.Namespace) -> Refining | None:
    from .refine import Refining

    return Refining(args.refine_strength) if args.refine else None


def _refine(args: argparse.Namespace) -> None:
    from .flow import check_flow
    from .refine import Refining
    from .refine_video import refine_video

    settings = Refining(args.strength, args.method, args.flow)
    check_flow(args.flow)
    source, stylized = _probed(args, args.source, args.stylized)
    notes = refine_video(
        source,
        stylized,
        args.target,
        settings,
        start=args.start,
        codec=args.codec,
        progress=partial(_Bars(), "refine"),
    )
    for note in notes:
        _say(note)
    print(args.target)


def _probed(args: argparse.Namespace, *paths: Path) -> list[VideoInfo]:
    """What these hold; a rate is that of the folders among them."""
    from .video import probe

    folders = any(path.is_dir() for path in paths)
    rates = [None if folders and not path.is_dir() else args.rate for path in paths]
    return [probe(path, rate, args.partial) for path, rate in zip(paths, rates, strict=True)]


def _report(args: argparse.Namespace) -> None:
    _check_range(args)
    from .checks import check_prompts
    from .stylize import check_range
    from .video import check_target, read_picture, seconds

    if args.prompt is not None:
        check_prompts("The prompt", args.prompt, 1)
        if args.clip == "none":
            raise StyleAVideoError(
                "The prompt is for CLIP, which --clip none leaves out: give one of them alone."
            )
    if args.style_image is not None:
        read_picture(args.style_image)
    for path, suffixes in ((args.html, (".html", ".htm")), (args.json, (".json",))):
        if path is not None:
            check_target(path, suffixes)
    videos = _probed(args, args.source, *args.results)
    check_range(videos[0], seconds(args.start), seconds(args.end))
    from . import report
    from .device import pick_device
    from .flow import FLOWS, check_flow
    from .judges import judges_here, load_clip
    from .measures import measure_videos

    check_flow(args.flow)
    if args.html:
        report.check_page()
    device = pick_device(args.device)
    load_quietly()
    network = None if args.clip == "none" else load_clip(args.clip, device)
    measures = measure_videos(
        videos[0],
        videos[1:],
        flow=FLOWS[args.flow],
        judges=judges_here(network, args.prompt, args.style_image, device),
        start=args.start,
        end=args.end,
        max_frames=args.frames,
        device=device,
        progress=partial(_Bars(), "report"),
    )
    if args.json:
        _write_json(args.json, report.as_dict(measures))
    if args.html:
        report.write_page(measures, videos, args.html)
    print(report.table(measures))
    for note in [*(n for video in videos for n in video.notes), *(n.en for n in measures.notes)]:
        _say(note)
    for path in (args.json, args.html):
        if path:
            print(path)


def _info(args: argparse.Namespace) -> None:
    from importlib import import_module

    import torch

    from ..weights import styles
    from ..weights.registry import MODELS
    from .device import hardware, pick_device, pick_dtype

    version = import_module("..", __package__).__version__
    device = pick_device(args.device)
    dtype = str(pick_dtype(args.dtype, device)).removeprefix("torch.")
    print(f"style-a-video {version}, torch {torch.__version__}")
    print(f"device: {device} ({hardware(device)}), {dtype}")
    print("\nmodels (--model):")
    for model in MODELS:
        there = model.name != "embedded" or (styles.EMBEDDED / "model_index.json").is_file()
        print(f"  {model.name}{'' if there else '  [not in this installation]'}")
        print(f"      {model.what}\n      licence: {model.licence}\n      {model.how}")
    if lists_styles():
        print("\nstyles of the built-in model (in your own words, in English or Chinese):")
        for style in styles.styles():
            print(f"  {style.name}  {style.chinese}  ({style.kind})")


COMMANDS = {
    "stylize": _stylize,
    "demo": _demo,
    "refine": _refine,
    "report": _report,
    "shots": _shots,
    "info": _info,
}


if __name__ == "__main__":
    sys.exit(main())
