"""The guider against the pipeline, against ComfyUI's own guider, and against itself in chunks."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import comfy.hooks
import comfy.k_diffusion.sampling
import comfy.latent_formats
import comfy.samplers
import comfy.taesd.taesd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from safetensors.torch import save_file
from style_a_video.nodes import attention, builtin_model, correction, guidance, host
from style_a_video.nodes.conditions import FrameCondition, TextCondition
from style_a_video.nodes.correction import corrected
from style_a_video.nodes.noise import FrameNoise
from style_a_video.pipelines.core.attention import smoothed_to
from style_a_video.pipelines.core.correction import clip_loss
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights.loading import load

SEED = 7


@pytest.fixture(scope="module")
def pipeline():
    pipeline = load()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def built_in():
    return builtin_model.LoadBuiltInModel.execute().args


@pytest.fixture(scope="module")
def frames():
    """(3,64,96,3): a bright square that moves over a gradient."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 96), indexing="ij")
    frames = torch.stack([x, y, 1 - x], -1).repeat(3, 1, 1, 1)
    for i in range(3):
        frames[i, 16:40, 8 + 16 * i : 32 + 16 * i] = torch.tensor([0.9, 0.8, 0.1])
    return frames


@pytest.fixture(scope="module")
def conds(built_in, frames):
    """prompt, null and frame (c_I,∅), and the empty latent."""
    _, clip, vae, _ = built_in
    prompt, null = (TextCondition.execute(clip, t, True, 0)[0] for t in ("watercolour", ""))
    frame, empty = FrameCondition.execute(null, vae, frames).args
    return prompt, null, frame, empty


def run(guider, empty, steps, mode="shared", sampler="euler"):
    sigmas = comfy.samplers.calculate_sigmas(
        guider.model_patcher.get_model_object("model_sampling"), "simple", steps
    )
    noise = FrameNoise(SEED, mode, 0.5, None).generate_noise(empty)
    sampler = comfy.samplers.sampler_object(sampler)
    with torch.inference_mode():
        return guider.sample(noise, empty["samples"], sampler, sigmas, disable_pbar=True, seed=SEED)


def preset(model, conds, name, scales, attention_condition=None, chunk=0):
    prompt, null, frame, _ = conds
    base, weighted = guidance.preset_conditions(
        name, scales, prompt, null, frame, attention_condition
    )
    return guidance.MultiConditionGuider(model, base, weighted, chunk)


def close(a, b, tolerance=1e-3):
    assert (a - b).norm() / b.norm() < tolerance


@pytest.mark.parametrize("name", ["paper", "instruct-pix2pix"])
@pytest.mark.parametrize("steps", [1, 4])
def test_latents_are_the_pipeline_s(pipeline, built_in, conds, frames, name, steps):
    scales = (0.9, 1.4, 0.0)
    latents = run(preset(built_in[0], conds, name, scales), conds[3], steps)
    known = pipeline(
        frames.movedim(-1, 1),
        "watercolour",
        preset=name,
        frame_scale=scales[0],
        text_scale=scales[1],
        attention_scale=scales[2],
        num_inference_steps=steps,
        start_level=1.0,
        seed=SEED,
        output_type="latent",
    ).frames
    close(latents, known)


@pytest.mark.parametrize("name", ["paper", "instruct-pix2pix"])
def test_attention_condition_is_the_pipeline_s(pipeline, built_in, conds, frames, name):
    prompt, null, frame, empty = conds
    latents = frame[0][1][host.FRAME_LATENTS]
    noise = FrameNoise(SEED, "shared", 0.5, None).generate_noise(empty)
    with torch.inference_mode():
        received = attention.probe(built_in[0], frame, latents, "middle", 0.3, noise)
    received = smoothed_to(received, *latents.shape[-2:])
    known = pipeline.attention_maps(frames.movedim(-1, 1), level=0.3, seed=SEED)
    known = torch.nn.functional.interpolate(known, received.shape[2:], mode="nearest-exact")
    torch.testing.assert_close(received, known, atol=1e-3, rtol=1e-3)

    mask = (received > 1).float()
    c_m = host.masked_condition(frame, mask[:, 0])
    scales = (0.7, 1.2, 0.5)
    guided = run(preset(built_in[0], conds, name, scales, c_m), empty, 4)
    close(
        guided,
        pipeline(
            frames.movedim(-1, 1),
            "watercolour",
            preset=name,
            frame_scale=0.7,
            text_scale=1.2,
            attention_scale=0.5,
            num_inference_steps=4,
            start_level=1.0,
            seed=SEED,
            output_type="latent",
        ).frames,
    )


