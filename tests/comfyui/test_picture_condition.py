"""Picture Condition: c_T from a picture, the same in both hosts."""

from __future__ import annotations

import pytest
import torch
from style_a_video.nodes.builtin_model import LoadBuiltInModel
from style_a_video.nodes.conditions import TextCondition
from style_a_video.nodes.engine import StylePictureNode
from style_a_video.nodes.picture_condition import PictureCondition
from style_a_video.nodes.stylize import Stylize
from style_a_video.pipelines.engines.diffusion import DiffusionOptions
from style_a_video.pipelines.engines.diffusion.engine import Diffusion
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError


@pytest.fixture(scope="module")
def clip():
    return LoadBuiltInModel.execute().args[1]


@pytest.fixture(scope="module")
def style():
    return StylePictureNode.execute(StylePictureNode.define_schema().inputs[0].default, 1.0).args[0]


def test_words_and_picture_are_those_of_the_pipeline(clip, style):
    words = TextCondition.execute(clip, "ink wash", True, 0)[0]
    ((hidden, extra),) = PictureCondition.execute(clip, style, words, 0.3)[0]
    options = DiffusionOptions(picture_share=0.3)
    loaded = Diffusion(options, torch.device("cpu"), torch.float32)
    known = loaded._text(Style("ink wash", pictures=style))
    torch.testing.assert_close(hidden, known.hidden, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(extra["pooled_output"], known.pooled, atol=1e-5, rtol=1e-4)


def test_an_image_is_a_picture(clip, style):
    image = style[0].image.movedim(0, -1)[None]
    a, b = (PictureCondition.execute(clip, given)[0][0][0] for given in (image, style))
    torch.testing.assert_close(a, b)


def test_words_and_picture_are_mixed_by_the_share(clip, style):
    words = TextCondition.execute(clip, "ink wash", True, 0)[0]
    alone = PictureCondition.execute(clip, style)[0]
    for share, known in ((0.0, words), (1.0, alone)):
        ((hidden, extra),) = PictureCondition.execute(clip, style, words, share)[0]
        torch.testing.assert_close(hidden, known[0][0])
        torch.testing.assert_close(extra["pooled_output"], known[0][1]["pooled_output"])


def test_words_that_change_over_frames_stay_one_a_frame(clip, style):
    words = TextCondition.execute(clip, '0: "ink wash", 4: "oil"', True, 5)[0]
    ((hidden, extra),) = PictureCondition.execute(clip, style, words, 0.5)[0]
    assert len(hidden) == len(extra["pooled_output"]) == 5
    assert not torch.equal(hidden[0], hidden[4])


def test_stylize_frames_takes_a_picture_as_the_pipeline_does(style):
    model, clip, vae, _ = LoadBuiltInModel.execute().args
    frames = torch.rand(2, 64, 96, 3, generator=torch.Generator().manual_seed(0))

    def made(words, **given):
        with torch.inference_mode():
            return Stylize.execute(
                model, clip, vae, frames, words, "", {"guidance": "model's own"}, 0, "euler",
                "simple", 5, **given,
            ).args[0]  # fmt: skip

    alone = made("ink wash", style=style)
    assert torch.equal(alone, made("comic", style=style))  # the prompt is left out
    mixed = made("ink wash", style=style, picture_share=0.3)
    loaded = Diffusion(
        DiffusionOptions(picture_share=0.3, seed=5), torch.device("cpu"), torch.float32
    )
    engine = loaded.engine(Style("ink wash", pictures=style))
    known = engine(frames.movedim(-1, 1), [0, 1]).movedim(1, -1)
    assert (mixed - known).abs().mean() < 1e-3 < (mixed - alone).abs().mean()


def test_what_it_cannot_take_is_refused(clip, style):
    from dataclasses import replace

    from style_a_video.nodes.learning import LearnedStyleNode

    def stylize(given):
        model, _, vae, _ = LoadBuiltInModel.execute().args
        return Stylize.execute(
            model, clip, vae, torch.zeros(1, 64, 64, 3), "", "", {"guidance": "model's own"}, 0,
            "euler", "simple", 0, style=given,
        )  # fmt: skip

    with pytest.raises(StyleAVideoError, match="^A picture .* is for the built-in model: connect "):
        PictureCondition.execute(object(), style)
    masked = tuple(replace(one, mask=torch.ones(1, 4, 4)) for one in style)
    with pytest.raises(StyleAVideoError, match="^A picture .* is for the whole frame: leave its "):
        PictureCondition.execute(clip, masked)
    with pytest.raises(StyleAVideoError, match="^A picture .* is for the whole frame: leave its "):
        stylize(masked)
    learned = LearnedStyleNode.execute("scream", 1.0).args[0]
    with pytest.raises(StyleAVideoError, match="^A learned style is no picture: connect it to Loa"):
        PictureCondition.execute(clip, learned)
    with pytest.raises(StyleAVideoError, match="^A learned style is no picture: connect it to Loa"):
        stylize(learned)
    foreign = [[torch.zeros(1, 77, 768), {"pooled_output": torch.zeros(1, 768)}]]
    with pytest.raises(StyleAVideoError, match="^The words must come from the CLIP of Load Built-"):
        PictureCondition.execute(clip, style, foreign)
