"""The package under its import name, and miniature pipelines with random weights."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def _load_package() -> None:
    """Make the repository root importable as `style_a_video`, as an editable install does.

    A copy inside ComfyUI's custom_nodes is tested without being installed.
    """
    if importlib.util.find_spec("style_a_video") is not None:
        return
    spec = importlib.util.spec_from_file_location(
        "style_a_video", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["style_a_video"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


_load_package()


@pytest.fixture(scope="session", autouse=True)
def no_styles_of_ones_own(tmp_path_factory):
    """Learned styles of who runs the tests are neither seen nor touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLE_A_VIDEO_STYLES", str(tmp_path_factory.mktemp("styles")))
        yield


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory):
    """A real CLIPTokenizer whose vocabulary is single letters: every word is its letters."""
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    letters = "abcdefghijklmnopqrstuvwxyz,.-'0123456789"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    merges = ["#version: 0.2", "a t</w>", "o i"]
    tokens += ["at</w>", "oi"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(merges) + "\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )


def _text_config(tokenizer, width):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=width,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _image_encoder(width):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
            projection_dim=width,
        )
    )


def _spread(module, scale):
    """Random weights of the usual size give nearly constant output at this width; make it vary."""
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim > 1:
                p.mul_(scale)
    return module.eval()


@pytest.fixture(scope="session")
def tiny_components(tiny_tokenizer):
    """The built-in model's kind, smaller: tiny autoencoder, class projection, v, zero SNR."""
    from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        latent_channels=4,
        scaling_factor=1.0,
        force_upcast=False,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=2,
        cross_attention_dim=16,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=16,
    )
    return {
        "vae": _spread(vae, 1.3),
        "text_encoder": CLIPTextModelWithProjection(_text_config(tiny_tokenizer, 16)).eval(),
        "tokenizer": tiny_tokenizer,
        "unet": _spread(unet, 1.5),
        "scheduler": DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            clip_sample=False,
        ),
        "image_encoder": _image_encoder(16).eval(),
    }


@pytest.fixture(scope="session")
def sd15_components(tiny_tokenizer):
    """InstructPix2Pix's kind: AutoencoderKL, 8 channels, eps, CLIPTextModel."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.18215,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=16,
    )
    return {
        "vae": vae.eval(),
        "text_encoder": CLIPTextModel(_text_config(tiny_tokenizer, 16)).eval(),
        "tokenizer": tiny_tokenizer,
        "unet": _spread(unet, 1.5),
        "scheduler": DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    }


def _quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def tiny_pipeline(tiny_components):
    """The built-in model's kind with random weights; shared: a test that changes it copies it."""
    from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline

    defaults = {"num_inference_steps": 2, "frame_scale": 1.2, "text_scale": 2.0}
    return _quiet(StyleAVideoPipeline(**tiny_components, defaults=defaults))


@pytest.fixture(scope="session")
def sd15_pipeline(sd15_components):
    """The InstructPix2Pix kind with random weights and no image encoder."""
    from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline

    return _quiet(StyleAVideoPipeline(**sd15_components, defaults={"num_inference_steps": 2}))


@pytest.fixture(scope="session")
def clip():
    """Three frames (3,3,40,56) in [0,1]: a bright square that moves over a gradient."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 56), indexing="ij")
    frames = torch.stack([x, y, 1 - x]).repeat(3, 1, 1, 1)
    for i, frame in enumerate(frames):
        frame[:, 10:22, 8 + 10 * i : 20 + 10 * i] = torch.tensor([0.9, 0.8, 0.1])[:, None, None]
    return frames