def test_running_attention_is_the_pipeline_s(pipeline, built_in, conds, frames):
    running = attention.AttentionCondition.execute(conds[2], "middle", 1.0)[0]
    guided = run(preset(built_in[0], conds, "paper", (0.7, 1.2, 0.5), running), conds[3], 4)
    close(
        guided,
        pipeline(
            frames.movedim(-1, 1),
            "watercolour",
            preset="paper",
            frame_scale=0.7,
            text_scale=1.2,
            attention_scale=0.5,
            attention_mode="running",
            num_inference_steps=4,
            start_level=1.0,
            seed=SEED,
            output_type="latent",
        ).frames,
    )


CORRECTED = {
    "paper": ((1.0, 1.5, 0.0), "linear"),
    "instruct-pix2pix": ((1.0, 1.5, 0.0), "full"),
}


@pytest.mark.parametrize("name", CORRECTED)
def test_correction_is_the_pipeline_s(pipeline, built_in, conds, frames, name):
    model, _, vae, vision = built_in
    scales, decoder = CORRECTED[name]
    with torch.inference_mode():
        moved = corrected(model, vision, vae, frames, 0.5, decoder)
    options = {
        "preset": name,
        "frame_scale": scales[0],
        "text_scale": scales[1],
        "start_level": 1.0,
        "attention_scale": scales[2],
        "num_inference_steps": 4,
        "seed": SEED,
        "output_type": "latent",
    }
    images = frames.movedim(-1, 1)
    guided = run(preset(moved, conds, name, scales), conds[3], 4)
    known = pipeline(
        images, "watercolour", correction=0.5, correction_decoder=decoder, **options
    ).frames
    # ReLUs and clipping of the decoder make much of the last digits: held against what it moves.
    plain = pipeline(images, "watercolour", **options).frames
    assert (guided - known).norm() < 0.02 * (known - plain).norm()
    assert (known - plain).norm() / plain.norm() > 0.02  # it does something


def seen_losses(guider, frames, vision, vae, empty, sampler, steps=4):
    """CLIP loss of x0 at each call of the sampler's model, (calls,T), through the whole decoder."""
    decode, _ = correction.decoder("full", guider.model_patcher, vae)
    target, found = correction.targets(vision, frames), []

    def look(executor, x, timestep, model_options=None, seed=None):
        x0 = executor(x, timestep, model_options, seed)
        latents = guider.inner_model.latent_format.process_out(x0)
        with torch.inference_mode(False), torch.no_grad():
            seen = correction.embed(vision, decode(latents.clone()))
            found.append(clip_loss(target, seen))
        return x0

    guider.model_patcher = guider.model_patcher.clone()
    guider.model_options = guider.model_patcher.model_options
    guider.model_patcher.add_wrapper(WrappersMP.PREDICT_NOISE, look)
    run(guider, empty, steps, sampler=sampler)
    return torch.stack(found)


SAMPLERS = ("euler", "dpmpp_2m", "heun", "uni_pc")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guider", ["stock", "ours"])
def test_correction_lowers_the_loss_at_every_step(built_in, conds, frames, sampler, guider):
    """Under any sampler: it goes on from the moved x, or at least from x0 there."""
    model, _, vae, vision = built_in
    prompt, null, frame, empty = (conds[0], conds[1], conds[2], conds[3])
    frames, empty = frames[:1], {"samples": empty["samples"][:1]}
    frame = FrameCondition.execute(null, vae, frames)[0]
    with torch.inference_mode():
        moved = corrected(model, vision, vae, frames, 0.3, "full")

    def losses(model):
        if guider == "ours":
            made = preset(model, (prompt, null, frame, empty), "paper", (1.0, 1.5, 0.0))
        else:
            made = comfy.samplers.CFGGuider(model)
            made.set_conds(host.with_frame_of(prompt, frame), frame)
            made.set_cfg(1.5)
        return seen_losses(made, frames, vision, vae, empty, sampler)

    plain, lowered = losses(model), losses(moved)
    if sampler == "heun":  # each step but the last goes by the mean of two evaluations
        plain, lowered = (
            torch.cat([x[:-1].unflatten(0, (-1, 2)).mean(1), x[-1:]]) for x in (plain, lowered)
        )
    assert (lowered < plain).all()


