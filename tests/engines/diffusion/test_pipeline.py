import copy
import json
import logging
from functools import wraps

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from style_a_video.pipelines.core import attention, correction
from style_a_video.pipelines.core import inner as levels
from style_a_video.pipelines.core.denoised import predict_denoised
from style_a_video.pipelines.core.noise import frame_noise
from style_a_video.pipelines.engines.diffusion import decoders
from style_a_video.pipelines.engines.diffusion.denoiser import Corrector, guided
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.engines.diffusion.settings import Settings
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights.loading import load

PROMPT = "a watercolour"
ALL = {"preset": "paper", "attention_scale": 0.5}


def pipeline_with(components, quiet=True, **changes):
    pipeline = StyleAVideoPipeline(**{**components, **changes})
    pipeline.set_progress_bar_config(disable=quiet)
    return pipeline


def evaluations(unet):
    """A list that grows by the batch size of each pass of the U-Net, and the hook that fills it."""
    sizes = []
    return sizes, unet.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))


# --- the method ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [None, EulerDiscreteScheduler])
def test_instruct_pix2pix_is_the_pipeline_of_diffusers(sd15_components, clip, scheduler):
    components = dict(sd15_components)
    if scheduler is not None:
        components["scheduler"] = scheduler.from_config(components["scheduler"].config)
    theirs = StableDiffusionInstructPix2PixPipeline(
        **components, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    theirs.set_progress_bar_config(disable=True)
    ours = pipeline_with(components)
    noise = frame_noise((4, 10, 14), 0, range(3))
    expected = theirs(
        [PROMPT] * 3,
        image=2 * clip - 1,
        num_inference_steps=3,
        guidance_scale=2.5,
        image_guidance_scale=1.3,
        negative_prompt=["grey"] * 3,
        latents=noise,
        output_type="np",
    ).images
    result = ours(
        clip,
        PROMPT,
        "grey",
        num_inference_steps=3,
        text_scale=2.5,
        frame_scale=1.3,
        latents=noise,
        output_type="np",
    ).frames
    assert expected.std() > 0.05
    np.testing.assert_allclose(result, expected, atol=1e-5)


def naive_paper_loop(pipeline, clip, scales, steps, mask=None):
    """Section 3.3 as written: four passes a step, frame by frame, nothing shared.

    Without a mask, M is that of the step before.
    """
    s_i, s_t, s_m = scales
    unet, frames = pipeline.unet, []
    module = attention.self_attention(unet)
    text, null = pipeline.encode_prompt(PROMPT), pipeline.encode_prompt("")
    for f in range(len(clip)):
        c_i = pipeline.encode_frames(clip[f : f + 1])
        z = frame_noise(tuple(c_i.shape[1:]), 0, [f], "shared")
        scheduler = copy.deepcopy(pipeline.scheduler)
        scheduler.set_timesteps(steps)
        m = torch.ones_like(c_i[:, :1]) if mask is None else mask[f : f + 1]
        for t in scheduler.timesteps:

            def eps(image, words, z=z, t=t):
                x = torch.cat([z, image], dim=1)
                return unet(x, t, words.hidden, class_labels=words.pooled).sample

            zeros = torch.zeros_like(c_i)
            with attention.AttentionRecorder(module, tuple(z.shape[-2:])) as recorder:
                frame = eps(c_i, null)
            pred = (
                (1 - s_i - s_t - s_m) * eps(zeros, null)
                + s_i * frame
                + s_t * eps(zeros, text)
                + s_m * eps(m * c_i, null)
            )
            if mask is None:
                m = (attention.smoothed_to(recorder.received, *z.shape[-2:]) > 1).float()
            z = scheduler.step(pred, t, z).prev_sample
        frames.append(pipeline.decode_latents(z))
    return torch.cat(frames)[..., : clip.shape[-2], : clip.shape[-1]]


@torch.no_grad()
def test_the_paper_preset_is_the_papers_equation(tiny_pipeline, clip):
    mask = torch.zeros(3, 1, *clip.shape[-2:])
    mask[..., 8:24, 16:40] = 1
    result = tiny_pipeline(
        clip,
        PROMPT,
        preset="paper",
        num_inference_steps=3,
        frame_scale=1.5,
        text_scale=2.0,
        attention_scale=0.7,
        attention_mask=mask,
    ).frames
    small = mask[..., ::4, ::4]
    expected = naive_paper_loop(tiny_pipeline, clip, (1.5, 2.0, 0.7), 3, small)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    other = naive_paper_loop(tiny_pipeline, clip, (1.5, 2.0, 0.7), 3, torch.ones_like(small))
    assert (other - expected).abs().max() > 1e-4  # the mask matters at all


@pytest.mark.parametrize(
    ("settings", "conditions"),
    [
        ({"preset": "paper", "attention_scale": 0.5}, 4),
        ({"preset": "paper"}, 3),
        ({"preset": "instruct-pix2pix"}, 3),
        ({"preset": "instruct-pix2pix", "frame_scale": 1.0}, 2),
        ({"preset": "instruct-pix2pix", "frame_scale": 1.0, "text_scale": 1.0}, 1),
        ({"preset": "paper", "frame_scale": 0.7, "text_scale": 0.3}, 2),  # 1 - .7 - .3 = 5e-17
    ],
)
def test_a_step_is_one_batch_of_the_conditions_that_count(
    tiny_pipeline, clip, settings, conditions
):
    settings = {"frame_scale": 1.5, "text_scale": 3.0, "attention_mode": "running"} | settings
    settings["noise"] = "per-frame"
    sizes, hook = evaluations(tiny_pipeline.unet)
    with hook:
        tiny_pipeline(clip, PROMPT, num_inference_steps=2, **settings)
        assert sizes == [3 * conditions] * 2
        sizes.clear()
        tiny_pipeline(clip, PROMPT, num_inference_steps=1, chunk_size=2, **settings)
        assert sizes == [2 * conditions, conditions]


def test_what_is_the_same_for_all_frames_is_evaluated_once(tiny_pipeline, clip):
    """In the first step of shared noise (∅,∅) and (∅,c_T) see nothing of the frame."""
    sizes, hook = evaluations(tiny_pipeline.unet)
    with hook:
        both = tiny_pipeline(clip, PROMPT, preset="paper", num_inference_steps=2).frames
        assert sizes == [3, 2, 9]
        sizes.clear()
        words = [PROMPT, PROMPT, "other words"]
        tiny_pipeline(clip, words, preset="paper", num_inference_steps=1)
        assert sizes == [6, 1]
    alone = [
        tiny_pipeline(
            clip[i : i + 1], PROMPT, preset="paper", num_inference_steps=2, frame_indices=[i]
        ).frames
        for i in range(3)
    ]
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-5, rtol=0)


