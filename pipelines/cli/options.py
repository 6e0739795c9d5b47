"""Options that several commands share, and their checks before anything heavy."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ..engines.kinds import EngineKind
from ..engines.options import Options, add_options, from_args
from ..engines.registry import KINDS, default_for, kind_named
from ..engines.style import Style, parse_picture, read_learned, read_pictures
from ..errors import StyleAVideoError

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from ..engines.kinds import Loaded
    from ..media import Part
    from ..refine.frames import Refining
    from ..refine.keyframes import Keyframes
    from ..run.shots import Begin

SIDES = (16, 8192)  # px
PICTURES = (".jpg", ".jpeg", ".png")
NAME_THE_STYLE = (
    "Name the style: --prompt TEXT, --style-image FILE or --style NAME (see style-a-video stylize "
    "--help)."
)


def part(to: argparse.ArgumentParser, of: str = "") -> None:
    to.add_argument("--start", type=float, metavar="S", help=f"{of}from here, seconds")
    until = to.add_mutually_exclusive_group()
    until.add_argument("--end", type=float, metavar="S", help=f"{of}to here, seconds")
    until.add_argument("--frames", type=int, metavar="N", help="at most this many frames")


def part_of(args: argparse.Namespace) -> Part:
    from ..checks import check_count, check_number
    from ..media import Part

    if args.frames is not None:
        check_count("--frames", args.frames)
    for name in ("start", "end"):
        if getattr(args, name) is not None:
            check_number(f"--{name}", getattr(args, name))
    return Part.of(args.start, args.end, args.frames)


def size(to: argparse.ArgumentParser) -> None:
    group = to.add_mutually_exclusive_group()
    group.add_argument("--size", metavar="WxH", help="size to work and write at, such as 512x256")
    group.add_argument(
        "--max-side",
        type=int,
        metavar="N",
        help="longer side to work and write at, in the source's shape, never enlarged (the "
        "engine's own: 512)",
    )


def size_of(args: argparse.Namespace) -> tuple[int, int] | None:
    """--size, checked; so is --max-side."""
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


def codec(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--codec",
        metavar="NAME",
        help="h264, hevc, av1, vp9, prores (alpha: 4444) or ffv1 (what OUT's suffix stands for)",
    )
    to.add_argument(
        "--quality",
        choices=("high", "normal", "low"),
        help="high: for further editing, about half as large again; low: about half (normal)",
    )


def flow(to: argparse.ArgumentParser) -> None:
    to.add_argument("--flow", default="dis", metavar="dis|raft", help="optical flow (%(default)s)")


def reading(to: argparse.ArgumentParser) -> None:
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


def device(to: argparse.ArgumentParser) -> None:
    to.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))


def devices(to: argparse.ArgumentParser) -> None:
    device(to)
    to.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "fp32", "bf16", "fp16"),
        help="(auto: fp16 on a GPU, bf16 on a CPU that is fast at it, else fp32)",
    )


# the engine


def engine(to: argparse.ArgumentParser) -> None:
    """--engine, every engine's options, and what goes on around it."""
    to.add_argument(
        "--engine",
        metavar="|".join(kind.name for kind in KINDS),
        help="what makes the frames (else the first of these that takes the style)",
    )
    add_options(to.add_argument_group("of the engines"), [(k.name, k.options) for k in KINDS])
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
    devices(to)


def pictures(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--style-image",
        action="append",
        metavar="PATH[:WEIGHT]",
        help="a picture of the style; repeat to mix several, by their weights (1)",
    )
    to.add_argument(
        "--style",
        action="append",
        metavar="NAME[:WEIGHT]",
        help="a learned style, by its name (see style-a-video info) or its file; repeat to mix "
        "several, by their weights (1)",
    )
    to.add_argument(
        "--style-mask",
        action="append",
        type=Path,
        metavar="FILE",
        help="where in the frame a --style-image or --style counts: white; one for each of them",
    )


def style_of(args: argparse.Namespace, prompt: str | None) -> Style:
    """What --prompt, --style-image and --style ask for."""
    given = [parse_picture(text) for text in args.style_image or []]
    learned = [parse_picture(text, "learned style") for text in args.style or []]
    if given and learned:
        raise StyleAVideoError("--style-image and --style cannot be mixed: leave one out.")
    for name, _ in learned:
        if name.suffix.lower() in PICTURES:
            raise StyleAVideoError(f"{name} is a picture: give it as --style-image.")
    masks = args.style_mask or []
    if masks and not (given or learned):
        raise StyleAVideoError(
            "--style-mask says where a --style-image or --style counts: give both."
        )
    if prompt is not None:
        from ..checks import check_prompts

        check_prompts("The prompt", prompt, 1)
    if learned:
        return Style(prompt or "", learned=read_learned(learned, masks))
    return Style(prompt or "", read_pictures(given, masks))


