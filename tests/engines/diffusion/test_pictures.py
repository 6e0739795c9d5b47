"""A picture in the place of words, by the built-in model."""

import copy
from dataclasses import replace

import pytest
import torch
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.engines.diffusion import DiffusionOptions
from style_a_video.pipelines.engines.diffusion.conditions import Text
from style_a_video.pipelines.engines.diffusion.engine import Diffusion
from style_a_video.pipelines.engines.style import Style, read_style_picture
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import style_projection
from style_a_video.weights.paintings import painting
from style_a_video.weights.perceptual_encoder import load_encoder
from style_a_video.weights.style_projection import load_style_projection

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loaded():
    return Diffusion(DiffusionOptions(), CPU, torch.float32)


@pytest.fixture(scope="module")
def photo():
    """(1,3,192,256): a real photo that scikit-image carries."""
    skimage = pytest.importorskip("skimage.data")
    image = torch.from_numpy(skimage.astronaut()[:384].copy()).permute(2, 0, 1)[None] / 255
    return torch.nn.functional.interpolate(image, (192, 256), mode="area")


def picture(name):
    return read_style_picture(painting(name).path)


NIGHT, SCREAM, WAVE = "Starry Night, Van Gogh", "The Scream, Munch", "The Great Wave, Hokusai"


def made(loaded, photo, style, **options):
    own = copy.copy(loaded)
    own.options = DiffusionOptions(**options)
    return own.engine(style)(photo, [0])


@pytest.mark.parametrize("name", [NIGHT, WAVE])
def test_the_result_is_nearer_to_the_picture(loaded, photo, name):
    encoder, one = load_encoder(), picture(name)
    result, wanted = made(loaded, photo, Style(pictures=(one,))), encoder(one.image[None])
    before, after = (style_distance(encoder(frame), wanted) for frame in (photo, result))
    assert after < 0.8 * before


def test_each_picture_brings_its_palette(loaded, photo):
    warmth = {}
    for name in (NIGHT, SCREAM):
        red, _, blue = made(loaded, photo, Style(pictures=(picture(name),)))[0].mean((1, 2))
        warmth[name] = float(red - blue)
    assert warmth[SCREAM] > warmth[NIGHT] + 0.15


def test_words_and_picture_count_by_the_picture_share(loaded, photo):
    by_picture, by_words = Style(pictures=(picture(NIGHT),)), Style("pencil sketch")
    both = replace(by_words, pictures=by_picture.pictures)
    torch.testing.assert_close(
        made(loaded, photo, both, picture_share=0.0), made(loaded, photo, by_words)
    )
    torch.testing.assert_close(
        made(loaded, photo, both, picture_share=1.0), made(loaded, photo, by_picture)
    )
    between = made(loaded, photo, both, picture_share=0.5)
    ends = [made(loaded, photo, style) for style in (by_words, by_picture)]
    assert all(0.01 < (between - end).abs().mean() for end in ends)


def test_a_mask_is_refused(loaded, photo):
    one = replace(picture(NIGHT), mask=torch.ones(1, 8, 8))
    with pytest.raises(
        StyleAVideoError, match="^The engine diffusion puts a picture's style on th"
    ):
        made(loaded, photo, Style(pictures=(one,)))


def test_another_model_is_refused(loaded, photo):
    with pytest.raises(
        StyleAVideoError, match="^The built-in model alone takes a picture in the p"
    ):
        made(loaded, photo, Style(pictures=(picture(NIGHT),)), model="another")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (Text(torch.zeros(3, 77, 128), torch.zeros(3, 128)), "prompt has 3 rows: give one, or one"),
        (Text(torch.zeros(1, 77, 64), torch.zeros(1, 128)), "prompt is an encoded text of 64 chan"),
        (Text(torch.zeros(1, 77, 128), None), "prompt is an encoded text of 128 channels without "),
    ],
)
def test_an_encoded_text_that_does_not_fit_is_refused(loaded, photo, text, message):
    with pytest.raises(StyleAVideoError, match=f"^{message}"):
        loaded.pipeline(photo.repeat(2, 1, 1, 1), text)


def test_a_text_with_pooled_text_and_one_without_are_not_mixed():
    plain = Text(torch.zeros(1, 77, 128), None)
    assert plain.lerp(plain, 0.5).pooled is None
    with pytest.raises(ValueError, match="one text is pooled"):
        plain.lerp(Text(torch.zeros(1, 77, 128), torch.zeros(1, 128)), 0.5)


def test_what_makes_a_pictures_text_decides_the_job(loaded, monkeypatch):
    before = copy.copy(loaded).weights
    changed = load_style_projection()
    changed.layers[0].bias += 1
    monkeypatch.setattr(style_projection, "load_style_projection", lambda: changed)
    again = copy.copy(loaded)
    again.__dict__.pop("weights", None)
    assert again.weights != before


def test_one_row_of_encoded_text_is_for_every_frame(loaded, photo):
    frames = photo.repeat(2, 1, 1, 1)
    text = loaded.pipeline.encode_prompt("ink wash")
    wanted = loaded.pipeline(frames, "ink wash").frames
    for rows in (text, text.rows(2, loaded.pipeline.unet.config)):
        torch.testing.assert_close(loaded.pipeline(frames, rows).frames, wanted)