def test_a_schedule_turns_a_scale_off_where_it_is_zero(tiny_pipeline, clip):
    sizes, hook = evaluations(tiny_pipeline.unet)
    schedules = {"text_scale": [(0.5, 1.0), (0.5, 0.0)]}
    with hook:
        result = tiny_pipeline(
            clip,
            PROMPT,
            preset="paper",
            num_inference_steps=4,
            schedules=schedules,
            noise="per-frame",
        ).frames
    assert sizes == [9, 9, 6, 6]
    constant = tiny_pipeline(
        clip, PROMPT, preset="paper", num_inference_steps=4, noise="per-frame"
    ).frames
    assert (result - constant).abs().max() > 1e-4


# --- frames, chunks and noise -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tiny_pipeline", "sd15_pipeline"])
@pytest.mark.parametrize("noise", ["shared", "per-frame", "blended"])
def test_chunks_change_no_pixel(kind, noise, clip, request):
    pipeline = request.getfixturevalue(kind)
    settings = {**ALL, "noise": noise, "text_scale": 3.0}
    whole = pipeline(clip, PROMPT, **settings).frames
    for chunk_size in (1, 2):
        chunked = pipeline(clip, PROMPT, **settings, chunk_size=chunk_size).frames
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention_mode": "running", **ALL},
        {"correction": 0.5},
        {"correction": 0.5, "correction_decoder": "full"},
    ],
)
def test_a_clip_in_pieces_is_the_whole_clip(tiny_pipeline, clip, settings):
    """Calls on parts of a clip with their frame numbers, as a streaming reader makes them."""
    settings = {**settings, "noise": "per-frame", "seed": 3}
    whole = tiny_pipeline(clip, PROMPT, **settings).frames
    pieces = [
        tiny_pipeline(clip[part], PROMPT, **settings, frame_indices=range(3)[part]).frames
        for part in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-5, rtol=0)
    renumbered = tiny_pipeline(clip[:1], PROMPT, **settings, frame_indices=[1]).frames
    assert (renumbered - whole[:1]).abs().max() > 1e-4


def test_shared_noise_gives_equal_frames_equal_results(tiny_pipeline, clip):
    twice = clip[:1].repeat(2, 1, 1, 1)
    shared = tiny_pipeline(twice, PROMPT, noise="shared").frames
    torch.testing.assert_close(shared[0], shared[1], atol=1e-5, rtol=0)
    blended = tiny_pipeline(twice, PROMPT, noise="blended", noise_blend=1.0).frames
    torch.testing.assert_close(blended, shared, atol=1e-5, rtol=0)
    own = tiny_pipeline(twice, PROMPT, noise="per-frame").frames
    assert (own[0] - own[1]).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (8, 16), (41, 56)])
def test_any_size_comes_back(tiny_pipeline, size):
    frames = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    result = tiny_pipeline(frames, PROMPT, **ALL).frames
    assert result.shape == frames.shape
    assert result.isfinite().all()


def test_padding_repeats_the_border_and_is_cropped(tiny_pipeline, clip):
    padded = torch.nn.functional.pad(clip[:, :, :38, :50], (0, 6, 0, 2), "replicate")
    whole = tiny_pipeline(padded, PROMPT).frames
    assert padded.shape[-2:] == (40, 56)  # multiples of 8: 4 of the autoencoder, 2 of the U-Net
    cropped = tiny_pipeline(clip[:, :, :38, :50], PROMPT).frames
    torch.testing.assert_close(cropped, whole[:, :, :38, :50], atol=1e-5, rtol=0)


def test_latents_can_be_patched(tiny_components, clip):
    """Where the U-Net has four times the autoencoder's channels, it sees 2x2 latents as one."""
    config = {**tiny_components["unet"].config, "in_channels": 32, "out_channels": 16}
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(config).eval()
    pipeline = pipeline_with(tiny_components, unet=unet)
    assert pipeline.size_multiple == 16
    latents = pipeline.encode_latents(clip)
    assert latents.shape == (3, 16, 6, 8) == (3, *pipeline.latent_shape(40, 56))
    vae, x = tiny_components["vae"], pipeline.pad(clip)
    torch.testing.assert_close(
        pipeline.decode_latents(latents),
        vae.decode(vae.encode(2 * x - 1).latents).sample.div(2).add(0.5).clamp(0, 1).detach(),
    )
    settings = {**ALL, "num_inference_steps": 2, "correction": 1.0}
    assert pipeline(clip, PROMPT, **settings).frames.shape == clip.shape
    assert pipeline.attention_maps(clip).shape == (3, 1, 40, 56)


