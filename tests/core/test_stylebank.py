import pytest
import torch
from style_a_video.pipelines.core.gram import gram
from style_a_video.pipelines.core.stylebank import (
    BANK,
    CONTENT,
    LOOKS,
    StyleBank,
    faded,
    losses,
    through_bank,
    through_banks,
    unchanged,
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return StyleBank().eval()


def randoms(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bank(seed):
    return 0.05 * randoms(*BANK, seed=seed)


def test_a_bank_has_the_article_s_size():
    assert unchanged().numel() == 147_456


@torch.no_grad()
def test_features_are_a_quarter_of_the_frame_and_come_back_at_its_size(network):
    features = network.encode(torch.rand(2, 3, 32, 48))
    assert features.shape == (2, 128, 8, 12)
    assert network.decode(features).shape == (2, 3, 32, 48)


def test_the_unchanged_bank_changes_nothing():
    x = randoms(2, 128, 5, 6)
    torch.testing.assert_close(through_bank(x, unchanged()), x, atol=1e-5, rtol=1e-5)


def test_styles_mix_exactly_by_their_filters():
    """Chen et al. 2017, section 3.5: linear fusion."""
    x, one, other = randoms(1, 128, 6, 7), bank(1), bank(2)
    mixed = through_bank(x, 0.3 * one + 0.7 * other)
    expected = 0.3 * through_bank(x, one) + 0.7 * through_bank(x, other)
    torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-4)


def test_a_region_has_its_own_style_up_to_the_filters_reach():
    x, one, other = randoms(1, 128, 6, 8), bank(1), bank(2)
    regions = torch.zeros(1, 2, 6, 8)
    regions[:, 0, :, :4], regions[:, 1, :, 4:] = 1, 1
    found = through_banks(x, (one, other), regions)
    torch.testing.assert_close(found[..., :3], through_bank(x, one)[..., :3], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found[..., 5:], through_bank(x, other)[..., 5:], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("progress", "shares"),
    [(-1, [1, 0, 0]), (0, [1, 0, 0]), (0.25, [0.5, 0.5, 0]), (0.5, [0, 1, 0]), (2, [0, 0, 1])],
)
def test_styles_follow_one_another(progress, shares):
    assert faded(progress, 3) == pytest.approx(shares)
    assert faded(progress, 1) == [1]


def test_losses_are_relative():
    """0 where all is there, 1 where nothing is, whatever the picture's contrast."""
    found = {layer: randoms(2, 4, 6, 6, seed=k).relu() for k, layer in enumerate(LOOKS)}
    picture = torch.full((2, 3, 8, 8), 0.5)
    for scale in (1, 10):
        seen = {layer: scale * x for layer, x in found.items()}
        grams = {layer: gram(x) for layer, x in seen.items()}
        there = losses(picture, seen, seen[CONTENT], grams)
        assert [float(there[k]) for k in ("style", "content", "rough")] == pytest.approx([0, 0, 0])
        nothing = {layer: torch.zeros_like(x) for layer, x in seen.items()}
        missing = losses(picture, nothing, seen[CONTENT], grams)
        assert [float(missing[k]) for k in ("style", "content")] == pytest.approx([1, 1])
