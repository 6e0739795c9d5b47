"""How fast is the temporal refiner, flow included, and does its memory grow? A moving picture.

    python benchmarks/refiner.py [--size 512x256] [--frames 240] [--method learned|blend]

Prints frames a second, how that compares with the flow alone in the same run, and the resident
memory after a tenth of the frames and after all of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import psutil
import torch
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.flow import both_ways
from style_a_video.pipelines.refine.frames import METHODS, Refining, refine_frames
from torch import Tensor
from torch.nn import functional as F


def frames(count: int, width: int, height: int) -> Iterator[Tensor]:
    """A soft random picture that moves by 2 px a frame."""
    length = max(1024, width)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, height // 8, length // 8, generator=generator)
    wide = F.interpolate(noise, (height, length), mode="bicubic").clamp(0, 1)[0]
    for i in range(count):
        yield wide.roll(-2 * i, 2)[..., :width]


def memory() -> float:
    return psutil.Process().memory_info().rss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="512x256")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--method", choices=METHODS, default="learned")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    clip = list(frames(11, width, height))
    both_ways(clip[1], clip[0])
    began = time.perf_counter()
    for before, frame in zip(clip, clip[1:], strict=False):
        both_ways(frame, before)
    flow = (time.perf_counter() - began) / 10

    pairs = ((frame, 1 - frame) for frame in frames(args.frames, width, height))
    tenth, early, began = args.frames // 10, 0.0, 0.0
    for i, _ in enumerate(refine_frames(pairs, Refining(method=args.method))):
        if i == 2:  # the network is loaded and warm
            began = time.perf_counter()
        if i == tenth:
            early = memory()
    each = (time.perf_counter() - began) / (args.frames - 3)
    print(hardware(torch.device("cpu")), f"{args.size}, {args.method}")
    print(f"{1 / each:.1f} frames/s, {each / flow:.1f} times the flow alone")
    print(f"{early:.0f} MiB after {tenth} frames, {memory():.0f} MiB after {args.frames}")


if __name__ == "__main__":
    main()