def test_seed_and_generator(tiny_pipeline, clip):
    def run(**kwargs):
        return tiny_pipeline(clip[:1], PROMPT, **kwargs).frames

    assert torch.equal(run(seed=1), run(seed=1))
    assert not torch.equal(run(seed=1), run(seed=2))
    first, second = (run(generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(run(generator=generator), first)
    assert not torch.equal(run(generator=generator), first)  # a generator moves on


# --- the start ----------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler])
def test_a_start_level_takes_the_last_steps_from_the_noised_frame(sd15_components, clip, scheduler):
    pipeline = pipeline_with(sd15_components)
    made = scheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    pipeline.scheduler = made
    started = []

    def first(pipeline, i, t, tensors):
        started.append((i, int(t)))
        return {}

    frames = pipeline(
        clip,
        PROMPT,
        num_inference_steps=3,
        start_level=0.6,
        frame_scale=1.0,
        text_scale=0.0,
        seed=4,
        callback_on_step_end=first,
    ).frames

    c_i, null = pipeline.encode_frames(clip), pipeline.encode_prompt([""] * 3)
    made.set_timesteps(5)  # 3 / 0.6
    steps = made.timesteps[2:]
    assert started == [(i, int(t)) for i, t in enumerate(steps)]
    noise = frame_noise((4, 10, 14), 4, range(3), "shared")
    if scheduler is EulerDiscreteScheduler:
        made.set_begin_index(2)
    z = made.add_noise(0.18215 * c_i, noise, steps[:1].expand(3))
    for t in steps:
        x = torch.cat([made.scale_model_input(z, t), c_i], dim=1)
        z = made.step(pipeline.unet(x, t, null.hidden).sample, t, z).prev_sample
    expected = pipeline.decode_latents(z)[..., :40, :56]
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=0)


def test_a_start_level_needs_steps_below_it(tiny_pipeline, clip):
    with pytest.raises(StyleAVideoError, match="A start_level of 0.8 needs 4 steps or more, not 1"):
        tiny_pipeline(clip, PROMPT, num_inference_steps=1, start_level=0.8)
    with pytest.raises(StyleAVideoError, match="start_level must be between 0.05 and 1, not 0"):
        tiny_pipeline(clip, PROMPT, start_level=0.0)


# --- fewer evaluations --------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("chunk", [None, 2])
def test_between_evaluations_the_others_keep_their_difference_from_the_main(
    sd15_components, clip, chunk
):
    pipeline = pipeline_with(sd15_components)
    given = {"preset": "paper", "frame_scale": 1.0, "text_scale": 2.0, "num_inference_steps": 3}
    widths = []
    hook = pipeline.unet.register_forward_pre_hook(lambda _, args: widths.append(len(args[0])))
    frames = pipeline(clip, PROMPT, **given, evaluate_every=2, seed=4, chunk_size=chunk).frames
    hook.remove()
    # null, frame and text of 3 frames; frame alone; all again. Shared noise: the first text once.
    assert sum(widths) == (3 + 2 if chunk is None else 3 + 2 * 2) + 3 + 9

    unet, scheduler = pipeline.unet, pipeline.scheduler
    c_i = pipeline.encode_frames(clip)
    null, text = (pipeline.encode_prompt([words] * 3).hidden for words in ("", PROMPT))
    zeros = torch.zeros_like(c_i)
    scheduler.set_timesteps(3)
    z = frame_noise((4, 10, 14), 4, range(3), "shared")
    for i, t in enumerate(scheduler.timesteps):
        main = unet(torch.cat([z, c_i], 1), t, null).sample
        if i != 1:
            x = torch.cat([z, zeros], 1)
            differences = [unet(x, t, words).sample - main for words in (null, text)]
        pred = main - 2 * differences[0] + 2 * differences[1]  # 1 - s_I - s_T, s_T
        z = scheduler.step(pred, t, z).prev_sample
    expected = pipeline.decode_latents(z)
    torch.testing.assert_close(frames, expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [None, 2])
def test_between_whole_passes_the_inner_levels_give_what_they_gave(sd15_components, clip, chunk):
    pipeline = pipeline_with(sd15_components)
    given = {"preset": "paper", "frame_scale": 1.0, "text_scale": 2.0, "num_inference_steps": 3}
    frames = pipeline(clip, PROMPT, **given, inner_every=2, seed=4, chunk_size=chunk).frames

    unet, scheduler = pipeline.unet, pipeline.scheduler
    c_i = pipeline.encode_frames(clip)
    null, text = (pipeline.encode_prompt([words] * 3).hidden for words in ("", PROMPT))
    zeros = torch.zeros_like(c_i)
    conditions = ((-2, zeros, null), (1, c_i, null), (2, zeros, text))  # 1 - s_I - s_T, s_I, s_T
    scheduler.set_timesteps(3)
    z = frame_noise((4, 10, 14), 4, range(3), "shared")
    gave: dict[int, torch.Tensor] = {}
    for i, t in enumerate(scheduler.timesteps):
        pred = torch.zeros_like(z)
        for k, (weight, image, words) in enumerate(conditions):
            x = torch.cat([z, image], 1)
            if i == 1:
                pred += weight * levels.outer(unet, x, t, words, None, gave[k])
                continue
            with levels.recorded(unet) as found:
                pred += weight * unet(x, t, words).sample
            gave[k] = found[0]
        z = scheduler.step(pred, t, z).prev_sample
    torch.testing.assert_close(frames, pipeline.decode_latents(z), atol=1e-4, rtol=0)
    plain = pipeline(clip, PROMPT, **given, seed=4, chunk_size=chunk).frames
    assert (plain - frames).abs().max() > 1e-3


def test_both_ways_to_save_go_together(sd15_components, clip):
    pipeline = pipeline_with(sd15_components)
    given = {"preset": "paper", "frame_scale": 1.0, "text_scale": 2.0, "num_inference_steps": 4}
    outer, inner = [], []
    unet = pipeline.unet
    hooks = [
        unet.conv_in.register_forward_pre_hook(lambda _, args: outer.append(len(args[0]))),
        unet.mid_block.register_forward_pre_hook(lambda _, args: inner.append(len(args[0]))),
    ]
    frames = pipeline(
        clip, PROMPT, **given, evaluate_every=3, inner_every=2, noise="per-frame", seed=4
    ).frames
    for hook in hooks:
        hook.remove()
    # All; frame alone, outside; frame alone; all, inside only what the main one gave is there.
    assert (outer, inner) == ([9, 3, 3, 9], [9, 3, 9])
    assert frames.isfinite().all()


# --- words --------------------------------------------------------------------------------------


def test_each_frame_can_have_its_own_prompt(tiny_pipeline, clip):
    prompts = ["ink", "oil", "ink"]
    mixed = tiny_pipeline(clip, prompts, ["", "grey", "grey"]).frames
    for f, negative in enumerate(["", "grey", "grey"]):
        alone = tiny_pipeline(clip[f : f + 1], prompts[f], negative, frame_indices=[f]).frames
        torch.testing.assert_close(mixed[f], alone[0], atol=1e-5, rtol=0)
    assert (tiny_pipeline(clip, "ink").frames[1] - mixed[1]).abs().max() > 1e-4


def test_a_long_prompt_is_read_in_windows(tiny_pipeline):
    first, second = "a " * 75, "ink " * 20  # every word is one token of the miniature's
    both = tiny_pipeline.encode_prompt(first + second).hidden
    apart = [tiny_pipeline.encode_prompt(words).hidden for words in (first, second)]
    torch.testing.assert_close(both, torch.cat(apart, dim=1))
    # Beside a longer one a prompt is said again.
    long, short = tiny_pipeline.encode_prompt([first + second, "oil"]).hidden
    torch.testing.assert_close(long[None], both)
    once = tiny_pipeline.encode_prompt("oil").hidden[0]
    torch.testing.assert_close(short, torch.cat([once, once]))


def test_prompts_of_different_length_do_not_change_each_other(tiny_pipeline, clip):
    prompts = ["ink", "a " * 80, "oil " * 160]
    mixed = tiny_pipeline(clip, prompts, "grey").frames
    for f, prompt in enumerate(prompts):
        alone = tiny_pipeline(clip[f : f + 1], prompt, "grey", frame_indices=[f]).frames
        torch.testing.assert_close(mixed[f], alone[0], atol=1e-5, rtol=0)


def test_the_end_of_a_very_long_prompt_is_cut_and_named(tiny_pipeline, clip, caplog):
    read, cut = "a " * 300, "a a a a a xyz"  # four windows of 75
    with caplog.at_level(logging.WARNING, logger="style_a_video"):
        result = tiny_pipeline(clip[:1], read + cut).frames
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("style_a_video")]
    assert warnings == [f"The prompt is longer than 4 windows; left out: {cut!r}"]
    assert torch.equal(result, tiny_pipeline(clip[:1], read).frames)
    caplog.clear()
    tiny_pipeline(clip[:1], read)
    assert not [r for r in caplog.records if r.name.startswith("style_a_video")]


