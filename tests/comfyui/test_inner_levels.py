"""Inner levels of ComfyUI's U-Nets left out: the pipeline's, and nothing where it is off."""

from __future__ import annotations

import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import comfy.model_management
import comfy.ops
import comfy.patcher_extension
import comfy.samplers
import pytest
import test_guidance as guided
import test_hint as hints
import torch
from comfy_api.input import CurveInput
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from style_a_video.nodes import attention, guidance, host, inner_levels
from style_a_video.pipelines.errors import StyleAVideoError
from torch import nn

built_in, pipeline, conds, frames, controlnet = (
    guided.built_in,
    guided.pipeline,
    guided.conds,
    guided.frames,
    hints.controlnet,
)
META = torch.device("meta")
BLOCKS = {
    "pag": lambda model: PerturbedAttentionGuidance.execute(model, 3.0).args[0],
    "sag": lambda model: SelfAttentionGuidance.execute(model, 0.5, 2.0).args[0],
}
SCALES, MASKED = (0.9, 1.4, 0.0), (0.7, 1.2, 0.5)
STEPS = 5


def run(model, conds, name="paper", chunk=0, sampler="euler", masked=None, scales=SCALES):
    guider = guided.preset(model, conds, name, scales, masked, chunk)
    return guided.run(guider, conds[3], STEPS, sampler=sampler)


