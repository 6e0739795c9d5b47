"""What a frame costs: seconds, U-Net evaluations, memory; against the paper's loop written plainly.

    python benchmarks/throughput.py [--model M] [--size 512x256] [--dtype D] [--json FILE]
    python benchmarks/throughput.py --memory CLIP     peak resident memory for 300 and 3,000 frames

All four conditions of the paper are on. The plain loop (Huang et al. 2023, section 3.3) takes frame
by frame and makes a U-Net call for each condition; it is timed in the same run, in the same
precision, at the same number of steps and at the paper's 30, and its frames are compared with ours.
Runs alternate and the best of each counts, since a busy machine only ever adds time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from style_a_video.pipelines.core import attention
from style_a_video.pipelines.core.inner import outer, recorded
from style_a_video.pipelines.core.noise import frame_noise
from style_a_video.pipelines.device import hardware, pick_device, pick_dtype
from style_a_video.pipelines.engines.diffusion.settings import Settings
from style_a_video.pipelines.media import Frame, VideoWriter, probe, read_frames
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.run.stylize import Kept, peak_memory_mib, stylize_video
from style_a_video.weights.loading import load
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

PROMPT = "a watercolour painting"
FOUR = {"preset": "paper", "attention_scale": 0.5, "start_level": 1.0}
"""null, frame, text, attention."""
SEED = 0
LENGTHS = (300, 3000)  # frames, of the clips whose memory is compared


def picture(width: int, height: int, shift: int) -> Tensor:
    """(3,H,W) in [0,1]: smooth colours, edges and texture that move by `shift` px."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width) + shift, indexing="ij")
    waves = torch.stack([torch.sin(x / 17), torch.sin(y / 23 + x / 40), torch.cos((x + y) / 31)])
    squares = ((x // 32 + y // 32) % 2) * 0.3
    grain = torch.sin(x * 12.9898 + y * 78.233) * 0.05
    return (0.4 + 0.25 * waves + squares + grain).clamp(0, 1)


@torch.no_grad()
def plain_loop(pipeline: Any, frames: Tensor, settings: Settings, prompt: str = PROMPT) -> Tensor:
    """The paper's sampling as it is written down: a frame, a step, a condition at a time."""
    unet, scheduler = pipeline.unet, pipeline.scheduler
    device, dtype = pipeline.device, unet.dtype
    text, null = pipeline.encode_prompt(prompt), pipeline.encode_prompt("")
    module = attention.self_attention(unet, settings.attention_layer)

    def eps(z: Tensor, t: Tensor, c_i: Tensor, c_t: Any) -> Tensor:
        x = torch.cat([z, c_i], 1)
        return unet(x, t, encoder_hidden_states=c_t.hidden, class_labels=c_t.pooled).sample

    stylized = []
    for f, frame in enumerate(frames):
        size = frame.shape[-2], frame.shape[-1]
        c_i = pipeline.encode_frames(frame[None])
        noise = frame_noise(
            c_i.shape[1:], SEED, [f], settings.noise, settings.noise_blend, device, dtype
        )
        # M: one pass over the frame latent at the probe's noise level
        level = round(settings.attention_level * (scheduler.config.num_train_timesteps - 1))
        a = float(scheduler.alphas_cumprod[level])
        z = a**0.5 * c_i * pipeline.vae.config.scaling_factor + (1 - a) ** 0.5 * noise
        with attention.AttentionRecorder(module, (z.shape[-2], z.shape[-1])) as recorder:
            eps(z, torch.tensor(level, device=device), c_i, null)
        received = attention.smoothed_to(recorder.received, *c_i.shape[-2:])
        mask = attention.attention_mask(received, settings.attention_threshold)
        c_m = mask.to(c_i) * c_i
        zeros = torch.zeros_like(c_i)
        inputs = {
            "null": (zeros, null),
            "frame": (c_i, null),
            "text": (zeros, text),
            "attention": (c_m, null),
        }
        scheduler.set_timesteps(settings.schedule_length, device=device)
        skipped = settings.schedule_length - settings.num_inference_steps
        timesteps = scheduler.timesteps[skipped:]
        z = noise * scheduler.init_noise_sigma
        if skipped:
            clean = c_i * pipeline.vae.config.scaling_factor
            z = scheduler.add_noise(clean, noise, timesteps[:1])
        for i, t in enumerate(timesteps):
            weights = settings.weights(i / max(1, settings.num_inference_steps - 1))
            x = scheduler.scale_model_input(z, t)
            pred = sum(w * eps(x, t, *inputs[name]) for name, w in weights.items())
            z = scheduler.step(pred, t, z).prev_sample
        stylized.append(pipeline.decode_latents(z, size=size).cpu())
    return torch.cat(stylized)


@contextmanager
def watched(
    pipeline: Any, clock: Callable[[], float] = time.perf_counter
) -> Iterator[tuple[dict[str, float], dict[str, int]]]:
    """Seconds in, and pictures through, the parts of the pipeline while the context is open.

    `inner`: the pictures that went through the U-Net's inner levels too.
    """
    seconds: dict[str, float] = defaultdict(float)
    pictures: dict[str, int] = defaultdict(int)
    began: dict[str, float] = {}

    def timed_method(name: str, method: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(given: Tensor, *args: Any, **more: Any) -> Tensor:
            synchronize(pipeline.device)
            began = clock()
            result = method(given, *args, **more)
            synchronize(pipeline.device)
            seconds[name] += clock() - began
            pictures[name] += len(given)
            return result

        return run

    def before(module: Any, args: Any) -> None:
        synchronize(pipeline.device)
        pictures["unet"] += len(args[0])
        began["unet"] = clock()

    def after(module: Any, args: Any, output: Any) -> None:
        synchronize(pipeline.device)
        seconds["unet"] += clock() - began["unet"]

    def inside(module: Any, args: Any) -> None:
        pictures["inner"] += len(args[0])

    # Not the U-Net's own call: its outermost level may be run alone.
    unet = pipeline.unet
    handles = [
        unet.conv_in.register_forward_pre_hook(before),
        unet.mid_block.register_forward_pre_hook(inside),
        unet.conv_out.register_forward_hook(after),
    ]
    methods = {"encode": "encode_latents", "decode": "decode_latents"}
    for name, method in methods.items():
        setattr(pipeline, method, timed_method(name, getattr(pipeline, method)))
    try:
        yield seconds, pictures
    finally:
        for handle in handles:
            handle.remove()
        for method in methods.values():
            delattr(pipeline, method)


def outer_share(unet: Any, height: int, width: int) -> float:
    """Share of the U-Net's products that its outermost level has, for latents of that size."""
    with torch.device("meta"):
        like = type(unet).from_config(unet.config)
        x = torch.empty(1, unet.config.in_channels, height, width)
        hidden = torch.empty(1, 77, unet.config.cross_attention_dim)
        wide = unet.config.projection_class_embeddings_input_dim
        pooled = torch.empty(1, wide) if wide else None
        t = torch.tensor(500)
        with recorded(like) as found, FlopCounterMode(display=False) as whole:
            like(x, t, hidden, class_labels=pooled)
        with FlopCounterMode(display=False) as part:
            outer(like, x, t, hidden, pooled, found[0])
    return part.get_total_flops() / whole.get_total_flops()


def evaluations(pictures: dict[str, int], share: float) -> float:
    """Pictures through the U-Net; where its inner levels are left out, one counts as `share`."""
    return pictures["inner"] + share * (pictures["unet"] - pictures["inner"])


def clock_of(device: torch.device) -> Callable[[], float]:
    """The processor's seconds on a CPU, so that what else runs does not count; else the wall's."""
    return time.process_time if device.type == "cpu" else time.perf_counter


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(run: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float]:
    synchronize(device)
    began = time.perf_counter()
    result = run()
    synchronize(device)
    return result, time.perf_counter() - began


def throughput(args: argparse.Namespace) -> dict[str, Any]:
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    pipeline = load(args.model, dtype=dtype, device=device)
    pipeline.set_progress_bar_config(disable=True)
    chosen = FOUR | ({"num_inference_steps": args.steps} if args.steps else {})
    settings = Settings.resolve(pipeline.config.defaults, **chosen)
    width, height = size(args.size)
    frames = torch.stack([picture(width, height, 3 * i) for i in range(args.frames)])

    def ours() -> Tensor:
        stylized = pipeline(frames, PROMPT, seed=SEED, chunk_size=args.chunk, **chosen)
        return stylized.frames.cpu()

    few = frames[: args.plain_frames]
    pipeline(frames[:1], PROMPT, **chosen | {"num_inference_steps": 1})  # warm-up
    best = {"ours": float("inf"), "plain": float("inf")}
    for _ in range(args.repeats):
        result, took = timed(ours, device)
        best["ours"] = min(best["ours"], took / len(frames))
        plain, took = timed(lambda: plain_loop(pipeline, few, settings), device)
        best["plain"] = min(best["plain"], took / len(few))
    with watched(pipeline) as (seconds, pictures):
        ours()
    difference = (plain - result[: len(few)]).abs()
    report = {
        "hardware": hardware(device),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "model": str(args.model),
        "size": [width, height],
        "frames": len(frames),
        "chunk_size": args.chunk,
        "steps": settings.num_inference_steps,
        "conditions": list(settings.weights(0.0)),
        "seconds_per_frame": best["ours"],
        "unet_evaluations_per_frame": pictures["unet"] / len(frames),
        "seconds_per_frame_by_part": {name: took / len(frames) for name, took in seconds.items()},
        "plain_loop_seconds_per_frame": best["plain"],
        "times_faster": best["plain"] / best["ours"],
        "difference_max": difference.max().item(),
        "difference_mean": difference.mean().item(),
        "peak_memory_mib": peak_memory_mib(),
    }
    if not args.no_paper:
        paper = Settings.resolve(pipeline.config.defaults, **chosen | {"num_inference_steps": 30})
        _, took = timed(lambda: plain_loop(pipeline, frames[:1], paper), device)
        report["plain_loop_30_steps_seconds_per_frame"] = took
    return report


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of a whole run, in a process of its own, for two lengths of clip."""
    runs: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in LENGTHS:
            clip = looped(args.memory, Path(folder) / f"{count}.mp4", count, size(args.size))
            command = [sys.executable, __file__, "--stylize", str(clip), *passed_on(args)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                sys.exit(done.returncode)
            runs[count] = json.loads(done.stdout)
    peaks = {count: run["peak_memory_mib"] for count, run in runs.items()}
    return {
        "hardware": hardware(torch.device("cpu")),
        "size": list(size(args.size)),
        "peak_memory_mib": peaks,
        "ratio": peaks[LENGTHS[1]] / peaks[LENGTHS[0]],
        "shots": {count: len(run["shots"]) for count, run in runs.items()},
        "frames_per_second": {count: run["frames_per_second"] for count, run in runs.items()},
    }


def looped(clip: Path, target: Path, count: int, size: tuple[int, int]) -> Path:
    """`count` frames of a clip that begins again wherever it ends."""
    step = 1 / probe(clip).frame_rate
    frames = (frame for _ in range(count) for frame in read_frames(clip, size=size))
    with VideoWriter(target, frame_rate=1 / step) as writer:
        for i, frame in enumerate(islice(frames, count)):
            writer.write(Frame(frame.image, i * step, step))
    return target


def passed_on(args: argparse.Namespace) -> list[str]:
    names = ("model", "size", "device", "dtype", "chunk", "steps")
    given = [(name, getattr(args, name)) for name in names]
    return [word for name, value in given if value for word in (f"--{name}", str(value))]


def stylize(args: argparse.Namespace) -> dict[str, Any]:
    """One clip through the model, as the command line does it, for its peak memory."""
    device = pick_device(args.device)
    pipeline = load(args.model, dtype=pick_dtype(args.dtype, device), device=device)
    pipeline.set_progress_bar_config(disable=True)
    steps = {"num_inference_steps": args.steps} if args.steps else {}

    def engine(frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        indices = list(frame_indices)
        return pipeline(frames, PROMPT, seed=SEED, frame_indices=indices, **steps).frames

    report = stylize_video(
        args.stylize,
        args.stylize.with_name("out.mp4"),
        engine,
        refining=Refining(),
        size=size(args.size),
        chunk_size=args.chunk,
        job=Kept(args.stylize.with_name("job")),
    )
    return report.as_dict()


def size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--size", metavar="WxH", help="512x256; 256x144 with --memory")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=4, help="frames at a time in ours")
    parser.add_argument("--steps", type=int, help="the model's own by default")
    parser.add_argument("--plain-frames", type=int, default=2, help="frames of the plain loop")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-paper", action="store_true", help="leave out the loop of 30 steps")
    parser.add_argument(
        "--memory", type=Path, metavar="CLIP", help="measure memory against length, on this clip"
    )
    parser.add_argument("--stylize", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the result here too")
    args = parser.parse_args()
    args.size = args.size or ("256x144" if args.memory else "512x256")
    what = stylize if args.stylize else memory if args.memory else throughput
    text = json.dumps(what(args), indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
