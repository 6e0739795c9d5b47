"""Models from a name, a folder, a file or the hub; and what is refused, in which words."""

import importlib.util
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import loading, single_file
from style_a_video.weights.loading import load
from style_a_video.weights.registry import MODELS
from style_a_video.weights.single_file import load_single_file, load_tokenizer

spec = importlib.util.spec_from_file_location("ldm", Path(__file__).with_name("ldm.py"))
ldm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ldm)


@pytest.fixture(scope="module")
def tokenizer_folder(tiny_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def configs(sd15_components, tmp_path_factory):
    """The miniature's configs, in the place of Stable Diffusion 1.5's."""
    folder = tmp_path_factory.mktemp("configs")
    for name in ("unet", "vae", "scheduler"):
        sd15_components[name].save_config(folder / name)
    sd15_components["text_encoder"].config.save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="module")
def checkpoint(sd15_components):
    """The miniature as the tensors of an LDM checkpoint, with what else such files hold."""
    parts = [sd15_components[name] for name in ("unet", "vae", "text_encoder")]
    states = {name: sd15_components[name].state_dict() for name in ("unet", "vae", "text_encoder")}
    tensors = {
        name: states[part][key].reshape(shape).clone()
        for name, (part, key, shape) in ldm.checkpoint_names(*parts).items()
    }
    extra = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "model_ema.decay": torch.tensor(0.99),
        "alphas_cumprod": torch.ones(1000),
    }
    return tensors | extra


@pytest.fixture
def file(checkpoint, tmp_path):
    path = tmp_path / "mein modell 模型.safetensors"
    save_file(checkpoint, path)
    return path


@pytest.fixture
def folder(sd15_pipeline, tmp_path):
    """As timbrooks/instruct-pix2pix is laid out: another pipeline's class, a safety checker."""
    sd15_pipeline.save_pretrained(tmp_path / "model")
    edit_index(tmp_path / "model", foreign_index)
    return tmp_path / "model"


def foreign_index(index):
    for ours in ("defaults", "scale_image_latents", "image_encoder", "tiny_vae"):
        index.pop(ours, None)
    index["_class_name"] = "StableDiffusionInstructPix2PixPipeline"
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPFeatureExtractor"]
    index["requires_safety_checker"] = True


