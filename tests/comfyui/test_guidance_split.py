"""Frames in parts are the same frames: edit models' conditions of all kinds, and caches of steps.

Every model is ComfyUI's own class, small, with random weights.
"""

from __future__ import annotations

from types import SimpleNamespace

import comfy.conds
import comfy.model_base
import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import comfy.supported_models as kinds
import pytest
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from edit_models import FLUX, FLUX_2, HIDREAM, OMNIGEN, QWEN, WAN, error
from style_a_video.nodes import builtin_model, guidance, host
from style_a_video.nodes.conditions import FrameCondition, TextCondition
from style_a_video.nodes.correction import corrected
from style_a_video.nodes.presets import CurveInput
from style_a_video.pipelines.errors import StyleAVideoError
from test_other_models import SDXL

FRAMES, STEPS = 3, 12
VACE = WAN | {"model_type": "vace", "vace_layers": 1, "vace_in_dim": 96}
T = FRAMES
CASES = {
    "Flux Kontext": (kinds.Flux, FLUX, (16, 8, 12), {"reference_latents": [(T, 16, 8, 12)]}),
    "Flux 2": (
        kinds.Flux2,
        FLUX_2 | {"guidance_embed": True},
        (128, 4, 6),
        {"reference_latents": [(T, 128, 4, 6)]},
    ),
    "two references": (
        kinds.Flux,
        FLUX,
        (16, 8, 12),
        {"reference_latents": [(1, 16, 4, 4), (T, 16, 8, 12)]},
    ),
    "Qwen-Image-Edit": (
        kinds.QwenImage,
        QWEN,
        (16, 1, 8, 12),
        {"reference_latents": [(T, 16, 1, 8, 12)]},
    ),
    "OmniGen2": (kinds.Omnigen2, OMNIGEN, (16, 8, 12), {"reference_latents": [(T, 16, 8, 12)]}),
    "HiDream-E1": (
        kinds.HiDream,
        HIDREAM,
        (16, 8, 12),
        {"concat_latent_image": (T, 16, 8, 12), "conditioning_llama3": (1, 2, 77, 64)},
    ),
    "Bernini": (
        kinds.WAN21_T2V,
        WAN,
        (16, 3, 8, 12),
        {"context_latents": [(T, 16, 3, 8, 12), (1, 16, 1, 8, 12)]},
    ),
    "VACE": (
        kinds.WAN21_Vace,
        VACE,
        (16, 3, 8, 12),
        {"vace_frames": [(T, 32, 3, 8, 12)], "vace_mask": [(T, 64, 3, 8, 12)]},
    ),
    "SDXL InstructPix2Pix": (
        kinds.SDXL_instructpix2pix,
        SDXL | {"in_channels": 8},
        (4, 8, 12),
        {"concat_latent_image": (T, 4, 8, 12)},
    ),
    "SDXL inpainting": (
        kinds.SDXL,
        SDXL | {"in_channels": 9},
        (4, 8, 12),
        {"concat_latent_image": (T, 4, 8, 12), "concat_mask": (T, 64, 96)},
    ),
}


def build(kind, shape):
    torch.manual_seed(0)
    config = kind(dict(shape))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({})
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.05 * torch.randn_like(p))
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def run(guider, shape, steps=1, rows=slice(None)):
    """`rows` of FRAMES latents of zeros (C,...), each with noise of its own."""
    sampling = guider.model_patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    noise = torch.randn(FRAMES, *shape, generator=torch.Generator().manual_seed(0))[rows]
    euler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        return guider.sample(
            noise, torch.zeros_like(noise), euler, sigmas, disable_pbar=True, seed=0
        )


def text(model, seed, **extra):
    made = torch.Generator().manual_seed(seed)
    pooled = {kinds.SDXL: 1280, kinds.SDXL_instructpix2pix: 1280, kinds.Flux: 768}
    width = pooled.get(type(model.model.model_config), 64)
    values = {
        "pooled_output": torch.randn(1, width, generator=made),
        "attention_mask": torch.ones(1, 77, dtype=torch.long),
        **extra,
    }
    return [[torch.randn(1, 77, 64, generator=made), values]]


def guided(model, chunk=0, schedule=None, **extra):
    positive, negative = (text(model, seed, **extra) for seed in (1, 2))
    weighted = [guidance.WeightedCondition(positive, 2.0, schedule)]
    return guidance.MultiConditionGuider(model, negative, weighted, chunk)


def drawn(shape, seed=0):
    if isinstance(shape, list):
        return [drawn(s, seed) for s in shape]
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def row(value, i):
    if isinstance(value, list):
        return [row(v, i) for v in value]
    return value[i : i + 1] if len(value) == FRAMES else value


