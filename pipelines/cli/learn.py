"""style-a-video learn: a picture in, a style of one's own out, for --style."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StyleAVideoError
from . import options
from .progress import say

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from ..run.learning import Learner

KEPT_EVERY = 30.0  # s


def add(commands: Any) -> None:
    to = commands.add_parser(
        "learn",
        help="learn a style from a picture, in minutes",
        description="Learn the style of PICTURE, to be used as --style NAME. A run that was ended "
        "goes on by the same command.",
    )
    to.add_argument("picture", metavar="PICTURE", type=Path, help="a painting, a print, a drawing")
    to.add_argument("--name", required=True, help="of the style: letters, digits, _ and -")
    to.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="how long: more come nearer to the picture (600)",
    )
    to.add_argument(
        "--preview",
        type=Path,
        metavar="FILE.jpg",
        help="a photo in the style so far, renewed every half minute",
    )
    to.add_argument("--fresh", action="store_true", help="learn a style of this name anew")
    options.device(to)


def run(args: argparse.Namespace) -> None:
    from ...weights.stylebank import SHIPPED, SUFFIX, own_styles, style_names, write_style
    from ..checks import check_count
    from ..device import pick_device
    from ..engines.style import read_style_picture
    from ..media import check_target
    from ..run.learning import (
        STEPS,
        about_learning,
        check_name,
        learner_of,
        progress_beside,
        read_progress,
        write_progress,
    )

    check_name("--name", args.name)
    steps = STEPS if args.steps is None else check_count("--steps", args.steps)
    if args.preview is not None:
        check_target(args.preview, options.PICTURES)
    target = own_styles() / f"{args.name}{SUFFIX}"
    kept = progress_beside(target)
    if target.exists() and not args.fresh:
        raise StyleAVideoError(
            f"There is a style {args.name} already: choose another name, or learn it anew with "
            "--fresh."
        )
    picture = read_style_picture(args.picture)
    of = about_learning(picture, steps)
    learner = learner_of(picture.image, pick_device(args.device), steps)
    if not args.fresh and (state := read_progress(kept, of)):
        learner.restore(state)
        say(f"{learner.step} steps were done by a former run.")
    say(f"Learning {args.name}: {steps} steps.")
    _learn(learner, args.preview, lambda: write_progress(kept, learner, of))
    write_style(target, learner.filters, of)
    kept.unlink(missing_ok=True)
    if args.name in style_names([SHIPPED]):
        say(f"A style {args.name} ships too: from now on --style {args.name} is yours.")
    say(f"Use it as --style {args.name}.")
    print(target)


def _learn(learner: Learner, preview: Path | None, keep: Any) -> None:
    """All steps that are left, with a bar; what is learned is kept when the run is ended."""
    from tqdm import trange

    from ..report import sheet

    def show() -> None:
        if preview is not None:
            sheet.save(sheet.to_pil(learner.preview()), preview)

    last = time.monotonic()
    bar = trange(learner.step, learner.steps, initial=0, disable=None, unit=" steps")
    try:
        for _ in bar:
            learner.learn()
            bar.set_description(f"style {1 - min(1.0, learner.loss):.0%}", refresh=False)
            if time.monotonic() - last > KEPT_EVERY:
                last = time.monotonic()
                keep()
                show()
    except KeyboardInterrupt:
        keep()
        show()
        say("What is learned is kept: the same command goes on.")
        raise
    show()