def edit_index(folder, change):
    edit(folder / "model_index.json", change)


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def shards(folder, weight_map):
    """An index of shards beside the U-Net's one file."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))


def same_weights(pipeline, components):
    for name in ("unet", "vae", "text_encoder"):
        expected = components[name].state_dict()
        found = getattr(pipeline, name).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name


def assert_same_frames(a, b):
    """Equal but for kernels that round by where the weights lie in memory."""
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def stylized(pipeline, clip):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(clip, "a boat", num_inference_steps=2, seed=3).frames


# Folders


def test_a_folder_of_another_pipeline_gives_the_same_frames(folder, sd15_pipeline, clip):
    # CLIPFeatureExtractor is named but has no folder here: what is not ours is not looked for.
    edit_index(folder, lambda index: index.pop("feature_extractor"))
    pipeline = load(folder)
    same_weights(pipeline, sd15_pipeline.components)
    assert_same_frames(stylized(pipeline, clip), stylized(sd15_pipeline, clip))
    assert pipeline.unet.dtype == torch.float32 and not pipeline.unet.training


def test_the_image_processor_of_a_safety_checker_is_harmless(folder):
    from transformers import CLIPImageProcessor

    CLIPImageProcessor(size={"shortest_edge": 32}).save_pretrained(folder / "feature_extractor")
    assert load(str(folder)).image_encoder is None


def test_our_own_folder_keeps_its_defaults(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert dict(loaded.config.defaults) == dict(tiny_pipeline.config.defaults)
    assert loaded.image_encoder is not None


@torch.no_grad()
def test_a_plain_folder_is_expanded_and_computes_the_same(folder, sd15_components):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(5)
    plain = UNet2DConditionModel.from_config({**sd15_components["unet"].config, "in_channels": 4})
    plain.eval().save_pretrained(folder / "unet")
    edit_index(folder, lambda index: index.pop("feature_extractor"))
    pipeline = load(folder)
    assert pipeline.unet.config.in_channels == 8 and pipeline.sees_frames
    z, frame, text = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 7, 16)
    torch.testing.assert_close(
        pipeline.unet(torch.cat([z, frame], 1), 7, text).sample,
        plain(z, 7, text).sample,
        rtol=0,
        atol=1e-5,
    )


def test_half_precision_files_and_half_precision_models(sd15_pipeline, tmp_path):
    sd15_pipeline.save_pretrained(tmp_path, variant="fp16")
    same_weights(load(tmp_path), sd15_pipeline.components)
    for name in ("unet", "vae", "text_encoder"):
        part = getattr(load(tmp_path, dtype=torch.bfloat16), name)
        assert {p.dtype for p in part.parameters()} == {torch.bfloat16}


def test_sharded_weights(folder, sd15_components):
    shutil.rmtree(folder / "unet")
    sd15_components["unet"].save_pretrained(folder / "unet", max_shard_size="100KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    edit_index(folder, lambda index: index.pop("feature_extractor"))
    same_weights(load(folder), sd15_components)


# Single files


def test_a_single_file_gives_the_same_frames(
    file, configs, tokenizer_folder, sd15_pipeline, sd15_components, clip
):
    from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline

    components = load_single_file(file, tokenizer=tokenizer_folder, configs=configs)
    pipeline = StyleAVideoPipeline(**components)
    same_weights(pipeline, sd15_components)
    assert_same_frames(stylized(pipeline, clip), stylized(sd15_pipeline, clip))


def test_a_plain_single_file_is_expanded(checkpoint, configs, tokenizer_folder, tmp_path):
    first = "model.diffusion_model.input_blocks.0.0.weight"
    weight = checkpoint[first][:, :4].contiguous()
    save_file(checkpoint | {first: weight}, tmp_path / "plain.safetensors")
    unet = load_single_file(
        tmp_path / "plain.safetensors", tokenizer=tokenizer_folder, configs=configs
    )["unet"]
    assert torch.equal(unet.conv_in.weight[:, :4], weight)
    assert not unet.conv_in.weight[:, 4:].any() and unet.config.in_channels == 8


def test_text_encoders_without_their_wrapper(
    checkpoint, configs, tokenizer_folder, sd15_components, tmp_path
):
    short = {
        key.replace("transformer.text_model.", "transformer."): v for key, v in checkpoint.items()
    }
    save_file(short, tmp_path / "short.safetensors")
    components = load_single_file(
        tmp_path / "short.safetensors", tokenizer=tokenizer_folder, configs=configs
    )
    expected = sd15_components["text_encoder"].state_dict()
    found = components["text_encoder"].state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.fixture(scope="module")
def sd15_names():
    """Stable Diffusion 1.5's tensors by their LDM names, from its shipped configs."""
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


def test_the_shipped_configs_are_stable_diffusion_1_5(sd15_names):
    """Counts and shapes as listed in v1-5-pruned-emaonly.safetensors and InstructPix2Pix's file."""
    shapes = {name: shape for name, (_, _, shape) in sd15_names.items()}
    parts = [part for part, _, _ in sd15_names.values()]
    assert [parts.count(p) for p in ("unet", "vae", "text_encoder")] == [686, 248, 196]
    unet, vae, text = (
        "model.diffusion_model.",
        "first_stage_model.",
        "cond_stage_model.transformer.",
    )
    known = {
        unet + "input_blocks.0.0.weight": [320, 8, 3, 3],
        unet + "input_blocks.3.0.op.weight": [320, 320, 3, 3],
        unet + "input_blocks.4.0.skip_connection.weight": [640, 320, 1, 1],
        unet + "input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight": [1280, 768],
        unet + "middle_block.1.proj_in.weight": [1280, 1280, 1, 1],
        unet + "middle_block.2.emb_layers.1.weight": [1280, 1280],
        unet + "output_blocks.2.1.conv.weight": [1280, 1280, 3, 3],
        unet + "output_blocks.5.2.conv.weight": [1280, 1280, 3, 3],
        unet + "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": [2560, 320],
        unet + "out.2.weight": [4, 320, 3, 3],
        vae + "encoder.down.2.downsample.conv.weight": [512, 512, 3, 3],
        vae + "encoder.mid.attn_1.q.weight": [512, 512, 1, 1],
        vae + "decoder.up.0.block.0.nin_shortcut.weight": [128, 256, 1, 1],
        vae + "quant_conv.weight": [8, 8, 1, 1],
        text + "text_model.embeddings.token_embedding.weight": [49408, 768],
        text + "text_model.encoder.layers.11.mlp.fc1.weight": [3072, 768],
        text + "text_model.final_layer_norm.bias": [768],
    }
    assert {name: shapes.get(name) for name in known} == known


