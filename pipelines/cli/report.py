"""style-a-video report: how steady, strong and sharp results are, beside their source."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import StyleAVideoError
from . import options
from .progress import Bars, say, write_json
from .refine import probed


def add(commands: Any) -> None:
    to = commands.add_parser(
        "report",
        help="how steady, strong and sharp results are, beside their source",
        description="Measure results against the source they were made from, frame by frame: print "
        "a table with the unedited source in the first row, and write a page with the clips side "
        "by side and curves over time.",
    )
    to.add_argument("source", metavar="SOURCE", type=Path, help="video file or folder of pictures")
    to.add_argument(
        "results", metavar="RESULT", type=Path, nargs="+", help="made from it: as many frames"
    )
    to.add_argument("--html", type=Path, metavar="FILE.html", help="page to look at and share")
    to.add_argument("--json", type=Path, metavar="FILE.json", help="all numbers")
    options.part(to, "of SOURCE, where the results are of a part: ")
    options.reading(to)
    options.flow(to)
    to.add_argument("--prompt", metavar="TEXT", help="the style asked for, for CLIP's style")
    to.add_argument(
        "--style-image",
        type=Path,
        metavar="FILE",
        help="a picture of the style: how near colours and textures come to it",
    )
    to.add_argument(
        "--clip",
        default="embedded",
        metavar="embedded|FOLDER|none",
        help="CLIP to ask (%(default)s: the built-in model's; a folder of transformers' CLIPModel)",
    )
    options.device(to)


def run(args: argparse.Namespace) -> None:
    part = options.part_of(args)
    from ..checks import check_prompts
    from ..engines.style import read_style_picture
    from ..media import check_target

    if args.prompt is not None:
        check_prompts("The prompt", args.prompt, 1)
        if args.clip == "none":
            raise StyleAVideoError(
                "The prompt is for CLIP, which --clip none leaves out: give one of them alone."
            )
    if args.style_image is not None:
        read_style_picture(args.style_image)
    for path, suffixes in ((args.html, (".html", ".htm")), (args.json, (".json",))):
        if path is not None:
            check_target(path, suffixes)
    videos = probed(args, args.source, *args.results)
    part.check(videos[0])
    from ...weights.loading import load_quietly
    from ..device import pick_device
    from ..flow import FLOWS, check_flow
    from ..report import report
    from ..report.judges import judges_here, load_clip
    from ..report.measures import measure_videos

    check_flow(args.flow)
    if args.html:
        report.check_page()
    device = pick_device(args.device)
    load_quietly()
    network = None if args.clip == "none" else load_clip(args.clip, device)
    with Bars() as bars:
        measures = measure_videos(
            videos[0],
            videos[1:],
            flow=FLOWS[args.flow],
            judges=judges_here(network, args.prompt, args.style_image, device),
            part=part,
            device=device,
            progress=partial(bars, "report"),
        )
    if args.json:
        write_json(args.json, report.as_dict(measures))
    if args.html:
        report.write_page(measures, videos, args.html)
    print(report.table(measures), *report.said(measures), sep="\n\n")
    for note in [*(n for video in videos for n in video.notes), *(n.en for n in measures.notes)]:
        say(note)
    for path in (args.json, args.html):
        if path:
            print(path)
