"""Does the built-in model do what its filters do? Held-out clips, every style.

    python benchmarks/quality.py --data DIR [--frames 200] [--max-side 384] [--model M] [--steps N]
        [--dtype float32|bfloat16] [--json FILE]

For each frame and style: is the stylized frame nearest to that style's own result among the results
of all (Gram distance below); how well do gradient magnitudes follow the source; how strong is the
change beside the filter's own. DIR/clips were never trained on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.media import probe, read_frames
from style_a_video.training import data
from style_a_video.training.captions import NAMES
from style_a_video.weights.loading import load
from torch import Tensor
from torch.nn import functional as F

# What redraws the picture on a lattice has no contours to keep.
WITHOUT_CONTOURS = {"halftone", "pixel_art", "mondrian"}


def features(frame: Tensor, sigma: float) -> Tensor:
    """Opponent colours of (3,H,W) and their first and second derivatives at a scale: (18, H*W)."""
    r, g, b = frame
    opponent = torch.stack([(r + g + b) / 3, (r - g) / 2, (r + g) / 4 - b / 2])[:, None]
    radius = int(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    gauss = torch.exp(-(x**2) / (2 * sigma**2))
    gauss = gauss / gauss.sum()
    first = -x / sigma * gauss
    second = (x**2 / sigma**2 - 1) * gauss
    out = []
    for ky, kx in (
        (gauss, gauss),
        (gauss, first),
        (first, gauss),
        (gauss, second),
        (second, gauss),
        (first, first),
    ):
        padded = F.pad(opponent, [radius] * 4, mode="reflect")
        out.append(F.conv2d(F.conv2d(padded, ky[None, None, :, None]), kx[None, None, None]))
    return torch.cat(out, 1).flatten(0, 1).flatten(1)


def gram_distance(a: list[Tensor], b: list[Tensor]) -> float:
    """Mean relative difference of Gram matrices, in [0,1] (after Gatys et al. 2016, eq. 3)."""
    return float(
        np.mean(
            [((x - y).abs() / (x.abs() + y.abs() + 1e-4)).mean() for x, y in zip(a, b, strict=True)]
        )
    )


def grams(frame: Tensor) -> list[Tensor]:
    return [(f := features(frame, sigma)) @ f.T / f.shape[1] for sigma in (1.0, 2.0, 4.0)]


def gradient_correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation of gradient magnitudes of the grey frames, smoothed by sigma 1.5 px."""

    def magnitude(x: Tensor) -> np.ndarray:
        grey = cv2.GaussianBlur(x.mean(0).numpy(), (0, 0), 1.5)
        return np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)).ravel()

    return float(np.corrcoef(magnitude(a), magnitude(b))[0, 1])


def change(a: Tensor, b: Tensor) -> float:
    """Mean absolute RGB difference, the strength of a stylization."""
    return float((a - b).abs().mean())


def held_out(folder: Path, count: int, side: int) -> list[np.ndarray]:
    """Frames spread evenly over each clip, (H,W,3) uint8, without what is beyond `count`.

    A clip is never held whole.
    """
    clips = sorted(folder.glob("*.mp4"))
    each = -(-count // len(clips))
    frames = []
    for clip in clips:
        wanted = np.linspace(0, probe(clip).frames - 1, each).astype(int).tolist()
        for i, frame in enumerate(read_frames(clip)):
            if i in wanted:
                pixels = (frame.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
                frames += [data.fit(pixels, side)] * wanted.count(i)
    return frames[:: max(1, len(frames) // count)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--max-side", type=int, default=384)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pipeline = load(args.model, dtype=getattr(torch, args.dtype))
    pipeline.set_progress_bar_config(disable=True)
    rows: dict[str, list[list[float]]] = {name: [] for name in data.STYLES}
    began = time.time()
    for image in held_out(args.data / "clips", args.frames, args.max_side):
        frame = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        targets = [torch.from_numpy(t).permute(2, 0, 1).float() / 255 for t in data.stylize(image)]
        known = [grams(t) for t in targets]
        for index, name in enumerate(data.STYLES):
            options = {"num_inference_steps": args.steps} if args.steps else {}
            y = pipeline(frame[None], NAMES[name][0][0], **options).frames[0].float().clamp(0, 1)
            own = grams(y)
            distances = [gram_distance(own, k) for k in known]
            rows[name].append([
                float(int(np.argmin(distances)) == index),
                float(-10 * (y - targets[index]).square().mean().log10()),
                gradient_correlation(y, frame),
                change(y, frame) / max(change(targets[index], frame), 1e-3),
                gradient_correlation(targets[index], frame),
            ])  # fmt: skip
    keys = [
        "nearest_own",
        "psnr_to_filter",
        "gradient_correlation",
        "strength_ratio",
        "filter_gradient_correlation",
    ]
    result = {
        name: dict(zip(keys, np.round(np.mean(r, 0), 3).tolist(), strict=True))
        for name, r in rows.items()
    }
    contours = [r["gradient_correlation"] for n, r in result.items() if n not in WITHOUT_CONTOURS]
    summary = {
        "frames": min(map(len, rows.values())),
        "nearest_own_worst": min(r["nearest_own"] for r in result.values()),
        "nearest_own_mean": float(np.mean([r["nearest_own"] for r in result.values()]).round(3)),
        "psnr_mean": float(np.mean([r["psnr_to_filter"] for r in result.values()]).round(2)),
        "gradient_correlation_with_contours": float(np.mean(contours).round(3)),
        "strength_ratio_range": [
            f([r["strength_ratio"] for r in result.values()]) for f in (min, max)
        ],
        "seconds": round(time.time() - began),
        "hardware": hardware(torch.device("cpu")),
    }
    report = json.dumps({"summary": summary, "styles": result}, indent=2)
    print(report)
    if args.json:
        args.json.write_text(report + "\n")


if __name__ == "__main__":
    main()
