"""Painted Keyframes: pictures of the user's own, carried along; the same as the command line's."""

from __future__ import annotations

import runpy
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from PIL import Image
from style_a_video.nodes import engine, painted, stream
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import WHOLE, probe
from style_a_video.pipelines.run.painted import read_painted
from style_a_video.pipelines.run.stylize import stylize_video

pytestmark = pytest.mark.usefixtures("folders")

clips = runpy.run_path(str(Path(__file__).parents[1] / "clips.py"))
SIZE, SHOTS = (96, 64), (10, 8)  # px; frames of each
PAINTED = (2, 9, 14)


@pytest.fixture(scope="module")
def pictures():
    """A clip of two shots, as RGB pictures."""
    return [p for n, count in enumerate(SHOTS) for p in clips["pan"](n, count, 2, *SIZE)]


@pytest.fixture(scope="module")
def frames(pictures):
    return torch.from_numpy(np.stack(pictures)) / 255


def by_hand(frames, numbers=PAINTED):
    """ENGINE of these frames, inverted."""
    images = torch.stack([1 - frames[i] for i in numbers])
    return painted.PaintedKeyframes.execute(images, ", ".join(map(str, numbers))).args[0]


def through(frames, given, **more):
    with torch.inference_mode():
        return engine.EngineFrames.execute(frames, given, 4, **more).args[0]


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_frames_between_are_carried_and_painted_ones_stay(frames):
    made = through(frames, by_hand(frames))
    assert made.shape == frames.shape
    for n, (one, frame) in enumerate(zip(made, frames, strict=True)):
        gap = (one - (1 - frame))[:, 12:-12].abs()
        assert gap.max() < 1e-6 if n in PAINTED else gap.mean() < 0.02


def test_stylize_video_is_the_command_s_run(pictures, frames, tmp_path):
    """The same pictures by number, in a folder for one and a batch for the other."""
    clip, folder = clips["encode"](tmp_path / "in.mp4", pictures), tmp_path / "painted"
    folder.mkdir()
    for i in PAINTED:
        Image.fromarray(255 - pictures[i]).save(folder / f"{i:04d}.png")
    read = read_painted(folder, probe(clip), WHOLE)
    wanted = stylize_video(
        clip, tmp_path / "out.mp4", read, size=SIZE, chunk_size=4, keyframes=read.keyframes
    )
    given = by_hand(frames)
    with torch.inference_mode():
        video, said = stream.stylized_video(
            InputImpl.VideoFromFile(str(clip)),
            given.engine(),
            "a graph",
            96,
            4,
            None,
            keyframes=engine.keyframes_of(given, 1),
        )
    assert "\n3 of them were keyframes" in said
    assert np.array_equal(decoded(video.get_stream_source()), decoded(wanted.target))


def test_what_is_painted_decides_the_job(frames):
    first = by_hand(frames).identity
    assert by_hand(frames).identity == first
    assert by_hand(frames, (3, 9, 14)).identity != first
    assert by_hand(frames * 0.9).identity != first


@pytest.mark.parametrize(
    ("words", "numbers"), [("0", [0]), (" 0, 40 80;120\n", [0, 40, 80, 120]), ("7,", [7])]
)
def test_numbers_are_read(words, numbers):
    assert painted.numbers_in(words) == numbers


def picture(*, count=1, size=(64, 96)):
    return torch.zeros(count, *size, 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda f: painted.PaintedKeyframes.execute(picture(), "first"),
         "^'first' are no numbers of frames: write them as 0, 40, 80.$"),
        (lambda f: painted.PaintedKeyframes.execute(picture(), ""), "^'' are no numbers of"),
        (lambda f: painted.PaintedKeyframes.execute(picture(count=3), "0, 4"),
         "^There are 3 painted pictures and 2 numbers of frames: give the number of its frame"),
        (lambda f: painted.PaintedKeyframes.execute(picture(count=2), "4, 4"),
         "^Frame 4 cannot be painted twice"),
        (lambda f: through(f, painted.PaintedKeyframes.execute(picture(size=(64, 64)), "0")[0]),
         "^The painted picture of frame 0 is 64x64, and the frames are 96x64: paint on"),
        (lambda f: through(f, by_hand(f, (2,))),
         "^The shot of frames 10 to 17 has no painted keyframe"),
        (lambda f: through(f[:10], by_hand(f, (2, 14))),
         "^Frame 14 is painted, and there are frames 0 to 9"),
        (lambda f: through(f, by_hand(f), keyframes=8),
         "^Painted Keyframes says which frames are keyframes: set keyframes to 1.$"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(given, words, frames):
    with pytest.raises(StyleAVideoError, match=words):
        given(frames)


def test_a_server_carries_painted_frames(server, pictures, tmp_path):
    """From a clip and pictures in ComfyUI's input folder to a video in its output folder."""
    name = server.add_input(clips["encode"](tmp_path / "pan.mp4", pictures))
    nodes = {
        "clip": ("LoadVideo", {"file": name}),
        "batch": ("ImageBatch", {"image1": ["9", 0], "image2": ["14", 0]}),
        "painted": ("StyleAVideoPaintedKeyframes", {"images": ["batch", 0], "frames": "9, 14"}),
        "made": (
            "StyleAVideoStylizeVideo",
            {"video": ["clip", 0], "engine": ["painted", 0], "start_from": "noise", "max_side": 96,
             "frames_per_batch": 4, "refine": 0.0, "keyframes": 1},
        ),
        "save": ("SaveVideo", {"video": ["made", 0], "filename_prefix": "painted",
                               "format": "auto", "codec": "auto"}),
    }  # fmt: skip
    for i in (9, 14):
        Image.fromarray(255 - pictures[i]).save(server.folder / "input" / f"{i}.png")
        nodes[str(i)] = ("LoadImage", {"image": f"{i}.png"})
    prompt = {key: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()}
    (made,) = server.files(server.run(prompt))
    gap = np.abs(decoded(made).astype(float) - (255 - np.stack(pictures)))
    assert gap[:, :, 20:-20].mean() < 8
    prompt["painted"]["inputs"]["frames"] = "9"
    with pytest.raises(RuntimeError, match="There are 2 painted pictures and 1 numbers"):
        server.run(prompt)
