"""What the named speeds cost at Stable Diffusion 1.5's size: the weights are random, so cost alone.

`benchmarks/speed.py --size sd15` runs it. Beside an accelerator every row is a whole run, and a few
evaluations are timed with the memory in another order and compiled. On a CPU one frame of the plain
loop takes minutes: `fast` is run whole, and of the others the evaluations are multiplied by what
one takes, alone or in a batch of all conditions; what is not the U-Net costs them the same. Seconds
there are the processor's, so that what else runs on the machine does not count. Evaluations are
counted without the probe of the attention map, a pass that ends in the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch
from style_a_video.pipelines.engines.diffusion import SCHEDULERS
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.engines.diffusion.settings import Settings
from style_a_video.weights.files import read_json
from style_a_video.weights.loading import load
from style_a_video.weights.single_file import SD15
from throughput import clock_of, evaluations, outer_share, picture, plain_loop, synchronize, watched
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

WIDTH, HEIGHT = 512, 256  # px; Huang et al. 2023
PROMPT = "an oil painting"

Row = dict[str, Any]


def random_pipeline(device: torch.device, dtype: torch.dtype) -> StyleAVideoPipeline:
    """InstructPix2Pix for Stable Diffusion 1.5 (8 channels in, 860 million weights in the U-Net)
    as its configs describe it; the built-in model's tokenizer, for words cost nothing.
    """
    config = {part: read_json(SD15 / part / "config.json") for part in ("unet", "vae")}
    schedule = read_json(SD15 / "scheduler" / "scheduler_config.json")
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with device:
            unet = diffusers.UNet2DConditionModel.from_config(config["unet"] | {"in_channels": 8})
            vae = diffusers.AutoencoderKL.from_config(config["vae"])
            text = CLIPTextModel(CLIPTextConfig.from_pretrained(SD15 / "text_encoder"))
    finally:
        torch.set_default_dtype(torch.float32)
    pipeline = StyleAVideoPipeline(
        vae=vae.eval(),
        text_encoder=text.eval(),
        tokenizer=load("embedded").tokenizer,
        unet=unet.eval(),
        scheduler=diffusers.DDIMScheduler.from_config(schedule),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    clock = clock_of(device)
    synchronize(device)
    began = clock()
    run()
    synchronize(device)
    return clock() - began


def an_evaluation(unet: nn.Module, batch: int, device: torch.device, times: int = 1) -> float:
    """Seconds of one picture through the U-Net in a batch of so many; the first is not counted."""
    like = {"dtype": next(unet.parameters()).dtype, "device": device}
    x = torch.randn(batch, 8, HEIGHT // 8, WIDTH // 8, **like)
    words = torch.randn(batch, 77, 768, **like)
    t = torch.tensor(500, device=device)

    def some() -> None:
        for _ in range(times):
            unet(x, t, encoder_hidden_states=words)

    some()
    return seconds_of(some, device) / (times * batch)


def rows(
    device: torch.device,
    dtype: torch.dtype,
    conditions: dict[str, Any],
    speeds: Callable[[Settings], dict[str, dict[str, Any]]],
    frames: int,
) -> list[Row]:
    pipeline = random_pipeline(device, dtype)
    whole = device.type != "cpu"
    clip = torch.stack([picture(WIDTH, HEIGHT, 3 * i) for i in range(frames if whole else 1)])
    exact = Settings.resolve({}, **conditions)
    changes = speeds(exact)
    if not whole:
        print("No accelerator here: `fast` is run whole, the others are reckoned from it.")
        return _reckoned(pipeline, clip, exact, changes, conditions, device)
    run_one(pipeline, clip, changes["fast"], conditions)  # warm-up
    plain = seconds_of(lambda: plain_loop(pipeline, clip[:1], exact, PROMPT), device)
    share = outer_share(pipeline.unet, HEIGHT // 8, WIDTH // 8)
    found = [_row("plain loop", 4 * exact.num_inference_steps, plain, plain, True)]
    for name, change in changes.items():
        with watched(pipeline) as (_, pictures):
            run_one(pipeline, clip, change, conditions)
        took = seconds_of(lambda c=change: run_one(pipeline, clip, c, conditions), device)
        each = evaluations(pictures, share) / len(clip) - 1, took / len(clip)
        found.append(_row(name, *each, plain, True))
    return found + _ways(pipeline.unet, 4 * frames, device)


def run_one(
    pipeline: StyleAVideoPipeline, clip: Tensor, change: Row, conditions: dict[str, Any]
) -> Tensor:
    """Frames by one of the speeds."""
    own, given = pipeline.scheduler, dict(change)
    scheduler = given.pop("scheduler")
    if scheduler is not None:
        made = getattr(diffusers, SCHEDULERS[scheduler])
        pipeline.scheduler = made.from_config(own.config)
    try:
        return pipeline(clip, PROMPT, **{**conditions, **given}).frames
    finally:
        pipeline.scheduler = own


def _reckoned(
    pipeline: StyleAVideoPipeline,
    clip: Tensor,
    exact: Settings,
    changes: dict[str, Row],
    conditions: dict[str, Any],
    device: torch.device,
) -> list[Row]:
    count, steps = len(exact.weights(0.0)), exact.num_inference_steps
    alone = an_evaluation(pipeline.unet, 1, device)
    whole = an_evaluation(pipeline.unet, count, device)

    def passes(change: Row) -> tuple[int, int]:
        """Through all levels, and through the outermost alone."""
        taken = change.get("num_inference_steps", steps)
        inner = -(-taken // change.get("inner_every", 1))
        return count * inner, count * (taken - inner)

    with watched(pipeline, clock_of(device)) as (spent, _):
        took = seconds_of(lambda: run_one(pipeline, clip, changes["fast"], conditions), device)
    all_levels, outermost = passes(changes["fast"])
    outer = (spent["unet"] - all_levels * whole) / outermost
    rest = took - spent["unet"]
    plain = count * steps * alone + rest
    share = outer_share(pipeline.unet, HEIGHT // 8, WIDTH // 8)
    found = [_row("plain loop", count * steps, plain, plain, False)]
    for name, change in changes.items():
        all_levels, outermost = passes(change)
        seconds = all_levels * whole + outermost * outer + rest
        weighted = all_levels + share * outermost
        found.append(_row(name, weighted, seconds, plain, name == "fast"))
    parts = {
        "one alone": alone,
        f"one of a batch of {count}": whole,
        "its outermost level alone": outer,
        "all but the U-Net": rest,
    }
    return found + [{"name": name, "seconds": round(value, 3)} for name, value in parts.items()]


def _ways(unet: nn.Module, batch: int, device: torch.device) -> list[Row]:
    """An evaluation as it is, channels last, and compiled with CUDA graphs."""
    found = {"one of a batch": an_evaluation(unet, batch, device, 4)}
    unet.to(memory_format=torch.channels_last)
    found["channels last"] = an_evaluation(unet, batch, device, 4)
    compiled = torch.compile(unet, mode="reduce-overhead")
    found["channels last, compiled with CUDA graphs"] = an_evaluation(compiled, batch, device, 4)
    return [{"name": name, "seconds": round(value, 5)} for name, value in found.items()]


def _row(name: str, evaluations: float, seconds: float, plain: float, whole: bool) -> Row:
    return {
        "name": name,
        "evaluations_per_frame": round(evaluations, 3),
        "seconds_per_frame": round(seconds, 3),
        "ratio_to_plain_loop": round(plain / seconds, 3),
        "measured_whole": whole,
    }
