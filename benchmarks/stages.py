"""What does a frame cost outside the model? Each stage of a run by itself, on one thread.

    python benchmarks/stages.py CLIP [--frames 64] [--max-side 512] [--unet]

Looking for shots, reading, refining, packing and encoding, in ms a frame, and the bytes that a job
keeps of a frame. --unet: beside them one evaluation of Stable Diffusion 1.5's U-Net (random
weights, fp32, four conditions) for a frame of that size, and the share that reading and writing
have of a run of 30 such steps.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import torch
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.media import VideoWriter, fit, probe, read_frames, to_picture
from style_a_video.pipelines.refine.frames import Refining, refine_frames
from style_a_video.pipelines.run import shots
from style_a_video.pipelines.run.segments import pack, unpack

STEPS = 30  # Huang et al. 2023


def unet_seconds(width: int, height: int) -> float:
    """One step of a frame with four conditions."""
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel(in_channels=8, cross_attention_dim=768)
    z, text = torch.randn(4, 8, height // 8, width // 8), torch.randn(4, 77, 768)
    with torch.no_grad():
        network(z, 500, text)
        began = time.perf_counter()
        network(z, 500, text)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--max-side", type=int, default=512)
    parser.add_argument("--unet", action="store_true")
    args = parser.parse_args()
    info = probe(args.clip)
    size = fit(info.width, info.height, args.max_side)
    spent: dict[str, float] = {}

    def timed(stage: str, work: Callable):
        began = time.perf_counter()
        result = work()
        spent[stage] = (time.perf_counter() - began) / len(frames or result)
        return result

    frames: list = []
    frames = timed("reading", lambda: list(read_frames(info, max_frames=args.frames, size=size)))
    small = fit(*size, shots.SIDE)
    timed("shots", lambda: shots.plan(read_frames(info, max_frames=args.frames, size=small)))
    images = [frame.image for frame in frames]
    pairs = [(image, 1 - image) for image in images]
    list(refine_frames(pairs[:3], Refining()))  # the network is loaded
    refined = timed("refining", lambda: list(refine_frames(pairs, Refining())))
    packed = timed("packing", lambda: pack([to_picture(image, "yuv420p") for image in refined]))

    def encode() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            VideoWriter(Path(folder, "a.mp4"), frame_rate=info.frame_rate) as writer,
        ):
            for i, picture in enumerate(unpack(packed)):
                writer.write_picture(picture, i / info.frame_rate, Fraction(1) / info.frame_rate)

    timed("encoding", encode)
    print(f"{hardware(torch.device('cpu'))}, one thread, {size[0]}x{size[1]}, {len(frames)} frames")
    for stage, seconds in spent.items():
        print(f"{stage}: {1000 * seconds:.1f} ms")
    print(f"kept of a frame: {len(packed) / len(frames) / 1000:.0f} kB")
    if args.unet:
        step = unet_seconds(*size)
        files = spent["shots"] + spent["reading"] + spent["packing"] + spent["encoding"]
        print(f"U-Net, one step with four conditions: {1000 * step:.0f} ms")
        print(f"shots, reading and writing: {files / (files + STEPS * step):.3%} of {STEPS} steps")


if __name__ == "__main__":
    main()
