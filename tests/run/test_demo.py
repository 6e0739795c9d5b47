"""The demo's own clip, and its pictures side by side."""

import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import probe, read_frames
from style_a_video.pipelines.run import demo

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


@pytest.fixture
def clip(tmp_path):
    return clips.encode(tmp_path / "in.mp4", clips.ramp(6), audio=0.6)


def test_a_label_may_be_higher_than_its_picture():
    show = demo.montage([lambda frames, indices: 1 - frames], ["oil"])
    assert show(torch.zeros(2, 3, 16, 20), [0, 1]).shape == (2, 3, 16, 40)


def test_a_demo_folder_that_cannot_be_made(clip, tmp_path):
    with pytest.raises(StyleAVideoError, match="in.mp4 cannot be made .*: choose another"):
        demo.run(None, [Style("oil")], clip / "demo", clip)


def test_the_demo_has_a_clip_of_its_own(tmp_path):
    pytest.importorskip("skimage")
    path = demo.film(tmp_path / "clip.mp4", frames=2)
    info = probe(path)
    assert (info.width, info.height, info.frames) == (*demo.SIZE, 2 * len(demo.SHOTS))
    frames = [frame.image for frame in read_frames(path)]
    moved = [(b - a).abs().mean() for a, b in zip(frames[::2], frames[1::2], strict=True)]
    assert min(moved) > 0.01  # the camera moves within every shot


def test_the_demo_without_photos_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(StyleAVideoError, match="pip install scikit-image"):
        demo.film(tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []
