"""A model's folder or file from a stranger: nothing of it runs, hangs, or eats the memory."""

import json
import os
import re
import resource
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights.loading import load

CODE = "import os; open(os.environ['RAN'], 'w').close()\nclass Evil: pass\n"


@pytest.fixture
def folder(sd15_pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    sd15_pipeline.save_pretrained(tmp_path / "model")
    yield tmp_path / "model"
    assert not (tmp_path / "ran").exists()


def edit(path, **changes):
    value = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(value | changes))


def refused(model, told):
    with pytest.raises(StyleAVideoError) as caught:
        load(model)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    assert re.search(told, message), message
    return message


@contextmanager
def memory(more=1 << 30):
    """No more address space than now and `more` bytes."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# code


@pytest.mark.parametrize(
    "name",
    ["None.py", "pipeline.py", "unet/None.py", "scheduler/scheduler.py", "a/b/c.py", "x/Y.PY"],
)
def test_no_python_anywhere_in_a_folder(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(CODE)
    refused(folder, r"is code")


@pytest.mark.parametrize(
    "kind", [["pipeline", "Evil"], "Evil", {"a": 1}, None, 3, "../pipeline", "DiffusionPipeline"]
)
def test_a_class_name_that_is_not_known(folder, kind):
    edit(folder / "model_index.json", _class_name=kind)
    refused(folder, "which is not known here")


@pytest.mark.parametrize(
    ("part", "entry", "told"),
    [
        ("scheduler", ["diffusers", "DiffusionPipeline"], "is a DiffusionPipeline, not DDIM"),
        ("scheduler", ["diffusers", "FlowMatchEulerDiscreteScheduler"], "is a FlowMatch"),
        ("scheduler", ["scheduler", "Evil"], "of the library 'scheduler'"),
        ("feature_extractor", ["transformers", "AutoModel"], "is a AutoModel"),
        ("feature_extractor", ["diffusers", "CLIPImageProcessor"], "of the library 'diffusers'"),
        ("image_encoder", ["transformers", "AutoModel"], "is a AutoModel"),
        ("tiny_vae", ["diffusers", "DiffusionPipeline"], "is a DiffusionPipeline"),
        ("tokenizer", ["transformers", "AutoTokenizer"], "is a AutoTokenizer"),
        ("unet", [["diffusers"], "UNet2DConditionModel"], "not by a library and a class"),
        ("unet", "UNet2DConditionModel", "not by a library and a class"),
    ],
)
def test_parts_of_other_classes(folder, part, entry, told):
    edit(folder / "model_index.json", **{part: entry})
    refused(folder, told)


# configs


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 400_000_000}),
        ("scheduler/scheduler_config.json", {"prediction_type": {}}),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1] * 20_000}),
        ("scheduler/scheduler_config.json", {"beta_start": "x"}),
        ("scheduler/scheduler_config.json", {"beta_end": float("nan")}),
        ("text_encoder/config.json", {"num_hidden_layers": 20_000}),
        ("text_encoder/config.json", {"max_position_embeddings": 1 << 40}),
        ("text_encoder/config.json", {"layer_norm_eps": "x"}),
        ("text_encoder/config.json", {"hidden_act": "lambda"}),
        ("unet/config.json", {"layers_per_block": 100_000}),
        ("unet/config.json", {"transformer_layers_per_block": [[9] * 9] * 9}),
        ("unet/config.json", {"down_block_types": ["DownBlock2D"] * 50_000}),
        ("unet/config.json", {"addition_embed_type": "text"}),
        ("unet/config.json", {"encoder_hid_dim_type": "image_proj"}),
        ("vae/config.json", {"layers_per_block": True}),
        ("vae/config.json", {"block_out_channels": [8, 8, 10**9]}),
        ("vae/config.json", {"scaling_factor": 0}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 3.5}),
    ],
)
def test_values_out_of_range_or_of_another_type(folder, file, changes):
    edit(folder / file, **changes)
    with memory():
        refused(folder, f"config.json has {next(iter(changes))} ")


def test_quantized_weights_are_refused(folder):
    edit(folder / "unet/config.json", quantization_config={"quant_method": "bitsandbytes"})
    refused(folder, "quantized")


def test_what_wants_absent_packages_is_not_handed_on(folder):
    edit(folder / "text_encoder/config.json", attn_implementation="flash_attention_2")
    edit(folder / "text_encoder/config.json", _attn_implementation="flash_attention_2")
    edit(folder / "unet/config.json", auto_map={"AutoModel": "evil.Evil"})
    assert load(folder).unet.config.in_channels == 8


@pytest.mark.parametrize(
    "file", ["model_index.json", "unet/config.json", "tokenizer/vocab.json", "vae/W", "scheduler/S"]
)
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder"])
def test_no_pipe_or_device_is_read(folder, file, kind):
    names = {"vae/W": "vae/diffusion_pytorch_model.safetensors"}
    path = folder / names.get(file, file.replace("scheduler/S", "scheduler/scheduler_config.json"))
    path.unlink(missing_ok=True)
    {
        "pipe": lambda: os.mkfifo(path),
        "zero": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
    }[kind]()
    with memory():
        refused(folder, "not a file|is missing|has no model_index")


@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "tokenizer/vocab.json"])
def test_large_json_is_not_read(folder, file):
    with (folder / file).open("wb") as out:
        out.truncate(10 << 30)
    with memory():
        refused(folder, "is larger than")


@pytest.mark.parametrize(
    "text", ['{"a": ' + "9" * 100_000 + "}", "[" * 100_000, '{"a": ' * 100_000, "\ud800", "[1]"]
)
def test_json_that_ends_parsers(folder, text):
    (folder / "unet/config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(folder, "is not JSON|is not a JSON object")


# weights


def test_one_flipped_byte_of_a_header(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[data.index(b"conv_in.weight")] ^= 1
    path.write_bytes(data)
    refused(folder, "The unet of .* does not fit its config.json: 'conv_in.weight' .* not stored")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_of_other_shapes(folder, part):
    (path,) = (folder / part).glob("*.safetensors")
    weights = load_file(path)
    name = next(key for key in weights if weights[key].ndim == 2)
    save_file(weights | {name: torch.zeros(3, 5)}, path)
    refused(folder, rf"The {part} of .* is stored with \[3, 5\]")


def test_the_old_names_of_an_autoencoder(folder, sd15_pipeline):
    """As in folders of 2022."""
    (path,) = (folder / "vae").glob("*.safetensors")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, value in load_file(path).items():
        for new, former in old.items():
            key = key.replace(f".{new}.", f".{former}.")
        renamed[key] = value
    assert any(".query." in key for key in renamed)
    save_file(renamed, path)
    expected = sd15_pipeline.vae.state_dict()
    found = load(folder).vae.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_integers_in_the_place_of_weights(folder):
    (path,) = (folder / "vae").glob("*.safetensors")
    weights = load_file(path)
    name = next(iter(weights))
    save_file(weights | {name: weights[name].to(torch.int8)}, path)
    refused(folder, "holds 'I8', no floating-point")


def test_more_words_than_the_text_encoder_knows(folder):
    edit(folder / "tokenizer/tokenizer_config.json", model_max_length=500)
    refused(folder, "tokenizer of .* texts of 500")


def test_parts_that_do_not_fit_each_other(folder):
    """Each is whole, and the text reaches the U-Net; a frame does not go through."""
    edit(folder / "unet/config.json", attention_head_dim=1000)
    refused(folder, "cannot be loaded")


@pytest.mark.parametrize(
    "own",
    [
        {"defaults": []},
        {"defaults": {"preset": ["x"]}},
        {"defaults": {"schedules": 3}},
        {"defaults": {"num_inference_steps": 10**12}},
        {"defaults": {"noise": {}}},
        {"defaults": {"nothing": 1}},
        {"scale_image_latents": "yes"},
    ],
)
def test_defaults_that_are_no_settings(folder, own):
    edit(folder / "model_index.json", **own)
    refused(folder, ".")
