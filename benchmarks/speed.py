"""What each saving costs: evaluations, seconds and quality beside the exact guidance.

    python benchmarks/speed.py CLIP... [--styles STYLE ...] [--json FILE] [--plot FILE.svg]
    python benchmarks/speed.py CLIP... --own [--styles STYLE ...] [--json FILE]
    python benchmarks/speed.py --json FILE --plot FILE.svg   what was measured before, drawn
    python benchmarks/speed.py --size sd15 [--json FILE]     cost alone, see full_size.py

The built-in model (or --model) with all four conditions of the paper. `exact` is the paper's 30
steps from noise with all of them evaluated in each; `plain loop` is the same written down plainly,
a call a condition. Then the named settings of --speed, and single savings. With --own `exact` is
what `--preset paper` gives a user of this model: of the built-in one 10 steps from the frame with
half the noise. Then the named settings alone. Of each row, means over clips and styles:

- evaluations_per_frame: pictures through the U-Net, each by the share of its products;
- seconds_per_frame (of a CPU, the processor's), ratio_to_plain_loop: in this run;
- psnr to the exact result, in dB;
- style: Gram distance to the training filter's own result, that of `exact` being 1; style_apart:
  how far that is from 1, whatever the direction;
- e_warp: the warping error of neighbours, that of `exact` being 1.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import diffusers
import full_size
import torch
from guidance import targets
from style_a_video.pipelines.core import flow as warping
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.core.measures import warping_error
from style_a_video.pipelines.device import hardware, pick_device, pick_dtype
from style_a_video.pipelines.engines.diffusion import SCHEDULERS, SPEEDS
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.engines.diffusion.settings import Settings
from style_a_video.pipelines.flow import both_ways
from style_a_video.pipelines.media import fit, probe, read_frames
from style_a_video.weights.loading import load
from style_a_video.weights.perceptual_encoder import load_encoder
from throughput import clock_of, evaluations, outer_share, plain_loop, watched
from torch import Tensor

STEPS = 30  # Huang et al. 2023
FOUR = {
    "preset": "paper",
    "attention_scale": 0.5,
    "start_level": 1.0,
    "num_inference_steps": STEPS,
}
SAVINGS: dict[str, dict[str, Any]] = {
    "every 2nd step": {"evaluate_every": 2},
    "every 3rd step": {"evaluate_every": 3},
    "every 5th step": {"evaluate_every": 5},
    "inner levels every 2nd step": {"inner_every": 2},
    "inner levels every 3rd step": {"inner_every": 3},
    "12 steps, inner levels every 2nd": {"num_inference_steps": 12, "inner_every": 2},
    "10 steps": {"num_inference_steps": 10},
    "DPM-Solver++, 10 steps": {"num_inference_steps": 10, "scheduler": "dpmpp"},
    "5 steps": {"num_inference_steps": 5},
    "UniPC, 10 steps": {"num_inference_steps": 10, "scheduler": "unipc"},
    "text in the first half": {"schedules": {"text_scale": [(0, 1), (0.5, 1), (0.5, 0), (1, 0)]}},
}
"""One saving each, with the others as in the exact run."""


BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}  # a name in a plot

Rows = dict[str, dict[str, list[float]]]


def named(settings: Settings) -> dict[str, dict[str, Any]]:
    """The named speeds as changes of the exact run."""
    found = {}
    for name, speed in SPEEDS.items():
        changed, scheduler = speed.saved(settings)
        found[name] = {**changed, "scheduler": scheduler}
    return found


def decibels(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10(max(float((a - b).square().mean()), 1e-12))


def calm(frames: Tensor, flows: list[tuple[Tensor, Tensor]]) -> float:
    """Mean E_warp of neighbours, along the source's flow (to the frame before, visible)."""
    pairs = zip(frames[1:], frames[:-1], flows, strict=True)
    return sum(float(warping_error(b[None], a[None], *flow)) for b, a, flow in pairs) / len(flows)


def flows_of(frames: Tensor) -> list[tuple[Tensor, Tensor]]:
    found = []
    for prev, this in zip(frames[:-1], frames[1:], strict=True):
        to_prev, to_this = both_ways(this, prev)
        found.append((to_prev, warping.visible_before(to_prev, to_this)))
    return found


