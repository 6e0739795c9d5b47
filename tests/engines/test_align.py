"""--align: the engines edit and comfyui put each frame back where its source has it."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines.engines import edit
from style_a_video.pipelines.engines.comfyui import ComfyUIOptions
from style_a_video.pipelines.engines.comfyui.engine import ComfyUI
from style_a_video.pipelines.engines.style import Style

moved = run_path(str(Path(__file__).parents[1] / "core" / "test_alignment.py"))["moved"]
pan = run_path(str(Path(__file__).parents[1] / "clips.py"))["pan"]
MOVES = [(1.05, 6.0, -3.0), (0.97, -4.0, 2.0)]


@pytest.fixture(scope="module")
def frames():
    pictures = [torch.from_numpy(p) for p in pan(1, 2, 2, 256, 160)]
    return torch.stack(pictures).movedim(-1, 1).float() / 255


def moving(given):
    """What a model does to them."""
    return torch.stack([moved(f, *m) for f, m in zip(given, MOVES, strict=True)])


def edited(align):
    """The engine edit over a model that moves its frames."""
    engine = edit.Edit.__new__(edit.Edit)
    engine.options, turn = edit.EditOptions(align=align), iter(MOVES)
    engine.pipeline, engine.kind = None, SimpleNamespace(words=lambda pipeline, text: {})
    engine._stylize = lambda frame, words: moved(frame[0], *next(turn))[None]
    return engine.engine(Style("a"))


def served(align):
    """The engine comfyui over a server that does."""
    engine = ComfyUI.__new__(ComfyUI)
    engine.options = ComfyUIOptions(workflow="a.json", align=align)
    engine.servers, engine.workflow = [None], SimpleNamespace(takes_video=False)
    engine._all = lambda groups: moving(torch.cat(groups))
    return engine.stylize


@pytest.mark.parametrize("make", [edited, served])
def test_frames_are_back_in_place(frames, make):
    def off(made):
        return (made - frames)[..., 24:-24, 24:-24].abs().mean((1, 2, 3))

    as_made, in_place = make(False)(frames, range(2)), make(True)(frames, range(2))
    torch.testing.assert_close(as_made, moving(frames))
    assert (off(in_place) < 0.25 * off(as_made)).all()