@pytest.mark.parametrize("name", CASES)
def test_each_frame_has_its_own_condition_however_frames_are_divided(name):
    kind, shape, latent, shapes = CASES[name]
    model = build(kind, shape)
    given = {what: drawn(s) for what, s in shapes.items()}
    if "reference_latents" in given:
        given["reference_latents"] = [4 * r for r in given["reference_latents"]]
    whole = run(guided(model, **given), latent)
    last = {what: row(v, FRAMES - 1) for what, v in given.items()}
    alone = run(guided(model, **last), latent, rows=slice(FRAMES - 1, FRAMES))
    assert error(alone, whole[-1:]) < 1e-5
    for chunk in (1, 2):
        assert error(run(guided(model, chunk, **given), latent), whole) < 1e-5
    # The tests above see another frame's condition: it changes more than they allow.
    others = {what: row(v, 0) for what, v in given.items()}
    swapped = run(guided(model, **others), latent, rows=slice(FRAMES - 1, FRAMES))
    assert error(swapped, whole[-1:]) > 5e-5


COMING, PAUSING = (
    CurveInput.from_raw({"points": points})
    for points in (
        [(0, 0), (0.3, 0), (0.31, 1), (1, 1)],
        [(0, 1), (0.4, 1), (0.41, 0), (0.7, 0), (0.71, 1), (1, 1)],
    )
)
"""The condition has no part in the first steps, or in some between."""


def cached(node, model, start, threshold=0.4):
    """A model with that cache, and a list of the frames × conditions of each evaluation."""
    model = node.execute(model, threshold, start, 0.95, False).args[0]
    evaluated = []

    def count(executor, *args, **kwargs):
        evaluated.append(len(args[0]))
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "count", count)
    return model, evaluated


@pytest.fixture(scope="module", params=["SDXL", "Flux"])
def plain(request):
    if request.param == "SDXL":
        return build(kinds.SDXL, SDXL), (4, 8, 12)
    return build(kinds.Flux, FLUX), (16, 8, 12)


@pytest.mark.parametrize(
    "node, schedule, start",
    [
        (EasyCacheNode, None, 0.1),
        (EasyCacheNode, COMING, 0.0),
        (EasyCacheNode, PAUSING, 0.1),
        (LazyCacheNode, None, 0.1),
    ],
)
def test_a_cache_leaves_the_same_steps_out_however_frames_are_divided(plain, node, schedule, start):
    model, evaluated = cached(node, plain[0], start)
    whole = run(guided(model, 0, schedule), plain[1], STEPS)
    work = sum(evaluated)
    assert 2 * FRAMES < work < 0.8 * STEPS * 2 * FRAMES  # some steps are left out, not all
    for chunk in (1, 2):
        evaluated.clear()
        parts = run(guided(model, chunk, schedule), plain[1], STEPS)
        assert error(parts, whole) < 1e-5 and sum(evaluated) == work


def windowed(model):
    """Windows of two frames, each but one over the one before."""
    args = (model, 2, 1, "standard_static", 1, False, "flat", 0, False)
    return ContextWindowsManualNode.execute(*args).args[0]


@pytest.mark.parametrize("name", ["two references", "SDXL InstructPix2Pix"])
def test_context_windows_over_frames_leave_each_its_own_condition(name):
    """Lists too (references), of which ComfyUI gives every window the first frames'."""
    kind, shape, latent, shapes = CASES[name]
    model = build(kind, shape)
    given = {what: drawn(s) for what, s in shapes.items()}
    wanted = run(guided(model, **given), latent)
    for chunk in (0, 2):
        assert error(run(guided(windowed(model), chunk, **given), latent), wanted) < 1e-5


def test_easycache_with_an_area_is_refused_where_frames_are_divided(plain):
    """It measures the changes of the area alone, and the mean over the parts cannot."""
    model, _ = cached(EasyCacheNode, plain[0], 0.1)
    area = {"area": (8, 6, 0, 0), "strength": 1.0}
    assert run(guided(model, 0, **area), plain[1], STEPS).isfinite().all()
    with pytest.raises(
        StyleAVideoError, match="^EasyCache and conditions for an area do not go to"
    ):
        run(guided(model, 2, **area), plain[1], STEPS)


def test_easycache_with_context_windows_is_refused(plain):
    model, _ = cached(EasyCacheNode, windowed(plain[0]), 0.1)
    with pytest.raises(StyleAVideoError, match="EasyCache and Context Windows together"):
        run(guided(model), plain[1], STEPS)


