"""Stylize Video on a video model: windows that go over into each other, on ComfyUI's own Wan."""

from __future__ import annotations

from pathlib import Path

import comfy.samplers
import comfy.supported_models as kinds
import numpy as np
import pytest
import torch
from comfy_extras.nodes_bernini import BerniniConditioning
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise
from edit_models import WAN
from style_a_video.nodes import stream, windows
from style_a_video.nodes.guidance import PresetGuiderNode
from style_a_video.nodes.noise import FrameNoise
from style_a_video.nodes.numbered import numbered
from style_a_video.nodes.sampling import Sampling
from style_a_video.pipelines import media as files
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.refine.keyframes import Keyframes
from style_a_video.pipelines.run.shots import Begin, Plan, Segment, Shot, plan
from test_guidance_split import build, text
from test_stream import as_video, decoded, encode, pan

pytestmark = pytest.mark.usefixtures("folders")
SIZE = (96, 64)
LENGTH, OVERLAP = 17, 8
GIVES = LENGTH - 1 - OVERLAP


class Vae:
    """Wan's autoencoder in its sizes: a latent is a picture, every later one four; 8 x 8 px are one
    value of each colour. What is as coarse comes back as it was."""

    latent_dim = 3

    def encode(self, frames):
        small = frames.unflatten(1, (-1, 8)).unflatten(3, (-1, 8)).mean((2, 4))  # T,h,w,3
        groups = torch.cat([small[:1].expand(4, -1, -1, -1), small[1:]]).unflatten(0, (-1, 4))
        packed = groups.permute(1, 4, 0, 2, 3).flatten(0, 1)[None]  # 1,12,k,h,w
        return torch.cat([packed, torch.zeros_like(packed[:, :4])], 1)

    def decode(self, latents):
        colours = latents[0, :12].unflatten(0, (4, 3)).permute(2, 0, 3, 4, 1)  # k,4,h,w,3
        frames = colours.flatten(0, 1)[3:]
        return frames.repeat_interleave(8, 1).repeat_interleave(8, 2)[None]


