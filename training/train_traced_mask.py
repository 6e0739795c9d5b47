"""The mask of what can be traced from frame to frame (core/coherence.py), on photos in motion.

    python -m training.train_traced_mask --data DIR [--clips 160] [--minutes 4] [--name RUN]

It is shown the features of StyleBank's encoder and the flow that DIS finds, as in use. What it is
to find is known exactly (training/motion.py): the frame before shows the place, and DIS is wrong
by less than a pixel. No style is seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from style_a_video.pipelines.core.coherence import TracedMask, flow_on_grid
from style_a_video.pipelines.core.flow import warp
from style_a_video.pipelines.core.stylebank import WIDTHS
from style_a_video.pipelines.flow import dis
from style_a_video.weights.stylebank import load_network
from torch import Tensor
from torch.nn import functional as F

from . import data, motion
from .loop import Run

NEAR = 1.0  # px that DIS may be wrong by
BATCH = 8


def clips(files: list[Path], count: int) -> dict[str, Tensor]:
    """Pairs of frames: features (N,C,h,w), the frame before's moved to them, and what is traced
    (N,1,h,w), from 0 to 1: the share of a place.
    """
    network, rng = load_network(), np.random.default_rng(0)
    found: dict[str, list[Tensor]] = {"features": [], "warped": [], "traced": []}
    for _ in range(count):
        chosen = rng.choice(len(files), int(rng.integers(1, 4)), replace=False)
        clip = motion.clip(rng, [data.fit(data.read_rgb(files[k]), 448) for k in chosen], 3)
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            features = network.encode(frames)
        size = (features.shape[-2], features.shape[-1])
        for f in range(1, len(frames)):
            flow = dis(frames[f], frames[f - 1])[None]
            exact = torch.from_numpy(clip.flow_to_prev[f - 1]).permute(2, 0, 1)[None]
            right = (flow - exact).square().sum(1, keepdim=True) < NEAR**2
            seen = torch.from_numpy(clip.visible_before[f - 1])[None, None] & right
            moved = warp(features[f - 1 : f], flow_on_grid(flow, size))
            found["features"].append(features[f : f + 1].half())
            found["warped"].append(moved.half())
            found["traced"].append(F.interpolate(seen.float(), size, mode="area"))
    return {k: torch.cat(v) for k, v in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--name", default="traced_mask", help="of the run")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    pairs = clips(data.photos(args.data, "train"), args.clips)
    network = TracedMask(WIDTHS[-1])
    run = Run(args.name, args.work, args.minutes, 2e-3, {"network": network})
    rng = np.random.default_rng(run.step)
    for _ in run.steps():
        some = torch.from_numpy(rng.integers(len(pairs["traced"]), size=BATCH))
        found = network.logits(pairs["features"][some].float(), pairs["warped"][some].float())
        traced = pairs["traced"][some]
        loss = F.binary_cross_entropy_with_logits(found, traced)
        run.descend(loss)
        right = ((found.detach() > 0) == (traced > 0.5)).float().mean()
        run.log(loss=loss.detach(), right=right)
    state = {k: v.half().contiguous() for k, v in run.averaged("network").state_dict().items()}
    save_file(state, run.folder / "network.safetensors")


if __name__ == "__main__":
    main()