# --- attention ----------------------------------------------------------------------------------


@torch.no_grad()
def test_the_probe_is_the_frames_pass_at_its_noise_level(sd15_pipeline, clip):
    maps = sd15_pipeline.attention_maps(clip, level=0.5, seed=4, noise="per-frame")
    c_i, null = sd15_pipeline.encode_frames(clip), sd15_pipeline.encode_prompt([""] * 3)
    t = torch.tensor(500)  # round(0.5 * 999)
    noise = frame_noise((4, 10, 14), 4, range(3))
    z = sd15_pipeline.scheduler.add_noise(0.18215 * c_i, noise, t)
    module = attention.self_attention(sd15_pipeline.unet)
    with attention.AttentionRecorder(module, (10, 14)) as recorder:
        sd15_pipeline.unet(torch.cat([z, c_i], dim=1), t, null.hidden)
    expected = attention.smoothed_to(recorder.received, 10, 14)
    expected = attention.resize_to(expected, 40, 56)
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(40, 56), (37, 51)])
def test_the_probes_mask_can_be_looked_at_and_handed_back(tiny_pipeline, clip, size):
    clip = clip[..., : size[0], : size[1]]
    maps = tiny_pipeline.attention_maps(clip, chunk_size=2)
    assert maps.shape == (3, 1, *size)
    if size == (40, 56):  # nothing cropped
        torch.testing.assert_close(maps.mean((1, 2, 3)), torch.ones(3), atol=0.1, rtol=0)
    mask = attention.attention_mask(maps)
    assert 0 < mask.mean() < 1
    probed = tiny_pipeline(clip, PROMPT, **ALL).frames
    given = tiny_pipeline(clip, PROMPT, **ALL, attention_mask=mask).frames
    torch.testing.assert_close(given, probed, atol=1e-5, rtol=0)
    inverted = tiny_pipeline(clip, PROMPT, **ALL, attention_mask=1 - mask).frames
    assert (inverted - probed).abs().max() > 1e-4


@torch.no_grad()
def test_running_takes_the_map_of_the_frames_own_pass_in_the_step_before(tiny_pipeline, clip):
    settings = {"preset": "paper", "frame_scale": 1.5, "text_scale": 2.0, "attention_scale": 3.0}
    settings |= {"num_inference_steps": 4}
    expected = naive_paper_loop(tiny_pipeline, clip, (1.5, 2.0, 3.0), 4)
    for chunk_size in (None, 2):
        result = tiny_pipeline(
            clip, PROMPT, **settings, attention_mode="running", chunk_size=chunk_size
        ).frames
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    ones = tiny_pipeline(clip, PROMPT, **settings, attention_mask=torch.ones(3, 1, 1, 1)).frames
    assert (ones - expected).abs().max() > 1e-4


