"""style-a-video stylize | demo | shots | report | info

Exit codes: 0 done, 2 arguments or input that cannot be used (one line on stderr says which and what
to do), 130 interrupted, 1 anything unforeseen (with its traceback).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import StyleAVideoError

if TYPE_CHECKING:  # torch and diffusers take seconds to import: not for --help
    import torch

    from .refine import Refining
    from .segments import Engine
    from .shots import Shot
    from .style_a_video import StyleAVideoPipeline
    from .stylize import StylizeReport
    from .video import VideoInfo

# What --preset stands for, beneath what is given explicitly; "fast" is the model's own few steps.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    "instruct-pix2pix": {"preset": "instruct-pix2pix"},
    # Huang et al. 2023: all four conditions, 30 steps.
    "paper": {"preset": "paper", "num_inference_steps": 30, "attention_scale": 0.5},
}
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}
SIDES = (16, 8192)  # px
PICTURES = (".jpg", ".jpeg", ".png")


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
        dest="command", required=True, metavar="stylize | demo | shots | report | info"
    )

    stylize = commands.add_parser(
        "stylize",
        help="a clip and a prompt in, the stylized clip out",
        description="Stylize IN by a prompt and write OUT, with IN's frame rate, timestamps, shape "
        "and audio; rotated clips come out upright. OUT appears only when it is complete.",
    )
    stylize.add_argument(
        "source", metavar="IN", type=Path, help="video file, or folder of PNG or JPEG pictures"
    )
    stylize.add_argument(
        "target",
        metavar="OUT",
        type=Path,
        help=".mp4, .mov, .mkv, .webm, .gif or .webp file; no suffix: folder of PNG pictures",
    )
    stylize.add_argument(
        "--prompt", required=True, help="the style, in words: 'a watercolour painting', 水彩画"
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
    stylize.add_argument(
        "--codec",
        metavar="NAME",
        help="h264, hevc, av1, vp9, prores (alpha: 4444) or ffv1 (what OUT's suffix stands for)",
    )
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

    report = commands.add_parser(
        "report",
        help="how steady, strong and sharp results are, beside their source",
        description="Measure results against the source they were made from, frame by frame: print "
        "a table with the unedited source in the first row, and write a page with the clips side "
        "by side and curves over time.",
    )
    report.add_argument("source", metavar="SOURCE", type=Path, help="video file")
    report.add_argument(
        "results", metavar="RESULT", type=Path, nargs="+", help="made from it: as many frames"
    )
    report.add_argument("--html", type=Path, metavar="FILE.html", help="page to look at and share")
    report.add_argument("--json", type=Path, metavar="FILE.json", help="all numbers")
    report.add_argument(
        "--flow", choices=("dis", "raft"), default="dis", help="optical flow (%(default)s)"
    )
    report.add_argument("--prompt", metavar="TEXT", help="the style asked for, for CLIP's style")
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
    shots.add_argument("source", metavar="IN", type=Path, help="video file")
    shots.add_argument("--json", type=Path, metavar="FILE.json", help="file to write prompts into")
    _range_options(shots)
    _reading_options(shots)

    info = commands.add_parser("info", help="models, styles, device and precision")
    _device_options(info)
    return main


def _range_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--start", type=float, metavar="S", help="from here, seconds")
    until = to.add_mutually_exclusive_group()
    until.add_argument("--end", type=float, metavar="S", help="to here, seconds")
    until.add_argument("--frames", type=int, metavar="N", help="at most this many frames")


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
    try:
        args = parser().parse_args(argv)
        COMMANDS[args.command](args)
    except StyleAVideoError as error:
        print(f"style-a-video: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("style-a-video: stopped; what was not complete was not written.", file=sys.stderr)
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
    if args.refine:
        from .flow import check_flow

        check_number("--refine-strength", args.refine_strength, high=1)
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


# the engine


class _Loaded:
    """A model made ready as the arguments say, and the engines it gives."""

    def __init__(self, args: argparse.Namespace) -> None:
        from .device import pick_device, pick_dtype

        self.args = args
        self.device: torch.device = pick_device(args.device)
        self.dtype: torch.dtype = pick_dtype(args.dtype, self.device)
        given = {
            "num_inference_steps": args.steps,
            "text_scale": args.text_scale,
            "frame_scale": args.frame_scale,
            "attention_scale": args.attention_scale,
            "correction": args.correction,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        self.settings = PRESETS[args.preset] | chosen
        self.pipeline = self._load()

    def _load(self) -> StyleAVideoPipeline:
        import diffusers

        from ..weights.loading import load

        _load_quietly()
        pipeline = load(self.args.model, dtype=self.dtype, device=self.device)
        pipeline.set_progress_bar_config(disable=True)
        if self.args.scheduler is not None:
            scheduler = getattr(diffusers, SCHEDULERS[self.args.scheduler])
            pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
        return pipeline

    def engine(self, prompt: str) -> Engine:
        def stylize(frames: torch.Tensor, frame_indices: Sequence[int]) -> torch.Tensor:
            (stylized,) = self.pipeline(
                frames,
                prompt,
                self.args.negative,
                seed=self.args.seed,
                frame_indices=frame_indices,
                output_type="pt",
                return_dict=False,
                **self.settings,
            )
            return stylized

        return stylize

    def engine_of_shots(self, prompt: str, begins: Sequence[Shot]) -> Engine:
        """An engine with a prompt for each shot; `prompt` where a shot has none."""
        engines = {
            text: self.engine(text) for text in {prompt, *(s.prompt or prompt for s in begins)}
        }
        starts = [shot.start for shot in begins]

        def stylize(frames: torch.Tensor, frame_indices: Sequence[int]) -> torch.Tensor:
            shot = begins[bisect_right(starts, frame_indices[0]) - 1]
            return engines[shot.prompt or prompt](frames, frame_indices)

        return stylize

    def refining(self) -> Refining | None:
        from .refine import Refining

        return Refining(self.args.refine_strength) if self.args.refine else None

    def describe(self, prompt: str) -> dict[str, Any]:
        """Everything that decides the engine's pixels."""
        from .job import fingerprint
        from .settings import Settings

        resolved = Settings.resolve(self.pipeline.config.defaults, **self.settings)
        return {
            "prompt": prompt,
            "negative": self.args.negative,
            "model": self.args.model,
            "weights": fingerprint(self.pipeline),
            "seed": self.args.seed,
            "scheduler": type(self.pipeline.scheduler).__name__,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            **asdict(resolved),
        }

    def place(self, prompt: str) -> list[str]:
        """Says where the built-in model sees the prompt among its styles, if nowhere near."""
        if self.args.model != "embedded" or not _lists_styles():
            return []
        from ..weights import styles

        if styles.is_known(prompt, self.pipeline):
            return []
        nearest = styles.nearest(prompt, self.pipeline)
        words = ", ".join(f"{name} ({similarity:.2f})" for name, similarity in nearest)
        return [
            f"The built-in model cannot place the style {prompt!r}; the nearest it knows, with "
            f"their similarity: {words}."
        ]