def interval(first, last):
    points = [(0, 0), (first, 0), (first + 0.01, 1), (last, 1), (last + 0.01, 0), (1, 0)]
    return CurveInput.from_raw({"points": points, "interpolation": "linear"})


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_scale_of_0_at_a_step_skips_its_evaluation(chunk):
    """Words only from step 4 to 8 of 12 (Kynkäänniemi et al. 2024): a guidance interval."""
    model = build(kinds.SDXL_instructpix2pix, SDXL | {"in_channels": 8})
    evaluated = []

    def count(executor, *args, **kwargs):
        evaluated.append((float(args[1][0]), len(args[0])))
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "steps", count)
    prompt, null = text(model, 1), text(model, 2)
    frame = host.with_values(null, **{host.FRAME_LATENTS: drawn((FRAMES, 4, 8, 12))})

    def work(frame_scale, text_scale, **schedules):
        evaluated.clear()
        args = (model, prompt, null, "instruct-pix2pix", frame_scale, text_scale, 0.0, chunk)
        guider = guidance.PresetGuiderNode.execute(*args, frame=frame, **schedules)
        run(guider[0], (4, 8, 12), STEPS)
        steps = {}
        for t, size in evaluated:
            steps[t] = steps.get(t, 0) + size
        assert len(steps) == STEPS
        return [size // FRAMES for _, size in sorted(steps.items(), reverse=True)]

    assert work(1.5, 7.5) == [3] * 12
    words = {"text_schedule": interval(0.3, 0.7)}
    # Outside it (∅,∅) and (c_I,∅); where s_I is 1, (c_I,∅) alone.
    assert work(1.5, 7.5, **words) == [2] * 4 + [3] * 4 + [2] * 4
    assert work(1.0, 7.5, **words) == [1] * 4 + [2] * 4 + [1] * 4
    assert work(0.0, 7.5, **words) == [1] * 4 + [3] * 4 + [1] * 4
    both = words | {"frame_schedule": words["text_schedule"]}
    assert work(1.5, 7.5, **both) == [1] * 4 + [3] * 4 + [1] * 4


PROJECTED = {"eta": 0.2, "norm_threshold": 4.0, "momentum": -0.5}


@pytest.mark.parametrize("preset", ["paper", "instruct-pix2pix"])
def test_projected_guidance_is_the_same_however_frames_are_divided(preset):
    model = build(kinds.SDXL_instructpix2pix, SDXL | {"in_channels": 8})
    prompt, null = text(model, 1), text(model, 2)
    frame = host.with_values(null, **{host.FRAME_LATENTS: drawn((FRAMES, 4, 8, 12))})

    def sampled(chunk=0, **options):
        args = (model, prompt, null, preset, 1.5, 7.5, 0.0, chunk)
        return run(
            guidance.PresetGuiderNode.execute(*args, frame=frame, **options)[0], (4, 8, 12), 4
        )

    whole = sampled(**PROJECTED)
    for chunk in (1, 2):
        assert error(sampled(chunk, **PROJECTED), whole) < 1e-5
    plain = sampled()
    assert torch.equal(sampled(eta=1.0, norm_threshold=0.0, momentum=0.0), plain)
    assert error(sampled(norm_threshold=1e3), plain) < 1e-5  # in another order
    assert error(whole, plain) > 1e-3


def test_caches_by_uuid_see_a_condition_of_other_frames_as_another(plain):
    model, seen = plain[0].clone(), []

    def look(executor, *args, **kwargs):
        options = next(a for a in args if isinstance(a, dict) and "uuids" in a)
        seen.append(options["uuids"])
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "look", look)
    run(guided(model, 2), plain[1], 2)
    assert len({uuid for uuids in seen[:2] for uuid in uuids}) == 4  # two conditions, two parts
    assert seen[2:] == seen[:2]  # in the second step as in the first


def test_no_cache_of_a_run_stays_in_the_guider(plain):
    model, _ = cached(EasyCacheNode, plain[0], 0.1)
    guider = guided(model, 1)
    first = run(guider, plain[1], STEPS)
    assert not guider._cache._caches
    assert torch.equal(run(guider, plain[1], STEPS), first)


def test_the_correction_is_differentiated_where_easycache_leaves_steps_out():
    model, clip, vae, vision = builtin_model.LoadBuiltInModel.execute().args
    frames = drawn((2, 64, 64, 3))
    null = TextCondition.execute(clip, "", True, 0)[0]
    frame = FrameCondition.execute(null, vae, frames)[0]
    with torch.inference_mode():
        model = corrected(model, vision, vae, frames, 1e-3, "linear")
    counts = []
    for threshold in (0.0, 3.0):
        moved, evaluated = cached(EasyCacheNode, model, 0.1, threshold)
        guider = guidance.MultiConditionGuider(moved, frame, [])
        run(guider, (32, 8, 8), 4, rows=slice(0, 2))
        counts.append([evaluated.count(1), evaluated.count(2)])  # the correction's, the guider's
    (each, every), (still, some) = counts
    assert each == still >= 4 * 2 and some < every == 4