def check_every_shot(begins: Sequence[Begin]) -> None:
    """Where the run has no style, each shot must have one."""
    if bare := [begin.start for begin in begins if begin.style is None]:
        raise StyleAVideoError(
            f"The shot at frame {bare[0]} has no style: give it one in the shots file, or give one "
            "for all such shots by --prompt TEXT, --style-image FILE or --style NAME."
        )


def engine_of(args: argparse.Namespace, styles: Sequence[Style]) -> tuple[EngineKind, Options]:
    """The engine that is named, or the one for these styles; and its options, checked."""
    from ..checks import check_prompts

    if args.engine is None and all(style.is_empty for style in styles):
        raise StyleAVideoError(NAME_THE_STYLE)
    kind = kind_named(args.engine) if args.engine is not None else default_for(styles[0])
    options = from_args(kind.name, kind.options, {k.name: k.options for k in KINDS}, args)
    if negative := getattr(options, "negative", ""):
        check_prompts("The negative prompt", negative, 1, empty=True)
    for style in styles:
        if kind.takes and style.is_empty:
            raise StyleAVideoError(NAME_THE_STYLE)
        kind.check(style)
        options.check_style(style)
    _check_run(args)
    return kind, options


def _check_run(args: argparse.Namespace) -> None:
    """What goes on around any engine."""
    from ..checks import check_number

    check_number("--refine-strength", args.refine_strength, high=1)
    if args.refine or getattr(args, "keyframes", None) or getattr(args, "painted", None):
        from ..flow import check_flow

        check_flow("dis")
    chunk_of(args)


def keyframes(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--keyframes",
        metavar="auto|N",
        help="stylize one frame in N, more where much changes, and carry the style to the others "
        "along the motion; auto: as few as one in 16 (all are stylized)",
    )
    to.add_argument(
        "--painted",
        type=Path,
        metavar="FOLDER",
        help="keyframes that you painted, in the place of an engine: pictures named by the numbers "
        "of their frames, such as 0040.png; the first frame is 0",
    )


def keyframes_of(args: argparse.Namespace) -> Keyframes | None:
    """--keyframes, checked."""
    from ..refine.keyframes import MOST, Keyframes

    if args.keyframes is None:
        return None
    if args.keyframes == "auto":
        return Keyframes()
    if not re.fullmatch(r"[0-9]{1,6}", args.keyframes) or not 1 <= int(args.keyframes) <= MOST:
        raise StyleAVideoError(
            f"--keyframes must be auto or a whole number from 1 to {MOST}, not {args.keyframes!r}."
        )
    return Keyframes(int(args.keyframes))


def check_painted(args: argparse.Namespace, styles: Sequence[Style]) -> None:
    """Refuse, beside --painted, what it takes the place of."""
    if args.engine is not None or not all(style.is_empty for style in styles):
        raise StyleAVideoError(
            "--painted takes the place of an engine and its style: leave out --engine, --prompt, "
            "--style-image, --style and the styles of shots, or --painted."
        )
    if args.keyframes is not None:
        raise StyleAVideoError(
            "--painted says which frames are keyframes: leave out --keyframes, or --painted."
        )
    from_args("painted", Options, {k.name: k.options for k in KINDS}, args)
    _check_run(args)


def chunk_of(args: argparse.Namespace) -> int | None:
    """--chunk, checked; None is auto."""
    from ..checks import check_count

    if args.chunk == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,6}", args.chunk):
        raise StyleAVideoError(f"--chunk must be a whole number or auto, not {args.chunk!r}.")
    return check_count("--chunk", int(args.chunk))


def refining_of(args: argparse.Namespace) -> Refining | None:
    from ..refine.frames import Refining

    return Refining(args.refine_strength) if args.refine else None


class Load:
    """Loads an engine, on this machine or on a worker: what `engine_of` gave, as values."""

    def __init__(self, kind: EngineKind, options: Options, device: str, dtype: str) -> None:
        self.name, self.options, self.device, self.dtype = kind.name, options, device, dtype

    def __call__(self) -> Loaded:
        from ..device import pick_device, pick_dtype

        device = pick_device(self.device)
        return kind_named(self.name).load(self.options, device, pick_dtype(self.dtype, device))
