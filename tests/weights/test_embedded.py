"""The built-in model does what its card says."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines.cli.words import WORDS
from style_a_video.pipelines.engines.diffusion import DiffusionOptions
from style_a_video.pipelines.engines.diffusion.engine import Diffusion, refuse_without_style
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.run.demo import PROMPTS
from style_a_video.training import architecture
from style_a_video.weights import styles
from style_a_video.weights.loading import load

# Written after training, in words that training/captions.py does not put together.
WORDINGS = {
    "a hasty graphite portrait of my grandmother": "pencil sketch",
    "rough pencil lines on paper": "pencil sketch",
    "watercolor bird on a branch": "watercolour",
    "日落时分的水彩": "watercolour",
    "oil-painted castle": "oil painting",
    "rich oils, rembrandt light": "oil painting",
    "saturday morning cartoon": "comic book",
    "superhero comic panel": "comic book",
    "an old newspaper photo made of dots": "halftone print",
    "black ink brush painting of bamboo": "ink wash",
    "竹子水墨": "ink wash",
    "glowing neon outlines of a motorcycle": "neon lights",
    "霓虹灯下的女孩": "neon lights",
    "hiroshige bridge in the rain": "ukiyo-e",
    "浮世绘海浪": "ukiyo-e",
    "retro 8-bit game level": "pixel art",
    "像素小人": "pixel art",
    "blueprint of a steam engine": "blueprint",
    "warhol soup can": "pop art",
    "starry night over my town": "Van Gogh",
    "梵高向日葵": "Van Gogh",
    "munch style bridge": "Munch",
    "monet lilies at dawn": "Monet",
    "莫奈日出": "Monet",
    "kandinsky circles": "Kandinsky",
    "康定斯基的音乐": "Kandinsky",
    "gold leaf cranes": "Sakai Hoitsu",
    "琳派屏风上的鹤": "Sakai Hoitsu",
    "mondrian tree": "Mondrian",
    "蒙德里安的格子": "Mondrian",
}


@pytest.fixture(scope="module")
def pipeline():
    model = load("embedded")
    model.set_progress_bar_config(disable=True)
    return model


@pytest.fixture(scope="module")
def photo():
    """(1,3,192,256): a real photo that scikit-image carries."""
    skimage = pytest.importorskip("skimage.data")
    image = torch.from_numpy(skimage.astronaut()[:384].copy()).permute(2, 0, 1)[None] / 255
    return torch.nn.functional.interpolate(image, (192, 256), mode="area")


def stylized(pipeline, photo, prompt, **settings):
    return pipeline(photo, prompt, **settings).frames[0]


def chroma(frame):
    return (frame.amax(0) - frame.amin(0)).mean()


def test_unseen_wordings_land_on_their_style(pipeline):
    missed = [
        (wording, near)
        for wording, style in WORDINGS.items()
        if (near := styles.nearest(wording, pipeline, 1)[0])[0] != style
    ]
    assert len(missed) <= 2, missed


def test_every_style_knows_its_own_names(pipeline):
    for style in [*styles.styles(), *styles.words()]:
        for name in (style.name, style.chinese):
            assert styles.nearest(name, pipeline, 1)[0][0] == style.name
            assert styles.is_known(name, pipeline)


@pytest.mark.parametrize(
    "prompt, said",
    [
        ("turn it into an Oil painting", []),
        ("画成水彩", []),
        ("anime girl", ["The built-in model takes 'anime girl' for comic book."]),
    ],
)
def test_a_style_that_is_not_named_is_told(pipeline, prompt, said):
    shown = SimpleNamespace(options=DiffusionOptions(), pipeline=pipeline)
    assert Diffusion.remarks(shown, Style(prompt)) == said


@pytest.mark.parametrize(
    "prompt, name, named",
    [
        ("surrealism", "realism", False),
        ("realism, a street", "realism", True),
        ("william turner", "William Morris", False),
        ("a glass of water", "stained glass", False),
        ("画成莫奈那样", "Monet", True),
        ("Monet风格", "Monet", True),
    ],
)
def test_a_prompt_names_a_style_by_a_whole_word(prompt, name, named):
    assert styles.is_named(name, prompt) == named


def test_words_learned_from_pictures_take_hardly_a_style_away(pipeline):
    learned = {word.name for word in styles.words()}
    near = [styles.nearest(wording, pipeline, 1)[0][0] for wording in WORDINGS]
    assert sum(name in learned for name in near) <= 1


@pytest.mark.parametrize(
    "around",
    [
        "{}, a ship in a storm, 8k, highly detailed, trending on artstation",
        "masterpiece, best quality, a girl under a cherry tree, {}, soft lighting",
        "(masterpiece:1.2), city street at night, ({}:1.1), intricate details",
        "杰作，最高质量，{}，竹林中的熊猫，超高清",
    ],
)
def test_scenes_and_words_of_quality_around_a_style_change_little(pipeline, around):
    chinese = not around.isascii()
    prompts = {
        around.format(style.chinese if chinese else style.name): style.name
        for style in styles.styles()
    }
    missed = [p for p, name in prompts.items() if styles.nearest(p, pipeline, 1)[0][0] != name]
    assert len(missed) <= 1, missed


@pytest.mark.parametrize(
    "prompt",
    [
        *("turn the man into a robot", "a dog", "quantum mechanics"),
        *("a ship in a storm, 8k, highly detailed", "best quality, 4k, no flicker"),
    ],
)
def test_words_without_a_style_are_refused_unless_anyway(pipeline, prompt):
    said = (
        f"The built-in model changes the style, not what is in the picture, and knows no style in "
        f"'{prompt}': name one (pencil sketch, watercolour, "
    )
    with pytest.raises(StyleAVideoError) as error:
        refuse_without_style(prompt, DiffusionOptions(), pipeline)
    assert str(error.value).startswith(said)
    assert error.value.worded(WORDS).endswith("or go on with --anyway.")
    refuse_without_style(prompt, DiffusionOptions(anyway=True), pipeline)
    refuse_without_style(prompt, DiffusionOptions(model="some/checkpoint"), pipeline)


def test_a_style_too_far_on_is_told(pipeline):
    scene = "a young woman with a small brown dog in a crowded medieval market, " * 4
    with pytest.raises(StyleAVideoError) as error:
        refuse_without_style(scene + "painted in watercolour", DiffusionOptions(), pipeline)
    said = error.value.worded(WORDS)
    assert said.startswith(
        "The built-in model takes the style from the first 75 tokens of a prompt, about twenty "
        "words, not from '"
    )
    assert said.endswith(
        "painted in watercolour', and knows none in them: name the style first, or go on with "
        "--anyway."
    )
    refuse_without_style("watercolour, " + scene, DiffusionOptions(), pipeline)


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("watercolr", "watercolour"),
        ("a waterclour in the manner of nobody", "watercolour"),
        ("a Carravagio portrait", "Caravaggio"),
        ("kandinski", "Kandinsky"),
        ("watercolour", None),
        ("oil paintng", None),  # "oil" names it already
        ("Van Goh", None),
        ("money", None),
        ("cave paintings", None),
        ("水彩", None),
        ("", None),
    ],
)
def test_misspelt_names_are_noticed(prompt, meant):
    assert styles.nearly_named(prompt) == meant


def test_what_is_misspelt_becomes_no_other_style(pipeline):
    with pytest.raises(StyleAVideoError) as error:
        refuse_without_style("watercolr", DiffusionOptions(), pipeline)
    assert error.value.worded(WORDS) == (
        "The built-in model would take 'watercolr' for another style than 'watercolour': correct "
        "the spelling if that is meant, or go on with --anyway."
    )
    refuse_without_style("watercolr", DiffusionOptions(anyway=True), pipeline)
    refuse_without_style("a watercolor", DiffusionOptions(), pipeline)  # which it knows


@pytest.mark.parametrize("prompt", ["quantum mechanics lecture", "zzkw qrrt", "银行账单"])
def test_going_on_without_a_style_is_told(pipeline, prompt):
    refused = SimpleNamespace(options=DiffusionOptions(), pipeline=pipeline)
    assert Diffusion.remarks(refused, Style(prompt)) == []
    anyway = SimpleNamespace(options=DiffusionOptions(anyway=True), pipeline=pipeline)
    assert Diffusion.remarks(anyway, Style(prompt)) == [
        f"The built-in model knows no style in {prompt!r}: little will change."
    ]


@pytest.mark.parametrize(
    "prompt", ["a ship in a storm, 8k, highly detailed", "turn the man into a robot", "杰作，高清"]
)
def test_words_without_a_style_keep_the_photo(pipeline, photo, prompt):
    unstyled, styled, kept = (
        stylized(pipeline, photo, p) for p in (prompt, "oil painting", "photo")
    )
    assert (unstyled - kept).abs().mean() < 0.02
    assert (unstyled - photo[0]).abs().mean() < 0.6 * (styled - photo[0]).abs().mean()


def test_the_demo_shows_styles_of_the_model():
    assert set(PROMPTS) <= {style.name for style in styles.styles()}


@pytest.mark.parametrize(
    "prompt, pair",
    [
        ("half watercolour, half ink", {"watercolour", "ink wash"}),
        ("一半水彩一半水墨", {"watercolour", "ink wash"}),
        ("neon and blueprint", {"neon lights", "blueprint"}),
    ],
)
def test_a_mixture_is_near_both(pipeline, prompt, pair):
    taught = {style.name for style in styles.styles()}
    near = [name for name, _ in styles.nearest(prompt, pipeline, 5) if name in taught]
    assert set(near[:2]) == pair


def test_text_scale_is_the_strength_and_zero_keeps_the_frame(pipeline, photo):
    change = [
        float((stylized(pipeline, photo, "ink wash", text_scale=s) - photo[0]).abs().mean())
        for s in (0.0, 0.5, 1.0)
    ]
    assert change[0] < change[1] < change[2]
    assert change[0] < change[2] / 3


def test_techniques_look_like_themselves(pipeline, photo):
    pencil = stylized(pipeline, photo, "pencil sketch")
    assert chroma(pencil) < 0.06 < chroma(photo[0])
    assert pencil.mean() > photo.mean() + 0.1
    neon = stylized(pipeline, photo, "neon lights")
    assert neon.median() < photo.median() - 0.1 and chroma(neon) > 2 * chroma(pencil)
    red, _, blue = stylized(pipeline, photo, "blueprint").mean((1, 2))
    assert blue > red + 0.2
    halftone = stylized(pipeline, photo, "halftone print").mean(0)
    assert ((halftone < 0.25) | (halftone > 0.75)).float().mean() > 0.6
    blocks = stylized(pipeline, photo, "pixel art")
    inside = (blocks[..., 3::8] - blocks[..., 4::8]).abs().mean()
    across = (blocks[..., 7:-1:8] - blocks[..., 8::8]).abs().mean()
    assert across > 4 * inside


def test_painters_bring_their_palette(pipeline, photo):
    munch = stylized(pipeline, photo, "Munch").mean((1, 2))
    hoitsu = stylized(pipeline, photo, "Sakai Hoitsu").mean((1, 2))
    assert munch[0] > munch[2] + 0.1
    assert hoitsu[0] > hoitsu[2] + 0.2
    mondrian = stylized(pipeline, photo, "Mondrian")
    inside = (mondrian[..., 7::16] - mondrian[..., 8::16]).abs().mean()
    across = (mondrian[..., 12:-5:16] - mondrian[..., 16::16]).abs().mean()
    assert across > 3 * inside
    red, green, blue = stylized(pipeline, photo, "Van Gogh")
    assert ((red + green) / 2 - blue).std() > 2 * (red - green).std()  # blue against yellow
    red, green, blue = photo[0]
    assert ((red + green) / 2 - blue).std() < (red - green).std()


def test_same_seed_same_pixels_and_chunks_do_not_matter(pipeline, photo):
    frames = torch.cat([photo, photo.flip(-1), photo.flip(-2)])
    whole = pipeline(frames, "watercolour", attention_scale=0.2, seed=3).frames
    assert torch.equal(whole, pipeline(frames, "watercolour", attention_scale=0.2, seed=3).frames)
    chunked = pipeline(frames, "watercolour", attention_scale=0.2, seed=3, chunk_size=1).frames
    assert (whole - chunked).abs().max() < 1 / 255


def test_the_defaults_are_those_that_training_exports():
    shipped = json.loads((styles.EMBEDDED / "model_index.json").read_text())["defaults"]
    assert shipped == architecture.DEFAULTS