def test_another_layer_gives_another_map(tiny_pipeline, clip):
    mid = tiny_pipeline.attention_maps(clip)
    for layer in attention.attention_layers(tiny_pipeline.unet)[1:-1]:
        assert (tiny_pipeline.attention_maps(clip, layer=layer) - mid).abs().max() > 1e-4


def test_probe_and_running_leave_no_hook_even_after_an_error(tiny_pipeline, clip):
    def hooks():
        return [(n, dict(m._forward_pre_hooks)) for n, m in tiny_pipeline.unet.named_modules()]

    def keys():
        return [set(m.__dict__) for m in tiny_pipeline.unet.modules()]

    def fail(*args):
        raise RuntimeError("stop")

    before = hooks(), keys()
    for mode in ("probe", "running"):
        tiny_pipeline(clip, PROMPT, **ALL, attention_mode=mode)
        module = attention.self_attention(tiny_pipeline.unet)
        with module.to_out[0].register_forward_pre_hook(fail):
            with pytest.raises(RuntimeError, match="stop"):
                tiny_pipeline(clip, PROMPT, **ALL, attention_mode=mode)
        assert (hooks(), keys()) == before


# --- correction ---------------------------------------------------------------------------------


def test_no_correction_is_exactly_the_uncorrected_path(tiny_pipeline, clip):
    passes, hook = evaluations(tiny_pipeline.image_encoder)
    with hook:
        zero = tiny_pipeline(clip, PROMPT, correction=0.0).frames
    assert torch.equal(zero, tiny_pipeline(clip, PROMPT).frames)
    assert not passes


@pytest.mark.parametrize("decoder", ["linear", "tiny", "full"])
def test_the_correction_brings_the_prediction_nearer_to_the_frame(
    tiny_pipeline, sd15_components, tiny_components, clip, decoder
):
    pipeline = tiny_pipeline
    if decoder == "full":
        pipeline = pipeline_with(sd15_components, image_encoder=tiny_components["image_encoder"])
    settings = Settings(correction=1e-2, correction_decoder=decoder)
    weights = {"frame": -0.5, "frame_text": 1.5}
    with torch.no_grad():
        corrector = Corrector(pipeline, clip, settings, None)
        target = pipeline.encode_images(clip)
        pipeline.scheduler.set_timesteps(3)
        t = pipeline.scheduler.timesteps[1]
        conditions = pipeline._conditions(
            clip, pipeline.encode_prompt([PROMPT] * 3), [""] * 3, None
        )
        z = frame_noise(tuple(conditions.image_latents.shape[1:]), 0, range(3))

        def loss(z):
            pred = guided(pipeline.unet, z, t, conditions, weights).pred
            x0 = predict_denoised(pipeline.scheduler, pred, z, t)
            return correction.clip_loss(target, pipeline.encode_images(corrector.decode(x0)))

        delta = z - corrector(z, t, conditions, weights)
        assert (loss(z - delta) < loss(z)).all() and (loss(z) < loss(z + delta)).all()


@pytest.fixture(scope="module")
def built_in():
    pipeline = load()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def losses(pipeline, clip, monkeypatch, **settings):
    """The CLIP loss of the guided x0 at each step, (steps,T)."""
    scheduler, seen = pipeline.scheduler, []
    target, decode = pipeline.encode_images(clip), decoders.full(pipeline)
    original = scheduler.step

    @wraps(original)
    def step(pred, t, sample, **kwargs):
        z = scheduler.scale_model_input(sample, t)
        frames = decode(predict_denoised(scheduler, pred, z, t))
        seen.append(correction.clip_loss(target, pipeline.encode_images(frames)))
        return original(pred, t, sample, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "step", step)
        pipeline(clip, "Van Gogh", correction_decoder="full", output_type="latent", **settings)
    return torch.stack(seen)


@pytest.mark.parametrize("preset", ["paper", "instruct-pix2pix"])
def test_the_correction_lowers_the_loss_at_every_step(built_in, clip, monkeypatch, preset):
    """The sampler goes on from the moved z_t: stepping from z_t undoes it after a few steps."""
    settings = {"preset": preset, "text_scale": 1.5, "num_inference_steps": 6}
    plain = losses(built_in, clip[:1], monkeypatch, **settings)
    assert len(plain) == 6
    corrected = losses(built_in, clip[:1], monkeypatch, **settings, correction=0.2)
    assert (corrected < plain).all()


def test_the_correction_is_the_same_move_for_samplers_on_sigmas(tiny_pipeline, clip):
    """z' in the U-Net's scaling; the samples of Euler are sqrt(σ²+1) times larger."""
    moved = []
    with torch.no_grad():
        conditions = tiny_pipeline._conditions(
            clip, tiny_pipeline.encode_prompt([PROMPT] * 3), [""] * 3, None
        )
        z = frame_noise(tuple(conditions.image_latents.shape[1:]), 0, range(3))
        config = {**tiny_pipeline.scheduler.config, "timestep_spacing": "leading"}
        for kind in (type(tiny_pipeline.scheduler), EulerDiscreteScheduler):
            pipeline = copy.copy(tiny_pipeline)
            pipeline.scheduler = kind.from_config(config, rescale_betas_zero_snr=False)
            pipeline.scheduler.set_timesteps(4)
            t = pipeline.scheduler.timesteps[1]
            one = pipeline.scheduler.scale_model_input(torch.ones(1, 1, 1, 1), t)
            corrector = Corrector(pipeline, clip, Settings(correction=0.5), None)
            weights = {"frame": -0.5, "frame_text": 1.5}
            moved.append((int(t), one * corrector(z / one, t, conditions, weights)))
    assert moved[0][0] == moved[1][0]
    torch.testing.assert_close(moved[0][1], moved[1][1], atol=1e-4, rtol=0)


