"""A picture as a text condition."""

import pytest
import torch
from style_a_video.pipelines.core.style_projection import (
    STATISTICS,
    StyleProjection,
    as_text,
    statistics_of,
)
from style_a_video.weights.paintings import painting
from style_a_video.weights.perceptual_encoder import load_encoder

torch.manual_seed(0)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def pictures():
    from style_a_video.pipelines.engines.style import read_style_picture

    names = ("Starry Night, Van Gogh", "The Great Wave, Hokusai")
    return [read_style_picture(painting(name).path).image for name in names]


def test_a_pictures_size_does_not_matter(encoder, pictures):
    half = [
        torch.nn.functional.interpolate(p[None], scale_factor=0.7, mode="area") for p in pictures
    ]
    night, wave = (statistics_of(p[None], encoder) for p in pictures)
    small = statistics_of(half[0], encoder)
    assert night.shape == (1, STATISTICS)
    assert (small - night).norm() < 0.25 * (wave - night).norm()


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 16, 300), (3, 300, 16)])
def test_a_picture_of_one_colour_has_finite_statistics(encoder, shape):
    assert statistics_of(torch.full(shape, 0.3)[None], encoder).isfinite().all()


def test_several_pictures_are_the_mean_of_their_points(encoder, pictures):
    projection = StyleProjection()
    hidden, pooled = as_text(pictures, [0.25, 0.75], encoder, projection, places=5)
    alone = [as_text([p], [1.0], encoder, projection, places=5) for p in pictures]
    assert hidden.shape == (1, 5, 128) and pooled.shape == (1, 128)
    torch.testing.assert_close(hidden, alone[0][0].lerp(alone[1][0], 0.75))
    torch.testing.assert_close(pooled, alone[0][1].lerp(alone[1][1], 0.75))


def test_every_place_has_the_same_token(encoder, pictures):
    hidden, _ = as_text(pictures[:1], [1.0], encoder, StyleProjection(), places=77)
    assert (hidden == hidden[:, :1]).all() and hidden.std() > 0