@pytest.mark.parametrize(
    "extra, sentence",
    [
        ({"reference_latents": (2, 16, 8, 12)}, "2 reference frames and the latent has 3 frames"),
        ({"context_latents": (2, 16, 8, 12)}, "2 context frames and the latent has 3 frames"),
        ({"concat_mask": (2, 64, 96)}, "2 masks and the latent has 3 frames"),
        ({"pooled_output": (2, 768)}, "condition y is for 2 frames and the latent has 3: give one"),
    ],
)
@pytest.mark.parametrize("chunk", [0, 2])
def test_another_number_of_frames_is_refused(extra, sentence, chunk):
    model = build(kinds.Flux, FLUX)
    given = {what: [drawn(s)] if "latents" in what else drawn(s) for what, s in extra.items()}
    with pytest.raises(StyleAVideoError, match=sentence):
        run(guided(model, chunk, **given), (16, 8, 12))


def test_a_mask_without_frames_is_for_all():
    model = build(kinds.SDXL, SDXL | {"in_channels": 9})
    image, mask = drawn((FRAMES, 4, 8, 12)), drawn((64, 96))
    given = {"concat_latent_image": image, "concat_mask": mask}
    assert run(guided(model, 2, **given), (4, 8, 12)).isfinite().all()


def test_every_kind_of_condition_divides_or_is_refused():
    part, (one, all_) = slice(1, 3), (drawn((1, 2)), drawn((FRAMES, 2)))
    for kind in (comfy.conds.CONDRegular, comfy.conds.CONDCrossAttn, comfy.conds.CONDNoiseShape):
        divided = host.cond_of_frames("c", kind(all_), part, FRAMES)
        assert type(divided) is kind and torch.equal(divided.cond, all_[1:3])
        assert host.cond_of_frames("c", kind(one), part, FRAMES).cond is one
    divided = host.cond_of_frames("c", comfy.conds.CONDList([one, all_]), part, FRAMES)
    assert divided.cond[0] is one and torch.equal(divided.cond[1], all_[1:3])
    # A constant is never a frame's, even if it is as long as there are frames.
    for value in (2.5, [1, 2, 3], drawn((FRAMES,))):
        constant = comfy.conds.CONDConstant(value)
        assert host.cond_of_frames("c", constant, part, FRAMES) is constant
    unknown = SimpleNamespace(cond={"tokens": all_})
    assert host.cond_of_frames("c", unknown, slice(0, FRAMES), FRAMES) is unknown
    with pytest.raises(StyleAVideoError, match="condition c belongs to all of them together"):
        host.cond_of_frames("c", unknown, part, FRAMES)


def test_a_model_that_looks_at_all_frames_together_is_not_divided():
    """Stable Video Diffusion's frames are ComfyUI's batch."""
    model = SimpleNamespace(embedder=lambda x: x.expand(1, 4), latent_format=None)
    model.encode_adm = lambda **given: comfy.model_base.SVD_img2vid.encode_adm(model, **given)
    latents = drawn((FRAMES, 4, 8, 12))
    conds = comfy.model_base.SVD_img2vid.extra_conds(model, noise=latents, cross_attn=drawn((1, 1)))
    entries = [{"model_conds": conds, "uuid": None}]
    assert host.frames_of(entries, slice(0, FRAMES), FRAMES, model, {}) is entries
    with pytest.raises(StyleAVideoError, match="num_video_frames .* set frames_per_batch to 3"):
        host.frames_of(entries, slice(0, 2), FRAMES, model, {})


def test_references_that_a_model_reads_one_picture_of_are_refused_a_frame():
    base = comfy.model_base.HiDreamO1
    model = SimpleNamespace(model=base.__new__(base))
    host.check_frame_condition(model, [[None, {"reference_latents": [drawn((1, 8, 8, 3))]}]])
    with pytest.raises(StyleAVideoError, match="HiDreamO1 .* first picture of a reference"):
        host.check_frame_condition(model, [[None, {"reference_latents": [drawn((3, 8, 8, 3))]}]])


def test_references_count_where_memory_decides_how_frames_are_divided(monkeypatch):
    model = build(kinds.Flux, FLUX)
    base, x = model.model, torch.zeros(8, 16, 8, 12)
    base.current_patcher = model
    free = 1.6 * base.memory_required([2 * 8, 16, 8, 12])
    monkeypatch.setattr(model, "get_free_memory", lambda device: free)
    assert host.frames_that_fit(base, x, 2) == 8
    for frames in (1, 8):  # as large as the latents: each counts twice
        references = comfy.conds.CONDList([drawn((frames, 16, 8, 12))])
        entries = [{"model_conds": {"ref_latents": references}}]
        assert host.frames_that_fit(base, x, 2, [entries, entries]) == 4
