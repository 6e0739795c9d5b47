"""Stylize Video with a hint: a ControlNet sees a picture of its own for every frame."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ops
import comfy.samplers
import numpy as np
import pytest
import test_stream as streams
import torch
from comfy_api.latest import InputImpl, Types
from style_a_video.nodes import builtin_model, guidance, host, numbered, stream
from style_a_video.nodes.hint import Follow
from style_a_video.nodes.noise import FrameNoise
from style_a_video.nodes.sampling import Sampling
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.refine.keyframes import Keyframes
from test_stream import COUNT, SIZE, as_video, encode, loaded, pan

pytestmark = pytest.mark.usefixtures("folders")
built_in, path, frames = streams.built_in, streams.path, streams.frames


@pytest.fixture(scope="module")
def hint_path(tmp_path_factory):
    """Other pictures than the video's, of its length."""
    return encode(tmp_path_factory.mktemp("hints") / "hint.mp4", pan(8, COUNT, 3, *SIZE))


@pytest.fixture(scope="module")
def hints(hint_path):
    return loaded(hint_path)


@pytest.fixture(scope="module")
def controlnet():
    """A ControlNet of the built-in U-Net's shape with random weights, as ComfyUI loads one."""
    shape = {k: v for k, v in builtin_model._Config.unet_config.items() if k != "out_channels"}
    torch.manual_seed(3)
    with torch.inference_mode():
        network = comfy.cldm.cldm.ControlNet(
            **(shape | {"in_channels": 32}), num_heads=4, num_head_channels=-1, hint_channels=3,
            operations=comfy.ops.disable_weight_init,
        )  # fmt: skip
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        for weight in network.input_hint_block.parameters():
            if weight.ndim > 1:  # the hint arrives as strong as it left
                torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
        network.requires_grad_(False)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def applied(conditioning, controlnet, pictures, before=None):
    control = controlnet.copy().set_cond_hint(pictures.movedim(-1, 1), 1.0, (0.0, 1.0))
    if before is not None:
        control.set_previous_controlnet(before)
    return host.with_values(conditioning, control=control, control_apply_to_uncond=False)


def ours(built_in, controlnet, frames, hints, **more):
    """Style Guider's guider, its fullest condition with the ControlNet."""
    guider = streams.styled(built_in, frames)
    first, *others = guider.conditions
    first = guidance.WeightedCondition(
        applied(first.conditioning, controlnet, hints, **more), 1.0, name=first.name
    )
    base = [[e["cross_attn"], e] for e in guider.original_conds["negative"]]
    return guidance.MultiConditionGuider(built_in[0], base, [first, *others])


def stock(built_in, controlnet, frames, hints, **more):
    """ComfyUI's CFGGuider with the ControlNet on both conditions."""
    guider = streams.stock(built_in, frames)
    control = applied([["", {}]], controlnet, hints, **more)[0][1]["control"]
    for entries in guider.original_conds.values():
        entries[0].update(control=control, control_apply_to_uncond=False)
    return guider


NOISE = FrameNoise(7, "blended", 0.5, None)


def streamed(built_in, guider, frames, hint, chunk):
    sampling = Sampling(guider, NOISE, *streams.stepped(built_in), built_in[2], False)
    engine = stream._Sampled(sampling, hint)
    parts = [
        engine(frames[i : i + chunk].movedim(-1, 1), range(i, min(i + chunk, len(frames))))
        for i in range(0, len(frames), chunk)
    ]
    return torch.cat(parts).movedim(1, -1)


@pytest.mark.parametrize("make", [ours, stock])
def test_chunks_are_the_controlnet_over_all_frames_at_once(
    built_in, controlnet, frames, hint_path, hints, make
):
    frames, hints = frames[:5], hints[:5]
    with torch.inference_mode(), numbered.numbered(as_video(hint_path)) as hint:
        wanted = streams.by_hand(built_in, make(built_in, controlnet, frames, hints), NOISE, frames)
        given = make(built_in, controlnet, frames[:1], hints[:1])
        for chunk in (1, 3, 5):
            made = streamed(built_in, given, frames, hint, chunk)
            assert (made - wanted).abs().max() < 1 / 2550
        other = streams.by_hand(
            built_in, make(built_in, controlnet, frames, hints[:1]), NOISE, frames
        )
    assert (other - wanted).abs().max() > 1 / 255  # the first hint is not that of every frame


def test_two_controlnets_follow_one_hint_and_what_was_given_stays(
    built_in, controlnet, frames, hint_path, hints
):
    """The second has another strength; both see the hint's frame."""
    frames, hints = frames[:5], hints[:5]
    before = controlnet.copy().set_cond_hint(hints[:1].movedim(-1, 1), 0.5, (0.0, 1.0))
    given = stock(built_in, controlnet, frames[:1], hints[:1], before=before)
    whole = controlnet.copy().set_cond_hint(hints.movedim(-1, 1), 0.5, (0.0, 1.0))
    with torch.inference_mode(), numbered.numbered(as_video(hint_path)) as hint:
        wanted = streams.by_hand(
            built_in, stock(built_in, controlnet, frames, hints, before=whole), NOISE, frames
        )
        made = streamed(built_in, given, frames, hint, 3)
    assert (made - wanted).abs().max() < 1 / 2550
    control = given.original_conds["positive"][0]["control"]
    assert len(control.cond_hint_original) == len(before.cond_hint_original) == 1
    assert control.previous_controlnet is before