def test_the_sampler_steps_from_the_moved_x(built_in, frames):
    """The x of the sampler is overwritten; one that is not known to step from it stays."""
    _, _, vae, vision = built_in
    wrapper = correction.ClipCorrection(vision, None, torch.zeros(1, 4), 0.3, (0.0, 1.0))
    sampling = SimpleNamespace(percent_to_sigma=lambda p: 10.0 * (1 - p))
    guider = SimpleNamespace(inner_model=SimpleNamespace(model_sampling=sampling))
    wrapper._corrected = lambda guider, x, *_: x - 1

    class Executor:
        class_obj = guider

        def __call__(self, x, timestep, options, seed):
            return 2 * x

    for steps_from_x, kept in ((True, 2.0), (False, 3.0)):
        x = torch.full((1, 4, 2, 2), 3.0)
        options = {correction.STEPS_FROM_X: steps_from_x}
        assert (wrapper(Executor(), x, torch.ones(1), options) == 4).all()
        assert (x == kept).all()


def test_the_samplers_that_step_from_x_are_comfyui_s():
    assert set(correction.ONE_EVALUATION) <= set(comfy.samplers.KSAMPLER_NAMES)


@pytest.mark.parametrize("sampler", correction.ONE_EVALUATION)
def test_a_move_of_x_is_what_the_sampler_goes_on_from(built_in, sampler):
    """With x0 = 0 a sampler only scales x: a move at the first evaluation scales what follows."""
    sigmas = torch.tensor([4.0, 3.0, 2.0, 1.0])

    def last(factor):
        calls = []

        class Model:
            inner_model = SimpleNamespace(inner_model=built_in[0].model, model_patcher=built_in[0])

            def __call__(self, x, sigma, model_options=None, seed=None):
                if not calls:
                    x.mul_(factor)
                calls.append(float(sigma[0]))
                for patch in (model_options or {}).get("sampler_post_cfg_function", []):
                    patch({"denoised": 0 * x, "uncond_denoised": 0 * x})
                return 0 * x

        function = getattr(comfy.k_diffusion.sampling, f"sample_{sampler}")
        args = {"extra_args": {"seed": 0, "model_options": {}}, "disable": True}
        noise_sampler = lambda *_: torch.zeros(1, 4, 2, 2)  # noqa: E731
        if "noise_sampler" in inspect.signature(function).parameters:
            args["noise_sampler"] = noise_sampler
        result = function(Model(), torch.full((1, 4, 2, 2), 4.0), sigmas, **args)
        assert calls == [4.0, 3.0, 2.0]
        return result

    if sampler == "lcm":  # goes on from x0 alone
        assert (last(2.0) == last(1.0)).all()
    else:
        torch.testing.assert_close(last(2.0), 2 * last(1.0))


def test_correction_at_strength_0_is_the_model_itself(built_in, frames):
    model, _, vae, vision = built_in
    assert corrected(model, vision, vae, frames, 0.0, "linear") is model


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "uni_pc"])
def test_ordinary_cfg_is_the_stock_guider_s(built_in, conds, sampler):
    prompt, null, frame, empty = conds
    framed = host.with_frame_of(prompt, frame)
    ours = guidance.MultiConditionGuider(
        built_in[0], frame, [guidance.WeightedCondition(framed, 2.5)]
    )
    stock = comfy.samplers.CFGGuider(built_in[0])
    stock.set_conds(framed, frame)
    stock.set_cfg(2.5)
    close(run(ours, empty, 4, sampler=sampler), run(stock, empty, 4, sampler=sampler), 1e-4)