def test_the_correction_changes_the_result_by_its_strength(tiny_pipeline, clip):
    plain = tiny_pipeline(clip, PROMPT).frames
    changes = [
        (tiny_pipeline(clip, PROMPT, correction=strength).frames - plain).abs().mean()
        for strength in (0.1, 1.0)
    ]
    assert 0 < changes[0] < changes[1]


def test_the_correction_works_in_inference_mode(tiny_pipeline, clip):
    expected = tiny_pipeline(clip, PROMPT, correction=0.5).frames
    with torch.inference_mode():
        result = tiny_pipeline(clip.clone(), PROMPT, correction=0.5).frames
    assert torch.equal(result, expected)


def test_the_gradient_holds_one_frame_at_a_time(tiny_pipeline, clip):
    sizes, hook = evaluations(tiny_pipeline.unet)
    with hook:
        tiny_pipeline(clip, PROMPT, correction=1.0, num_inference_steps=1)
    assert sizes == [3, 3, 3, 9]


def test_the_linear_decoder_is_fitted_in_the_scaling_of_the_diffusion(sd15_pipeline):
    chart = decoders.colour_chart()
    latents = 0.18215 * sd15_pipeline.encode_latents(chart)
    fitted = correction.fit_linear_decoder(latents, chart)
    decode = decoders.linear(sd15_pipeline)
    torch.testing.assert_close(decode(latents), correction.linear_decode(latents, *fitted))


def test_a_tiny_autoencoder_can_serve_a_large_one(sd15_components, tiny_components, clip):
    components = {**sd15_components, "image_encoder": tiny_components["image_encoder"]}
    settings = {"correction": 1.0, "correction_decoder": "tiny", "num_inference_steps": 1}
    with pytest.raises(StyleAVideoError, match="give the pipeline one as tiny_vae"):
        pipeline_with(components)(clip, PROMPT, **settings)
    pipeline = pipeline_with(components, tiny_vae=tiny_components["vae"])
    assert pipeline(clip, PROMPT, **settings).frames.isfinite().all()


# --- a pipeline of diffusers --------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheduler_class",
    [
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
        EulerDiscreteScheduler,
        HeunDiscreteScheduler,
        EulerAncestralDiscreteScheduler,
        LCMScheduler,
    ],
)
@pytest.mark.parametrize("kind", ["tiny_components", "sd15_components"])
def test_schedulers_can_be_swapped(kind, scheduler_class, clip, request, tiny_components):
    components = request.getfixturevalue(kind)
    scheduler = scheduler_class.from_config(components["scheduler"].config)
    image_encoder = tiny_components["image_encoder"]
    pipeline = pipeline_with(components, scheduler=scheduler, image_encoder=image_encoder)
    settings = {"num_inference_steps": 3, "noise": "per-frame", "correction": 1.0}
    whole = pipeline(clip, PROMPT, **settings).frames
    assert whole.isfinite().all() and whole.std() > 1e-3
    # samplers that add noise draw it by the frame, too
    last = pipeline(clip[2:], PROMPT, **settings, frame_indices=[2]).frames
    torch.testing.assert_close(last[0], whole[2], atol=1e-4, rtol=0)


def test_zero_terminal_snr_is_finite_from_the_first_step(tiny_pipeline, clip):
    seen = []

    def look(pipeline, step, t, tensors):
        seen.append((int(t), tensors["latents"].isfinite().all().item()))
        return {}

    tiny_pipeline(clip, PROMPT, correction=1.0, callback_on_step_end=look)
    assert seen == [(999, True), (499, True)]
    assert tiny_pipeline.scheduler.alphas_cumprod[999] == 0


def test_save_and_load_round_trip(tiny_components, clip, tmp_path):
    defaults = {"num_inference_steps": 3, "text_scale": 2.0, "schedules": {"text_scale": 0.5}}
    saved = pipeline_with(tiny_components, defaults=defaults, scale_image_latents=True)
    saved.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["defaults"] == defaults and index["scale_image_latents"] is True
    loaded = StyleAVideoPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config.scale_image_latents is True
    assert torch.equal(loaded(clip, PROMPT).frames, saved(clip, PROMPT).frames)


def test_optional_parts_may_be_absent_on_disk(sd15_components, clip, tmp_path):
    saved = pipeline_with(sd15_components)
    saved.save_pretrained(tmp_path)
    loaded = StyleAVideoPipeline.from_pretrained(tmp_path)
    assert loaded.image_encoder is None and loaded.tiny_vae is None
    loaded.set_progress_bar_config(disable=True)
    result = loaded(clip, PROMPT, num_inference_steps=1).frames
    again = saved(clip, PROMPT, num_inference_steps=1).frames
    torch.testing.assert_close(result, again, atol=1e-6, rtol=0)  # weights lie at other addresses


def test_a_model_may_have_values_for_one_preset_alone():
    defaults = {"num_inference_steps": 1, "paper": {"num_inference_steps": 10, "text_scale": 4.0}}
    assert Settings.resolve(defaults).num_inference_steps == 1
    paper = Settings.resolve(defaults, preset="paper")
    assert (paper.num_inference_steps, paper.text_scale) == (10, 4.0)
    assert Settings.resolve(defaults, preset="paper", text_scale=2.0).text_scale == 2.0
    with pytest.raises(StyleAVideoError, match="setting"):
        Settings.resolve({"paper": {"steps": 3}})


def test_the_models_defaults_hold_until_the_call_says_otherwise(tiny_pipeline, clip):
    settings = Settings.resolve(tiny_pipeline.config.defaults, text_scale=5.0, frame_scale=None)
    assert (settings.num_inference_steps, settings.text_scale) == (2, 5.0)
    assert settings.frame_scale == 1.2
    assert Settings().num_inference_steps == 30
    explicit = tiny_pipeline(
        clip, PROMPT, num_inference_steps=2, frame_scale=1.2, text_scale=2.0
    ).frames
    assert torch.equal(tiny_pipeline(clip, PROMPT).frames, explicit)


