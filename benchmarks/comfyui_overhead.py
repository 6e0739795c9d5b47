"""How much of a sampling run is ours and not the U-Net's? At Stable Diffusion 1.5's full size.

    COMFYUI_PATH=... COMFYUI_PYTHON benchmarks/comfyui_overhead.py [--frames 2] [--steps 2]

Run it with ComfyUI's Python. Random weights: they cost what trained ones do. The guider of the
paper's four conditions, running attention map included, samples frames of 512x256; timed are the
whole run and what passes inside ComfyUI's evaluation of conditions, the rest is ours (and the
sampler's own arithmetic).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def load_pack() -> None:
    comfyui = os.environ.get("COMFYUI_PATH", str(Path.home() / "comfy" / "ComfyUI"))
    sys.path.insert(0, comfyui)
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    spec = importlib.util.spec_from_file_location(
        "style_a_video", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["style_a_video"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def model():
    """InstructPix2Pix's U-Net with random weights, as Load Checkpoint gives it."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    shape = {
        "image_size": 32, "in_channels": 8, "out_channels": 4, "model_channels": 320,
        "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "transformer_depth_middle": 1, "use_spatial_transformer": True, "context_dim": 768,
        "use_linear_in_transformer": False, "adm_in_channels": None, "legacy": False,
        "use_temporal_attention": False, "use_temporal_resblock": False,
    }  # fmt: skip
    config = comfy.supported_models.SD15_instructpix2pix(shape)
    device = comfy.model_management.get_torch_device()
    dtype = comfy.model_management.unet_dtype(supported_dtypes=config.supported_inference_dtypes)
    cast = comfy.model_management.unet_manual_cast(dtype, device, config.supported_inference_dtypes)
    config.set_inference_dtype(dtype, cast)
    built = config.get_model({}, device=comfy.model_management.unet_offload_device())
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return comfy.model_patcher.ModelPatcher(
        built, device, comfy.model_management.unet_offload_device()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    args = parser.parse_args()
    load_pack()
    import comfy.samplers
    from style_a_video.nodes import attention, guidance, host
    from style_a_video.nodes.noise import FrameNoise

    with torch.inference_mode():
        unet = model()
        prompt, null = ([[torch.randn(1, 77, 768), {}]] for _ in range(2))
        latents = torch.randn(args.frames, 4, 32, 64)
        frame = host.with_values(null, **{host.FRAME_LATENTS: latents})
        running = attention.AttentionCondition.execute(frame, "middle", 1.0)[0]
        base, conditions = guidance.preset_conditions(
            "paper", (1.0, 2.0, 0.5), prompt, null, frame, running
        )
        guider = guidance.MultiConditionGuider(unet, base, conditions)
        inside = 0.0
        evaluate = comfy.samplers.calc_cond_batch

        def timed(*given):
            nonlocal inside
            began = time.perf_counter()
            result = evaluate(*given)
            if result[0].is_cuda:
                torch.cuda.synchronize()
            inside += time.perf_counter() - began
            return result

        comfy.samplers.calc_cond_batch = timed
        empty = {"samples": torch.zeros_like(latents)}
        noise = FrameNoise(0, "shared", 0.5, None).generate_noise(empty)
        sampler = comfy.samplers.sampler_object("euler")
        sampling = unet.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", args.steps)
        for _ in range(2):  # the first run loads and warms up
            inside, began = 0.0, time.perf_counter()
            guider.sample(noise, empty["samples"], sampler, sigmas, disable_pbar=True)
            total = time.perf_counter() - began
    share = 1 - inside / total
    print(json.dumps({
        "seconds": round(total, 3),
        "unet_seconds": round(inside, 3),
        "share_outside_the_unet": round(share, 4),
        "frames": args.frames, "steps": args.steps, "size": "512x256", "conditions": 4,
        "device": str(unet.load_device), "threads": torch.get_num_threads(),
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