def looks(
    encoder: Any, result: Tensor, wanted: Tensor, flows: list[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """Style distance of the first frame to what is wanted (1,3,H,W), and E_warp of all."""
    style = style_distance(encoder(result[:1]), encoder(wanted))
    return {"style": float(style), "e_warp": calm(result, flows)}


def stylized(
    pipeline: StyleAVideoPipeline,
    frames: Tensor,
    style: str,
    settings: Mapping[str, Any],
    clock: Callable[[], float],
) -> tuple[Tensor, float, float]:
    """Frames (T,3,H,W), and seconds and evaluations a frame; `scheduler` is one of SCHEDULERS."""
    given, own = dict(settings), pipeline.scheduler
    if scheduler := given.pop("scheduler", None):
        pipeline.scheduler = getattr(diffusers, SCHEDULERS[scheduler]).from_config(own.config)
    share = outer_share(pipeline.unet, *pipeline.latent_shape(*frames.shape[2:])[1:])
    began = clock()
    with watched(pipeline) as (_, pictures):
        result = pipeline(frames, style, **given).frames.float().cpu()
    seconds = clock() - began
    pipeline.scheduler = own
    return result, seconds / len(frames), evaluations(pictures, share) / len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--size", choices=["sd15"], help="random weights of that size, no clips")
    parser.add_argument("--styles", nargs="+", default=["Van Gogh", "oil painting"])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--own", action="store_true", help="the preset as the model has it")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--at", type=float, default=1.0, help="of the first frame, in seconds")
    parser.add_argument("--max-side", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="PSNR over evaluations")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    if args.size:
        keep(full_size.rows(device, dtype, FOUR, named, args.frames), device, dtype, args.json)
        return
    if not args.clips and args.json and args.plot:
        plot(json.loads(args.json.read_text())["rows"], args.plot)
        return
    if not args.clips:
        parser.error("give clips, or --size")
    pipeline = load(args.model, dtype=dtype, device=device)
    pipeline.set_progress_bar_config(disable=True)
    encoder, clock = load_encoder(), clock_of(device)
    base = {"preset": "paper"} if args.own else FOUR
    exact = Settings.resolve(pipeline.config.defaults, **base)
    changes = named(exact) if args.own else {**named(exact), **SAVINGS}
    rows: Rows = defaultdict(lambda: defaultdict(list))
    for clip in args.clips:
        info = probe(clip)
        size = tuple(s // 16 * 16 for s in fit(info.width, info.height, args.max_side))
        read = islice(read_frames(info, start=args.at, size=size), args.frames)
        frames = torch.stack([frame.image for frame in read])
        flows, wanted = flows_of(frames), targets(frames[:1])
        for style in args.styles:
            began = clock()
            plain_loop(pipeline, frames[:1], exact, style)
            plain = clock() - began
            runs = [
                (name, *stylized(pipeline, frames, style, base | change, clock))
                for name, change in changes.items()
            ]
            reference = runs[0][1]
            first = looks(encoder, reference, wanted[style], flows)
            for name, result, seconds, evaluated in runs:
                found = looks(encoder, result, wanted[style], flows)
                row = {
                    "evaluations_per_frame": evaluated,
                    "seconds_per_frame": seconds,
                    "ratio_to_plain_loop": plain / seconds,
                    "psnr": decibels(result, reference),
                    **{key: value / first[key] for key, value in found.items()},
                }
                row["style_apart"] = abs(row["style"] - 1)
                for key, value in row.items():
                    rows[name][key].append(value)
    table = [
        {"name": name} | {key: round(sum(v) / len(v), 3) for key, v in row.items()}
        for name, row in rows.items()
    ]
    keep(table, device, dtype, args.json)
    if args.plot:
        plot(table, args.plot)


def plot(table: list[dict[str, Any]], file: Path) -> None:
    """PSNR to the exact result over evaluations; a line joins those that no other row beats."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9, "svg.hashsalt": "speed", "svg.fonttype": "none"})
    rows = [row for row in table if row["name"] != "exact"]
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    best, front = -math.inf, []
    for row in sorted(rows, key=lambda r: (r["evaluations_per_frame"], -r["psnr"])):
        if row["psnr"] > best:
            best, front = row["psnr"], [*front, row]
    axes.plot(*points(front), color="#8a8a8a", linewidth=1, zorder=1)
    named = [row for row in rows if row["name"] in SPEEDS]
    for some, colour, marker in ((rows, "#0072b2", "o"), (named, "#d55e00", "D")):
        axes.scatter(*points(some), color=colour, marker=marker, zorder=2)
    placed: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda r: r["psnr"]):
        x, y = row["evaluations_per_frame"], row["psnr"]
        for there, other in placed:  # names above each other where they would overlap
            y = max(y, other + 1.1) if abs(x - there) < 40 and y < other + 1.1 else y
        placed.append((x, y))
        axes.text(x + 1.5, y, row["name"], fontsize=8, va="center", bbox=BEHIND)
    exact = next(row for row in table if row["name"] == "exact")["evaluations_per_frame"]
    axes.set(
        xlabel=f"evaluations of the U-Net a frame (exact: {exact:.0f})", ylabel="PSNR to exact, dB"
    )
    axes.set_xlim(0, 1.3 * max(points(rows)[0]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e4")
    axes.set_axisbelow(True)
    figure.savefig(file, metadata={"Date": None})


def points(rows: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return [row["evaluations_per_frame"] for row in rows], [row["psnr"] for row in rows]


def keep(
    table: list[dict[str, Any]], device: torch.device, dtype: torch.dtype, file: Path | None
) -> None:
    """Prints the rows, and writes them to a file where one is named."""
    told = f"{hardware(device)}, {str(dtype).removeprefix('torch.')}"
    print(told)
    for row in table:
        print(json.dumps(row))
    if file:
        file.write_text(json.dumps({"hardware": told, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