def test_image_latents_are_scaled_only_where_the_model_says_so(sd15_components, clip):
    plain = pipeline_with(sd15_components).encode_frames(clip)
    scaled = pipeline_with(sd15_components, scale_image_latents=True).encode_frames(clip)
    torch.testing.assert_close(scaled, 0.18215 * plain)
    mode = sd15_components["vae"].encode(2 * clip - 1).latent_dist.mode()
    torch.testing.assert_close(plain, mode)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tiny_components, tiny_pipeline, clip, dtype):
    pipeline = pipeline_with(copy.deepcopy(tiny_components), defaults=tiny_pipeline.config.defaults)
    pipeline.to(dtype)
    settings = {**ALL, "correction": 1.0}
    result = pipeline(clip, PROMPT, **settings).frames
    assert result.dtype == torch.float32
    expected = tiny_pipeline(clip, PROMPT, **settings).frames
    torch.testing.assert_close(result, expected, atol=0.02, rtol=0)
    assert pipeline(clip, PROMPT, output_type="latent").frames.dtype == dtype


def test_a_callback_sees_and_changes_the_tensors(tiny_pipeline, clip):
    names = ["latents", "image_latents", "prompt_embeds"]
    other = tiny_pipeline.encode_prompt(["ink"] * 3).hidden
    seen = []

    def change(pipeline, step, t, tensors):
        assert pipeline is tiny_pipeline and list(tensors) == names
        seen.append((step, {name: tuple(x.shape) for name, x in tensors.items()}))
        return {"prompt_embeds": other, "latents": tensors["latents"] * 0.5}

    changed = tiny_pipeline(
        clip, PROMPT, callback_on_step_end=change, callback_on_step_end_tensor_inputs=names
    ).frames
    shapes = {"latents": (3, 4, 10, 14), "image_latents": (3, 4, 10, 14)}
    assert seen == [(i, shapes | {"prompt_embeds": (3, 77, 16)}) for i in range(2)]
    assert (changed - tiny_pipeline(clip, PROMPT).frames).abs().max() > 1e-4


def test_a_callback_can_interrupt(tiny_pipeline, clip):
    steps = []

    def stop(pipeline, step, t, tensors):
        steps.append(step)
        pipeline._interrupt = step == 1
        return tensors

    result = tiny_pipeline(clip, PROMPT, num_inference_steps=5, callback_on_step_end=stop).frames
    assert steps == [0, 1]
    assert result.isfinite().all()
    sizes, hook = evaluations(tiny_pipeline.unet)
    with hook:
        tiny_pipeline(clip, PROMPT, num_inference_steps=3)
    assert sizes == [6, 1, 9, 9]  # the next run starts afresh, with three steps


def test_progress_is_the_pipelines_own_bar(tiny_components, clip, capsys):
    pipeline = pipeline_with(tiny_components, quiet=False)
    pipeline.set_progress_bar_config(desc="Stylizing")
    pipeline(clip[:1], PROMPT, num_inference_steps=2)
    assert "Stylizing: 100%" in capsys.readouterr().err


def test_output_types(tiny_pipeline, clip):
    def run(kind, **kwargs):
        return tiny_pipeline(clip, PROMPT, output_type=kind, **kwargs)

    frames = run("pt").frames
    assert frames.shape == (3, 3, 40, 56) and 0 <= frames.min() and frames.max() <= 1
    np.testing.assert_array_equal(run("np").frames, frames.permute(0, 2, 3, 1).numpy())
    images = run("pil").frames
    assert [image.size for image in images] == [(56, 40)] * 3
    latents = run("latent").frames
    assert torch.equal(tiny_pipeline.decode_latents(latents, size=(40, 56)), frames)
    assert torch.equal(run("pt", return_dict=False)[0], frames)


def test_pil_frames_are_frames(tiny_pipeline, clip):
    images = [PIL.Image.fromarray((255 * f).round().byte().permute(1, 2, 0).numpy()) for f in clip]
    tensor = (255 * clip).round() / 255
    result = tiny_pipeline(images, PROMPT).frames
    torch.testing.assert_close(result, tiny_pipeline(tensor, PROMPT).frames, atol=1e-5, rtol=0)


def test_a_unet_without_room_for_the_frame(sd15_components, clip):
    torch.manual_seed(0)
    narrow = UNet2DConditionModel.from_config({**sd15_components["unet"].config, "in_channels": 4})
    pipeline = pipeline_with(sd15_components, unet=narrow.eval())
    result = pipeline(clip, PROMPT, frame_scale=0, num_inference_steps=1).frames
    assert result.isfinite().all()
    needs = r"needs a U-Net with 8 input channels and this one has 4: load it with .* or set"
    with pytest.raises(StyleAVideoError, match=f"frame_scale above 0 {needs}"):
        pipeline(clip, PROMPT)
    with pytest.raises(StyleAVideoError, match=f"attention_scale above 0 {needs}"):
        pipeline(clip, PROMPT, frame_scale=0, attention_scale=1)
    with pytest.raises(StyleAVideoError, match=f"attention_maps {needs}"):
        pipeline.attention_maps(clip)


# --- bad input ----------------------------------------------------------------------------------

