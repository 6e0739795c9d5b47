"""How exactly a known shift and zoom of real frames is found, and how clearly other frames differ.

benchmarks/alignment.py DIR        a folder of clips; a frame of every third is used
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from style_a_video.pipelines.core import alignment
from style_a_video.pipelines.media import read_frames
from torch import Tensor
from torch.nn import functional as F

MOVES = ((0.95, 6.3, -4.2), (1.07, -9.4, 8.8))
"""Scale, then shift right and down (px)."""


def moved(frame: Tensor, scale: float, dx: float, dy: float) -> Tensor:
    """As an editor shows it that zooms and shifts."""
    h, w = frame.shape[-2:]
    rows = [[1 / scale, 0, -2 * dx / w / scale], [0, 1 / scale, -2 * dy / h / scale]]
    grid = F.affine_grid(torch.tensor([rows]), [1, 3, h, w], align_corners=False)
    return F.grid_sample(frame[None], grid, "bicubic", "border", align_corners=False)[0].clamp(0, 1)


def painted(frame: Tensor) -> Tensor:
    """Other colours, flat areas, grain."""
    flat = (F.avg_pool2d(frame[None], 5, 1, 2)[0] * 5).round() / 5
    tinted = torch.stack([flat[0] ** 0.7, flat[1] * 0.8, flat[2] * 0.5 + 0.3])
    return (tinted + 0.04 * torch.randn_like(tinted)).clamp(0, 1)


def main() -> None:
    torch.manual_seed(0)
    clips = sorted(Path(sys.argv[1]).glob("*.mp4"))[::3]
    frames = [next(read_frames(clip)).image for clip in clips]
    for name, look in (("same", lambda f: f), ("painted", painted)):
        scales, shifts, known, began = [], [], [], time.perf_counter()
        for frame in frames:
            for scale, *shift in MOVES:
                found = alignment.find(frame, look(moved(frame, scale, *shift)))
                scales.append(abs(found.scale / scale - 1))
                shifts.append(max(abs(a - b) for a, b in zip(found.shift, shift, strict=True)))
                known.append(found.confidence)
        seconds = (time.perf_counter() - began) / len(scales)
        print(f"{name}: scale {max(scales):.3%}, shift {max(shifts):.2f} px at most, confidence "
              f"{min(known):.1f} at least; {seconds:.2f} s a frame", flush=True)  # fmt: skip
    others = [
        alignment.find(a, F.interpolate(b[None], a.shape[-2:])[0]).confidence
        for a, b in zip(frames, frames[1:], strict=False)
    ]
    print(f"frames of other clips: confidence {max(others):.1f} at most")


if __name__ == "__main__":
    main()
