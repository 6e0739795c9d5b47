"""Learned styles as blocks: those that ship, and one learned from a picture, with Cancel."""

from __future__ import annotations

import comfy.model_management
import folder_paths
import pytest
import torch
from style_a_video.nodes import engine, learning
from style_a_video.pipelines.device import pick_dtype
from style_a_video.pipelines.engines.registry import kind_named
from style_a_video.pipelines.engines.style import Style, read_learned_style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import stylebank as weights

STEPS = 3


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """An empty folder models/stylebank, and no styles of the user's own elsewhere."""
    monkeypatch.setenv("STYLE_A_VIDEO_STYLES", str(tmp_path / "own"))
    folder = tmp_path / "models"
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, learning.FOLDER, ([str(folder)], set())
    )
    return folder


@pytest.fixture(scope="module")
def frames():
    """IMAGE (2,64,96,3)."""
    return torch.rand(2, 64, 96, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def painting():
    return engine.StylePictureNode.execute("Shipwreck, Turner", 1.0).args[1]


def learned(name, weight=1.0, **more):
    return learning.LearnedStyleNode.execute(name, weight, **more).args[0]


def learn(image, name="mine", steps=STEPS):
    with torch.inference_mode():  # as ComfyUI does
        return learning.LearnStyle.execute(image, name, steps).args[0]


def through(style, frames, **settings):
    with torch.inference_mode():
        loaded = engine.LoadEngine.execute(style, {"engine": "stylebank", **settings}).args[0]
        return engine.EngineFrames.execute(frames, loaded, 4).args[0]


def test_the_blocks_are_the_python_engine(frames):
    kind = kind_named("stylebank")
    loaded = kind.load(kind.options(), torch.device("cpu"), pick_dtype("auto", torch.device("cpu")))
    style = Style(learned=(read_learned_style("scream"), read_learned_style("great_wave", 2)))
    expected = loaded.engine(style)(frames.movedim(-1, 1), range(2)).movedim(1, -1)
    chain = learned("great_wave", 2.0, previous=learned("scream"))
    assert torch.equal(through(chain, frames), expected)


def test_a_mask_leaves_the_rest_alone(frames):
    mask = torch.zeros(1, 64, 96)
    mask[..., :48] = 1
    found = through(learned("scream", mask=mask), frames)
    assert torch.equal(found[:, :, 52:], frames[:, :, 52:])
    assert not torch.equal(found[:, :, :40], frames[:, :, :40])


def test_the_list_holds_what_ships_and_what_was_learned(painting):
    shipped = sorted(style.name for style in weights.BASE)
    names = learning.LearnedStyleNode.define_schema().inputs[0]
    assert names.options == shipped
    learn(painting, "own_one")
    assert learning.LearnedStyleNode.define_schema().inputs[0].options == ["own_one", *shipped]


def test_a_style_is_learned_saved_and_not_learned_again(painting, frames, models, monkeypatch):
    style = learn(painting)
    assert [path.name for path in models.iterdir()] == ["mine.safetensors"]
    assert torch.equal(style[0].filters, learned("mine")[0].filters)
    assert through(style, frames).shape == frames.shape
    monkeypatch.setattr(learning, "learner_of", lambda *_: pytest.fail("learned again"))
    assert torch.equal(learn(painting)[0].filters, style[0].filters)


def test_another_picture_needs_another_name(painting, models):
    learn(painting)
    before = (models / "mine.safetensors").read_bytes()
    for image, steps in ((painting.flip(1), STEPS), (painting, STEPS + 1)):
        with pytest.raises(StyleAVideoError) as refusal:
            learn(image, steps=steps)
        assert str(refusal.value) == (
            "There is another style mine already: choose another name, or delete mine.safetensors "
            "in models/stylebank."
        )
    assert (models / "mine.safetensors").read_bytes() == before


def test_cancelled_it_goes_on_where_it_was(painting, models, monkeypatch):
    straight = learn(painting, "straight")[0].filters
    calls = iter([None, None])

    def interrupted():
        if next(calls, "over"):
            raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(
        comfy.model_management, "throw_exception_if_processing_interrupted", interrupted
    )
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        learn(painting)
    assert not (models / "mine.safetensors").exists()
    monkeypatch.undo()
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, learning.FOLDER, ([str(models)], set())
    )
    steps = []
    once = learning.Learner.learn
    monkeypatch.setattr(learning.Learner, "learn", lambda one: steps.append(1) or once(one))
    assert torch.equal(learn(painting)[0].filters, straight)
    assert len(steps) == STEPS - 2
    assert not list(models.glob(".*"))


@pytest.mark.parametrize("name", ["", "../mine", "a/b", "a b", "x" * 65, "mine.safetensors"])
def test_a_name_is_a_name(painting, models, name):
    with pytest.raises(StyleAVideoError, match="must be 1 to 64 letters, digits, _ or -, not"):
        learn(painting, name)
    assert not models.exists()


def test_one_picture_is_learned_from(painting):
    with pytest.raises(StyleAVideoError, match="learns from one picture, and there are 2"):
        learn(painting.repeat(2, 1, 1, 1))


def test_pictures_and_learned_styles_do_not_mix(painting):
    both = engine.StylePictureNode.execute(
        "Shipwreck, Turner", 1.0, previous=learned("scream")
    ).args[0]
    with pytest.raises(StyleAVideoError, match="of pictures or of learned styles, not of both"):
        engine.LoadEngine.execute(both, {"engine": "stylebank"})
    with pytest.raises(StyleAVideoError, match="sctnet takes pictures, no learned styles"):
        engine.LoadEngine.execute(learned("scream"), {"engine": "sctnet"})
