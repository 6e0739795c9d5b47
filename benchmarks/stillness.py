"""Does every style stay still where the scene does, and sharp where it moves, through the refiner?

    python benchmarks/stillness.py CLIP... [--styles STYLE ...] [--preset paper] [--model FOLDER]
        [--engines NAME ... --pictures FILE ...] [--json FILE]

The built-in model in each style, and each engine after each picture, every frame alone, then
refined; `--styles` with nothing behind it leaves the model out. Means over clips:

- warping: E_warp of the refined frames, the source's being 1; strength: of their change, that of
  the unrefined being 1;
- crawl: how much the refined frames change where the source stands still, in levels and in motion;
  the unrefined being 1;
- sharpness: energy finer than 1.5 px of the refined frames where the scene moves by more than 2 px
  a frame, from the third second on; the unrefined being 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from pictures import Stylize, by_engine
from strokes import MOVING, mean, report
from style_a_video.pipelines.core.measures import DETAIL, blur, luma
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.engines.style import read_style_picture
from style_a_video.pipelines.flow import dis
from style_a_video.pipelines.media import Frame, fit, probe, read_frames
from style_a_video.pipelines.refine.frames import refine_frames
from style_a_video.pipelines.report.measures import measure
from style_a_video.weights import styles as listed
from style_a_video.weights.loading import load
from torch import Tensor

STILL = 0.05  # px a frame
SAME = 2 / 255  # levels
SETTLED = 2  # seconds
LEAST = 2000  # pixels, for a mean to mean something


def share(refined: Tensor, plain: Tensor, where: Tensor) -> float | None:
    """Of the means over the places (T,1,H,W) of two maps of that shape."""
    if where.sum() < LEAST:
        return None
    return float(refined[where].mean() / plain[where].mean())


def change(frames: Tensor) -> Tensor:
    """From each frame (T,3,H,W) to the next, (T-1,1,H,W)."""
    return frames.diff(dim=0).abs().mean(1, keepdim=True)


def energy(frames: Tensor) -> Tensor:
    """Of what is finer than 1.5 px, (T,1,H,W)."""
    return (luma(frames) - blur(luma(frames), DETAIL)).square()


def row_of(source: Tensor, plain: Tensor, flows: Tensor, rate: float) -> dict[str, float | None]:
    """Figures of a clip (T,3,H,W); flows (T-1,2,H,W) to the frame before."""
    refined = torch.stack(list(refine_frames(zip(source, plain, strict=True))))
    speed = flows.norm(dim=1, keepdim=True)
    still = (speed < STILL) & (change(source) < SAME)
    moving = (speed > MOVING)[round(SETTLED * rate) :]
    clips = [
        [Frame(image, Fraction(i, 25), Fraction(1, 25)) for i, image in enumerate(frames)]
        for frames in (source, plain, refined)
    ]
    told = measure(clips[0], clips[1:], ["source", "plain", "refined"]).clips
    first, alone, result = (one.means for one in told)
    return {
        "warping": result["warping"] / first["warping"],
        "strength": result["strength"] / alone["strength"],
        "crawl": share(change(refined), change(plain), still),
        "sharpness": share(energy(refined)[-len(moving) :], energy(plain)[-len(moving) :], moving),
    }


def by_model(
    pipeline: StyleAVideoPipeline, style: str, preset: str | None, frames: Tensor
) -> Tensor:
    return pipeline(frames, style, preset=preset, chunk_size=4).frames.float()


def one_by_one(stylize: Stylize, frames: Tensor) -> Tensor:
    return torch.stack(stylize(list(frames)))


def contenders(args: argparse.Namespace) -> dict[str, Callable[[Tensor], Tensor]]:
    """Frames (T,3,H,W) → frames, by the name of the row."""
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    if args.styles:
        pipeline = load(args.model, dtype=torch.bfloat16)
        pipeline.set_progress_bar_config(disable=True)
        found = {style: partial(by_model, pipeline, style, args.preset) for style in args.styles}
    for name in args.engines:
        engine = by_engine(name)
        for file in args.pictures:
            found[f"{name}, {file.stem}"] = partial(one_by_one, engine(read_style_picture(file)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--styles", nargs="*", default=[one.name for one in listed.styles()])
    parser.add_argument("--preset", help="in the place of the model's own")
    parser.add_argument("--engines", nargs="*", default=[])
    parser.add_argument("--pictures", nargs="*", type=Path, default=[])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--frames", type=int, default=75)
    parser.add_argument("--max-side", type=int, default=256)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if bool(args.engines) != bool(args.pictures):
        parser.error("--engines and --pictures go together")
    torch.set_grad_enabled(False)
    found: dict[str, dict[str, list[float | None]]] = {}
    rows = contenders(args)
    for clip in args.clips:
        info = probe(clip)
        size = tuple(s // 16 * 16 for s in fit(info.width, info.height, args.max_side))
        source = torch.stack([f.image for f in islice(read_frames(info, size=size), args.frames)])
        flows = torch.stack([dis(b, a) for a, b in zip(source[:-1], source[1:], strict=True)])
        for contender, stylize in rows.items():
            row = row_of(source, stylize(source), flows, float(info.frame_rate))
            print(clip.stem, contender, {k: mean([v]) for k, v in row.items()}, flush=True)
            for name, value in row.items():
                found.setdefault(contender, {}).setdefault(name, []).append(value)
    report(found, args.json)


if __name__ == "__main__":
    main()
