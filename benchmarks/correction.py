"""Does the sampling correction hold content? The built-in model with and without it, step by step.

    python benchmarks/correction.py CLIP... [--steps 10] [--strengths 0 0.2] [--json FILE]

One frame a clip, styles that a painting of weights/pictures is the measure of, both presets. For
each: the CLIP loss of the guided x0 at every step, through the whole decoder; the content, cosine
of the perceptual encoder's relu4_1 with the source frame, which the correction does not see; the
gap to the painting's Gram matrices, the source's own being 1; and seconds. Rows of strength 0 with
--text-scales say what another s_T makes of content and gap.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import torch
import torch.nn.functional as F
from style_a_video.pipelines.core.correction import clip_loss
from style_a_video.pipelines.core.denoised import predict_denoised
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.engines.diffusion import decoders
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.media import fit, probe, read_frames
from style_a_video.pipelines.media.stills import read_still
from style_a_video.weights import paintings
from style_a_video.weights.loading import load
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor

STYLES = {"Van Gogh": "starry_night_vangogh_1889.jpg", "Monet": "water_lilies_monet_1919.jpg"}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"attention_scale": 0.5},
    "instruct-pix2pix": {},
}


def step_noting_losses(
    pipeline: StyleAVideoPipeline, frame: Tensor, seen: list[float], spent: list[float]
) -> Any:
    """The scheduler's step, which notes the CLIP loss of x0 at the point that it steps from, and
    the seconds that this took.
    """
    scheduler = pipeline.scheduler
    target, decode = pipeline.encode_images(frame), decoders.full(pipeline)
    original = scheduler.step

    @wraps(original)
    def step(output: Tensor, t: Tensor, sample: Tensor, **kwargs: Any) -> Any:
        began = time.perf_counter()
        x0 = predict_denoised(scheduler, output, scheduler.scale_model_input(sample, t), t)
        seen.append(clip_loss(target, pipeline.encode_images(decode(x0))).item())
        spent.append(time.perf_counter() - began)
        return original(output, t, sample, **kwargs)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--at", type=float, default=1.0, help="of the frame, in seconds")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.2])
    parser.add_argument("--text-scales", type=float, nargs="+", default=[1.0])
    parser.add_argument("--decoder", choices=decoders.DECODERS, default="full")
    parser.add_argument("--max-side", type=int, default=128)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pipeline, encoder = load(), load_encoder()
    pipeline.set_progress_bar_config(disable=True)
    original = pipeline.scheduler.step
    print(f"{hardware(torch.device('cpu'))}, one thread")
    rows = []
    for clip, style in product(args.clips, STYLES):
        info = probe(clip)
        size = fit(info.width, info.height, args.max_side)
        frame = next(iter(read_frames(info, start=args.at, size=size))).image[None]
        path = paintings.FOLDER / STYLES[style]
        painting = read_still(path, (16, 16384), args.max_side)[None]
        with torch.no_grad():
            source, wanted = encoder(frame), encoder(painting)
        for preset, s_t, strength in product(PRESETS, args.text_scales, args.strengths):
            seen: list[float] = []
            spent: list[float] = []
            pipeline.scheduler.step = step_noting_losses(pipeline, frame, seen, spent)
            began = time.perf_counter()
            result = pipeline(
                frame,
                style,
                preset=preset,
                num_inference_steps=args.steps,
                text_scale=s_t,
                correction=strength,
                correction_decoder=args.decoder,
                **PRESETS[preset],
            ).frames
            seconds = time.perf_counter() - began - sum(spent)
            pipeline.scheduler.step = original
            with torch.no_grad():
                found = encoder(result)
            pair = (x["relu4_1"].flatten(1) for x in (found, source))
            row = {
                "clip": clip.stem,
                "style": style,
                "preset": preset,
                "text_scale": s_t,
                "correction": strength,
                "losses": [round(x, 4) for x in seen],
                "content": round(F.cosine_similarity(*pair).item(), 4),
                "gap": round(
                    (style_distance(found, wanted) / style_distance(source, wanted)).item(), 4
                ),
                "seconds": round(seconds, 2),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
