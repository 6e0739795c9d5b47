"""A style learned by itself, beside the one that was trained with the networks: how near, how soon?

    python benchmarks/learning.py --data DIR [--styles NAME ...] [--steps 200] [--every 50]
        [--json FILE] [--picture FILE]

DIR holds the pictures of `weights.stylebank.BASE`. Each style is learned anew from the nearest of
the other eleven. After every so many steps: seconds of learning, and the style loss over all photos
that ship, where 1 is a photo with nothing of the style; the same of the filters that ship, and of
those that it began with. --picture shows one photo at each of these.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from style_a_video.pipelines.core.stylebank import LOOKS, losses, through_bank
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.engines.style import read_style_picture
from style_a_video.pipelines.media import read_still
from style_a_video.pipelines.report import sheet
from style_a_video.pipelines.run.learning import BATCH, SIDE, STEPS, Learner
from style_a_video.weights.stylebank import BASE, SHIPPED, SUFFIX, photos, read_style
from torch import Tensor

CPU = torch.device("cpu")


@torch.no_grad()
def style_loss(learner: Learner, filters: Tensor) -> float:
    """Of all photos in these filters."""
    parts = []
    for some in torch.arange(len(learner.features)).split(BATCH):
        results = learner.network.decode(through_bank(learner.features[some].float(), filters))
        found = losses(
            results, learner.encoder(results, LOOKS), learner.contents[some].float(), learner.grams
        )
        parts.append(found["style"].item() * len(some))
    return sum(parts) / len(learner.features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--styles", nargs="+", default=["scream"], metavar="NAME")
    parser.add_argument("--steps", type=int, default=200, help=f"learn itself takes {STEPS}")
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    print(hardware(CPU))
    crops = [read_still(path, (SIDE, 1024), 1024) for path in photos()]
    shipped = {style.name: read_style(SHIPPED / f"{style.name}{SUFFIX}") for style in BASE}
    found: dict[str, dict[str, Any]] = {}
    shown = []
    for style in BASE:
        if style.name not in args.styles:
            continue
        picture = read_style_picture(args.data / style.source).image
        others = [filters for name, filters in shipped.items() if name != style.name]
        learner = Learner(picture, crops, others, CPU, args.steps)
        trained = style_loss(learner, shipped[style.name])
        rows = [{"steps": 0, "seconds": 0.0, "style": style_loss(learner, learner.filters)}]
        previews, seconds = [learner.preview()], 0.0
        while learner.step < args.steps:
            began = time.perf_counter()
            learner.learn()
            seconds += time.perf_counter() - began
            if learner.step % args.every == 0 or learner.step == args.steps:
                loss = style_loss(learner, learner.filters)
                rows.append({"steps": learner.step, "seconds": round(seconds, 1), "style": loss})
                previews.append(learner.preview())
                print(style.name, json.dumps(rows[-1]), flush=True)
        found[style.name] = {"trained_with_the_networks": trained, "learned": rows}
        print(style.name, "with the networks:", round(trained, 4), flush=True)
        shown.append((style.name, previews))
    if args.picture:
        sheet.save(sheet.contact_sheet(shown, SIDE), args.picture)
    if args.json:
        report = {"photos": len(crops), "side": SIDE, "hardware": hardware(CPU), "styles": found}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