def test_frames_in_chunks_are_the_same_frames(built_in, conds):
    scales = (0.9, 1.4, 0.0)
    whole = run(preset(built_in[0], conds, "paper", scales), conds[3], 2, "per-frame")
    for chunk in (1, 2):
        parts = preset(built_in[0], conds, "paper", scales, chunk=chunk)
        close(run(parts, conds[3], 2, "per-frame"), whole, 1e-5)


def test_a_mask_keeps_a_condition_in_its_region(built_in, conds):
    prompt, null, frame, empty = conds
    framed = host.with_frame_of(prompt, frame)
    left = torch.zeros(1, 64, 96)
    left[:, :, :48] = 1
    masked = guidance.WeightedCondition(framed, 1.0, mask=left)
    both = run(guidance.MultiConditionGuider(built_in[0], frame, [masked]), empty, 1)
    everywhere = guidance.WeightedCondition(framed, 1.0)
    styled = run(guidance.MultiConditionGuider(built_in[0], frame, [everywhere]), empty, 1)
    plain = run(guidance.MultiConditionGuider(built_in[0], frame, []), empty, 1)
    # One batch has another size than the other, so the sums of its convolutions another order; and
    # x0 = x - σ ε has σ ≈ 15 times the rounding of ε: 1.5e-5 on one thread.
    close(both[..., :6], styled[..., :6], 1e-4)
    close(both[..., 6:], plain[..., 6:], 1e-4)
    # The same by ComfyUI's own mask on the CONDITIONING.
    stock = host.with_values(framed, mask=left, set_area_to_bounds=False, mask_strength=1.0)
    again = [guidance.WeightedCondition(stock, 1.0)]
    close(run(guidance.MultiConditionGuider(built_in[0], frame, again), empty, 1), both, 1e-4)


def test_a_time_range_leaves_the_base_in_place(built_in, conds):
    prompt, null, frame, empty = conds
    never = host.with_values(
        host.with_frame_of(prompt, frame), start_percent=0.999, end_percent=1.0
    )
    late = guidance.MultiConditionGuider(
        built_in[0], frame, [guidance.WeightedCondition(never, 3.0)]
    )
    plain = guidance.MultiConditionGuider(built_in[0], frame, [])
    close(run(late, empty, 2), run(plain, empty, 2), 1e-5)


@pytest.mark.parametrize(
    "schedule",
    [
        *({}, {"points": None}, {"points": 7}, {"points": [[0.5]]}, {"points": [["a", 1]]}, 7, "x"),
        *(
            {"points": [[0, float("nan")]]},
            {"points": [[float("inf"), 1]]},
            {"points": [[0, None]]},
        ),
    ],
    ids=str,
)
def test_a_schedule_that_is_no_curve_is_refused(conds, schedule):
    with pytest.raises(StyleAVideoError) as refusal:
        guidance.WeightedConditionNode.execute(conds[0], 1.0, schedule)
    assert str(refusal.value) == "schedule is no curve: points of two numbers each."


def test_a_schedule_moves_the_weight(built_in, conds):
    from comfy_api.input import CurveInput

    prompt, null, frame, empty = conds
    framed = host.with_frame_of(prompt, frame)
    curve = CurveInput.from_raw({"points": [(0, 1), (1, 0)], "interpolation": "linear"})
    condition = guidance.WeightedCondition(framed, 2.0, curve)
    assert [condition.at(p) for p in (0, 0.5, 1)] == [2.0, 1.0, 0.0]
    guider = guidance.MultiConditionGuider(built_in[0], frame, [condition])
    seen = []
    predict = guider._needed
    guider._needed = lambda x, t, weights, keep: (
        seen.append(weights) or predict(x, t, weights, keep)
    )
    run(guider, empty, 3)
    assert seen == [[2.0], [1.0], [0.0]]