def _load_quietly() -> None:
    """Without the libraries' own progress bars."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _lists_styles() -> bool:
    from ..weights import styles

    return (styles.EMBEDDED / "styles.json").is_file()


class _Bars:
    """A progress bar a stage, on a terminal: frames a second, the time left. No bar in a log."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

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
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _write_json(path: Path, what: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.part")
    text = json.dumps(what, indent=2, ensure_ascii=False)
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)


# the commands


def _stylize(args: argparse.Namespace) -> None:
    _check_engine(args, [args.prompt])
    size = _check_size(args)
    from .checks import check_count, check_number
    from .video import check_target, kind_of, probe, seconds

    if args.frames is not None:
        check_count("--frames", args.frames)
    for name in ("start", "end"):
        if getattr(args, name) is not None:
            check_number(f"--{name}", getattr(args, name))
    kind_of(check_target(args.target), args.codec)
    for path, suffixes in ((args.report, (".json",)), (args.preview, PICTURES)):
        if path is not None:
            check_target(path, suffixes)
    from .device import hardware
    from .shots import read_shots
    from .stylize import MAX_SIDE, check_not_input, check_range, stylize_video

    info = probe(args.source, args.rate, args.partial)
    check_not_input(args.target, info.path)
    check_range(info, seconds(args.start), seconds(args.end))
    for note in info.notes:
        _say(note)
    begins = None if args.shots is None else read_shots(args.shots)
    loaded = _Loaded(args)
    prompts = dict.fromkeys([args.prompt, *(s.prompt for s in begins or [] if s.prompt)])
    remarks = [remark for prompt in prompts for remark in loaded.place(prompt)]
    for remark in remarks:
        _say(remark)
    engine = loaded.engine(args.prompt)
    settings = loaded.describe(args.prompt)
    job = args.job or args.target.with_name(f"{args.target.name}.job")
    try:
        report = stylize_video(
            info,
            args.target,
            loaded.engine_of_shots(args.prompt, begins) if begins else engine,
            refining=loaded.refining(),
            start=args.start,
            end=args.end,
            max_frames=args.frames,
            size=size,
            max_side=args.max_side or MAX_SIDE,
            chunk_size=args.chunk,
            codec=args.codec,
            device=loaded.device,
            begins=begins,
            job=job,
            settings=settings,
            fresh=args.fresh,
            progress=_Bars(),
        )
    except KeyboardInterrupt:
        _say(f"What is done is kept in {job}: the same command goes on.")
        raise
    for note in report.notes[len(info.notes) :]:
        _say(note)
    report.notes += remarks
    refine = args.refine_strength if args.refine else 0.0
    report.settings = settings | {"refine": refine, "hardware": hardware(loaded.device)}
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
    print(args.target)


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
    sheet.save(sheet.contact_sheet(sampled.rows(["source", args.prompt])), args.preview)


