import pytest
import torch
from style_a_video.pipelines.core.decoder import StyleDecoder
from style_a_video.pipelines.core.perceptual import LAYERS, PerceptualEncoder

WIDTHS = (4, 6, 8, 10, 12)


@pytest.mark.parametrize("level", range(1, 6))
def test_a_decoder_gives_a_picture_of_the_encoder_s_input_size(level):
    torch.manual_seed(level)
    images = torch.rand(2, 3, 48, 80)
    name = LAYERS[level - 1]
    found = StyleDecoder(level, WIDTHS)(PerceptualEncoder(WIDTHS)(images, (name,))[name])
    assert found.shape == images.shape and found.isfinite().all()
    assert found.min() < found.max()


def test_it_mirrors_the_encoder_s_convolutions():
    encoder, decoder = PerceptualEncoder(WIDTHS), StyleDecoder(5, WIDTHS)
    there = [(c.in_channels, c.out_channels) for b in encoder.blocks for c in b]
    back = [(c.out_channels, c.in_channels) for b in decoder.blocks for c in b]
    assert back == there[::-1]


def test_even_features_make_an_even_picture():
    """Zeros around features would be a grey border around the picture."""
    torch.manual_seed(0)
    found = StyleDecoder(4, WIDTHS)(torch.full((1, 10, 6, 8), 0.5))
    torch.testing.assert_close(found, found.mean((2, 3), keepdim=True).expand_as(found))


def test_the_gradient_reaches_the_features():
    features = torch.rand(1, 8, 6, 8).requires_grad_()
    StyleDecoder(3, WIDTHS)(features).square().sum().backward()
    assert features.grad.isfinite().all() and features.grad.abs().sum() > 0


@pytest.mark.parametrize("level", [0, 6])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(ValueError, match=f"no level {level}"):
        StyleDecoder(level)