BAD = [
    ({"prompt": " "}, "prompt is empty; name a style"),
    ({"prompt": "a" * 5000}, r"prompt has 5,000 characters; shorten it to 2,000 or fewer"),
    ({"negative_prompt": "a" * 2001}, r"negative_prompt has 2,001 characters"),
    ({"prompt": ["a", "b"]}, "one string or one for each of the 3 frames, not 2"),
    ({"prompt": ["a", 3, "b"]}, "prompt must be text, not int"),
    ({"prompt": None}, "prompt must be text, not NoneType"),
    ({"num_inference_steps": 0}, "num_inference_steps must be a whole number of at least 1, not 0"),
    ({"num_inference_steps": 2.5}, "must be a whole number of at least 1, not 2.5"),
    ({"text_scale": float("nan")}, "text_scale must be a finite number, not nan"),
    ({"frame_scale": float("inf")}, "frame_scale must be a finite number, not inf"),
    ({"attention_scale": -1.0}, "attention_scale must be 0 or more, not -1"),
    ({"correction": -0.5}, "correction must be 0 or more, not -0.5"),
    ({"attention_level": 1.5}, "attention_level must be between 0 and 1, not 1.5"),
    ({"preset": "papers"}, "no preset 'papers'; choose one of: paper, instruct-pix2pix"),
    ({"correction_decoder": "vae"}, "decoder 'vae'; choose one of: linear, tiny, full"),
    ({"attention_mode": "always"}, "mode 'always'; choose one of: probe, running"),
    ({"attention_layer": "top", "attention_scale": 1}, "layer 'top'; the layers are: mid, down_b"),
    ({"noise": "pink"}, "noise mode 'pink'; choose one of: shared, per-frame, blended"),
    ({"schedules": {"style": 1.0}}, "no scale to schedule 'style'; choose one of: frame_scale"),
    ({"schedules": {"text_scale": [(1, 1), (0, 1)]}}, "schedule of text_scale must be a number or"),
    ({"schedules": {"text_scale": [(2, 1)]}}, "percent in the schedule of text_scale must be betw"),
    ({"schedules": {"text_scale": "fade"}}, "schedule of text_scale must be a number or points"),
    ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1, not 0"),
    ({"frame_indices": [1, 2]}, "frame_indices must number each of the 3 frames, not 2"),
    ({"output_type": "gif"}, "output type 'gif'; choose one of: pt, np, pil, latent"),
    ({"latents": torch.zeros(3, 4, 5, 7)}, r"latents must have the shape \(3, 4, 10, 14\)"),
    ({"callback_on_step_end_tensor_inputs": ["z"]}, "no callback tensor 'z'; choose one of: lat"),
    ({"attention_mask": torch.ones(3, 1, 8, 8)}, "no effect while attention_scale is 0"),
    ({"attention_mask": torch.ones(2, 1, 8, 8)}, r"attention_mask must have the shape \(3,1,H,W\)"),
    ({"attention_mask": torch.full((3, 1, 8, 8), 2.0)}, "attention_mask must lie between 0 and 1"),
    ({"frames": torch.rand(3, 40, 56)}, r"shape \(T,3,H,W\) with at least one frame and one pixel"),
    ({"frames": torch.rand(0, 3, 40, 56)}, "at least one frame"),
    ({"frames": torch.rand(3, 40, 56, 3)}, r"not \(3, 40, 56, 3\)"),
    ({"frames": torch.zeros(3, 3, 8, 8, dtype=torch.uint8)}, "divide 8-bit frames by 255"),
    ({"frames": torch.full((3, 3, 8, 8), float("nan"))}, "frames contain NaN or infinity"),
    ({"frames": 255 * torch.ones(3, 3, 8, 8)}, "between 0 and 1, not between 255 and 255"),
    ({"frames": "clip.mp4"}, r"a tensor \(T,3,H,W\) or a list of PIL images, not str"),
    (
        {"frames": [PIL.Image.new("RGB", (8, s)) for s in (8, 8, 9)]},
        "frames have different sizes; resize them to one size",
    ),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[m[:40] for _, m in BAD])
def test_bad_input_is_refused_in_one_sentence_before_anything_runs(
    tiny_pipeline, clip, given, message
):
    passes = []
    models = [tiny_pipeline.unet, tiny_pipeline.text_encoder, tiny_pipeline.vae.encoder]
    hooks = [m.register_forward_pre_hook(lambda *args: passes.append(args)) for m in models]
    try:
        with pytest.raises(StyleAVideoError, match=message) as error:
            tiny_pipeline(**{"frames": clip, "prompt": PROMPT, **given})
    finally:
        for hook in hooks:
            hook.remove()
    assert not passes
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and ". " not in text


def test_correction_without_an_image_encoder_is_refused(sd15_pipeline, clip):
    with pytest.raises(StyleAVideoError, match="correction needs an image_encoder"):
        sd15_pipeline(clip, PROMPT, correction=1.0)


def test_unknown_defaults_are_refused_when_the_pipeline_is_made(tiny_components):
    with pytest.raises(StyleAVideoError, match="no setting 'steps'; choose one of: preset, num_"):
        StyleAVideoPipeline(**tiny_components, defaults={"steps": 4})


def test_a_text_encoder_without_projection_is_refused(tiny_components, sd15_components, clip):
    pipeline = pipeline_with(tiny_components, text_encoder=sd15_components["text_encoder"])
    with pytest.raises(StyleAVideoError, match="load the text encoder as CLIPTextModelWithProj"):
        pipeline(clip, PROMPT, num_inference_steps=1)


def test_a_result_that_is_not_finite_is_said_not_shown(tiny_components, clip):
    unet = copy.deepcopy(tiny_components["unet"])
    with torch.no_grad():
        unet.conv_out.bias[0] = float("nan")
    with pytest.raises(StyleAVideoError, match="not finite in torch.float32; use float32 or lower"):
        pipeline_with(tiny_components, unet=unet)(clip, PROMPT, num_inference_steps=1)


def test_the_published_path_is_the_same_class():
    from style_a_video.pipelines import style_a_video
    from style_a_video.pipelines.engines.diffusion import pipeline

    assert style_a_video.StyleAVideoPipeline is pipeline.StyleAVideoPipeline
    assert style_a_video.StyleAVideoOutput is pipeline.StyleAVideoOutput