@pytest.fixture
def passes(built_in):
    """How many passes went through the middle, and through the whole of the U-Net."""
    unet, counted = built_in[0].model.diffusion_model, {"inner": 0, "all": 0}

    def count(name):
        def hook(*_):
            counted[name] += 1

        return hook

    modules = {"inner": unet.middle_block[0], "all": unet.input_blocks[0][0]}
    handles = [module.register_forward_hook(count(name)) for name, module in modules.items()]
    yield counted
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("name", ["paper", "instruct-pix2pix"])
def test_latents_are_the_pipeline_s(pipeline, built_in, conds, frames, passes, name, every):
    made = run(inner_levels.reused(built_in[0], every), conds, name)
    assert passes == {"inner": -(-STEPS // every), "all": STEPS}
    known = pipeline(
        frames.movedim(-1, 1), "watercolour", preset=name, frame_scale=SCALES[0],
        text_scale=SCALES[1], attention_scale=SCALES[2], num_inference_steps=STEPS,
        start_level=1.0, inner_every=every, seed=guided.SEED, output_type="latent",
    ).frames  # fmt: skip
    guided.close(made, known)
    whole = run(built_in[0], conds, name)
    assert (made - whole).norm() / whole.norm() > 3e-3


def test_running_attention_is_the_pipeline_s(pipeline, built_in, conds, frames):
    """Where the inner levels do not run the mask stays that of the step before."""
    running = attention.AttentionCondition.execute(conds[2], "middle", 1.0)[0]
    made = run(inner_levels.reused(built_in[0], 2), conds, "paper", 0, "euler", running, MASKED)
    known = pipeline(
        frames.movedim(-1, 1), "watercolour", preset="paper", frame_scale=MASKED[0],
        text_scale=MASKED[1], attention_scale=MASKED[2], attention_mode="running",
        num_inference_steps=STEPS, start_level=1.0, inner_every=2, seed=guided.SEED,
        output_type="latent",
    ).frames  # fmt: skip
    guided.close(made, known)


def test_off_is_the_model_itself(built_in):
    assert inner_levels.reused(built_in[0], 1) is built_in[0]


def test_on_what_they_gave_it_is_the_unet_bit_for_bit(built_in):
    """Every block's number and every layer's index is as others' patches know it."""
    unet, seen = built_in[0].model.diffusion_model, []

    def look(h, skip, given):
        seen.append((given["block"], given["transformer_index"]))
        return h, skip

    kept = inner_levels._Kept(2)
    x = torch.randn(2, 64, 8, 12, generator=torch.Generator().manual_seed(0))
    given = [torch.tensor([400.0, 400.0]), torch.randn(2, 77, 128), torch.randn(2, 128), None]
    options = {
        "uuids": ["a", "b"],
        inner_levels.KEY: kept,
        "patches": {"output_block_patch": [look]},
    }
    options["sample_sigmas"] = torch.tensor([3.0, 2.0, 1.0, 0.0])
    executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(
        unet._forward, unet, [inner_levels._evaluated]
    )
    with torch.inference_mode():
        whole = executor.execute(x, *given, {**options, "sigmas": torch.tensor([3.0])})
        known, seen[:] = list(seen), []
        again = executor.execute(x, *given, {**options, "sigmas": torch.tensor([2.0])})
    assert torch.equal(whole, again)
    outermost = inner_levels.edges_of(unet)
    assert seen == [(b, i) for b, i in known if not outermost.inside(b)] and seen != known


@pytest.mark.parametrize("chunk", [1, 2])
def test_frames_per_batch_change_nothing(built_in, conds, chunk):
    model = inner_levels.reused(built_in[0], 2)
    guided.close(run(model, conds, chunk=chunk), run(model, conds), 1e-5)


def test_two_evaluations_a_step(built_in, conds, passes):
    """Heun's second one lies in the next step, and goes on from another second one only."""
    made = run(inner_levels.reused(built_in[0], 2), conds, sampler="heun")
    # Reused: the second of step 0, and both at the noise of step 3.
    assert passes == {"inner": 2 * STEPS - 1 - 3, "all": 2 * STEPS - 1}
    assert made.isfinite().all()
    whole = run(built_in[0], conds, sampler="heun")
    # Nearer to the whole by half than steps without a second evaluation, with any weights.
    first_alone = run(built_in[0], conds, sampler="euler")
    moved, left_out = ((x - whole).norm() for x in (made, first_alone))
    assert 3e-3 * whole.norm() < moved < 0.5 * left_out


@pytest.fixture
def kept(monkeypatch):
    """What is kept, as (step, condition's number in the batch) → what the inner levels gave, of
    each call for conditions at a noise.
    """
    seen = {}

    class Watched(inner_levels._Kept):
        def keep(self, step, conditions, inner):
            super().keep(step, conditions, inner)
            for i, condition in enumerate(conditions):
                seen.setdefault(self._call, {})[step, i] = self._inner[condition, self._call].given

    monkeypatch.setattr(inner_levels, "_Kept", Watched)
    return seen


def with_cfg(model, conds):
    """By ComfyUI's own guider, from half-noised frames."""
    prompt, _, frame, empty = conds
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(host.with_frame_of(prompt, frame), frame)
    guider.set_cfg(2.0)
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 2 * STEPS)[STEPS:]
    noise = torch.randn(empty["samples"].shape, generator=torch.Generator().manual_seed(0))
    euler, latents = comfy.samplers.sampler_object("euler"), frame[0][1][host.FRAME_LATENTS]
    with torch.inference_mode():
        return guider.sample(noise, latents, euler, sigmas, disable_pbar=True, seed=0)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_second_evaluation_of_a_condition_keeps_its_own(built_in, conds, kept, passes, block):
    """The main one goes on from what it gave itself: after a whole step as without the block."""
    with_cfg(inner_levels.reused(built_in[0], 2), conds)
    alone, found = kept.pop(0), []
    assert not kept

    def look(args):
        found.append(args["denoised"])
        return args["denoised"]

    def moved(model):  # what the block adds in the first, a whole step, and in the second
        found.clear()
        model.set_model_sampler_post_cfg_function(look)
        model = BLOCKS[block](model)
        model.set_model_sampler_post_cfg_function(look)
        with_cfg(model, conds)
        return found[1] - found[0], found[3] - found[2]

    whole = moved(built_in[0].clone())
    passes.update(inner=0, all=0)
    first, second = moved(inner_levels.reused(built_in[0], 2))
    assert passes == {"inner": 2 * -(-STEPS // 2), "all": 2 * STEPS}
    assert kept[0].keys() == alone.keys() and kept[1].keys() == {(0, 0), (2, 0), (4, 0)}
    for i in range(2):
        guided.close(kept[0][0, i], alone[0, i], 1e-5)
    guided.close(first, whole[0], 1e-4)
    guided.close(second, whole[1], 0.5)  # 0 by PAG where both go on from the same


def test_a_second_evaluation_is_known_where_the_first_is_left_out(built_in, conds, passes):
    """PAG of a condition that weighs nothing in the first step."""
    prompt, null, frame, empty = conds
    curve = CurveInput.from_raw({"points": [(0, 0), (1, 1)], "interpolation": "linear"})
    styled = guidance.WeightedCondition(host.with_frame_of(prompt, frame), 2.0, curve)
    model = BLOCKS["pag"](inner_levels.reused(built_in[0], 2))
    guided.run(guidance.MultiConditionGuider(model, frame, [styled]), empty, 2)
    # In step 1 the condition has nothing to go on from; its perturbed evaluation has.
    assert passes == {"inner": 3, "all": 4}


def test_what_was_kept_steps_ago_is_not_gone_on_from(built_in, conds, passes):
    """A condition without weight in step 2 runs whole in step 3."""
    prompt, null, frame, empty = conds
    points = [(0, 1), (0.25, 1), (0.5, 0), (0.75, 1), (1, 1)]
    curve = CurveInput.from_raw({"points": points, "interpolation": "linear"})
    styled = guidance.WeightedCondition(host.with_frame_of(prompt, frame), 2.0, curve)
    model = inner_levels.reused(built_in[0], 2)
    guided.run(guidance.MultiConditionGuider(model, frame, [styled]), empty, STEPS)
    assert passes == {"inner": STEPS - 1, "all": STEPS}


def test_what_is_kept_lies_where_comfyui_keeps_results(monkeypatch):
    """And what no step can go on from is kept no longer."""
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: META)
    kept, x = inner_levels._Kept(2), torch.ones(2, 4, 8, 8)
    kept.begin(torch.tensor([3.0]), 0)
    kept.keep(0, ["a", "b"], torch.ones(2, 8, 8, 8))
    assert {one.given.device for one in kept._inner.values()} == {META}
    assert kept.again(1, ["b"], x[:1].to(META)).shape == (1, 8, 8, 8)
    assert kept.again(2, ["b"], x[:1]) is None and kept.again(3, ["b"], x[:1]) is None
    kept.begin(torch.tensor([1.0]), 2)
    assert not kept._inner


def test_a_controlnet_and_other_patches_stay(built_in, conds, controlnet, passes):
    """They work on the outermost blocks in every step, and inside where that runs."""
    prompt, null, frame, empty = conds
    called = []

    def watch(h, *rest):
        called.append(rest[-1]["block"])
        return (h, *rest[:-1]) if len(rest) > 1 else h

    model = built_in[0].clone()
    model.set_model_input_block_patch(watch)
    model.set_model_output_block_patch(watch)
    hint = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(4))
    held = hints.applied(prompt, controlnet, hint)
    made = run(inner_levels.reused(model, 5), (held, null, frame, empty))
    # With the ControlNet and without are two batches.
    assert passes == {"inner": 2, "all": 2 * STEPS}
    edges = inner_levels.edges_of(built_in[0].model.diffusion_model)
    inside = [block for block in called if edges.inside(block)]
    assert sorted(inside) == sorted(2 * sorted(set(inside))) and len(called) > 2 * len(inside)
    assert (made - run(inner_levels.reused(built_in[0], 5), conds)).norm() / made.norm() > 1e-3


def test_a_run_leaves_nothing_behind(built_in, conds):
    model = inner_levels.reused(built_in[0], 2)
    guider = guided.preset(model, conds, "paper", SCALES)
    options = guider.model_options
    first = guided.run(guider, conds[3], STEPS)
    assert guider.model_options is options
    assert inner_levels.KEY not in options["transformer_options"]
    assert torch.equal(guided.run(guider, conds[3], STEPS), first)


def test_the_block_takes_another_s_place_and_refuses_what_is_no_unet(built_in):
    twice = inner_levels.reused(inner_levels.reused(built_in[0], 3), 2)
    place = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    (wrapper,) = twice.get_wrappers(place, inner_levels.KEY)
    assert wrapper.every == 2

    class Transformer:
        pass

    model = type("Model", (), {"model": type("Inner", (), {"diffusion_model": Transformer()})})
    with pytest.raises(StyleAVideoError, match="^Transformer is no U-Net with levels inside"):
        inner_levels.InnerLevels.execute(model, 2)
    assert inner_levels.InnerLevels.execute(model, 1).args[0] is model


def test_a_unet_of_one_level_has_none_inside():
    class Single(openaimodel.UNetModel):
        def __init__(self):
            nn.Module.__init__(self)
            self.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 8, 3))])
            self.middle_block = nn.Sequential(nn.Conv2d(8, 8, 3))
            self.output_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(16, 4, 3))])

    assert inner_levels.edges_of(Single()) is None


@pytest.mark.parametrize(
    ("levels", "depths", "edges"),
    [([1, 2, 4, 4], [1, 1, 1, 0], (3, 9)), ([1, 2, 4], [0, 2, 10], (3, 6))],
    ids=["sd15", "sdxl"],
)
def test_the_outermost_level_of_the_models_that_people_have(levels, depths, edges):
    unet = openaimodel.UNetModel(
        image_size=32, in_channels=4, out_channels=4, model_channels=64, num_heads=8,
        num_res_blocks=[2] * len(levels), channel_mult=levels, use_spatial_transformer=True,
        transformer_depth=[d for d in depths for _ in range(2)],
        transformer_depth_output=[d for d in depths for _ in range(3)], context_dim=64,
        transformer_depth_middle=depths[-1] or 1, legacy=False, use_linear_in_transformer=True,
        device="meta", operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    assert inner_levels.edges_of(unet) == edges
