"""style-a-video shots: where a clip cuts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import options
from .progress import Bars, write_text


def add(commands: Any) -> None:
    to = commands.add_parser(
        "shots",
        help="where a clip cuts",
        description="List the shots of a clip, and write the file that stylize --shots reads: put "
        "a prompt to each.",
    )
    to.add_argument("source", metavar="IN", type=Path, help="video file or folder of pictures")
    to.add_argument("--json", type=Path, metavar="FILE.json", help="file to write prompts into")
    options.part(to)
    options.reading(to)


def run(args: argparse.Namespace) -> None:
    part = options.part_of(args)
    from ..media import check_target, fit, probe
    from ..run import shots

    if args.json is not None:
        check_target(args.json, (".json",))
    info = probe(args.source, args.rate, args.partial)
    part.check(info)
    small = part.read(info, fit(info.width, info.height, shots.SIDE))
    total = part.expected(info)
    with Bars() as bars:
        found = shots.plan(small, told=lambda done: bars("shots", done, max(done, total))).shots
    for n, shot in enumerate(found, 1):
        print(f"{n:5d}  {float(shot.time):9.3f} s  frames {shot.start} to {shot.end - 1}")
    if args.json is not None:
        write_text(args.json, shots.as_text(found))
        print(args.json)
