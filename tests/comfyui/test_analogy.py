"""Deep Image Analogy as a block: two pictures in each other's look, and where they have little in
common.
"""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from style_a_video.nodes import analogy, engine
from style_a_video.pipelines.core import analogy as core
from style_a_video.pipelines.engines.analogy import KIND, AnalogyOptions
from style_a_video.pipelines.errors import StyleAVideoError

SIZE = 96


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Small pictures need fewer iterations."""
    monkeypatch.setattr(core, "analogy", partial(core.analogy, iterations=2))


@pytest.fixture(scope="module")
def painting():
    return engine.StylePictureNode.execute("Shipwreck, Turner", 1.0).args[1]


def found(a, b, content=2, colours_only=False, size=SIZE, reconstruct="warp"):
    with torch.inference_mode():  # as ComfyUI does
        return analogy.DeepImageAnalogy.execute(a, b, content, colours_only, size, reconstruct)


def test_each_gets_the_look_of_the_other(painting):
    recoloured = painting.flip(-1)
    a_like_b, b_like_a, confidence, field = found(painting, recoloured, content=3).args
    small, other = (engine.pictures_of(x)[0].image for x in (painting, recoloured))
    height, width = a_like_b.shape[1:3]
    assert (max(height, width), a_like_b.shape) == (SIZE, b_like_a.shape)
    assert confidence.shape == (1, height, width) and field.shape == (1, height, width, 3)
    for result, wanted in ((a_like_b, other), (b_like_a, small)):
        means = result.mean((0, 1, 2)), wanted.mean((1, 2))
        torch.testing.assert_close(*means, atol=0.02, rtol=0)
    assert confidence.mean() > 0.9 and 0 <= confidence.min() <= confidence.max() <= 1
    assert field.mean() > 0.7  # it matches itself, hardly anything moves


def test_it_is_the_engine_s_own_analogy(painting):
    a = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))
    loaded = KIND.load(AnalogyOptions(style_size=SIZE), torch.device("cpu"), torch.float32)
    pair = loaded.pair(*(engine.pictures_of(x)[0] for x in (a, painting)))
    results = found(a, painting).args
    assert torch.equal(results[0][0], pair.a_prime.movedim(0, -1))
    assert torch.equal(results[1][0], pair.b.movedim(0, -1))


def test_it_may_be_optimised_inside_inference_mode(painting):
    warped, optimised = (
        found(painting, painting.flip(2), size=64, reconstruct=way).args[0]
        for way in ("warp", "lbfgs")
    )
    assert optimised.isfinite().all() and not torch.equal(warped, optimised)


def test_the_block_says_how_many_patches_found_a_match(painting, caplog):
    (text,) = found(painting, painting).ui.as_dict()["text"]
    assert text.endswith(" of the patches found a match.") and not caplog.messages
    with caplog.at_level(logging.WARNING):
        (text,) = found(torch.rand(1, 64, 96, 3), painting).ui.as_dict()["text"]
    assert text.startswith("Too little in common: only ")
    assert caplog.messages == [text]


def test_it_takes_one_picture_of_each(painting):
    for pair in ((painting.repeat(2, 1, 1, 1), painting), (painting, painting.repeat(3, 1, 1, 1))):
        with pytest.raises(StyleAVideoError, match="takes one picture as [AB], and there are [23]"):
            found(*pair)


def test_cancel_ends_it_between_levels(painting, monkeypatch):
    import comfy.model_management as management

    def interrupted():
        raise management.InterruptProcessingException

    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", interrupted)
    with pytest.raises(management.InterruptProcessingException):
        found(painting, painting)


def test_a_real_server_makes_it_and_shows_it_on_the_block(server):
    """Through a socket, as a browser hears it."""
    pictures = {
        str(k): {
            "class_type": "StyleAVideoStylePicture",
            "inputs": {"painting": name, "weight": 1.0},
        }
        for k, name in enumerate(("Orange Hallway, photo", "The Scream, Munch"))
    }
    pair = {
        "class_type": "StyleAVideoDeepImageAnalogy",
        "inputs": {
            "image_a": ["0", 1],
            "image_b": ["1", 1],
            "content": 2,
            "colours_only": False,
            "size": SIZE,
            "reconstruct": "warp",
        },
    }
    shown = {
        str(3 + k): {"class_type": kind, "inputs": {name: ["2", k]}}
        for k, (kind, name) in enumerate(
            [("PreviewImage", "images")] * 2 + [("MaskPreview", "mask"), ("PreviewImage", "images")]
        )
    }
    entry = server.run(pictures | {"2": pair} | shown)
    assert [len(entry["outputs"][key]["images"]) for key in shown] == [1] * 4
    assert "of the patches found a match" in entry["outputs"]["2"]["text"][0]
