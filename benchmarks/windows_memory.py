"""What windows of a video model hold of a stream's frames, however many windows there are.

    COMFYUI_PATH=... COMFYUI_PYTHON benchmarks/windows_memory.py [--size 832 480] [--length 33]

Run it with ComfyUI's Python. Streams of two and of eight windows go through Stylize Video, each in
a process of its own, with a model that gives its source back: what is measured is the peak of the
resident memory over that before the stream, in windows of frames (12 bytes a pixel), without any
network's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OVERLAP = 8
ARGUMENTS = sys.argv[1:]  # before ComfyUI takes them for its own


def resident() -> int:
    """Bytes of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measured(windows: int, size: tuple[int, int], length: int) -> dict[str, float]:
    sys.path.insert(0, str(ROOT / "tests" / "comfyui"))
    import conftest  # noqa: F401 - ComfyUI's modules, and the pack
    import folder_paths
    import numpy as np
    import test_windows as small
    import torch
    from style_a_video.nodes import stream
    from style_a_video.nodes.numbered import numbered
    from style_a_video.pipelines.device import hardware
    from style_a_video.pipelines.refine.frames import Refining

    small.SIZE = size
    count = 1 + windows * (length - 1 - OVERLAP) + OVERLAP
    with tempfile.TemporaryDirectory() as folder:
        for name in ("temp", "output"):
            getattr(folder_paths, f"set_{name}_directory")(f"{folder}/{name}")
        shape = size[1] // 8, (size[0] + count) // 8 + 1, 3
        drawn = np.random.default_rng(0).integers(0, 255, shape, np.uint8).repeat(8, 0).repeat(8, 1)
        pictures = [drawn[:, i : i + size[0]] for i in range(count)]  # views of one
        clip = small.encode(Path(folder) / "clip.mp4", pictures)
        model = small.build(small.kinds.WAN21_T2V, small.WAN)
        guider = small.Seen(small.v2v(model, torch.rand(5, size[1], size[0], 3)))
        sampler, sigmas = small.stepped(model)
        parts = {"guider": guider, "noise": small.Noise_RandomNoise(5), "sampler": sampler}
        parts |= {"sigmas": sigmas, "vae": small.Vae()}
        before = resident()
        with torch.inference_mode(), numbered(small.as_video(clip)) as source:
            engine = stream.sampled_or_engine(None, parts, False, None, (length, OVERLAP))
            engine.ahead = source
            stream.stylized_video(
                small.as_video(clip), engine, "a graph", max(size), 8, Refining(1.0), "high"
            )
    window = 12 * size[0] * size[1] * length
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "hardware": hardware(torch.device("cpu")),
        "windows": guider.runs[0],
        "frames": count,
        "window_mib": window / 2**20,
        "before_mib": before / 2**20,
        "peak_mib": peak / 2**20,
        "held_windows": (peak - before) / window,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, nargs=2, default=(832, 480), metavar=("W", "H"))
    parser.add_argument("--length", type=int, default=33, help="frames of a window")
    parser.add_argument("--windows", type=int, help="one stream, in this process")
    args = parser.parse_args(ARGUMENTS)
    if args.windows:
        print(json.dumps(measured(args.windows, tuple(args.size), args.length)))
        return
    for windows in (2, 8):
        command = [sys.executable, __file__, *ARGUMENTS, "--windows", str(windows)]
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="")


if __name__ == "__main__":
    main()
