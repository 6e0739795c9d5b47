"""Do strokes lie on a lattice of the screen, and do they move with the scene?

    python benchmarks/strokes.py CLIP... [--styles STYLE ...] [--model FOLDER] [--json FILE]

Frames of the built-in model, one step, not refined. Of what is finer than 4 px:

- lattice: the highest autocorrelation at shifts of 8 to 32 px along x or y, in flat areas of the
  source;
- stuck: the correlation of neighbouring frames at the same pixel, where the scene moves by more
  than 2 px. A row for the source says what is so anyway.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

import torch
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.flow import dis
from style_a_video.pipelines.media import fit, probe, read_frames
from style_a_video.training.mesh import FARTHEST, LEAST, NEAREST, fine, flat_places
from style_a_video.weights.loading import load
from torch import Tensor

PAINTERS = ("Van Gogh", "Munch", "Monet", "Kandinsky", "Sakai Hoitsu")
"""Mondrian's planes are a lattice by intent."""
MOVING = 2.0  # px a frame


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.stack([a, b]).corrcoef()[0, 1])


def lattice(result: Tensor, frame: Tensor) -> float | None:
    """Of a frame (1,3,H,W)."""
    texture, flat = fine(result), flat_places(frame)
    found = []
    for shift in range(NEAREST, FARTHEST + 1):
        for dim in (-1, -2):
            both = flat & flat.roll(shift, dim)
            both.narrow(dim, 0, shift).fill_(False)
            if both.sum() >= LEAST:
                found.append(correlation(texture[both], texture.roll(shift, dim)[both]))
    return max(found) if found else None


def stuck(results: Tensor, moving: Tensor) -> float | None:
    """Of neighbours (T,3,H,W); moving (T-1,1,H,W)."""
    texture = fine(results)
    if moving.sum() < LEAST:
        return None
    return correlation(texture[1:][moving], texture[:-1][moving])


def mean(values: list[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return round(sum(there) / len(there), 3) if there else None


def report(found: dict[str, dict[str, list[float | None]]], file: Path | None) -> None:
    """Prints the means of each style, and keeps them in a JSON file where one is named."""
    told = hardware(torch.device("cpu"))
    table = {s: {k: mean(v) for k, v in row.items()} for s, row in found.items()}
    print(told)
    for style, row in table.items():
        print(style, row)
    if file:
        file.write_text(json.dumps({"hardware": told, "rows": table}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--styles", nargs="+", default=list(PAINTERS))
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--max-side", type=int, default=384)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    pipeline = load(args.model)
    pipeline.set_progress_bar_config(disable=True)
    found: dict[str, dict[str, list[float | None]]] = {}
    for clip in args.clips:
        info = probe(clip)
        size = tuple(s // 16 * 16 for s in fit(info.width, info.height, args.max_side))
        frames = torch.stack([f.image for f in islice(read_frames(info, size=size), args.frames)])
        flows = [dis(this, prev) for prev, this in zip(frames[:-1], frames[1:], strict=True)]
        moving = torch.stack([flow.norm(dim=0, keepdim=True) > MOVING for flow in flows])
        for style in ("source", *args.styles):
            shown = frames if style == "source" else pipeline(frames, style).frames
            row = found.setdefault(style, {"lattice": [], "stuck": []})
            row["lattice"].append(lattice(shown[:1], frames[:1]))
            row["stuck"].append(stuck(shown, moving))
    report(found, args.json)


if __name__ == "__main__":
    main()