def test_conditions_that_share_a_controlnet_go_on_sharing(controlnet):
    follow = Follow(torch.zeros(2, 3, 8, 8))
    assert follow(controlnet) is follow(controlnet) is not controlnet
    assert follow(controlnet).control_model is controlnet.control_model


def test_the_vae_of_a_video_model_takes_hints_one_by_one(controlnet):
    """All at once they would be the frames of one video."""

    class Vae:
        latent_dim = 3

        def encode(self, pictures):
            assert len(pictures) == 1
            return pictures.mean() * torch.ones(1, 16, 1, 8, 12)

        def spacial_compression_encode(self):
            return 8

    given = controlnet.copy()
    given.vae = Vae()
    vae = Follow(torch.zeros(3, 3, 64, 96))(given).vae
    latents = vae.encode(torch.arange(3.0)[:, None, None, None].expand(-1, 64, 96, 3))
    assert latents.shape == (3, 16, 1, 8, 12) and latents[2].mean() == 2
    assert vae.spacial_compression_encode() == 8


# The block


def made(built_in, guider, clip, hint, chunk=4, refining=None, keyframes=None):
    with torch.inference_mode(), numbered.numbered(hint) as pictures:
        parts = dict(zip(("sampler", "sigmas"), streams.stepped(built_in, 1), strict=True))
        parts |= {"guider": guider, "noise": NOISE, "vae": built_in[2]}
        engine = stream.sampled_or_engine(None, parts, False, pictures)
        return stream.stylized_video(
            clip, engine, "a graph", 96, chunk, refining, keyframes=keyframes, hint=pictures
        )


def bytes_of(video):
    return Path(video.get_stream_source()).read_bytes()


def test_it_goes_on_with_the_same_bytes(built_in, controlnet, tmp_path, monkeypatch):
    """Cancelled in the second segment: the hint too goes on from there."""
    clip = as_video(encode(tmp_path / "clip.mp4", pan(3, 24, 2, *SIZE)))
    hint = as_video(encode(tmp_path / "hint.mp4", pan(8, 24, 3, *SIZE)))
    guider = stock(
        built_in, controlnet, loaded(tmp_path / "clip.mp4")[:1], torch.rand(1, 64, 96, 3)
    )
    whole = bytes_of(made(built_in, guider, clip, hint, refining=Refining(1.0))[0])
    calls, once = [], stream._Sampled.__call__

    def cancelled(self, given, indices):
        calls.append(list(indices))
        if indices[0] >= 20 and len(calls) < 7:
            raise KeyboardInterrupt
        return once(self, given, indices)

    monkeypatch.setattr(stream._Sampled, "__call__", cancelled)
    with pytest.raises(KeyboardInterrupt):
        made(built_in, guider, clip, hint, refining=Refining(1.0))
    result, said = made(built_in, guider, clip, hint, refining=Refining(1.0))
    assert "16 frames were done before" in said
    assert bytes_of(result) == whole


def test_only_keyframes_ask_for_their_hint(built_in, controlnet, path, hint_path, monkeypatch):
    asked, once = [], numbered.NumberedFrames.__call__
    monkeypatch.setattr(
        numbered.NumberedFrames,
        "__call__",
        lambda self, indices, size: asked.extend(indices) or once(self, indices, size),
    )
    guider = stock(built_in, controlnet, torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96, 3))
    made(built_in, guider, as_video(path), as_video(hint_path), keyframes=Keyframes(4))
    assert len(set(asked)) < COUNT and 0 in asked


def test_another_hint_is_another_job(built_in, controlnet, path, hint_path, tmp_path):
    guider = stock(built_in, controlnet, torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96, 3))
    other = encode(tmp_path / "other.mp4", pan(9, COUNT, 1, *SIZE))
    results = [made(built_in, guider, as_video(path), as_video(h))[0] for h in (hint_path, other)]
    assert len({video.get_stream_source() for video in results}) == 2


def test_parts_of_both_belong_together(built_in, controlnet, path, hint_path):
    guider = stock(built_in, controlnet, torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96, 3))
    trim = {"start_time": 0.3, "duration": 0.4}
    whole, _ = made(built_in, guider, as_video(path), as_video(hint_path))
    part, said = made(built_in, guider, as_video(path, **trim), as_video(hint_path, **trim))
    assert said.startswith("4 frames")
    a, b = (streams.decoded(v.get_stream_source()).astype(float) for v in (whole, part))
    assert np.abs(a[3:7] - b).mean() < 8  # the noise of a frame is that of its number
    with pytest.raises(StyleAVideoError, match=r"The hint has 10 frames and the video has 4: make"):
        made(built_in, guider, as_video(path, **trim), as_video(hint_path))


# Frames by their number