@pytest.mark.parametrize("channels", [8, 4])
def test_a_true_size_checkpoint_loads_tensor_by_tensor(
    sd15_names, channels, tokenizer_folder, tmp_path
):
    shapes = {name: shape for name, (_, _, shape) in sd15_names.items()}
    first = "model.diffusion_model.input_blocks.0.0.weight"
    shapes[first] = [320, channels, 3, 3]
    path = tmp_path / "sd15.safetensors"
    ldm.write_sparse(path, shapes)
    assert path.stat().st_size > 2e9
    pipeline = load(path, dtype=torch.float16, tokenizer=tokenizer_folder)
    states = {n: getattr(pipeline, n).state_dict() for n in ("unet", "vae", "text_encoder")}
    for number, (name, (part, key, _)) in enumerate(sd15_names.items()):
        high, low = states[part][key].flatten()[:2].tolist()
        assert 1024 * high + low == number, f"{name} is not {key}"
    assert sum(map(len, states.values())) == len(sd15_names)
    assert pipeline.unet.config.in_channels == 8
    assert bool(pipeline.unet.conv_in.weight[:, 4:].any()) is False
    assert pipeline.vae.config.scaling_factor == 0.18215
    assert pipeline.scheduler.config.beta_schedule == "scaled_linear"


# Refusals: one sentence each, before anything heavy


@pytest.fixture
def nothing_heavy(monkeypatch):
    """No tensor may be read and no pipeline built."""

    def heavy(*args, **kwargs):
        raise AssertionError("weights were read")

    monkeypatch.setattr("style_a_video.weights.files.safe_open", heavy)


def refused(model, *told, **kwargs):
    with pytest.raises(StyleAVideoError) as caught:
        load(model, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and message.count(". ") == 0
    for part in told:
        assert str(part) in message


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".pth", ".CKPT"])
def test_pickles_by_name(tmp_path, suffix, nothing_heavy):
    path = tmp_path / f"model{suffix}"
    torch.save({"weight": torch.ones(3)}, path)
    refused(path, path, "pickle", ".safetensors")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was opened",))


@pytest.mark.parametrize("protocol", ["torch", "torch-legacy", "pickle"])
def test_pickles_by_content(tmp_path, protocol, nothing_heavy):
    path = tmp_path / "model.safetensors"
    if protocol == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save(Bomb(), path, _use_new_zipfile_serialization=protocol == "torch")
    refused(path, path, "is a pickle in spite of its name")


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_truncated(file, keep, nothing_heavy):
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))])
    refused(file, file, "is truncated", "download it again")


def test_cut_inside_the_header(file, nothing_heavy):
    file.write_bytes(file.read_bytes()[:100])
    refused(file, "is truncated")


@pytest.mark.parametrize(
    "data", [b"", b"short", b"GIF89a" + bytes(100), (2).to_bytes(8, "little") + b"[]"]
)
def test_not_safetensors(tmp_path, data, nothing_heavy):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    refused(path, path, "is not a safetensors file")


@pytest.mark.parametrize(
    "header",
    [
        '{"a": ',
        '{"a": 1}',
        '{"a": {"shape": [1]}}',
        '{"a": []}',
        '{"a": {"shape": [1], "data_offsets": ["0", "4"]}}',
        '{"a": ' + "[" * 200_000,
    ],
    ids=range(6),
)
def test_damaged_header(tmp_path, header, nothing_heavy):
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    refused(path, path, "cannot be read", "download the file again")


@pytest.mark.parametrize(
    ("length", "told"),
    [(0, "cannot be read"), (200_000_000, "cannot be read"), (2**63, "truncated")],
)
def test_the_header_says_how_long_it_is_but_is_not_believed(tmp_path, length, told, nothing_heavy):
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with open(path, "r+b") as sparse:
        sparse.truncate(300_000_000)
    refused(path, path, told)


LDM = "model.diffusion_model."


