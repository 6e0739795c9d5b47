"""style-a-video demo: one clip in several styles, a video and a contact sheet."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..engines.kinds import LEARNED, WORDS
from ..engines.registry import default_for, kind_named
from ..engines.style import Style, read_learned_style, read_style_picture
from . import options
from .progress import Bars, say


def add(commands: Any) -> None:
    to = commands.add_parser(
        "demo",
        help="one clip in several styles: a video and contact sheets",
        description="Write OUTPUT.mp4 (the source and up to three styles, moving side by side), "
        "OUTPUT.jpg (a row of frames for the source and for each style) and, where no style is "
        "named, OUTPUT-pictures.jpg (frames after each painting that comes with the package).",
    )
    to.add_argument("--input", type=Path, metavar="FILE", help="a clip of yours (else our own)")
    to.add_argument(
        "--prompt", action="append", metavar="TEXT", help="a style; repeat for more (else a choice)"
    )
    to.add_argument("--output", type=Path, default=Path("output/demo"), help="(%(default)s)")
    to.add_argument(
        "--seconds", type=float, default=4.0, help="how much of the clip is shown (%(default)s)"
    )
    options.pictures(to)
    options.engine(to)


def run(args: argparse.Namespace) -> None:
    from ..checks import check_number, check_prompts
    from ..media import probe
    from ..run import demo

    for prompt in args.prompt or []:
        check_prompts("The prompt", prompt, 1)
    picture = options.style_of(args, None)
    asked = [Style(prompt) for prompt in dict.fromkeys(args.prompt or [])]
    asked += [] if picture.is_empty else [picture]
    styles = asked or _choice(args.engine)
    kind, chosen = options.engine_of(args, styles)
    check_number("--seconds", args.seconds, low=0.04)
    if args.input is not None:
        probe(args.input)
    loaded = options.Load(kind, chosen, args.device, args.dtype)()
    for remark in [remark for style in asked for remark in loaded.remarks(style)]:
        say(remark)
    with Bars() as bars:
        video, sheet = demo.run(
            loaded,
            styles,
            args.output,
            args.input,
            seconds=args.seconds,
            refining=options.refining_of(args),
            chunk_size=options.chunk_of(args),
            progress=bars,
        )
    for n, style in enumerate(styles, 1):
        say(f"row {n}: {style.words or kind.name}")
    print(video)
    print(sheet)
    if not asked and args.engine is None:
        print(_pictures(args))


def _choice(engine: str | None) -> list[Style]:
    """What is shown where no style is named: words, or what an engine takes in their place."""
    from ..run import demo

    takes = frozenset({WORDS}) if engine is None else kind_named(engine).takes
    if WORDS in takes:
        return [Style(prompt) for prompt in demo.PROMPTS]
    if LEARNED in takes:
        from ...weights.stylebank import BASE

        return [Style(learned=(read_learned_style(style.name),)) for style in BASE]
    return _paintings() if takes else [Style()]


def _paintings() -> list[Style]:
    from ...weights.paintings import PAINTINGS

    read = [(painting.name, read_style_picture(painting.path)) for painting in PAINTINGS]
    return [Style(pictures=(replace(picture, name=name),)) for name, picture in read]


def _pictures(args: argparse.Namespace) -> Path:
    """The sheet of paintings, by the engine that is best for pictures."""
    from ..run import demo

    styles = _paintings()
    kind = default_for(styles[0])
    loaded = options.Load(kind, kind.options(), args.device, args.dtype)()
    own = args.output.with_name(f"{args.output.name}-source.mp4")
    with Bars() as bars:
        return demo.pictures_sheet(
            loaded,
            styles,
            args.input or own,
            args.output.with_name(f"{args.output.name}-pictures.jpg"),
            seconds=args.seconds,
            progress=bars,
        )