def test_frames_are_found_by_their_number_in_any_order(hint_path, hints, monkeypatch):
    opened, once = [], numbered.frames_from
    monkeypatch.setattr(
        numbered, "frames_from", lambda work, s: opened.append(s.start) or once(work, s)
    )
    with numbered.numbered(as_video(hint_path)) as seen:
        assert len(seen) == COUNT
        rising = [seen(some, SIZE) for some in ((0, 1), (2, 3), (5,), (8, 9))]
        assert opened == [0]  # one pass
        again = seen((3, 4), SIZE)
        assert opened == [0, 3]
    wanted = hints.movedim(-1, 1)
    torch.testing.assert_close(torch.cat(rising), wanted[[0, 1, 2, 3, 5, 8, 9]])
    torch.testing.assert_close(again, wanted[3:5])


def test_frames_in_memory_and_of_a_part(hint_path, hints):
    held = Types.VideoComponents(images=hints, audio=None, frame_rate=Fraction(10))
    with numbered.numbered(InputImpl.VideoFromComponents(held)) as seen:
        torch.testing.assert_close(seen((7, 2), SIZE), hints[[7, 2]].movedim(-1, 1))
    with numbered.numbered(as_video(hint_path, start_time=0.3, duration=0.4)) as seen:
        assert len(seen) == 4
        torch.testing.assert_close(seen((0, 3), SIZE), hints[[3, 6]].movedim(-1, 1))


def test_frames_of_one_time_are_counted(tmp_path):
    """Two pictures at one time: the number decides, not the time."""
    clip = encode(tmp_path / "clip.mkv", pan(8, 6, 3, *SIZE))
    with numbered.numbered(as_video(clip)) as seen:
        wanted = seen(range(6), SIZE)
        seen.times[4] = seen.times[3]
        assert torch.equal(seen([4], SIZE), wanted[4:5])


# What is refused, before any work


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 7}, "The hint has 7 frames and the video has 10: make the hint of the same"),
        ({"rate": 5}, "The hint has 5 frames a second and the video has 10: make the hint of"),
        ({"size": (64, 64)}, "The hint has frames of 64x64 and the video of 96x64, which is an"),
    ],
)
def test_a_hint_of_something_else_is_refused(
    built_in, controlnet, path, tmp_path, settings, words, monkeypatch
):
    size = settings.get("size", SIZE)
    clip = encode(
        tmp_path / "h.mp4", pan(8, settings.get("count", COUNT), 1, *size),
        rate=settings.get("rate", 10),
    )  # fmt: skip
    monkeypatch.setattr(stream._Sampled, "__call__", None)
    guider = stock(built_in, controlnet, torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96, 3))
    with pytest.raises(StyleAVideoError, match=words):
        made(built_in, guider, as_video(path), as_video(clip))


def test_a_guider_that_cannot_follow_is_refused(built_in, controlnet, frames, path, hint_path):
    def refused(guider, words):
        with pytest.raises(StyleAVideoError, match=words):
            made(built_in, guider, as_video(path), as_video(hint_path))

    refused(streams.stock(built_in, frames[:1]), "no condition of the guider has a ControlNet")
    first, other = torch.rand(2, 1, 64, 96, 3)
    before = controlnet.copy().set_cond_hint(other.movedim(-1, 1), 0.5, (0.0, 1.0))
    refused(
        stock(built_in, controlnet, frames[:1], first, before=before),
        "ControlNets with different pictures",
    )
    guider = stock(built_in, controlnet, frames[:1], first)
    guider.original_conds["positive"][0]["control"].extra_concat_orig = [torch.ones(1, 64, 96)]
    refused(guider, "a picture to be filled in")
    streams.with_entry(guider, control=object())
    refused(guider, r"of this kind \(object\) cannot be given other pictures")


def test_an_engine_takes_no_hint():
    with pytest.raises(StyleAVideoError, match="An engine and hint are connected"):
        stream.sampled_or_engine(object(), {}, False, [])


def test_the_block_passes_it_on(built_in, controlnet, path, hint_path, tmp_path, monkeypatch):
    """A hint connected to the block changes the frames; without it a ControlNet is refused."""
    monkeypatch.setattr(stream, "signature", lambda *_: "a graph")
    guider = stock(built_in, controlnet, torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96, 3))
    sampler, sigmas = streams.stepped(built_in, 1)
    given = {"video": as_video(path), "start_from": "noise", "max_side": 96,
             "frames_per_batch": 4, "refine": 0.0, "guider": guider, "noise": NOISE,
             "sampler": sampler, "sigmas": sigmas, "vae": built_in[2]}  # fmt: skip
    monkeypatch.setattr(stream.StylizeVideo, "hidden", type("Hidden", (), {
        "dynprompt": None, "unique_id": None}))  # fmt: skip
    with torch.inference_mode():
        result = stream.StylizeVideo.execute(**given, hint=as_video(hint_path))[0]
        assert len(streams.decoded(result.get_stream_source())) == COUNT
        with pytest.raises(StyleAVideoError, match="connect a video of such pictures"):
            stream.StylizeVideo.execute(**given)
    shutil.rmtree(tmp_path / "output" / stream.JOBS, ignore_errors=True)
