"""Image-editing pipelines: tiny random ones of diffusers, saved, checked, built, and the same."""

import json
import shutil

import pytest
import torch
from style_a_video.pipelines.engines.edit import KIND, EditOptions
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import edit
from style_a_video.weights.folder import read_tokenizer
from style_a_video.weights.styles import EMBEDDED

CPU = torch.device("cpu")
FRAMES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
PIX2PIX, KONTEXT = "StableDiffusionXLInstructPix2PixPipeline", "FluxKontextPipeline"


def clip_text(cls, tokenizer, **more):
    from transformers import CLIPTextConfig

    return cls(
        CLIPTextConfig(
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=32,
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **more,
        )
    )


def pix2pix():
    import diffusers
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = read_tokenizer(EMBEDDED / "tokenizer")
    return diffusers.StableDiffusionXLInstructPix2PixPipeline(
        unet=diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=32,
            in_channels=8,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=80,  # six numbers and the pooled text
            cross_attention_dim=64,
        ),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            sample_size=128,
        ),
        text_encoder=clip_text(CLIPTextModel, tokenizer),
        text_encoder_2=clip_text(CLIPTextModelWithProjection, tokenizer),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        add_watermarker=False,
    )


def t5_tokenizer():
    from transformers import T5TokenizerFast

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5TokenizerFast(vocab=[*special, *((c, -1.0) for c in "▁abcdefghijklmnopqrstuvwxyz")])