def test_errors_say_how_to_mend_the_graph(built_in, conds, frames):
    prompt, null, frame, empty = conds
    model = built_in[0]
    with pytest.raises(StyleAVideoError, match="has 3 frames and the latent has 2 frames"):
        few = {"samples": empty["samples"][:2]}
        run(guidance.MultiConditionGuider(model, frame, []), few, 1)
    with pytest.raises(StyleAVideoError, match="frame_scale is 1 and nothing is connected"):
        guidance.preset_conditions("paper", (1.0, 1.0, 0.0), prompt, null, None, None)
    with pytest.raises(StyleAVideoError, match="no attention layer 'top'.*middle"):
        attention.probe(model, frame, frame[0][1][host.FRAME_LATENTS], "top", 0.3,
                        torch.zeros_like(empty["samples"]))  # fmt: skip
    with pytest.raises(StyleAVideoError, match="There are 2 masks for 3 frames"):
        host.masked_condition(frame, torch.ones(2, 8, 8))
    with pytest.raises(StyleAVideoError, match="needs a CLIP_VISION"):
        corrected(model, None, built_in[2], frames, 1.0, "linear")


@pytest.fixture(scope="module")
def controlnet():
    """A ControlNet of the built-in U-Net's shape with random weights, as ComfyUI loads one."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    shape = {k: v for k, v in builtin_model._Config.unet_config.items() if k != "out_channels"}
    torch.manual_seed(3)
    with torch.inference_mode():
        network = comfy.cldm.cldm.ControlNet(
            **(shape | {"in_channels": 32}), num_heads=4, num_head_channels=-1, hint_channels=3,
            operations=comfy.ops.disable_weight_init,
        )  # fmt: skip
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        network.requires_grad_(False)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def controlled(conditioning, controlnet, frames):
    control = controlnet.copy().set_cond_hint(frames.movedim(-1, 1), 1.0, (0.0, 1.0))
    return host.with_values(conditioning, control=control, control_apply_to_uncond=False)


def test_controlnet_hints_and_masks_follow_their_frames(built_in, conds, frames, controlnet):
    prompt, null, frame, empty = conds
    regions = torch.zeros(3, 64, 96)
    regions[0, :32] = regions[1, 32:] = regions[2, :, :48] = 1

    def guided(chunk):
        styled = controlled(host.with_frame_of(prompt, frame), controlnet, frames)
        condition = guidance.WeightedCondition(styled, 1.5, mask=regions)
        return guidance.MultiConditionGuider(built_in[0], frame, [condition], chunk)

    whole = run(guided(0), empty, 2, "per-frame")
    for chunk in (1, 2):
        close(run(guided(chunk), empty, 2, "per-frame"), whole, 1e-4)
    plain = guidance.WeightedCondition(host.with_frame_of(prompt, frame), 1.5, mask=regions)
    without = guidance.MultiConditionGuider(built_in[0], frame, [plain])
    assert (run(without, empty, 2, "per-frame") - whole).norm() / whole.norm() > 0.01


def test_correction_with_controlnet_and_time_range(built_in, conds, frames, controlnet):
    model, _, vae, vision = built_in
    prompt, null, frame, empty = conds
    with torch.inference_mode():
        moved = corrected(model, vision, vae, frames, 0.3, "linear")
    framed = host.with_frame_of(prompt, frame)
    for condition in (
        controlled(framed, controlnet, frames),
        host.with_values(framed, start_percent=0.999, end_percent=1.0),
    ):
        weighted = [guidance.WeightedCondition(condition, 1.0)]
        guider = guidance.MultiConditionGuider(moved, frame, weighted)
        assert run(guider, empty, 2).isfinite().all()
        stock = comfy.samplers.CFGGuider(moved)
        stock.set_conds(condition, frame)
        stock.set_cfg(2.0)
        assert run(stock, empty, 2).isfinite().all()


@pytest.mark.parametrize("weight_of_condition", [1.0, 1.5])  # without and with the base
def test_correction_with_a_lora_on_a_condition(built_in, conds, frames, weight_of_condition):
    """The LoRA changes the weights only while its condition is evaluated (Create Hook LoRA)."""
    _, _, vae, vision = built_in
    with torch.inference_mode():  # as nodes load: the correction then works on clones
        model = builtin_model.load_model()
    prompt, null, frame, empty = conds
    weight = model.model.diffusion_model.out[2].weight
    lora = {"diffusion_model.out.2.diff": 0.3 * torch.randn_like(weight.float())}
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
    hooked = comfy.hooks.set_hooks_for_conditioning(host.with_frame_of(prompt, frame), hooks)
    before = weight.clone()

    def results(model):
        model = model.clone()
        model.register_all_hook_patches(
            hooks, comfy.hooks.create_target_dict(comfy.hooks.EnumWeightTarget.Model)
        )
        weighted = [guidance.WeightedCondition(hooked, weight_of_condition)]
        return run(guidance.MultiConditionGuider(model, frame, weighted), empty, 2)

    plain = host.with_frame_of(prompt, frame)
    plain = [guidance.WeightedCondition(plain, weight_of_condition)]
    without = run(guidance.MultiConditionGuider(model, frame, plain), empty, 2)
    known = results(model)
    assert (known - without).norm() / without.norm() > 0.1  # the LoRA does something
    with torch.inference_mode():
        moved = corrected(model, vision, vae, frames, 1e-3, "linear")
    close(results(moved), known)
    assert torch.equal(weight, before)


def test_the_tiny_decoder_is_taesd(built_in, tmp_path, monkeypatch):
    """SD1.5's TAESD from models/vae_approx, on latents as the diffusion scales them."""
    torch.manual_seed(0)
    taesd = comfy.taesd.taesd.TAESD(latent_channels=4)
    weights = {k: 0.1 * torch.randn_like(v) for k, v in taesd.taesd_decoder.state_dict().items()}
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "vae_approx", ([str(tmp_path)], {".safetensors"})
    )
    sd15 = SimpleNamespace(model=SimpleNamespace(latent_format=comfy.latent_formats.SD15()))
    with pytest.raises(StyleAVideoError, match=r"taesd_decoder\.safetensors in models/vae_approx"):
        correction.decoder("tiny", sd15, SimpleNamespace(first_stage_model=None))
    save_file(weights, tmp_path / "taesd_decoder.safetensors")
    decode, models = correction.decoder("tiny", sd15, SimpleNamespace(first_stage_model=None))
    z = torch.randn(1, 4, 6, 8).requires_grad_()
    frame = decode(z)
    taesd.taesd_decoder.load_state_dict(weights)
    # TAESD gives [0,1] by itself; ComfyUI's wrapper takes it to [-1,1] and our decoder back.
    torch.testing.assert_close(frame, taesd.taesd_decoder(z * 0.18215), atol=1e-3, rtol=1e-3)
    assert len(models) == 1 and torch.autograd.grad(frame.sum(), z)[0].abs().sum() > 0


