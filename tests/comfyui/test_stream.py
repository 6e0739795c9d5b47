"""Stylize Video: the pixels of the blocks wired by hand, in chunks; servers that are stopped."""

from __future__ import annotations

import ast
import asyncio
import io as streams
import json
import re
import runpy
import shutil
import time
from dataclasses import replace
from fractions import Fraction
from glob import glob
from pathlib import Path

import aiohttp
import av
import comfy.model_management
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from filelock import FileLock
from PIL import Image
from server import Server
from style_a_video.nodes import attention, builtin_model, guidance, stream, temporal, video
from style_a_video.nodes.conditions import FrameCondition, TextCondition
from style_a_video.nodes.correction import corrected
from style_a_video.nodes.noise import FrameNoise
from style_a_video.nodes.sampling import Sampling
from style_a_video.nodes.words import WORDS
from style_a_video.pipelines import media as files
from style_a_video.pipelines.errors import Remedy, StyleAVideoError
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.run.job import Job
from style_a_video.pipelines.run.stylize import stylize_video

pytestmark = pytest.mark.usefixtures("folders")

ROOT = Path(__file__).parents[2]
clips = runpy.run_path(str(ROOT / "tests" / "clips.py"))
encode, pan, ramp, times, audio_packets = (
    clips[name] for name in ("encode", "pan", "ramp", "times", "audio_packets")
)
SIZE = (96, 64)
COUNT = 10
STYLE = "oil painting"


# In this process: the same pixels as the blocks wired by hand


@pytest.fixture(scope="module")
def built_in():
    return builtin_model.LoadBuiltInModel.execute().args


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A camera that goes right over something with detail."""
    return encode(tmp_path_factory.mktemp("clips") / "pan.mp4", pan(3, COUNT, 2, *SIZE), audio=1.0)


@pytest.fixture(scope="module")
def frames(path):
    """(10,64,96,3), as the blocks wired by hand get them."""
    return loaded(path)


def loaded(path, **settings):
    given = {"start": 0.0, "end": 0.0, "every_nth": 1, "max_frames": 0, "first_frame_only": False}
    given |= {"resize": {"resize": "none"}, "fit": "pad", "multiple": 8} | settings
    return video.LoadFrames.execute(file="", video=as_video(path), **given)[0]


def as_video(path, **trim):
    return InputImpl.VideoFromFile(str(path), **trim)


def styled(built_in, frames, **settings):
    """Style Guider's guider for these frames."""
    model, clip, vae, vision = built_in
    prompt, null = (TextCondition.execute(clip, text, True, 0)[0] for text in (STYLE, ""))
    frame = FrameCondition.execute(null, vae, frames, settings.get("mask"))[0]
    scales, preset, held = (1.0, 1.0, 0.0), "instruct-pix2pix", None
    if settings.get("running"):
        scales, preset = (1.0, 1.0, 0.5), "paper"
        held = attention.AttentionCondition.execute(frame, "middle", 1.0, None)[0]
    if settings.get("strength"):
        model = corrected(model, vision, vae, frames, settings["strength"], "linear")
    base, conditions = guidance.preset_conditions(preset, scales, prompt, null, frame, held)
    if region := settings.get("region"):
        conditions = [replace(c, mask=region[0]) for c in conditions]
    return guidance.MultiConditionGuider(model, base, conditions)


def stock(built_in, frames, **_):
    """ComfyUI's CFGGuider over conditions with the frame."""
    model, clip, vae, _ = built_in
    texts = (TextCondition.execute(clip, text, True, 0)[0] for text in (STYLE, ""))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*(FrameCondition.execute(text, vae, frames)[0] for text in texts))
    guider.set_cfg(1.5)
    return guider


def stepped(built_in, steps=2, share=1.0):
    """Sampler and the last of the steps."""
    sampling = built_in[0].get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", round(steps / share))
    return comfy.samplers.sampler_object("euler"), sigmas[-(steps + 1) :]


def by_hand(built_in, guider, noise, frames, share=1.0):
    """Sampler Custom (Advanced) and VAE Decode over all frames at once."""
    latents = built_in[2].encode(frames)
    latent = {"samples": latents if share < 1 else torch.zeros_like(latents)}
    sampled = SamplerCustomAdvanced.execute(
        noise, guider, *stepped(built_in, share=share), latent
    ).args[0]
    return built_in[2].decode(sampled["samples"])


def streamed(built_in, guider, noise, frames, chunk, share=1.0):
    """What the block's engine makes of the frames, so many at a time."""
    sampler, sigmas = stepped(built_in, share=share)
    engine = stream._Sampled(Sampling(guider, noise, sampler, sigmas, built_in[2], share < 1))
    parts = [
        engine(frames[i : i + chunk].movedim(-1, 1), range(i, min(i + chunk, len(frames))))
        for i in range(0, len(frames), chunk)
    ]
    return torch.cat(parts).movedim(1, -1)


def masked():
    mask = torch.zeros(1, SIZE[1], SIZE[0])
    mask[:, 16:, 24:72] = 1
    return mask


CASES = {
    "model's own": (styled, {}),
    "running attention": (styled, {"running": True}),
    "correction": (styled, {"strength": 1.0}),
    "one mask": (styled, {"mask": masked()}),
    "one region": (styled, {"region": [masked()]}),
    "stock guider": (stock, {}),
    "from frames": (stock, {"share": 0.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_chunks_are_the_blocks_wired_by_hand(built_in, frames, case):
    """In memory, before anything is encoded: far below 1/255, whatever the chunk."""
    make, settings = CASES[case]
    share = settings.get("share", 1.0)
    noise = FrameNoise(7, "blended", 0.5, None)
    with torch.inference_mode():
        wanted = by_hand(built_in, make(built_in, frames, **settings), noise, frames, share)
        given = make(built_in, frames[:1], **settings)
        for chunk in (1, 4, COUNT):
            made = streamed(built_in, given, noise, frames, chunk, share)
            assert (made - wanted).abs().max() < 1 / 2550
    assert (wanted - frames).abs().mean() > 0.02


def test_the_correction_has_an_effect(built_in, frames):
    noise = FrameNoise(7, "shared", 0.5, None)
    with torch.inference_mode():
        plain, moved = (
            streamed(built_in, styled(built_in, frames[:1], strength=s), noise, frames, 4)
            for s in (0.0, 1.0)
        )
    assert (plain - moved).abs().max() > 1 / 255


def test_of_other_noise_one_frame_serves_all(built_in, frames):
    noise = Noise_RandomNoise(7)
    with torch.inference_mode():
        guider = styled(built_in, frames[:1])
        a, b = (streamed(built_in, guider, noise, frames, chunk) for chunk in (1, 4))
        one = by_hand(built_in, guider, noise, frames[:1])
    assert (a - b).abs().max() < 1 / 2550
    assert (a[:1] - one).abs().max() < 1 / 2550


def test_the_guider_that_was_given_stays_as_it_is(built_in, frames):
    guider = styled(built_in, frames[:1], strength=1.0)
    model, conds = guider.model_patcher, json.dumps(guider.original_conds, default=id)
    with torch.inference_mode():
        streamed(built_in, guider, FrameNoise(7, "shared", 0.5, None), frames, 4)
    assert guider.model_patcher is model
    assert json.dumps(guider.original_conds, default=id) == conds


@pytest.mark.parametrize("chunk", [1, 4])
def test_refined_frames_are_temporal_refiner_s(built_in, path, frames, tmp_path, chunk):
    """Through files without loss: what is left is the rounding to 8 bits of YUV."""
    noise = FrameNoise(7, "shared", 0.5, None)
    sampler, sigmas = stepped(built_in)
    with torch.inference_mode():
        guider = styled(built_in, frames[:1])
        engine = stream._Sampled(Sampling(guider, noise, sampler, sigmas, built_in[2], False))
        target = tmp_path / "made.mkv"
        stylize_video(
            path, target, engine, refining=Refining(0.8), size=SIZE, chunk_size=chunk, codec="ffv1"
        )
        wanted = by_hand(built_in, styled(built_in, frames), noise, frames)
        wanted = temporal.refined(frames, wanted, Refining(0.8))
    made = decoded(target) / 255
    assert np.abs(made - wanted.numpy()).max() < 3 / 255
    assert np.abs(made - wanted.numpy()).mean() < 1 / 255


def decoded(path):
    """(T,H,W,3) in 0..255."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def made(built_in, clip, engine=None, chunk=4, graph="a graph", max_side=96, quality="normal"):
    """The block's result of a VIDEO."""
    noise = FrameNoise(7, "shared", 0.5, None)
    guider = styled(built_in, torch.rand(1, SIZE[1], SIZE[0], 3))
    engine = engine or stream._Sampled(
        Sampling(guider, noise, *stepped(built_in, 1), built_in[2], False)
    )
    with torch.inference_mode():
        return stream.stylized_video(clip, engine, graph, max_side, chunk, None, quality)


def test_a_trimmed_video_keeps_its_trim(built_in, path):
    whole, said = made(built_in, as_video(path))
    assert re.fullmatch(rf"{COUNT} frames of 96x64 in \d+\.\d s\n1 shot", said)
    part, said = made(built_in, as_video(path, start_time=0.3, duration=0.4))
    assert said.startswith("4 frames of 96x64 in ")
    assert times(part.get_stream_source()) == [Fraction(i, 10) for i in range(4)]
    assert 0.3 <= float(part.get_duration()) <= 0.5
    a, b = (decoded(v.get_stream_source()).astype(float) for v in (whole, part))
    assert np.abs(a[3:7] - b).mean() < 4


def test_a_higher_quality_is_a_larger_file(built_in, path):
    sizes = []
    for quality in files.QUALITIES:
        result, _ = made(built_in, as_video(path), graph=quality, quality=quality)
        sizes.append(Path(result.get_stream_source()).stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_video_in_memory_is_stylized(built_in, path, tmp_path):
    clip = InputImpl.VideoFromFile(streams.BytesIO(path.read_bytes()))
    result, _ = made(built_in, clip)
    assert len(times(result.get_stream_source())) == COUNT
    (left,) = (tmp_path / "temp").iterdir()
    assert str(left) == result.get_stream_source()
    assert not list((tmp_path / "output" / stream.JOBS).iterdir())


@pytest.mark.parametrize(
    ("size", "most", "wanted"),
    [((854, 480), 512, (512, 288)), ((96, 64), 512, (96, 64)), ((720, 1280), 96, (56, 96)),
     ((1000, 10), 512, (512, 16))],
)  # fmt: skip
def test_sides_are_multiples_of_8(size, most, wanted):
    assert files.fit(*size, most, multiple=8) == wanted


# What is refused


def per_frame_mask(count):
    return torch.ones(count, SIZE[1], SIZE[0])


def refused(built_in, guider, words, frames):
    with pytest.raises(StyleAVideoError, match=words), torch.inference_mode():
        streamed(built_in, guider, FrameNoise(7, "shared", 0.5, None), frames, 2)


def test_a_probed_mask_is_refused(built_in, frames):
    model, clip, vae, _ = built_in
    null = TextCondition.execute(clip, "", True, 0)[0]
    frame = FrameCondition.execute(null, vae, frames[:1])[0]
    held = attention.AttentionCondition.execute(frame, "middle", 1.0, per_frame_mask(1))[0]
    base, conditions = guidance.preset_conditions("paper", (1.0, 1.0, 0.5), null, null, frame, held)
    guider = guidance.MultiConditionGuider(model, base, conditions)
    refused(built_in, guider, "take the mask off Attention Condition", frames)


def with_entry(guider, **values):
    guider.original_conds["positive"][0].update(values)
    return guider


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"control": object()}, "A ControlNet sees pictures that were made for single frames"),
        ({"mask": per_frame_mask(2)}, "has 2 masks, one a frame: give one for all frames"),
        ({"cross_attn": torch.zeros(3, 77, 8)}, "has 3 prompts, one a frame"),
        ({"concat_mask": per_frame_mask(1)}, "a picture to be filled in"),
    ],
)
def test_what_belongs_to_single_frames_is_refused(built_in, frames, values, words):
    refused(built_in, with_entry(stock(built_in, frames[:1]), **values), words, frames)


