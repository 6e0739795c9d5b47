"""Styles in words and pictures: what they are made of, and which are refused, in which words."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from style_a_video.pipelines.engines import style as styles
from style_a_video.pipelines.engines.style import (
    Style,
    StylePicture,
    parse_picture,
    read_pictures,
    read_style_picture,
)
from style_a_video.pipelines.errors import StyleAVideoError


def picture(value=0.5, weight=1.0, mask=None, name="painting.jpg", side=16):
    return StylePicture(torch.full((3, side, side), value), weight, mask, name)


def refused(make):
    """The sentence that it is refused in."""
    with pytest.raises(StyleAVideoError) as refusal:
        make()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# pictures


@pytest.mark.parametrize("weight", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_a_weight_is_a_number_from_0_on(weight):
    assert refused(lambda: picture(weight=weight)) == (
        f"The weight of the style picture painting.jpg must be 0 or more, not {weight:g}."
    )


@pytest.mark.parametrize("shape", [(1, 16, 16), (4, 16, 16), (16, 16), (1, 3, 16, 16)])
def test_a_picture_is_three_planes(shape):
    assert refused(lambda: StylePicture(torch.zeros(shape))) == (
        f"The style picture picture must have the shape (3,H,W), not {shape}."
    )


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 64), (64, 15), (16385, 16)])
def test_a_picture_has_a_size_that_shows_something(width, height):
    assert refused(lambda: StylePicture(torch.zeros(1).expand(3, height, width))) == (
        f"The style picture picture is {width}x{height}: give one with sides of 16 to 16,384 px."
    )


def test_what_decides_the_pixels_is_the_identity():
    mask = torch.zeros(1, 8, 8)
    same, *others = [
        picture(),
        picture(0.25),
        picture(weight=2),
        picture(mask=mask),
        picture(mask=mask + 1),
        picture(side=17),
    ]
    assert same.identity == picture(name="another.png").identity
    keys = [Style("", (one,)).key for one in (same, *others)]
    assert len(set(keys)) == len(keys)
    assert Style("", (same,)).told == {"called": "painting", **Style("", (same,)).identity}
    reshaped = StylePicture(torch.zeros(3, 16, 32)), StylePicture(torch.zeros(3, 32, 16))
    assert reshaped[0].identity != reshaped[1].identity


# styles


def test_a_style_is_of_something():
    assert Style().is_empty and not Style("oil").is_empty
    assert refused(lambda: Style("", (picture(weight=0), picture(weight=0)))) == (
        "The weights of the style pictures are all 0."
    )
    assert refused(lambda: Style("", (picture(),) * 17)) == (
        "A style has at most 16 pictures, not 17."
    )
    assert len(Style("", (picture(),) * 16).pictures) == 16


def test_shares_are_of_the_weights():
    pictures = tuple(picture(weight=weight) for weight in (1, 3, 0))
    assert Style("", pictures).shares == [0.25, 0.75, 0.0]
    assert Style("oil").shares == []


def test_a_style_is_called_by_its_words_or_its_files():
    assert Style("oil", (picture(name="wave.jpg"),)).words == "oil + wave"
    assert Style("oil").words == "oil"
    assert Style("", (picture(name="a/wave.jpg"), picture(name="night.png"))).words == (
        "wave + night"
    )


def test_equal_styles_have_equal_keys():
    assert Style("oil").key == Style("oil").key != Style("ink").key
    assert Style("oil", (picture(),)).key != Style("oil").key
    a, b = picture(0.1), picture(0.9)
    assert Style("", (a, b)).key != Style("", (b, a)).key


# files


@pytest.fixture
def saved(tmp_path):
    def save(image, name, **options):
        path = tmp_path / name
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
        return path

    return save


def test_a_large_picture_is_shown_small(saved):
    path = saved(Image.new("RGB", (4000, 1000), (255, 128, 0)), "wide.png")
    read = read_style_picture(path, 2)
    assert read.image.shape == (3, 256, 1024) and (read.weight, read.name) == (2, "wide.png")
    assert (read.image[:, 0, 0] * 255).round().tolist() == [255, 128, 0]


def test_a_strip_keeps_a_side_that_can_be_used(saved):
    assert read_style_picture(saved(Image.new("L", (16000, 20)), "strip.png")).image.shape[1] == 16
    assert read_style_picture(saved(Image.new("L", (16, 16384)), "s.png")).image.shape == (
        3,
        16384,
        16,
    )


def test_a_mask_is_where_it_is_white(saved):
    mask = np.zeros((32, 64), np.uint8)
    mask[:, 32:] = 255
    paths = saved(Image.new("RGB", (32, 32)), "p.png"), saved(mask, "mask.png")
    region = read_style_picture(paths[0], mask=paths[1]).mask
    assert region.shape == (1, 32, 64)
    assert region[..., :32].max() == 0 and region[..., 32:].min() == 1


def test_masks_are_one_for_each_picture(saved):
    path = saved(Image.new("RGB", (32, 32)), "p.png")
    assert refused(lambda: read_pictures([(path, 1.0)] * 2, [path])) == (
        "There are 1 masks for 2 style pictures: give one for each."
    )
    assert refused(lambda: read_pictures([(path, 1.0)], [path] * 3)) == (
        "There are 3 masks for 1 style pictures: give one for each."
    )
    both = read_pictures([(path, 1.0), (path, 0.5)], [path, path])
    assert [one.weight for one in both] == [1, 0.5] and all(one.mask is not None for one in both)
    assert [one.mask for one in read_pictures([(path, 1.0)])] == [None]


@pytest.mark.parametrize(
    ("text", "path", "weight"),
    [
        ("wave.jpg", "wave.jpg", 1.0),
        ("wave.jpg:2", "wave.jpg", 2.0),
        ("wave.jpg:0.25", "wave.jpg", 0.25),
        ("a:b/wave.jpg", "a:b/wave.jpg", 1.0),
        ("a:b/wave.jpg:3", "a:b/wave.jpg", 3.0),
        ("wave:1.jpg", "wave:1.jpg", 1.0),
        ("C:wave.jpg", "C:wave.jpg", 1.0),
        ("wave.jpg:-1", "wave.jpg", -1.0),  # refused where the picture is made
    ],
)
def test_a_path_and_its_weight(text, path, weight):
    assert parse_picture(text) == (styles.Path(path), weight)


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wave:2").touch()
    assert parse_picture("wave:2") == (styles.Path("wave:2"), 1.0)


@pytest.mark.parametrize("weight", ["heavy", "", "1,5"])
def test_a_weight_in_words_is_refused(weight):
    assert refused(lambda: parse_picture(f"wave.jpg:{weight}")) == (
        f"The weight of the style picture wave.jpg must be a number, not {weight!r}."
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_mask_without_numbers_is_refused(value):
    mask = torch.full((1, 4, 4), value)
    assert refused(lambda: picture(mask=mask)) == (
        "The mask of the style picture painting.jpg holds values that are no finite numbers."
    )