@pytest.mark.parametrize(
    "keys, looks_like",
    [
        (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"], "a LoRA"),
        (["unet.down_blocks.0.attentions.0.to_q.lora_A.weight"], "a LoRA"),
        (["double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"], "Flux"),
        ([LDM + "double_blocks.0.txt_attn.qkv.weight", "vae.decoder.conv_in.weight"], "Flux"),
        ([LDM + "joint_blocks.0.x_block.attn.qkv.weight"], "Stable Diffusion 3"),
        (
            [LDM + "input_blocks.0.0.weight", "conditioner.embedders.1.model.ln_final.weight"],
            "SDXL",
        ),
        (["control_model.input_hint_block.0.weight"], "a ControlNet"),
        (["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"], "the U-Net of a diffusers"),
        ([LDM + "input_blocks.0.0.weight"], "a U-Net without autoencoder and text encoder"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "an autoencoder alone"),
        (["text_model.embeddings.token_embedding.weight"], "a text encoder alone"),
        (["resnet.layer1.weight"], "no model known here (its first tensor is resnet.layer1"),
    ],
)
def test_other_architectures_are_named_by_their_keys(tmp_path, keys, looks_like, nothing_heavy):
    path = tmp_path / "other.safetensors"
    save_file({key: torch.ones(2, 2) for key in keys}, path)
    refused(path, path, f"looks like {looks_like}", "Stable Diffusion 1.5")


def sd15_like(context=768, channels=8, drop=()):
    attention = LDM + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    tensors = {
        LDM + "input_blocks.0.0.weight": torch.ones(1, channels, 3, 3),
        attention: torch.ones(1, context),
        "first_stage_model.decoder.conv_in.weight": torch.ones(1),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": torch.ones(1),
    }
    return {key: value for key, value in tensors.items() if not key.startswith(tuple(drop))}


def test_stable_diffusion_2_is_named(tmp_path, nothing_heavy):
    tensors = sd15_like(context=1024, drop=["cond_stage_model"])
    tensors["cond_stage_model.model.ln_final.weight"] = torch.ones(1)
    save_file(tensors, tmp_path / "sd2.safetensors")
    refused(tmp_path / "sd2.safetensors", "looks like Stable Diffusion 2")


@pytest.mark.parametrize(
    "tensors, told",
    [
        (sd15_like(channels=9), "inpainting"),
        (sd15_like(channels=5), "5 input channels"),
        (sd15_like(drop=["first_stage_model"]), "has no autoencoder"),
        (sd15_like(drop=["cond_stage_model"]), "has no text encoder"),
    ],
)
def test_checkpoints_that_nearly_fit(tmp_path, tensors, told, nothing_heavy):
    save_file(tensors, tmp_path / "near.safetensors")
    refused(tmp_path / "near.safetensors", told)


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_none_name_their_tensor(
    checkpoint, configs, tokenizer_folder, tmp_path, bad, dtype
):
    key = "first_stage_model.decoder.conv_out.bias"
    tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in checkpoint.items()}
    tensors[key] = tensors[key].clone()
    tensors[key][-1] = float(bad)
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(StyleAVideoError, match=f"Tensor {key} of .* holds NaN or infinity"):
        load_single_file(tmp_path / "bad.safetensors", tokenizer=tokenizer_folder, configs=configs)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda t: t.pop(LDM + "out.2.bias"), r"\(U-Net\).* has no conv_out.bias"),
        (
            lambda t: t.update({LDM + "input_blocks.4.0.in_layers.0.bias": torch.ones(2)}),
            r"\(U-Net\).* should not have down_blocks",
        ),
        (
            lambda t: t.update({"first_stage_model.quant_conv.bias": torch.ones(3)}),
            r"\(autoencoder\).* misfits quant_conv.bias of shape \[3\], not \[8\]",
        ),
    ],
)
def test_tensors_that_do_not_fit(checkpoint, configs, tokenizer_folder, tmp_path, change, told):
    tensors = dict(checkpoint)
    change(tensors)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(StyleAVideoError, match=told):
        load_single_file(tmp_path / "odd.safetensors", tokenizer=tokenizer_folder, configs=configs)


@pytest.mark.parametrize(
    "model, told",
    [
        ("not/there/model.safetensors", "no file or folder"),
        ("model.ckpt", "no file or folder"),
        ("./models", "no file or folder"),
        ("/no/such/folder", "no file or folder"),
        ("C:\\models\\sd15", "no file or folder"),
        ("embeded", "is not a model"),
        ("", "is not a model"),
        ("two words/model", "is not a model"),
        ("模型/sd", "is not a model"),
        ("a--b/c", "is not a hub id"),
        ("-x/y.", "is not a hub id"),
    ],
)
def test_names_of_nothing(model, told, nothing_heavy, monkeypatch):
    def download(repo, **kwargs):
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(repo)
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    refused(model, repr(model), told)


def test_a_missing_built_in_model(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "EMBEDDED", tmp_path)
    refused("embedded", "built-in model is missing", tmp_path)