def test_masks_a_frame_are_refused(built_in, frames):
    """Even as many as a chunk has frames: those would fit the first chunk, and no other."""
    clip, vae = built_in[1:3]
    null = TextCondition.execute(clip, "", True, 0)[0]
    seen = FrameCondition.execute(null, vae, frames[:2], per_frame_mask(2))[0]
    guider = comfy.samplers.CFGGuider(built_in[0])
    guider.set_conds(seen, seen)
    refused(built_in, guider, "has 2 masks, one a frame", frames)
    guider = styled(built_in, frames[:2], region=[per_frame_mask(2)])
    refused(built_in, guider, "has 2 masks, one a frame", frames)


def test_other_guiders_and_video_models_are_refused(built_in, frames):
    with pytest.raises(StyleAVideoError, match=r"This guider \(object\) cannot be given other"):
        stream.with_frames(object(), torch.zeros(1, 4, 8, 8), frames[:1])
    with pytest.raises(StyleAVideoError, match="wants all frames at once"):
        stream.with_frames(stock(built_in, frames[:1]), torch.zeros(1, 16, 1, 8, 8), frames[:1])


def test_a_video_of_images_is_refused(built_in, frames):
    clip = InputImpl.VideoFromComponents(
        Types.VideoComponents(images=frames, audio=None, frame_rate=Fraction(10))
    )
    with pytest.raises(StyleAVideoError, match="made of images that are all in memory"):
        made(built_in, clip)


