"""What does Ray cost, and what do workers gain? One clip here and on 1 to N workers of one machine.

    python benchmarks/cluster.py CLIP [--workers 2] [--frames 192] [--max-side 256] [--steps 1]

Each worker computes on one thread, and so does the run without Ray. Prints frames a second without
loading, as a share of the run without Ray, and whether the files are the same.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in the workers

from style_a_video.pipelines.media import Part, fit, probe
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.run.cluster import Cluster
from style_a_video.pipelines.run.stylize import StylizeReport, stylize_video


def make() -> Any:
    from style_a_video.weights.loading import load

    pipeline = load()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def engine_of(pipeline: Any, steps: int) -> Callable:
    def engine(frames: Any, indices: Any) -> Any:
        chosen = {"num_inference_steps": steps, "output_type": "pt", "return_dict": False}
        return pipeline(frames, "oil painting", frame_indices=indices, **chosen)[0]

    return engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--frames", type=int, default=192)
    parser.add_argument("--max-side", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1)
    args = parser.parse_args()
    engine = partial(engine_of, steps=args.steps)
    info = probe(args.clip)

    def run(engine_or_runner: Any) -> tuple[StylizeReport, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "out.mp4")
            report = stylize_video(
                info,
                target,
                engine_or_runner,
                part=Part.of(frames=args.frames),
                size=fit(info.width, info.height, args.max_side),
                refining=Refining(),
                chunk_size=4,
            )
            return report, target.read_bytes()

    pipeline = make()
    first, expected = run(engine(pipeline))
    print(f"without Ray: {first.frames_per_second:.2f} frames/s", flush=True)
    del pipeline
    for count in range(1, args.workers + 1):
        began = time.perf_counter()
        with Cluster(make, count) as cluster:
            cluster.ask(lambda _: None)
            loading = time.perf_counter() - began
            report, written = run(cluster.runner(engine))
        share = report.frames_per_second / first.frames_per_second
        told = "the same file" if written == expected else "ANOTHER FILE"
        print(
            f"{count} workers: {share:.2f} times that, {told}; {loading:.0f} s to load", flush=True
        )


if __name__ == "__main__":
    main()
