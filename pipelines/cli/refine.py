"""style-a-video refine: less flicker in a video that anything has stylized."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .progress import Bars, say

if TYPE_CHECKING:
    from ..media import VideoInfo


def add(commands: Any) -> None:
    to = commands.add_parser(
        "refine",
        help="take the flicker out of a video that something else has stylized",
        description="Refine STYLIZED, frame by frame beside the SOURCE that it was made from, and "
        "write OUT with STYLIZED's timestamps and tracks; where it has no sound, SOURCE's.",
    )
    to.add_argument("source", metavar="SOURCE", type=Path, help="file or folder of pictures")
    to.add_argument("stylized", metavar="STYLIZED", type=Path, help="as many frames, any size")
    to.add_argument("target", metavar="OUT", type=Path, help="video file to write")
    to.add_argument(
        "--strength", type=float, default=1.0, metavar="X", help="how much, 0 to 1 (%(default)g)"
    )
    to.add_argument(
        "--method", default="learned", metavar="learned|blend", help="refiner (%(default)s)"
    )
    options.flow(to)
    to.add_argument(
        "--start", type=float, metavar="S", help="where in SOURCE the stylized part begins, seconds"
    )
    options.codec(to)
    options.reading(to)


def run(args: argparse.Namespace) -> None:
    from ..flow import check_flow
    from ..refine.frames import Refining
    from ..refine.video import refine_video

    settings = Refining(args.strength, args.method, args.flow)
    check_flow(args.flow)
    source, stylized = probed(args, args.source, args.stylized)
    with Bars() as bars:
        notes = refine_video(
            source,
            stylized,
            args.target,
            settings,
            start=args.start,
            codec=args.codec,
            quality=args.quality,
            progress=partial(bars, "refine"),
        )
    for note in notes:
        say(note)
    print(args.target)


def probed(args: argparse.Namespace, *paths: Path) -> list[VideoInfo]:
    """What these hold; a rate is that of the folders among them."""
    from ..media import probe

    folders = any(path.is_dir() for path in paths)
    rates = [None if folders and not path.is_dir() else args.rate for path in paths]
    return [probe(path, rate, args.partial) for path, rate in zip(paths, rates, strict=True)]