def coarse(count, seed=3):
    """Pictures whose 8 x 8 px are alike, each of its own colours."""
    drawn = np.random.default_rng(seed).integers(30, 220, (count, SIZE[1] // 8, SIZE[0] // 8, 3))
    return [np.kron(p, np.ones((8, 8, 1))).astype(np.uint8) for p in drawn]


def lossless(path, pictures):
    return encode(path, pictures, codec="ffv1", pix_fmt="bgr0")


def loaded(path):
    return torch.from_numpy(decoded(path)).float() / 255


@pytest.fixture(scope="module")
def model():
    return build(kinds.WAN21_T2V, WAN)


def conditioned(model, frames, **more):
    """prompt and negative as Bernini Conditioning makes them of the first frames."""
    return BerniniConditioning.execute(
        text(model, 1), text(model, 2), Vae(), *SIZE, len(frames), 1, frames, **more
    ).args[:2]


def v2v(model, frames, **more):
    prompt, null = conditioned(model, frames, **more)
    return PresetGuiderNode.execute(model, prompt, null, "Bernini v2v", 1.0, 4.0, 0.0, 0)[0]


def stepped(model, steps=2):
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    return comfy.samplers.sampler_object("euler"), sigmas


def made(guider, clip, noise=None, length=LENGTH, overlap=OVERLAP, refining=None, from_frames=False,
         keyframes=None, steps=2):  # fmt: skip
    sampler, sigmas = stepped(guider.model_patcher, steps)
    parts = {"guider": guider, "noise": noise or Noise_RandomNoise(5), "sampler": sampler,
             "sigmas": sigmas, "vae": Vae()}  # fmt: skip
    with torch.inference_mode(), numbered(as_video(clip)) as source:
        engine = stream.sampled_or_engine(None, parts, from_frames, None, (length, overlap))
        engine.ahead = source
        return stream.stylized_video(
            as_video(clip), engine, "a graph", 96, 4, refining, "high", keyframes
        )


class Seen(comfy.samplers.CFGGuider):
    """A model that gives the source it sees; `off` by window, added to it."""

    def __init__(self, guider, off=lambda window: 0.0):
        super().__init__(guider.model_patcher)
        self.original_conds, self.off, self.runs = guider.original_conds, off, [0]

    def sample(self, noise, *args, **kwargs):
        self.runs[0] += 1
        return super().sample(noise, *args, **kwargs)

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        (entry,) = self.conds["positive"]
        (source, *_) = entry["model_conds"]["context_latents"].cond
        return source.to(x) + self.off(self.runs[0])


# Exact


def engine_of(guider, frames, noise=None, cut=(), **options):
    """Windows in memory: no file, no encoder."""
    sampler, sigmas = stepped(guider.model_patcher, options.pop("steps", 2))
    parts = (guider, noise or Noise_RandomNoise(5), sampler, sigmas, Vae())
    engine = windows.Windowed(Sampling(*parts, False), LENGTH, OVERLAP)
    engine.ahead = lambda indices, size: frames[list(indices)].movedim(-1, 1)
    times = [files.Frame(f.movedim(-1, 0), i, 1) for i, f in enumerate(frames)]
    begins = [Begin(start) for start in (0, *cut)]
    found = plan(times, 1, begins, together=engine.together)
    engine.plan(found)
    carried, out, states = None, [], []
    with torch.inference_mode():
        for segment in found.segments:
            if segment.start in (0, *cut):
                carried = None
            part = range(segment.start, segment.end)
            some, carried = engine.carry(frames[list(part)].movedim(-1, 1), part, carried)
            out.append(some.movedim(1, -1))
            states.append(carried)
    return torch.cat(out), states


def test_a_clip_of_one_window_is_the_blocks_wired_by_hand(model):
    """All its frames at once: 14, which the window makes 17 of."""
    frames = torch.from_numpy(np.stack(coarse(14))).float() / 255
    made, _ = engine_of(v2v(model, frames[:5]), frames)
    whole = torch.cat([frames, frames[-1:].expand(3, -1, -1, -1)])
    sampler, sigmas = stepped(model)
    latents = Vae().encode(whole)
    noise = Noise_RandomNoise(5)
    with torch.inference_mode():
        samples = v2v(model, whole).sample(
            noise.generate_noise({"samples": latents}), torch.zeros_like(latents), sampler, sigmas,
            disable_pbar=True, seed=noise.seed,
        )  # fmt: skip
    wanted = Vae().decode(samples)[0, :14]
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)
    assert wanted.std() > 0.1


@pytest.mark.parametrize("count", [1, 3, 9, 10, 17, 18, 26, 40, 41])
def test_every_frame_is_in_its_place_whatever_the_length(model, count):
    frames = torch.from_numpy(np.stack(coarse(count))).float() / 255
    guider = Seen(v2v(model, frames[:1].expand(5, -1, -1, -1)))
    out, _ = engine_of(guider, frames)
    torch.testing.assert_close(out, frames, atol=1e-4, rtol=0)
    assert guider.runs[0] == max(1, -(-(count - 1 - OVERLAP) // GIVES))


def test_a_cut_begins_anew_and_nothing_is_seen_beyond_it(model):
    frames = torch.from_numpy(np.stack(coarse(40))).float() / 255
    given = v2v(model, frames[:5])
    both, _ = engine_of(Seen(given), frames, cut=(18,))
    torch.testing.assert_close(both, frames, atol=1e-4, rtol=0)
    first, _ = engine_of(given, frames[:18])
    together, _ = engine_of(given, frames, cut=(18,))
    torch.testing.assert_close(together[:18], first, atol=1e-5, rtol=0)


def test_a_window_goes_over_into_the_next(model):
    """The second model is brighter: the first frames after the seam are the first's, then less."""
    frames = torch.full((LENGTH + GIVES, SIZE[1], SIZE[0], 3), 0.5)
    guider = Seen(v2v(model, frames[:5]), off=lambda run: 0.4 * (run - 1))
    out, _ = engine_of(guider, frames, steps=4)
    level = out.mean((1, 2, 3))
    torch.testing.assert_close(level[: GIVES + 1], torch.full((GIVES + 1,), 0.5))
    steps = level[GIVES + 1 :: 4] - 0.5  # a value a latent
    scale = 0.4 * model.model.latent_format.latents_std.flatten()[:12].mean()
    assert 0 < steps[0] < steps[1]
    assert (steps[0] / steps[1]).item() == pytest.approx(0.5, abs=0.05)
    assert steps[1].item() == pytest.approx(scale.item() * 2 / 3, rel=0.1)


@pytest.mark.parametrize("noise", [FrameNoise(7, "per-frame", 0.5, None), Noise_RandomNoise(7)])
def test_windows_of_a_real_wan_go_on_without_a_seam(model, noise):
    """The latents where a window begins are those that the one before saw ahead."""
    frames = torch.from_numpy(np.stack(coarse(LENGTH + GIVES))).float() / 255
    guider = v2v(model, frames[:5])
    together, states = engine_of(guider, frames, noise)
    again, _ = engine_of(guider, frames, noise)
    assert torch.equal(together, again)
    seen = states[0]["latents"][:, :, :1]
    now = Vae().encode(together[GIVES : 2 * GIVES + 1])[:, :, 1:2]
    alone, _ = engine_of(guider, frames[GIVES:], noise)
    apart = Vae().encode(alone)[:, :, 1:2]
    assert (now - seen)[:, :12].norm() < 0.6 * (apart - seen)[:, :12].norm()


def test_frame_noise_belongs_to_the_frame(model):
    frames = torch.from_numpy(np.stack(coarse(LENGTH))).float() / 255
    noise = FrameNoise(7, "per-frame", 0.5, None)
    sampling = Sampling(v2v(model, frames[:5]), noise, *stepped(model), Vae(), False)
    engine = windows.Windowed(sampling, LENGTH, OVERLAP)
    latents = torch.zeros(1, 16, 5, 8, 12)
    a, b = engine._noise(latents, 0), engine._noise(latents, GIVES)
    assert torch.equal(a[:, :, GIVES // 4 :], b[:, :, : 5 - GIVES // 4])
    assert not torch.equal(a[:, :, 0], a[:, :, 1])


# The block


def test_it_goes_on_with_the_same_bytes(model, tmp_path, monkeypatch):
    """Cancelled in the third window; sound and refiner are those of every stream."""
    clip = encode(tmp_path / "clip.mp4", pan(3, 36, 2, *SIZE), audio=3.6)
    guider = v2v(model, loaded(clip)[:5])
    whole, said = made(guider, clip, refining=Refining(1.0))
    assert said.startswith("36 frames of 96x64")
    wanted = Path(whole.get_stream_source()).read_bytes()
    once = windows.Windowed.carry

    def cancelled(self, frames, indices, carried):
        if indices[0] > 2 * GIVES:
            raise KeyboardInterrupt
        return once(self, frames, indices, carried)

    with monkeypatch.context() as patched:
        patched.setattr(windows.Windowed, "carry", cancelled)
        with pytest.raises(KeyboardInterrupt):
            made(guider, clip, refining=Refining(1.0))
    result, said = made(guider, clip, refining=Refining(1.0))
    assert f"{2 * GIVES + 1} frames were done before" in said
    assert Path(result.get_stream_source()).read_bytes() == wanted


def test_from_frames_needs_no_bernini(model, tmp_path):
    clip = lossless(tmp_path / "clip.mkv", coarse(10))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(text(model, 1), text(model, 2))
    _, said = made(guider, clip, from_frames=True)
    assert said.startswith("10 frames")
    with pytest.raises(StyleAVideoError, match="Nothing of the video reaches the model"):
        made(guider, clip)


def test_references_stay_and_the_source_is_the_window_s(model):
    frames = torch.rand(9, SIZE[1], SIZE[0], 3)
    prompt, null = conditioned(
        model, frames, reference_images={"reference_image_0": torch.rand(1, 64, 64, 3)}
    )
    given = PresetGuiderNode.execute(
        model, prompt, null, "Bernini rv2v", 1.25, 4.0, 0.0, 0, reference_scale=4.5
    )[0]
    latents = torch.rand(1, 16, 5, 8, 12)
    before = prompt[0][1]["context_latents"]
    changed = windows.with_window(given, latents)
    for name, entries in changed.original_conds.items():
        old = given.original_conds[name][0].get("context_latents")
        new = entries[0].get("context_latents")
        assert (old is None) == (new is None)
        if old is not None:
            assert new[0] is latents and old[0] is before[0]
            assert all(a is b for a, b in zip(new[1:], old[1:], strict=True))


# What is refused


@pytest.mark.parametrize(
    ("length", "overlap", "words"),
    [(80, 16, "must be 4 k . 1 frames"), (5, 4, "9 or more"), (17, 6, "a multiple of 4 frames"),
     (17, 12, r"from 4 to half of context_length \(8\)")],
)  # fmt: skip
def test_lengths_that_are_no_windows_are_refused(length, overlap, words):
    with pytest.raises(StyleAVideoError, match=words):
        windows.check_lengths(length, overlap)


def test_what_belongs_to_certain_frames_is_refused(model, tmp_path):
    clip = lossless(tmp_path / "clip.mkv", coarse(10))
    frames = loaded(clip)

    def refused(words, guider, **settings):
        with pytest.raises(StyleAVideoError, match=words):
            made(guider, clip, **settings)

    guider = v2v(model, frames[:5])
    guider.original_conds["positive"][0]["concat_latent_image"] = torch.zeros(1, 16, 2, 8, 12)
    refused("A condition has concat_latent_image, which was made for certain frames", guider)
    guider = v2v(model, frames[:5])
    guider.original_conds["positive"][0]["mask"] = torch.ones(3, 64, 96)
    refused("masks of single frames", guider)
    refused("Nothing of the video reaches the model", v2v(model, frames[:1]))
    refused("set keyframes to 1", v2v(model, frames[:5]), keyframes=Keyframes(4))


@pytest.mark.parametrize(
    ("length", "size", "told"),
    [
        (513, (1920, 1080), r"513 frames of 1920x1080 take 119 GiB of memory, and this machine has "
                            r"32: choose context_length 137 or less, or max_side 992 or less"),
        (81, (16384, 8640), r"has 32: choose max_side 2576 or less"),
    ],
)  # fmt: skip
def test_windows_that_no_machine_holds_are_refused_with_what_would_fit(length, size, told):
    memory = 32 << 30
    with pytest.raises(StyleAVideoError, match=told):
        windows.check_memory(length, size, memory)
    windows.check_memory(137, (1920, 1080), memory)
    windows.check_memory(513, (992, 558), memory)
    windows.check_memory(81, (2576, 1358), memory)


def test_a_block_asks_whether_they_fit(model, tmp_path, monkeypatch):
    clip = lossless(tmp_path / "clip.mkv", coarse(10))
    monkeypatch.setattr(stream, "memory_of", lambda device: 1 << 20)
    with pytest.raises(StyleAVideoError, match="Windows of 17 frames of 96x64 take"):
        made(v2v(model, loaded(clip)[:5]), clip)


def test_want_of_memory_is_said(model):
    frames = torch.rand(LENGTH, SIZE[1], SIZE[0], 3)
    noise = Noise_RandomNoise(5)
    sampling = Sampling(v2v(model, frames[:5]), noise, *stepped(model), Vae(), False)
    engine = windows.Windowed(sampling, LENGTH, OVERLAP)
    engine.plan(Plan((Shot(0, 9, 0),),
                                  (Segment(0, 9, None, 0),)))  # fmt: skip
    with pytest.raises(StyleAVideoError, match="too little memory for a window of 17 frames of 96"):
        engine.carry(frames[:5].movedim(-1, 1), range(5), None)
