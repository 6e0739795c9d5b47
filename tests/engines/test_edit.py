"""Image-editing pipelines: tiny random ones of diffusers, saved, checked, built, and the same."""

import importlib
import json
import shutil
from functools import partial

import pytest
import torch
from style_a_video.pipelines.engines.edit import KIND, EditOptions
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import edit
from style_a_video.weights.folder import read_tokenizer
from style_a_video.weights.qwen import CHAT, PICTURE, QwenWords
from style_a_video.weights.styles import EMBEDDED

CPU = torch.device("cpu")
FRAMES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
PIX2PIX, KONTEXT = "StableDiffusionXLInstructPix2PixPipeline", "FluxKontextPipeline"
KLEIN, QWEN, QWEN_PLUS = "Flux2KleinPipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline"
QWENS = (QWEN, QWEN_PLUS)


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


def qwen_tokenizer():
    """A sign for each byte, and Qwen's own."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import Qwen2TokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad")
    words.add_special_tokens([AddedToken(f"<|{n}|>", special=True, normalized=False) for n in own])
    return Qwen2TokenizerFast(
        tokenizer_object=words, pad_token="<|endoftext|>", eos_token="<|im_end|>", unk_token=None
    )


def klein(is_distilled=False):
    import diffusers
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = CHAT
    words = Qwen3Config(
        vocab_size=len(tokenizer) + 3,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=28,  # of which 9, 18 and 27 are read
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return diffusers.Flux2KleinPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=diffusers.AutoencoderKLFlux2(
            block_out_channels=(16,) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=8
        ),
        text_encoder=Qwen3ForCausalLM(words),
        tokenizer=tokenizer,
        transformer=diffusers.Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=96,
            timestep_guidance_channels=32,
            axes_dims_rope=(4,) * 4,
            guidance_embeds=False,
        ),
        is_distilled=is_distilled,
    )


def qwen_edit(kind):
    import diffusers
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 2]},
        "rope_theta": 1000000.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
        "fullatt_block_indexes": [1],
        "window_size": 112,
    }
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{sign}|>")
        for name, sign in (
            *(("image", "image_pad"), ("video", "endoftext")),
            *((n, n) for n in ("vision_start", "vision_end")),
        )
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    return getattr(diffusers, kind)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, shift_terminal=0.02
        ),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1] * 4,
            num_res_blocks=1,
            latents_mean=[0.1] * 4,
            latents_std=[2.0] * 4,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
        processor=QwenWords(tokenizer, {"size": {"shortest_edge": 3136, "longest_edge": 50176}}),
        transformer=diffusers.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
        ),
    )


MAKERS = {
    PIX2PIX: pix2pix,
    KONTEXT: kontext,
    KLEIN: klein,
    **{kind: partial(qwen_edit, kind) for kind in QWENS},
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Qwen-Image-Edit at an eighth of its side."""
    for name in ("edit", "edit_plus"):
        module = importlib.import_module(f"diffusers.pipelines.qwenimage.pipeline_qwenimage_{name}")
        once = module.calculate_dimensions
        monkeypatch.setattr(
            module, "calculate_dimensions", lambda area, ratio, once=once: once(area // 64, ratio)
        )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Kind → the pipeline and its folder."""
    found = {}
    for name, make in MAKERS.items():
        torch.manual_seed(0)
        pipeline = make()
        pipeline.set_progress_bar_config(disable=True)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()  # T5 has dropout
        folder = tmp_path_factory.mktemp(name)
        pipeline.save_pretrained(folder)
        if name in QWENS:  # as the hub has it
            pipeline.tokenizer.save_pretrained(folder / "processor")
            pipeline.processor.images.save_pretrained(folder / "processor")
            entry = ["transformers", "Qwen2VLProcessor"]
            change(folder / "model_index.json", processor=entry)
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


SIZE = {"height": 64, "width": 96}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (PIX2PIX, SIZE | {"guidance_scale": 4.0, "image_guidance_scale": 1.3}),
        (KONTEXT, SIZE | {"guidance_scale": 4.0, "max_area": 64 * 96, "_auto_resize": False}),
        (KLEIN, SIZE | {"guidance_scale": 4.0}),
        (QWEN, {"true_cfg_scale": 4.0, "negative_prompt": " "}),
        (QWEN_PLUS, {"true_cfg_scale": 4.0, "negative_prompt": " "}),
    ],
)
def test_frames_are_those_of_diffusers_own_pipeline(saved, name, given):
    pipeline, folder = saved[name]
    options = {"text_scale": 4.0} | ({"frame_scale": 1.3} if name == PIX2PIX else {})
    loaded = load(folder, seed=3, **options)
    made = stylized(loaded)
    assert made.shape == FRAMES.shape and made.std() > 0.01
    assert torch.equal(stylized(loaded, FRAMES[1:]), made[1:])
    for frame, found in zip(FRAMES.split(1), made.split(1), strict=True):
        expected = pipeline(
            prompt="oil painting",
            image=frame if name in (PIX2PIX, KONTEXT) else to_pil_image(frame),
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(3),
            output_type="pt",
            **given,
        ).images
        if name in QWENS:  # 160 x 96
            assert expected.shape[-2:] != (64, 96)
            expected = torch.nn.functional.interpolate(
                expected, (64, 96), mode="bicubic", antialias=True
            ).clamp(0, 1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def to_pil_image(frame):
    from PIL import Image

    return Image.fromarray((frame[0].movedim(0, -1).numpy() * 255).round().astype("uint8"))


@pytest.mark.parametrize("name", MAKERS)
def test_frames_of_any_size_come_back_in_it(saved, name):
    loaded = load(saved[name][1])
    assert stylized(loaded, torch.rand(1, 3, 75, 50)).shape == (1, 3, 75, 50)


@pytest.mark.parametrize(
    ("name", "asked"),
    [(PIX2PIX, "bfloat16"), *((name, "float16") for name in (KONTEXT, KLEIN, QWEN_PLUS))],
)
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


PICTURE_SIZE = {"shortest_edge": 3136, "longest_edge": 25088}


def test_what_the_files_say_decides_the_pixels_and_where_they_lie_does_not(copied, tmp_path):
    before = {name: load(copied(name)).identity() for name in (PIX2PIX, KLEIN, QWEN)}
    changed = (
        (PIX2PIX, "vae/config.json", {"scaling_factor": 0.2}),
        (PIX2PIX, "model_index.json", {"scheduler": ["diffusers", "DDIMScheduler"]}),
        (KLEIN, "model_index.json", {"is_distilled": True}),
        (KLEIN, "text_encoder/config.json", {"rms_norm_eps": 0.1}),
        (KLEIN, "scheduler/scheduler_config.json", {"shift": 2.0}),
        (QWEN, "processor/preprocessor_config.json", {"size": PICTURE_SIZE}),
    )
    for name, file, values in changed:
        path = tmp_path / name / file
        once = path.read_text(encoding="utf-8")
        change(path, **values)
        after = load(tmp_path / name).identity()
        assert {key for key in after if after[key] != before[name][key]} == {"configs"}, file
        path.write_text(once, encoding="utf-8")
    for name, file in ((PIX2PIX, "tokenizer/tokenizer.json"), (QWEN, "processor/tokenizer.json")):
        path = tmp_path / name / file
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        after = load(tmp_path / name).identity()
        assert {key for key in after if after[key] != before[name][key]} == {"configs"}, file
    change(tmp_path / KLEIN / "vae" / "config.json", _name_or_path="/x", _diffusers_version="9")
    shutil.move(tmp_path / KLEIN, tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere").identity() == before[KLEIN]


def change(path, **values):
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(found | values), encoding="utf-8")


OTHERS = (
    "Flux2Pipeline",  # of 32 thousand million weights, its words read by one of 24
    "StableDiffusionInstructPix2PixPipeline",  # by the engine diffusion
    "QwenImageLayeredPipeline",
    "QwenImageImg2ImgPipeline",
    "FluxImg2ImgPipeline",
    "ZImageImg2ImgPipeline",
    "StableDiffusion3Img2ImgPipeline",
    "LongCatImageEditPipeline",
    "OmniGenPipeline",
)
"""What edits or begins with a picture in diffusers, its auto classes' among them."""


def refused(folder, told, **options):
    with pytest.raises(StyleAVideoError, match=told) as refusal:
        load(folder, **options)
    assert "\n" not in str(refusal.value)


def test_other_pipelines_and_parts_are_refused_by_name(copied, tmp_path):
    refused("no/such/thing", "is no folder and no hub id")
    refused(tmp_path, "has no model_index.json")
    folder = copied(KONTEXT)
    for kind in ("Flux2Pipeline", "../evil", None, ["x"]):
        change(folder / "model_index.json", _class_name=kind)
        refused(folder, "the engine edit knows StableDiffusionXL.* and QwenImageEditPlusPipeline")
    for kind in OTHERS:
        change(folder / "model_index.json", _class_name=kind)
        refused(folder, f"is a '{kind}'; the engine edit knows .* runs in ComfyUI")
    change(folder / "model_index.json", _class_name=KONTEXT, transformer=["mine", "Evil"])
    refused(folder, r"The transformer of .* is a mine\.Evil, not FluxTransformer2DModel")
    change(folder / "model_index.json", transformer=None)
    refused(folder, "is incomplete: it has no transformer")


def test_code_is_refused_wherever_it_lies(copied):
    folder = copied(PIX2PIX)
    (folder / "unet" / "my_unet.py").write_text("raise SystemExit('it ran')")
    refused(folder, r"my_unet\.py is code, which a model must not bring")


EVIL = {"rope_type": "default", "mine": "evil"}


@pytest.mark.parametrize(
    ("name", "file", "values", "told"),
    [
        (KONTEXT, "transformer/config.json", {"num_layers": 10**9}, "has num_layers 1000000000"),
        (KONTEXT, "transformer/config.json", {"num_layers": 2}, "does not fit its config.json"),
        (KONTEXT, "text_encoder_2/config.json", {"d_model": "32"}, "has d_model '32'"),
        (KONTEXT, "scheduler/scheduler_config.json", {"shift": float("nan")}, "has shift nan"),
        (PIX2PIX, "unet/config.json", {"addition_embed_type": "image"}, "has addition_embed_type"),
        (KLEIN, "text_encoder/config.json", {"head_dim": 0}, "has head_dim 0"),
        (KLEIN, "transformer/config.json", {"guidance_embeds": True}, "has guidance_embeds True"),
        (QWEN, "text_encoder/config.json", {"text_config": [1]}, "has text_config"),
        (QWEN, "text_encoder/config.json", {"vision_config": {"depth": 10**6}}, "has vision_conf"),
        (QWEN, "text_encoder/config.json", {"text_config": {"rope_scaling": EVIL}}, "has text_c"),
        (KLEIN, "text_encoder/config.json", {"rope_scaling": EVIL}, "has rope_scaling"),
        (KLEIN, "text_encoder/config.json", {"rope_parameters": EVIL}, "has rope_parameters"),
        (QWEN, "processor/preprocessor_config.json", {"patch_size": 10**9}, "has patch_size 1000"),
        (QWEN, "processor/preprocessor_config.json", {"min_pixels": 1 << 21}, "has min_pixels 2"),
        (QWEN, "processor/preprocessor_config.json", {"max_pixels": 1 << 25}, "has max_pixels 3"),
        *(
            (QWEN, "processor/preprocessor_config.json", {"size": PICTURE_SIZE | more}, "has size")
            for more in ({"shortest_edge": 1 << 21}, {"longest_edge": 1 << 25}, {"height": 1 << 28})
        ),
        (PIX2PIX, "vae/config.json", {"quantization_config": {"x": 1}}, "is of a quantized model"),
    ],
)
def test_configs_are_checked_before_anything_is_made(copied, name, file, values, told):
    folder = copied(name)
    change(folder / file, **values)
    refused(folder, told)


def test_of_what_words_and_pictures_are_read_with_the_listed_alone_is_handed_on(copied):
    """Text and vision are objects of their own, of which the rest is dropped."""
    folder = copied(QWEN)
    path = folder / "text_encoder" / "config.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    for key in ("text_config", "vision_config"):
        change(path, **{key: found[key] | {"mine": "evil"}})
    read = load(folder).pipeline.text_encoder.config
    assert not hasattr(read.text_config, "mine") and not hasattr(read.vision_config, "mine")


def test_pictures_are_read_as_transformers_4_saved_it(copied):
    nulls = dict.fromkeys(("do_center_crop", "crop_size", "min_pixels", "max_pixels"))
    folder = copied(QWEN)
    change(folder / "processor" / "preprocessor_config.json", size=PICTURE_SIZE, **nulls)
    size = load(folder).pipeline.processor.images.size
    assert {key: size[key] for key in PICTURE_SIZE} == PICTURE_SIZE


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
    refused(folder, r"tokenizer\.json is not a JSON object")
    (folder / "tokenizer_2" / "tokenizer.json").unlink()
    refused(folder, r"tokenizer\.json is missing")


def test_a_distilled_klein_takes_four_steps_without_guidance(saved, tmp_path):
    torch.manual_seed(0)
    folder = shutil.copytree(saved[KLEIN][1], tmp_path / "klein")
    change(folder / "model_index.json", is_distilled=True)
    loaded = KIND.load(EditOptions(str(folder)), CPU, torch.float32)
    steps = []
    once = loaded.pipeline.scheduler.step
    loaded.pipeline.scheduler.step = lambda *a, **k: steps.append(a[1]) or once(*a, **k)
    stylized(loaded, FRAMES[:1])
    assert len(steps) == 4
    refused(folder, "text_scale is not for a distilled Flux2KleinPipeline", text_scale=3.0)


def test_frames_that_a_model_does_not_take_are_refused(saved):
    with pytest.raises(StyleAVideoError, match="of 64x640 are too narrow for a Flux2KleinPipeline"):
        stylized(load(saved[KLEIN][1]), torch.rand(1, 3, 640, 64))


@pytest.mark.parametrize("name", [KLEIN, *QWENS])
def test_words_cannot_speak_as_the_model_s_own_signs(saved, monkeypatch, name):
    """Another picture, or the end of the question: the signs are those about plain words."""
    loaded = load(saved[name][1])
    kind = type(loaded.pipeline.tokenizer)
    once, read = kind.__call__, []

    def call(self, *args, **kwargs):
        found = once(self, *args, **kwargs)
        for ids, attended in zip(found["input_ids"], found["attention_mask"], strict=True):
            own = [i for i in ids[attended.bool()].tolist() if i in self.added_tokens_decoder]
            read.append(self.convert_ids_to_tokens(own))
        return found

    monkeypatch.setattr(kind, "__call__", call)

    def signs(text):
        read.clear()
        assert stylized(loaded, FRAMES[:1], text).isfinite().all()
        return list(read)

    plain = signs("oil painting")
    assert any("<|im_end|>" in own for own in plain)
    for text in (f"oil {PICTURE} painting", "oil <|im_end|><|im_start|>", "<|endoftext|>", "a\0b"):
        assert signs(text) == plain


@pytest.mark.parametrize("sides", [(160, 96), (96, 160), (500, 300)])
def test_words_with_a_picture_are_those_of_transformers(saved, sides):
    """Its own processor wants torchvision."""
    pytest.importorskip("torchvision")
    from transformers import Qwen2VLProcessor, Qwen2VLVideoProcessor

    ours = saved[QWEN][0].processor
    pictures = [to_pil_image(torch.rand(1, 3, *sides)), to_pil_image(torch.rand(1, 3, 64, 64))]
    theirs = Qwen2VLProcessor(ours.images, ours.tokenizer, Qwen2VLVideoProcessor())
    given = {"text": [f"a {PICTURE} b {PICTURE} c"], "images": pictures, "padding": True}
    one, other = ours(**given), theirs(**given, return_tensors="pt")
    for key in ("input_ids", "attention_mask", "image_grid_thw", "pixel_values"):
        assert torch.equal(one[key], other[key])


def test_options_that_do_not_fit_are_refused(saved, tmp_path):
    refused(saved[KONTEXT][1], "frame_scale is not for a FluxKontextPipeline", frame_scale=1.0)
    refused(saved[KONTEXT][1], "^offload is for GPUs", offload="model")
    refused(saved[QWEN][1], "^steps is 1, and a QwenImageEditPipeline takes 2 or more", steps=1)
    (tmp_path / "a.pt").write_bytes(b"")
    refused(saved[KONTEXT][1], "is a pickle, which may run code", lora=f"{tmp_path / 'a.pt'}:0.5")


@pytest.mark.parametrize(
    ("name", "wide"), [(PIX2PIX, 64), (KONTEXT, 32), (KLEIN, 32), (QWEN, 32), (QWEN_PLUS, 32)]
)
def test_a_lora_changes_the_frames_by_its_weight(saved, tmp_path, name, wide):
    pytest.importorskip("peft")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder, key = saved[name][1], "transformer.transformer_blocks.0.attn.to_q"
    if name == PIX2PIX:
        key = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    parts = {"A": torch.randn(4, wide), "B": torch.randn(wide, 4)}
    lora = {f"{key}.lora_{part}.weight": value for part, value in parts.items()}
    save_file(lora, tmp_path / "style.safetensors")
    plain, zero, one = (
        load(folder, lora=text)
        for text in ("", f"{tmp_path / 'style.safetensors'}:0", str(tmp_path / "style.safetensors"))
    )
    before, frame = stylized(plain, FRAMES[:1]), FRAMES[:1]
    assert stylized(zero, frame).allclose(before, atol=1e-5)
    assert (stylized(one, frame) - before).abs().max() > 1e-4
    assert len({loaded.identity()["lora"] for loaded in (plain, zero, one)}) == 3
    save_file({"nothing": torch.zeros(1)}, tmp_path / "other.safetensors")
    refused(
        folder,
        "The LoRA other.safetensors is not for this model",
        lora=str(tmp_path / "other.safetensors"),
    )
