"""Styles from pictures: how near in style, how much of the source is left, how long it takes.

    python benchmarks/picture_styles.py --data DIR [--engine adain|wct] [--strength S] [--frames 1]
        [--dtype bfloat16] [--hed HED] [--sheet PNG] [--json FILE]

Frames of six clips at 512 px in the style of eight pictures, none of which was trained on. The
distance in style (`core.gram.style_distance`, relu1_1 to relu4_1) is given as a share of the
source frame's own, by the shipped encoder and, with --hed (see training/teachers.py), by VGG-16.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # training/ is not installed
from quality import gradient_correlation
from style_a_video.pipelines.core import adain, measures, wct
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.core.perceptual import LAYERS, PerceptualEncoder
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.sheet import contact_sheet, save
from style_a_video.pipelines.video import probe, read_frames
from style_a_video.weights.perceptual_encoder import load_adain_decoder, load_decoder, load_encoder

from training import data, pictures, teachers

CLIPS = (
    *("face_woman_pexels", "face_man_pexels", "person_walk_intel"),
    *("driving_curve_udacity", "tos_actors_c", "bottles_static_intel"),
)
SIDE = 512
STYLE_LAYERS = LAYERS[:4]


class Engine:
    """A picture put onto frames, every frame by statistics of its own."""

    def __init__(self, kind: str, strength: float, dtype: torch.dtype, levels: list[int]) -> None:
        self.kind, self.strength, self.levels = kind, strength, levels
        ready = {"dtype": dtype, "memory_format": torch.channels_last}
        self.encoder = load_encoder().to(**ready)
        if kind == "adain":
            self.decoders = {4: load_adain_decoder().to(**ready)}
        else:
            self.decoders = {k: load_decoder(k).to(**ready) for k in levels}

    def style(self, picture: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        features = self.encoder(picture)
        of = {level: features[LAYERS[level - 1]] for level in self.decoders}
        if self.kind == "adain":
            return {k: tuple(adain.statistics(x)) for k, x in of.items()}
        return {k: tuple(wct.colour(wct.gaussian(x))) for k, x in of.items()}

    def __call__(self, frames: Tensor, style: dict[int, tuple[Tensor, Tensor]]) -> Tensor:
        for level in sorted(self.decoders, reverse=True):
            name = LAYERS[level - 1]
            x = self.encoder(frames, (name,))[name]
            transform = adain.adain if self.kind == "adain" else wct.wct
            x = transform(x, *style[level], strength=self.strength)
            frames = self.decoders[level](x).float().clamp(0, 1)
        return frames


def as_tensor(image: np.ndarray) -> Tensor:
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    return x.contiguous(memory_format=torch.channels_last)


def frames_of(folder: Path, count: int) -> list[Tensor]:
    """`count` frames of each clip, evenly from its middle part."""
    found = []
    for name in CLIPS:
        clip = folder / f"{name}.mp4"
        total = probe(clip).frames
        wanted = {int(total * (k + 1) / (count + 1)) for k in range(count)}
        for i, frame in enumerate(read_frames(clip)):
            if i in wanted:
                pixels = (frame.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
                found.append(as_tensor(data.fit(pixels, SIDE)))
    return found


def share(judge: PerceptualEncoder, source: Tensor, result: Tensor, picture: Tensor) -> float:
    wanted, before, after = (judge(x, STYLE_LAYERS) for x in (picture, source, result))
    return (style_distance(after, wanted) / style_distance(before, wanted)).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--engine", choices=["adain", "wct"], default="adain")
    parser.add_argument("--strength", type=float)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--hed", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    strength = args.strength or {"adain": 1.0, "wct": 0.6}[args.engine]
    engine = Engine(args.engine, strength, getattr(torch, args.dtype), args.levels)
    judges = {"style_share": load_encoder()}
    if args.hed:
        judges["style_share_vgg16"] = teachers.vgg16(args.hed).float()
    sources = frames_of(args.data / "clips", args.frames)
    rows, result = [("source", [x[0] for x in sources])], {}
    with torch.inference_mode():
        for file in pictures.styles(args.data, held_out=True):
            picture = as_tensor(pictures.read(file))
            style, numbers, shown = engine.style(picture), [], []
            for source in sources:
                began = time.perf_counter()
                y = engine(source, style)
                row = {"seconds": time.perf_counter() - began}
                row |= {k: share(judge, source, y, picture) for k, judge in judges.items()}
                row["gradient_correlation"] = gradient_correlation(y[0], source[0])
                row["likeness"] = measures.likeness(y, source).item()
                numbers.append(row)
                shown.append(y[0])
            result[file.stem] = {k: float(np.mean([r[k] for r in numbers])) for k in numbers[0]}
            rows.append((file.stem.split("_")[0], [picture[0], *shown]))
    keys = next(iter(result.values()))
    result["mean"] = {k: float(np.mean([r[k] for r in result.values()])) for k in keys}
    for name, row in result.items():
        print(f"{name:32}", "  ".join(f"{k} {v:.3f}" for k, v in row.items()), flush=True)
    if args.sheet:
        rows[0][1].insert(0, torch.ones_like(sources[0][0]))
        save(contact_sheet(rows, 320), args.sheet)
    if args.json:
        settings = {"engine": args.engine, "strength": strength, "dtype": args.dtype}
        report = settings | {"hardware": hardware(), "pictures": result}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
