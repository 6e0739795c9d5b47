"""Deep Image Analogy: is a known field found, how long do a pair and a clip take, how do they look?

    python benchmarks/analogy.py known [--side 160] [--json FILE]
    python benchmarks/analogy.py pair A B [--side 256] [--picture FILE] [--json FILE]
    python benchmarks/analogy.py clip VIDEO PICTURE [--frames 48] [--side 256] [--picture FILE]
        [--json FILE]

known: a painting of weights/pictures and a copy of it, warped and recoloured; what share of the
pixels is found within 3 px, both ways. pair: seconds, and the share of patches with a match. clip:
the engine alone, seconds and warping error beside the source's; no refiner. --picture writes a
contact sheet: a pair's two pictures and results, a clip's first 20 results.
"""

from __future__ import annotations

import argparse
import json
import time
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import torch
from style_a_video.pipelines.core import analogy as core
from style_a_video.pipelines.core.flow import warp
from style_a_video.pipelines.core.patchmatch import places
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.engines.analogy import Analogies, AnalogyOptions
from style_a_video.pipelines.engines.style import Style, read_style_picture
from style_a_video.pipelines.engines.transfer import at_size
from style_a_video.pipelines.media import Frame, Part, fit, probe
from style_a_video.pipelines.report import sheet
from style_a_video.pipelines.report.measures import measure
from style_a_video.weights.paintings import painting
from torch import Tensor

CPU = torch.device("cpu")
PICTURES = ("Composition VII, Kandinsky", "The Great Wave, Hokusai")
RECOLOUR = torch.tensor([[0.3, 0.6, 0.1], [0.2, 0.2, 0.5], [0.7, 0.1, 0.1]])
BEND, NEAR, BORDER = 4.0, 3.0, 6  # px
SHOWN, COLUMNS = 20, 5  # frames of a clip's sheet


class Clock:
    """Seconds since it was made: by the wall, and of all cores together."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, float]:
        wall, cores = self.began
        return {
            "seconds": round(time.perf_counter() - wall, 2),
            "core_seconds": round(time.process_time() - cores, 2),
        }


def bend(height: int, width: int) -> Tensor:
    """(1,2,H,W) px: a flow that changes slowly."""
    y, x = torch.meshgrid(torch.linspace(0, 4, height), torch.linspace(0, 5, width), indexing="ij")
    return BEND * torch.stack([y.sin(), x.cos()])[None]


def near(found: Tensor, wanted: Tensor, inside: Tensor) -> float:
    return ((found - wanted).norm(dim=1)[inside] <= NEAR).float().mean().item()


def known(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name, content, way in product(args.pictures, args.content, args.reconstruct):
        a = at_size(read_style_picture(painting(name).path).image[None], args.side)
        height, width = a.shape[-2:]
        flow = bend(height, width)
        b_prime = torch.einsum("ij,tjhw->tihw", RECOLOUR, warp(a, flow)) ** 1.3
        loaded = Analogies(AnalogyOptions(reconstruct=way), CPU)
        clock = Clock()
        with torch.no_grad():
            features = [{core.PICTURE: x, **loaded.encoder(x)} for x in (a, b_prime)]
            encoder = loaded.encoder if way == "lbfgs" else None
            found = core.analogy(*features, content, encoder=encoder)
        seconds = clock.seconds()
        target = places((height, width), CPU) + flow
        ends = torch.tensor([width - 1, height - 1]).view(1, 2, 1, 1)
        inside = ((target >= 0) & (target <= ends)).all(1)
        there, back = core.flow_of(found.to_b), core.flow_of(found.to_a)
        middle = torch.zeros_like(inside)
        middle[:, BORDER:-BORDER, BORDER:-BORDER] = True
        rows.append(
            {
                "picture": name,
                "content": content,
                "reconstruct": way,
                "near_from_b": round(near(back, flow, inside), 3),
                "near_from_a": round(near(there, -warp(flow, there), middle), 3),
                **seconds,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def pair(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows, shown = [], []
    a, b = (read_style_picture(path) for path in (args.a, args.b))
    for content, way in product(args.content, args.reconstruct):
        options = AnalogyOptions(style_size=args.side, content=content, reconstruct=way)
        loaded = Analogies(options, CPU)
        clock = Clock()
        found = loaded.pair(a, b)
        seconds = clock.seconds()
        about = {"content": content, "reconstruct": way}
        rows.append({**about, "share": round(found.share, 3), **seconds})
        print(json.dumps(rows[-1]), flush=True)
        pictures = [at_size(x.image[None], args.side)[0] for x in (a, b)]
        shown.append((f"{way}, {content}", [*pictures, found.a_prime, found.b]))
    if args.picture:
        sheet.save(sheet.contact_sheet(shown, args.side), args.picture)
    return rows


def as_clip(frames: list[Tensor]) -> list[Frame]:
    return [Frame(image, Fraction(i, 25), Fraction(1, 25)) for i, image in enumerate(frames)]


def clip(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    info = probe(args.a)
    size = fit(info.width, info.height, args.side)
    source = [f.image for f in Part.of(frames=args.frames).read(info, size)]
    for content, way in product(args.content, args.reconstruct):
        loaded = Analogies(AnalogyOptions(content=content, reconstruct=way), CPU)
        engine = loaded.engine(Style(pictures=(read_style_picture(args.b),)))
        clock, carried, results = Clock(), None, []
        for i, frame in enumerate(source):
            stylized, carried = engine.carry(frame[None], [i], carried)
            results.append(stylized[0])
        seconds = clock.seconds()
        names = ["source", "result"]
        floor, own = measure(as_clip(source), [as_clip(results)], names).clips
        rows.append(
            {
                "frames": len(source),
                "size": list(size),
                "content": content,
                "reconstruct": way,
                **seconds,
                "warping": own.means["warping"],
                "warping_of_the_source": floor.means["warping"],
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        if args.picture:
            firsts = range(0, min(SHOWN, len(results)), COLUMNS)
            shown = [(f"{i}", results[i : i + COLUMNS]) for i in firsts]
            sheet.save(sheet.contact_sheet(shown, args.side), args.picture)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="question", required=True)
    for name, answer, side in (("known", known, 160), ("pair", pair, 256), ("clip", clip, 256)):
        one = commands.add_parser(name)
        one.set_defaults(answer=answer, pictures=PICTURES)
        if name != "known":
            one.add_argument("a", type=Path, metavar="VIDEO" if name == "clip" else "A")
            one.add_argument("b", type=Path, metavar="PICTURE" if name == "clip" else "B")
            one.add_argument("--picture", type=Path, metavar="FILE")
        else:
            one.add_argument("--pictures", nargs="+", metavar="NAME", help="of weights.paintings")
        if name == "clip":
            one.add_argument("--frames", type=int, default=48)
        one.add_argument("--side", type=int, default=side, help="the longer one, px")
        one.add_argument(
            "--content", type=int, nargs="+", default=[2, 3] if name == "known" else [2]
        )
        one.add_argument("--reconstruct", nargs="+", default=["warp"])
        one.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(hardware(CPU))
    rows = args.answer(args)
    if args.json:
        report = {"question": args.question, "side": args.side, "hardware": hardware(CPU)}
        args.json.write_text(json.dumps(report | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