def _shots(args: argparse.Namespace) -> None:
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
        args.json.write_text(shots.as_text(found), encoding="utf-8")
        print(args.json)


def _demo(args: argparse.Namespace) -> None:
    from . import demo
    from .checks import check_number
    from .video import probe

    _check_engine(args, args.prompt or [])
    check_number("--seconds", args.seconds, low=0.04)
    if args.input is not None:
        probe(args.input)
    loaded = _Loaded(args)
    prompts = list(dict.fromkeys(args.prompt or _demo_prompts(args.model)))
    for remark in [remark for prompt in args.prompt or [] for remark in loaded.place(prompt)]:
        _say(remark)
    video, picture = demo.run(
        loaded.engine,
        prompts,
        args.output,
        args.input,
        seconds=args.seconds,
        refining=loaded.refining(),
        chunk_size=None if args.chunk == "auto" else args.chunk,
        device=loaded.device,
        progress=_Bars(),
    )
    for n, prompt in enumerate(prompts, 1):
        _say(f"row {n}: {prompt}")
    print(video)
    print(picture)


def _demo_prompts(model: str) -> list[str]:
    """Up to twelve styles, spread over those that the built-in model lists."""
    from . import demo, sheet

    if model != "embedded" or not _lists_styles():
        return list(demo.PROMPTS)
    from ..weights import styles

    names = [style.name for style in styles.styles()]
    return [names[i] for i in sheet.evenly(12, len(names))]


def _report(args: argparse.Namespace) -> None:
    from .checks import check_prompts
    from .video import check_target, probe

    if args.prompt is not None:
        check_prompts("The prompt", args.prompt, 1)
    for path, suffixes in ((args.html, (".html", ".htm")), (args.json, (".json",))):
        if path is not None:
            check_target(path, suffixes)
    videos = [args.source, *args.results]
    for path in videos:
        probe(path)
    from . import report
    from .device import pick_device
    from .flow import FLOWS
    from .judges import load_clip
    from .measures import measure_videos

    if args.html:
        report.check_page()
    device = pick_device(args.device)
    _load_quietly()
    measures = measure_videos(
        args.source,
        args.results,
        flow=FLOWS[args.flow],
        clip=None if args.clip == "none" else load_clip(args.clip, device),
        prompt=args.prompt,
        device=device,
        progress=partial(_Bars(), "report"),
    )
    print(report.table(measures))
    for note in measures.notes:
        _say(note.en)
    if args.json:
        _write_json(args.json, report.as_dict(measures))
        print(args.json)
    if args.html:
        report.write_page(measures, videos, args.html)
        print(args.html)


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
    if _lists_styles():
        print("\nstyles of the built-in model (in your own words, in English or Chinese):")
        for style in styles.styles():
            print(f"  {style.name}  {style.chinese}  ({style.kind})")


COMMANDS = {
    "stylize": _stylize,
    "demo": _demo,
    "shots": _shots,
    "report": _report,
    "info": _info,
}


if __name__ == "__main__":
    sys.exit(main())
