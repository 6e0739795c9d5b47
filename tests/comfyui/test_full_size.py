"""Checkpoints of Stable Diffusion 1.5's true shapes: stock loader, our loader, the whole graph."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from style_a_video.nodes import edit_model, host
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import single_file

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))
import ldm


@pytest.fixture(scope="module")
def names():
    """{LDM name: (component, diffusers name, LDM shape)} with 8 input channels."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with init_empty_weights():
        return ldm.checkpoint_names(
            UNet2DConditionModel.from_config(
                UNet2DConditionModel.load_config(single_file.SD15 / "unet") | {"in_channels": 8}
            ),
            AutoencoderKL.from_config(AutoencoderKL.load_config(single_file.SD15 / "vae")),
            CLIPTextModel(CLIPTextConfig.from_pretrained(single_file.SD15 / "text_encoder")),
        )


def random_weight(name: str, shape: list[int]) -> torch.Tensor:
    if len(shape) > 1:
        return (torch.randn(shape) * np.prod(shape[1:]) ** -0.5).half()
    return torch.full(shape, float(name.endswith("weight"))).half()


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    """Two frames of 256x128."""
    path = tmp_path_factory.mktemp("clip") / "two.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 256, 128, "yuv420p"
        for i in range(2):
            image = np.zeros((128, 256, 3), np.uint8)
            image[32:96, 40 + 20 * i : 120 + 20 * i] = (230, 200, 30)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def whole_graph(checkpoint: str, clip: str) -> dict:
    """Every block of the paper's method, one step, API form."""

    def node(kind: str, **inputs: object) -> dict:
        return {"class_type": kind, "inputs": inputs}

    return {
        "load": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "built_in": node("StyleAVideoLoadBuiltIn"),
        "frames": node(
            "StyleAVideoLoadFrames", file=clip, start=0.0, end=0.0, every_nth=1, max_frames=0,
            first_frame_only=False, resize="none", fit="pad", multiple=8,
        ),
        "prompt": node("StyleAVideoTextCondition", clip=["load", 1], text="ink wash",
                       interpolate=True, frame_count=0),
        "null": node("StyleAVideoTextCondition", clip=["load", 1], text="",
                     interpolate=True, frame_count=0),
        "frame": node("StyleAVideoFrameCondition", conditioning=["null", 0], vae=["load", 2],
                      frames=["frames", 0]),
        "map": node("StyleAVideoAttentionMap", model=["load", 0], frame=["frame", 0],
                    layer="middle", level=0.3, threshold=1.0, seed=0, noise="shared"),
        "attention": node("StyleAVideoAttentionCondition", frame=["frame", 0], mask=["map", 0],
                          layer="middle", threshold=1.0),
        "correction": node("StyleAVideoClipCorrection", model=["load", 0],
                           clip_vision=["built_in", 3], vae=["load", 2], frames=["frames", 0],
                           strength=1.0, decoder="linear", start_percent=0.0, end_percent=1.0),
        "guider": node("StyleAVideoPresetGuider", model=["correction", 0], prompt=["prompt", 0],
                       negative=["null", 0], frame=["frame", 0], attention=["attention", 0],
                       preset="paper", frame_scale=1.0, text_scale=2.0, attention_scale=0.5,
                       frames_per_batch=1),
        "noise": node("StyleAVideoFrameNoise", seed=0, mode="shared", blend=0.5,
                      frame_info=["frames", 3]),
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["load", 0], scheduler="simple", steps=1,
                       denoise=1.0),
        "sample": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0],
                       sampler=["sampler", 0], sigmas=["sigmas", 0], latent_image=["frame", 1]),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
        "video": node("StyleAVideoFramesToVideo", images=["decode", 0],
                      frame_info=["frames", 3], restore_size=True),
        "save": node("SaveVideo", video=["video", 0], filename_prefix="full", format="auto",
                     codec="auto"),
    }  # fmt: skip


def test_stock_load_checkpoint_runs_the_whole_graph(names, server, clip_file):
    torch.manual_seed(0)
    weights = {name: random_weight(name, shape) for name, (_, _, shape) in names.items()}
    path = server.folder / "models" / "checkpoints" / "ip2p.safetensors"
    save_file(weights, path)
    del weights
    try:
        entry = server.run(whole_graph(path.name, server.add_input(clip_file)), 600)
    finally:
        path.unlink()
    (result,) = server.files(entry)
    with av.open(str(result)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 24
    assert [f.shape for f in frames] == [(128, 256, 3)] * 2
    assert all(f.std() > 1 for f in frames)


def numbers(state: dict, prefix: str) -> dict[str, int]:
    """The number that `ldm.write_sparse` gave each tensor."""
    found = {}
    for key, value in state.items():
        high, low = value.flatten()[:2].float().tolist()
        found[key.removeprefix(prefix)] = int(1024 * high + low)
    return found


def test_a_diffusers_folder_of_instruct_pix2pix_loads_tensor_by_tensor(names, tmp_path):
    folder = tmp_path / "instruct-pix2pix"
    order = {}
    for part, file in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        (folder / part).mkdir(parents=True)
        shapes = {}
        for name, (owner, key, shape) in names.items():
            if owner == part:
                order[name] = len(shapes)
                key = name[len("cond_stage_model.transformer.") :] if part[0] == "t" else key
                # diffusers' autoencoder attends by matrices, LDM's by 1x1 convolutions.
                flat = part == "vae" and ".mid.attn_1." in name and len(shape) == 4
                shapes[key] = shape[:2] if flat else shape
        ldm.write_sparse(folder / part / f"{file}.safetensors", shapes)
    (folder / "model_index.json").write_text(json.dumps({}))
    model, clip, vae = edit_model.load_folder(folder)
    assert host.sees_frames(model)
    assert type(model.model).__name__ == "SD15_instructpix2pix"
    prefix = "model.diffusion_model."
    found = numbers(model.model.diffusion_model.state_dict(), "")
    assert found == {
        name.removeprefix(prefix): number
        for name, number in order.items()
        if name.startswith(prefix)
    }
    assert clip.tokenize("ink wash")["l"]
    assert vae.latent_channels == 4


def test_four_channels_become_eight(names, tmp_path):
    shapes = {name: shape for name, (_, _, shape) in names.items()}
    shapes["model.diffusion_model.input_blocks.0.0.weight"] = [320, 4, 3, 3]
    path = tmp_path / "plain.safetensors"
    ldm.write_sparse(path, shapes)
    model, clip, vae = edit_model.load_file(str(path))
    assert host.sees_frames(model)
    first = model.model.diffusion_model.state_dict()["input_blocks.0.0.weight"]
    assert first.shape == (320, 8, 3, 3) and not first[:, 4:].any()


def test_refusals(tmp_path):
    with pytest.raises(StyleAVideoError, match="There is no edit model 'nothing.safetensors'"):
        edit_model.load("nothing.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(StyleAVideoError, match="other.safetensors is no Stable Diffusion"):
        edit_model.load_file(str(tmp_path / "other.safetensors"))
    key = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({key: torch.zeros(320, 9, 3, 3)}, tmp_path / "inpaint.safetensors")
    with pytest.raises(StyleAVideoError, match="with 9 input channels; Load Edit Model takes 8"):
        edit_model.load_file(str(tmp_path / "inpaint.safetensors"))
    (tmp_path / "folder" / "unet").mkdir(parents=True)
    (tmp_path / "folder" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(StyleAVideoError, match="folder/unet has no .safetensors weights"):
        edit_model.load_folder(tmp_path / "folder")