def test_no_message_names_an_option_of_the_command_line():
    """What can be done is worded here, for graphs; the rest of a message names no option."""
    option = re.compile(r"--(?!force-fp32|head)[a-z]|the same command")
    files = [
        file
        for room in ("media", "refine", "run", "engines")
        for file in (ROOT / "pipelines" / room).rglob("*.py")
        if file.name not in ("demo.py", "edit.py") and file.parent.name != "comfyui"  # no blocks
    ]
    assert len(files) > 30
    for file in files:
        tree = ast.parse(file.read_text("utf-8"))
        hidden = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert id(node) in hidden or not option.search(node.value), (file.name, node.value)
    assert StyleAVideoError.words is WORDS and set(WORDS) == set(Remedy)
    assert not [words for words in WORDS.values() if option.search(words)]


def test_an_error_says_what_to_do_in_a_graph(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(StyleAVideoError, match="no part of a job: move it away.$"):
        Job(tmp_path, {"seed": 1}).__enter__()


# On a server

LONG = 64  # frames: four segments


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Four segments, each of which a slow machine sees come."""
    folder = tmp_path_factory.mktemp("long")
    return encode(folder / "long.mp4", pan(5, LONG, 1, *SIZE), audio=LONG / 10)


def prompt(name, steps=1, text=STYLE, chunk=4, refine=1.0, **more):
    """Load Video → the conditions of its first frame, and every frame → Save Video."""
    loader = {"start": 0.0, "end": 0.0, "every_nth": 1, "max_frames": 0, "fit": "pad"}
    loader |= {"first_frame_only": True, "resize": "none", "multiple": 8}
    words = {"interpolate": True, "frame_count": 0}
    scales = {"frame_scale": 1.0, "text_scale": 1.0, "attention_scale": 0.0}
    nodes = {
        "model": ("StyleAVideoLoadBuiltIn", {}),
        "clip": ("LoadVideo", {"file": name}),
        "frames": ("StyleAVideoLoadFrames", {"file": "", "video": ["clip", 0], **loader}),
        "text": ("StyleAVideoTextCondition", {"clip": ["model", 1], "text": text, **words}),
        "null": ("StyleAVideoTextCondition", {"clip": ["model", 1], "text": "", **words}),
        "frame": (
            "StyleAVideoFrameCondition",
            {"conditioning": ["null", 0], "vae": ["model", 2], "frames": ["frames", 0]},
        ),
        "guider": (
            "StyleAVideoPresetGuider",
            {"model": ["model", 0], "prompt": ["text", 0], "negative": ["null", 0],
             "frame": ["frame", 0], "preset": "instruct-pix2pix", "frames_per_batch": 0, **scales},
        ),
        "noise": ("StyleAVideoFrameNoise", {"seed": 0, "mode": "shared", "blend": 0.5}),
        "sampler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "sigmas": (
            "BasicScheduler",
            {"model": ["model", 0], "scheduler": "simple", "steps": steps, "denoise": 1.0},
        ),
        "made": (
            "StyleAVideoStylizeVideo",
            {"video": ["clip", 0], "guider": ["guider", 0], "noise": ["noise", 0],
             "sampler": ["sampler", 0], "sigmas": ["sigmas", 0], "vae": ["model", 2],
             "start_from": "noise", "max_side": 512, "frames_per_batch": chunk, "refine": refine},
        ),
        "save": (
            "SaveVideo",
            {"video": ["made", 0], "filename_prefix": "made", "format": "auto", "codec": "auto"},
        ),
        "said": ("PreviewAny", {"source": ["made", 1]}),
    }  # fmt: skip
    nodes |= more
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def report(entry):
    return entry["outputs"]["said"]["text"][0]


def jobs(server):
    """Of all jobs that are not finished: the folders."""
    folder = server.folder / "output" / stream.JOBS
    return sorted(p for p in folder.iterdir()) if folder.exists() else []


def segments(server):
    """How many are done. A job that begins replaces its folder, which may vanish while it is
    listed: `glob.glob` skips it, `Path.glob` raises.
    """
    return len(glob(str(server.folder / "output" / stream.JOBS / "*" / "segments" / "*.json")))


@pytest.fixture
def own(comfyui, tmp_path, long):
    """A server of the test's own, that may be killed; `own()` starts it again."""
    running = []

    def start():
        running.append(Server(comfyui, tmp_path))
        running[-1].add_input(long)
        return running[-1]

    yield start
    for server in running:
        server.process.kill()


def begin(server, graph):
    """Queue it, and wait until one of its segments is done."""
    before = segments(server)
    status, answer = server.post("/prompt", {"prompt": graph, "client_id": "a test"})
    assert status == 200, answer
    wait_until(lambda: segments(server) > before)
    return answer["prompt_id"]


def wait_until(what, seconds=120):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def cancel(server, run):
    """Interrupt → the seconds until the queue is free."""
    before = time.monotonic()
    try:
        server.post("/interrupt", {"prompt_id": run})
    except json.JSONDecodeError:  # an empty answer
        pass
    wait_until(lambda: not server.get("/queue")["queue_running"])
    return time.monotonic() - before


def test_times_and_sound_are_the_source_s(server, tmp_path):
    """Frames at odd times, two of them long; sound that is copied packet by packet."""
    pts = [0, 1, 2, 5, 6, 7, 12, 13, 14, 15]
    clip = encode(
        tmp_path / "odd.mp4", pan(3, COUNT, 2, *SIZE), pts=pts, time_base=Fraction(1, 30), audio=0.6
    )
    entry = server.run(prompt(server.add_input(clip)))
    (saved,) = server.files(entry)
    assert times(saved) == times(clip) == [Fraction(p, 30) for p in pts]
    assert audio_packets(saved) == audio_packets(clip)
    assert decoded(saved).shape == (COUNT, SIZE[1], SIZE[0], 3)
    assert report(entry).startswith(f"{COUNT} frames of 96x64 in ")
    assert "before" not in report(entry)
    assert not jobs(server)


def test_stock_guider_and_chunks_on_the_server(server, path):
    name = server.add_input(path)
    guider = {
        "text frame": (
            "StyleAVideoFrameCondition",
            {"conditioning": ["text", 0], "vae": ["model", 2], "frames": ["frames", 0]},
        ),
        "guider": (
            "CFGGuider",
            {"model": ["model", 0], "positive": ["text frame", 0], "negative": ["frame", 0],
             "cfg": 1.5},
        ),
    }  # fmt: skip
    results = [
        decoded(server.files(server.run(prompt(name, chunk=chunk, **guider)))[0])
        for chunk in (1, 4)
    ]
    assert len(results[0]) == COUNT
    # Equal but for what the encoder makes of the last bit.
    assert np.abs(results[0].astype(float) - results[1]).mean() < 1


def test_cancel_frees_the_queue_and_the_same_prompt_goes_on(server, long):
    name = server.add_input(long)
    whole = decoded(server.files(server.run(prompt(name, text="ink wash", steps=8)))[0])
    graph = prompt(name, text="ink wash", steps=8, **{
        "save": ("SaveVideo", {"video": ["made", 0], "filename_prefix": "again",
                               "format": "auto", "codec": "auto"}),
    })  # fmt: skip
    graph["noise"]["inputs"]["blend"] = 0.25  # not used in the mode shared: the same pixels
    run = begin(server, graph)
    assert cancel(server, run) < 20
    done = segments(server)
    assert 1 <= done < 4 and len(jobs(server)) == 1

    other = begin(server, prompt(name, text="pencil sketch", steps=8))
    cancel(server, other)
    assert len(jobs(server)) == 2
    assert all(job.name.startswith("long-") for job in jobs(server))

    entry = server.run(graph)
    assert f"{16 * done} frames were done before" in report(entry)
    assert np.array_equal(decoded(server.files(entry)[0]), whole)
    assert audio_packets(server.files(entry)[0]) == audio_packets(long)
    (left,) = jobs(server)
    shutil.rmtree(left)  # as the help says: not wanted any more


def test_two_users_of_one_clip_each_go_on_with_their_own(server, long):
    """Cancelled in turn over the same file, the prefix of the result the same."""
    graphs = [
        prompt(server.add_input(long), text=words, steps=8) for words in ("ink wash", "Munch")
    ]
    wholes = [decoded(server.files(server.run(graph))[0]) for graph in graphs]
    for graph in graphs:
        graph["noise"]["inputs"]["blend"] = 0.25  # not used in the mode shared: the same pixels
        cancel(server, begin(server, graph))
    assert len(jobs(server)) == 2
    for graph, whole in zip(reversed(graphs), reversed(wholes), strict=True):
        entry = server.run(graph)
        assert "were done before" in report(entry)
        assert np.array_equal(decoded(server.files(entry)[0]), whole)
    assert not jobs(server)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_goes_on_after_a_restart(own, end):
    graph = prompt("long.mp4", text="ink wash", steps=8)
    server = own()
    begin(server, graph)
    if end == "kill":
        server.process.kill()
        server.process.wait(20)
    else:
        server.stop()
    assert 1 <= segments(server) < 4
    server = own()
    done = segments(server)
    entry = server.run(graph)
    assert f"{16 * done} frames were done before" in report(entry)
    assert len(decoded(server.files(entry)[0])) == LONG
    assert not jobs(server)


def test_another_file_of_the_same_name_is_another_job(server, long, tmp_path):
    name = server.add_input(long, "film.mp4")
    graph = prompt(name, text="Munch", steps=8)
    cancel(server, begin(server, graph))
    (stale,) = jobs(server)
    server.add_input(encode(tmp_path / "b.mp4", pan(9, 20, 2, *SIZE)), "film.mp4")
    entry = server.run(graph)
    assert report(entry).startswith("20 frames of 96x64") and "before" not in report(entry)
    assert jobs(server) == [stale]
    shutil.rmtree(stale)


def test_a_job_in_use_or_damaged_says_what_to_do(server, long):
    """Another ComfyUI on the same output folder; a file that is cut short. Neither stops the
    server from going on afterwards."""
    graph = prompt(server.add_input(long), text="Van Gogh", steps=8)
    cancel(server, begin(server, graph))
    (job,) = jobs(server)
    with FileLock(job / "lock"), pytest.raises(RuntimeError, match="Another run is at work"):
        server.run(graph)
    plan = (job / "plan.json").read_bytes()
    (job / "plan.json").write_bytes(plan[:20])
    with pytest.raises(RuntimeError, match=re.escape(f"delete {job} to start over")):
        server.run(graph)
    (job / "plan.json").write_bytes(plan)
    assert "were done before" in report(server.run(graph))
    assert not jobs(server)


def test_a_replaced_picture_is_another_job(server, long, tmp_path):
    """What an input's file holds decides too: no half of one and half of another."""
    for level in (80, 160):
        Image.new("RGB", SIZE, (level,) * 3).save(server.folder / "input" / "region.png")
        graph = prompt(
            server.add_input(long), text="Munch", steps=8,
            region=("LoadImageMask", {"image": "region.png", "channel": "red"}),
            frame=("StyleAVideoFrameCondition",
                   {"conditioning": ["null", 0], "vae": ["model", 2], "frames": ["frames", 0],
                    "mask": ["region", 0]}),
        )  # fmt: skip
        cancel(server, begin(server, graph))
    assert len(jobs(server)) == 2
    for job in jobs(server):
        shutil.rmtree(job)


def test_previews_and_progress_are_sent(server, path):
    """Over the websocket, as the browser gets them."""
    graph = prompt(server.add_input(path), text="woodcut", chunk=2)
    seen = asyncio.run(watched(server, graph))
    values = [
        (data["value"], data["max"])
        for kind, data in seen
        if kind == "progress" and data["node"] == "made"
    ]
    assert (COUNT, COUNT) in values
    pictures = [data for kind, data in seen if kind == "picture"]
    assert len(pictures) >= COUNT // 2
    assert all(b"\xff\xd8\xff" in picture[:400] for picture in pictures)


TEXT = 3
"""ComfyUI's number of a message with words for a block."""


async def watched(server, graph):
    """All that the server sends while it runs the prompt."""
    seen = []
    url = f"{server.url}/ws?clientId=watcher"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as socket:
        async with http.post(
            f"{server.url}/prompt", json={"prompt": graph, "client_id": "watcher"}
        ) as answer:
            assert answer.status == 200, await answer.text()
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                kind = int.from_bytes(message.data[:4], "big")
                seen.append(("text" if kind == TEXT else "picture", message.data))
                continue
            told = json.loads(message.data)
            seen.append((told["type"], told["data"]))
            if told["type"] in ("execution_success", "execution_error"):
                return seen


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_length(own, tmp_path, monkeypatch):
    """The highest the server ever reached: 100 frames, and once more to be warm, then 400."""
    # glibc keeps an arena a thread and large blocks it has freed: up to 66 MiB more by chance.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(2**20))
    server, peaks = own(), []
    for number, count in enumerate((100, 100, 400)):
        pictures = pan(number, count, 1, 192, 112)  # 300 more would be 77 MB as floats
        clip = encode(tmp_path / f"{number}.mp4", pictures, audio=count / 10)
        entry = server.run(prompt(server.add_input(clip)), 300)
        assert report(entry).startswith(f"{count} frames")
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024)
    print(f"peak memory: {peaks[1]:.0f} MiB for 100 frames, {peaks[2]:.0f} MiB for 400")
    assert peaks[2] < 1.05 * peaks[1]
