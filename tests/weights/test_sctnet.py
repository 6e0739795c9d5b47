"""SCTNet's weights do what their card says, on the paintings that ship."""

import pytest
import torch
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.core.perceptual import LAYERS
from style_a_video.pipelines.core.sctnet import LEVELS
from style_a_video.pipelines.engines.style import read_style_picture
from style_a_video.pipelines.engines.transfer import at_size
from style_a_video.weights import sctnet as weights
from style_a_video.weights.paintings import PAINTINGS
from style_a_video.weights.perceptual_encoder import load_encoder
from torch.nn.functional import conv2d


@pytest.fixture(scope="module")
def results():
    """The frame, two paintings, and each variant's frame after each of them."""
    encoder = load_encoder()
    y, x = torch.meshgrid(torch.linspace(0, 1, 128), torch.linspace(0, 1, 192), indexing="ij")
    disc = ((x - 0.4).square() + (y - 0.5).square() < 0.08).float()
    waves = 0.5 + 0.3 * torch.sin(40 * x + 10 * y)
    frame = torch.stack([0.2 + 0.6 * disc, 0.8 * y + 0.1, waves * (1 - 0.5 * disc)])[None]
    pictures = [at_size(read_style_picture(one.path).image[None], 192) for one in PAINTINGS[:2]]
    found = {
        variant: [
            network(encoder(frame, network.layers), encoder(picture, network.layers)).clamp(0, 1)
            for picture in pictures
        ]
        for variant in LEVELS
        for network in [weights.load_sctnet(variant)]
    }
    return encoder, frame, pictures, found


@pytest.mark.parametrize("variant", LEVELS)
def test_each_is_small_frozen_and_ready(variant):
    network = weights.load_sctnet(variant)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert (weights.FOLDER / f"{variant}.safetensors").stat().st_size <= 5e6


@pytest.mark.parametrize("variant, nearer", [("art", 0.6), ("photo", 0.8)])
def test_frames_come_nearer_to_the_picture_that_was_asked_for(results, variant, nearer):
    encoder, frame, pictures, found = results
    for k, picture in enumerate(pictures):
        wanted = encoder(picture, LAYERS[:4])
        own, other, before = (
            style_distance(encoder(x, LAYERS[:4]), wanted)
            for x in (found[variant][k], found[variant][1 - k], frame)
        )
        assert own < nearer * before and own < other


def test_photo_leaves_the_lines_where_they_are(results):
    _, frame, _, found = results
    lines = edges(frame)
    for k in (0, 1):
        art, photo = (
            torch.corrcoef(torch.stack([lines.flatten(), edges(found[v][k]).flatten()]))[0, 1]
            for v in ("art", "photo")
        )
        assert photo > 0.75 and photo > art


def edges(image):
    """Size of the gradient of luma."""
    luma = image.mean(1, keepdim=True)
    sobel = torch.tensor([[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]]]) / 8
    return (conv2d(luma, sobel).square() + conv2d(luma, sobel.mT).square()).sqrt()
