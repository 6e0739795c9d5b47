"""Keyframes in the blocks: which frames the engine is asked for, and what becomes of the rest."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from style_a_video.nodes import engine, stream
from style_a_video.pipelines.refine.keyframes import Keyframes

COUNT = 10
clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "clips.py")))


@pytest.fixture(scope="module")
def pictures():
    """A camera that goes right by 1 px a frame, as RGB pictures."""
    return clips.pan(0, COUNT, 1, 96, 64)


class Invert:
    """An engine that remembers what it was asked for."""

    def __init__(self):
        self.asked, self.last = [], None

    def __call__(self, frames, frame_indices):
        self.asked += frame_indices
        return 1 - frames


def test_stylize_frames_asks_for_keyframes_alone(pictures):
    frames, asked = torch.from_numpy(np.stack(pictures)) / 255, Invert()
    loaded = SimpleNamespace(engine=lambda: asked)
    with torch.inference_mode():
        made = engine.EngineFrames.execute(frames, loaded, 4, 4).args[0]
    assert asked.asked == [0, 3, 6, 9]
    assert made.shape == frames.shape and made.dtype == torch.float32
    assert (made - (1 - frames))[:, :, 12:-12].abs().mean() < 0.02
    every = Invert()
    with torch.inference_mode():
        engine.EngineFrames.execute(frames, SimpleNamespace(engine=lambda: every), 4)
    assert every.asked == list(range(COUNT))  # a graph without the widget is as it was


def test_stylize_video_says_how_many_were_keyframes(pictures, tmp_path, monkeypatch):
    for name in ("temp", "output"):
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    clip = InputImpl.VideoFromFile(str(clips.encode(tmp_path / "in.mp4", pictures)))
    asked = Invert()
    with torch.inference_mode():
        _, said = stream.stylized_video(clip, asked, "a graph", 96, 4, None, keyframes=Keyframes(4))
    assert re.search(rf"^{COUNT} frames of 96x64 in ", said)
    assert "\n4 of them were keyframes" in said and asked.asked == [0, 3, 6, 9]