def test_a_folder_that_is_no_model(tmp_path, nothing_heavy):
    refused(tmp_path, tmp_path, "no model_index.json")


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda f: (f / "model_index.json").write_text("{"), "not JSON"),
        (lambda f: (f / "model_index.json").write_text("[]"), "not a JSON object"),
        (lambda f: shutil.rmtree(f / "vae"), "it has no vae"),
        (lambda f: edit_index(f, lambda i: i.pop("scheduler")), "it has no scheduler"),
        (lambda f: (f / "unet" / "config.json").unlink(), "config.json is missing"),
        (
            lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").rename(
                f / "unet" / "diffusion_pytorch_model.bin"
            ),
            "diffusion_pytorch_model.bin is a pickle",
        ),
        (
            lambda f: (f / "text_encoder" / "model.safetensors").unlink(),
            "model.safetensors is missing",
        ),
        (
            lambda f: edit_index(
                f,
                lambda i: i.update(
                    _class_name="StableDiffusionXLPipeline",
                    text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
                ),
            ),
            "is a StableDiffusionXLPipeline",
        ),
        (
            lambda f: edit_index(
                f, lambda i: i.update(transformer=["diffusers", "FluxTransformer2DModel"])
            ),
            "it has a transformer",
        ),
        (
            lambda f: edit_index(f, lambda i: i.update(vae=["diffusers", "VQModel"])),
            "is a VQModel, not AutoencoderKL",
        ),
        (
            lambda f: edit(f / "unet" / "config.json", lambda c: c.update(in_channels=9)),
            "takes 9 channels and its latents have 4",
        ),
        (
            lambda f: edit(f / "unet" / "config.json", lambda c: c.update(cross_attention_dim=32)),
            "reads text of width 32 and its text encoder gives 16",
        ),
        (lambda f: (f / "unet" / "diffusers.py").write_text("boom"), "is code"),
        (
            lambda f: edit_index(f, lambda i: i.update(scheduler=["os", "DDIMScheduler"])),
            "library 'os'",
        ),
        (lambda f: shards(f, {"a": "../../vae/x.safetensors"}), "files of its own folder"),
        (lambda f: shards(f, {"a": "/tmp/x.safetensors"}), "files of its own folder"),
        (lambda f: shards(f, {"a": ["x"]}), "files of its own folder"),
        (lambda f: shards(f, ["x.safetensors"]), "files of its own folder"),
        (lambda f: shards(f, {"a": "x.bin"}), "There is no file"),
    ],
)
def test_folders_that_cannot_be_used(folder, damage, told, nothing_heavy):
    damage(folder)
    refused(folder, folder, told)


def test_truncated_and_bad_weights_of_a_folder(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    refused(folder, path, "is truncated")
    path.write_bytes(data)
    tensors = load_file(path)
    tensors["post_quant_conv.weight"][0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    refused(folder, path, "Tensor post_quant_conv.weight")


# The tokenizer of single files


@pytest.mark.parametrize(
    ("part", "changes", "told"),
    [
        ("unet", {"mid_block_type": None}, "The unet of .* does not fit its config.json"),
        ("text_encoder", {"num_hidden_layers": 7}, "The text_encoder of .*layers.1"),
        ("vae", {"block_out_channels": [64, 64]}, "cannot be loaded "),
        ("unet", {"down_block_types": ["None", "None"]}, "config.json has down_block_types"),
    ],
)
def test_weights_of_another_network_than_the_config(folder, part, changes, told):
    edit_index(folder, lambda index: index.pop("feature_extractor"))
    edit(folder / part / "config.json", lambda config: config.update(changes))
    with pytest.raises(StyleAVideoError, match=told + ".*download the whole model again"):
        load(folder)


def test_the_tokenizer_of_a_folder_or_of_the_environment(tokenizer_folder, monkeypatch, tmp_path):
    expected = ["<|startoftext|>", "b", "oi", "l</w>", "<|endoftext|>"]
    tokens = load_tokenizer(tokenizer_folder)
    assert tokens.convert_ids_to_tokens(tokens("boil").input_ids) == expected
    assert tokens.model_max_length == 77
    monkeypatch.setenv(single_file.TOKENIZER_VARIABLE, str(tokenizer_folder))
    assert load_tokenizer()("boil").input_ids == tokens("boil").input_ids
    with pytest.raises(StyleAVideoError, match="no CLIP tokenizer in .*; download vocab.json"):
        load_tokenizer(tmp_path)


def test_vocabulary_and_merges_are_enough(tiny_tokenizer, tmp_path):
    vocabulary = tiny_tokenizer.get_vocab()
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na t</w>\no i\n")
    loaded = load_tokenizer(tmp_path)
    text = "a cat, 42 boats"
    padding = {"padding": "max_length", "truncation": True}
    assert loaded(text, **padding).input_ids == tiny_tokenizer(text, **padding).input_ids


# The hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that serves folders of this machine; asked(repo) lists what was downloaded."""
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils import filter_repo_objects, validate_repo_id

    served = {}

    def snapshot_download(repo, *, allow_patterns, ignore_patterns):
        validate_repo_id(repo)
        if repo not in served:
            raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        source, cache = served[repo], tmp_path / "cache" / repo
        files = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
        for name in filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, cache / name)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    return served


def test_a_hub_id_downloads_what_is_needed(hub, folder, sd15_pipeline, tmp_path):
    from transformers import CLIPImageProcessor

    hub["timbrooks/instruct-pix2pix"] = folder
    CLIPImageProcessor(size={"shortest_edge": 32}).save_pretrained(folder / "feature_extractor")
    unwanted = [
        "instruct-pix2pix-00-22000.ckpt",
        "instruct-pix2pix-00-22000.safetensors",
        "README.md",
        "safety_checker/model.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "text_encoder/pytorch_model.bin",
    ]
    for name in unwanted:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    same_weights(load("timbrooks/instruct-pix2pix"), sd15_pipeline.components)
    cache = tmp_path / "cache" / "timbrooks/instruct-pix2pix"
    assert not [name for name in unwanted if (cache / name).exists()]


def test_a_hub_model_in_half_precision_only(hub, sd15_pipeline, tmp_path):
    sd15_pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    hub["some.one/half_model-2"] = tmp_path / "half"
    same_weights(load("some.one/half_model-2"), sd15_pipeline.components)


def test_the_tokenizer_of_a_single_file_comes_from_the_hub(
    hub, tokenizer_folder, file, configs, monkeypatch
):
    from style_a_video.weights.single_file import TOKENIZER

    monkeypatch.delenv(single_file.TOKENIZER_VARIABLE, raising=False)
    tokens = load_tokenizer(tokenizer_folder)
    source = tokenizer_folder.parent / "hub-words"
    source.mkdir(exist_ok=True)
    (source / "vocab.json").write_text(json.dumps(tokens.get_vocab()))
    (source / "merges.txt").write_text("#version: 0.2\na t</w>\no i\n")
    hub[TOKENIZER] = source
    loaded = load_single_file(file, configs=configs)["tokenizer"]
    assert loaded("boat").input_ids == tokens("boat").input_ids


def test_a_model_that_the_hub_does_not_show(hub):
    refused("no/such-model", "no/such-model", "hf auth login")


def test_a_folder_wins_over_a_hub_id(hub, folder, monkeypatch, sd15_pipeline):
    edit_index(folder, lambda index: index.pop("feature_extractor"))
    shutil.copytree(folder, Path("own/model"))
    same_weights(load("own/model"), sd15_pipeline.components)


@pytest.mark.parametrize(
    "get, sentence",
    [
        (
            lambda: load("timbrooks/instruct-pix2pix"),
            "The hub cannot be reached for timbrooks/instruct-pix2pix, which is not in the cache; "
            "download it elsewhere with `hf download timbrooks/instruct-pix2pix --local-dir "
            "FOLDER`, copy FOLDER to this machine and give its path as the model.",
        ),
        (
            load_tokenizer,
            "The hub cannot be reached for openai/clip-vit-large-patch14, which is not in the "
            "cache; a single-file checkpoint has no tokenizer: download vocab.json and merges.txt "
            "of openai/clip-vit-large-patch14 and name their folder in STYLE_A_VIDEO_TOKENIZER.",
        ),
    ],
    ids=["model", "tokenizer"],
)
def test_without_a_network_one_sentence_says_what_to_do(get, sentence, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv(single_file.TOKENIZER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StyleAVideoError) as caught:
        get()
    assert str(caught.value) == sentence


def test_the_registry_lists_every_kind_once():
    names = [model.name for model in MODELS]
    assert names[:2] == ["embedded", "timbrooks/instruct-pix2pix"]
    assert len(set(names)) == len(names) == 5
    assert all(model.what and model.licence and model.how for model in MODELS)


def test_a_torchvision_of_another_torch_is_told_in_a_sentence(tmp_path, monkeypatch):
    other = tmp_path / "torchvision" / "__init__.py"
    other.parent.mkdir()
    other.write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(StyleAVideoError, match=r"was not made for torch .*pip uninstall"):
        load()