def kontext():
    import diffusers
    from transformers import CLIPTextModel, T5Config, T5EncoderModel

    tokenizer, tokenizer_2 = read_tokenizer(EMBEDDED / "tokenizer"), t5_tokenizer()
    t5 = T5Config(
        vocab_size=len(tokenizer_2),
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return diffusers.FluxKontextPipeline(
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            guidance_embeds=True,
            axes_dims_rope=[4, 4, 8],
        ),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.06,
            scaling_factor=1.5,
        ),
        text_encoder=clip_text(CLIPTextModel, tokenizer),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Kind → the pipeline and its folder."""
    found = {}
    for name, make in ((PIX2PIX, pix2pix), (KONTEXT, kontext)):
        torch.manual_seed(0)
        pipeline = make()
        pipeline.set_progress_bar_config(disable=True)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()  # T5 has dropout
        folder = tmp_path_factory.mktemp(name)
        pipeline.save_pretrained(folder)
        found[name] = pipeline, folder
    return found


@pytest.fixture
def copied(saved, tmp_path):
    def copied(name):
        return shutil.copytree(saved[name][1], tmp_path / name)

    return copied


def load(folder, **options):
    return KIND.load(EditOptions(str(folder), **{"steps": 2, **options}), CPU, torch.float32)


def stylized(loaded, frames=FRAMES, text="oil painting"):
    return loaded.engine(Style(text))(frames, range(len(frames)))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (PIX2PIX, {"guidance_scale": 4.0, "image_guidance_scale": 1.3}),
        (KONTEXT, {"guidance_scale": 4.0, "max_area": 64 * 96, "_auto_resize": False}),
    ],
)
def test_frames_are_those_of_diffusers_own_pipeline(saved, name, given):
    pipeline, folder = saved[name]
    options = {"text_scale": 4.0} | ({"frame_scale": 1.3} if name == PIX2PIX else {})
    made = stylized(load(folder, seed=3, **options))
    assert made.shape == FRAMES.shape and made.std() > 0.01
    for frame, found in zip(FRAMES.split(1), made.split(1), strict=True):
        expected = pipeline(
            prompt="oil painting",
            image=frame,
            height=64,
            width=96,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(3),
            output_type="pt",
            **given,
        ).images
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [PIX2PIX, KONTEXT])
def test_frames_of_any_size_come_back_in_it(saved, name):
    loaded = load(saved[name][1], steps=1)
    assert stylized(loaded, torch.rand(1, 3, 75, 50)).shape == (1, 3, 75, 50)


@pytest.mark.parametrize(("name", "asked"), [(PIX2PIX, "bfloat16"), (KONTEXT, "float16")])
def test_in_half_precision_they_are_nearly_the_same(saved, name, asked):
    """Flux is not worked with in fp16."""
    options = EditOptions(str(saved[name][1]), steps=2)
    loaded = KIND.load(options, CPU, getattr(torch, asked))
    assert loaded.dtype == torch.bfloat16
    expected = stylized(load(saved[name][1]), FRAMES[:1])
    assert (stylized(loaded, FRAMES[:1]) - expected).abs().mean() < 0.02


def test_of_the_hub_only_what_is_read_is_asked_for(saved, monkeypatch):
    asked = []

    def download(repo, allow, ignore, help):
        asked.append((repo, allow))
        return saved[KONTEXT][1]

    monkeypatch.setattr(edit, "download", download)
    load("someone/kontext")
    ((repo, allow),) = asked
    assert repo == "someone/kontext" and "transformer/config.json" in allow
    assert all(one.endswith((".json", ".txt", ".safetensors*")) for one in allow)


def test_what_decides_the_pixels(saved):
    one, other = (load(saved[PIX2PIX][1], seed=seed).identity() for seed in (0, 1))
    assert one == json.loads(json.dumps(one)) and one != other
    assert one["weights"] == other["weights"] != load(saved[KONTEXT][1]).identity()["weights"]


def change(path, **values):
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(found | values), encoding="utf-8")


def refused(folder, told, **options):
    with pytest.raises(StyleAVideoError, match=told) as refusal:
        load(folder, **options)
    assert "\n" not in str(refusal.value)


def test_other_pipelines_and_parts_are_refused_by_name(copied, tmp_path):
    refused("no/such/thing", "is no folder and no hub id")
    refused(tmp_path, "has no model_index.json")
    folder = copied(KONTEXT)
    for kind in ("QwenImageEditPipeline", "../evil", None, ["x"]):
        change(folder / "model_index.json", _class_name=kind)
        refused(folder, "the engine edit knows StableDiffusionXL.* and FluxKontextPipeline")
    change(folder / "model_index.json", _class_name=KONTEXT, transformer=["mine", "Evil"])
    refused(folder, r"The transformer of .* is a mine\.Evil, not FluxTransformer2DModel")
    change(folder / "model_index.json", transformer=None)
    refused(folder, "is incomplete: it has no transformer")


def test_code_is_refused_wherever_it_lies(copied):
    folder = copied(PIX2PIX)
    (folder / "unet" / "my_unet.py").write_text("raise SystemExit('it ran')")
    refused(folder, r"my_unet\.py is code, which a model must not bring")


@pytest.mark.parametrize(
    ("name", "file", "values", "told"),
    [
        (KONTEXT, "transformer/config.json", {"num_layers": 10**9}, "has num_layers 1000000000"),
        (KONTEXT, "transformer/config.json", {"num_layers": 2}, "does not fit its config.json"),
        (KONTEXT, "text_encoder_2/config.json", {"d_model": "32"}, "has d_model '32'"),
        (KONTEXT, "scheduler/scheduler_config.json", {"shift": float("nan")}, "has shift nan"),
        (PIX2PIX, "unet/config.json", {"addition_embed_type": "image"}, "has addition_embed_type"),
        (PIX2PIX, "vae/config.json", {"quantization_config": {"x": 1}}, "is of a quantized model"),
    ],
)
def test_configs_are_checked_before_anything_is_made(copied, name, file, values, told):
    folder = copied(name)
    change(folder / file, **values)
    refused(folder, told)


def test_weights_are_safetensors_that_fit(copied):
    folder = copied(KONTEXT)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    refused(folder, "is truncated")
    weights.unlink()
    torch.save({}, folder / "transformer" / "diffusion_pytorch_model.bin")
    refused(folder, "is a pickle, which may run code")


def test_parts_that_do_not_belong_together_are_refused(saved, copied):
    folder = copied(KONTEXT)
    narrow = kontext()
    narrow.transformer = narrow.transformer.from_config(
        narrow.transformer.config, joint_attention_dim=24
    )
    narrow.transformer.save_pretrained(folder / "transformer")
    refused(folder, "cannot be loaded .*download the whole model again")


def test_a_tokenizer_s_own_settings_run_nothing(copied):
    folder = copied(KONTEXT)
    evil = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    change(folder / "tokenizer_2" / "tokenizer_config.json", **evil)
    load(folder)
    (folder / "tokenizer_2" / "tokenizer.json").write_text("[1]")
    refused(folder, r"tokenizer\.json is not JSON")


def test_options_that_do_not_fit_are_refused(saved, tmp_path):
    refused(saved[KONTEXT][1], "frame_scale is not for a FluxKontextPipeline", frame_scale=1.0)
    refused(saved[KONTEXT][1], "^offload is for GPUs", offload="model")
    (tmp_path / "a.pt").write_bytes(b"")
    refused(saved[KONTEXT][1], "is a pickle, which may run code", lora=f"{tmp_path / 'a.pt'}:0.5")


def test_a_lora_changes_the_frames_by_its_weight(saved, tmp_path):
    pytest.importorskip("peft")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder, key = saved[KONTEXT][1], "transformer.transformer_blocks.0.attn.to_q"
    lora = {f"{key}.lora_A.weight": torch.randn(4, 32), f"{key}.lora_B.weight": torch.randn(32, 4)}
    save_file(lora, tmp_path / "style.safetensors")
    plain, zero, one = (
        load(folder, lora=text)
        for text in ("", f"{tmp_path / 'style.safetensors'}:0", str(tmp_path / "style.safetensors"))
    )
    assert stylized(zero).allclose(stylized(plain), atol=1e-5)
    assert not stylized(one).allclose(stylized(plain), atol=1e-3)
    assert len({loaded.identity()["lora"] for loaded in (plain, zero, one)}) == 3
    save_file({"nothing": torch.zeros(1)}, tmp_path / "other.safetensors")
    refused(
        folder,
        "The LoRA other.safetensors is not for this model",
        lora=str(tmp_path / "other.safetensors"),
    )