def test_cfg_pp_reads_the_base_even_at_weight_0(built_in, conds):
    at, near = (
        run(
            preset(built_in[0], conds, "instruct-pix2pix", (scale, 1.0, 0.0)),
            conds[3],
            3,
            sampler="euler_cfg_pp",
        )
        for scale in (1.0, 1.0001)
    )
    close(at, near, 1e-2)


def test_a_base_out_of_its_time_is_not_black(built_in, conds):
    prompt, null, frame, empty = conds
    framed = host.with_frame_of(prompt, frame)
    never = host.with_values(frame, start_percent=0.999, end_percent=1.0)
    weighted = [guidance.WeightedCondition(framed, 0.5)]
    limited = run(guidance.MultiConditionGuider(built_in[0], never, weighted), empty, 1)
    alone = [guidance.WeightedCondition(framed, 1.0)]
    close(limited, run(guidance.MultiConditionGuider(built_in[0], frame, alone), empty, 1), 1e-4)


def test_nothing_of_a_run_stays_in_the_guider(built_in, conds):
    running = attention.AttentionCondition.execute(conds[2], "middle", 1.0)[0]
    guider = preset(built_in[0], conds, "paper", (0.7, 1.2, 0.5), running)
    first = run(guider, conds[3], 3)
    assert guider._mask_before is None and not guider._controls
    assert torch.equal(run(guider, conds[3], 3), first)


def test_embedding_the_frames_for_the_correction_tells_its_progress(built_in, monkeypatch):
    model, _, vae, vision = built_in
    told = []
    hook = lambda done, total, *_, **__: told.append((done, total))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    corrected(model, vision, vae, torch.rand(3, 64, 64, 3), 1.0, "linear")
    # ComfyUI leaves out what comes too soon after the last, but never the end.
    assert told[0] == (1, 3) and told[-1] == (3, 3)
