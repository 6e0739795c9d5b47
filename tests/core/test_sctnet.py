import pytest
import torch
from style_a_video.pipelines.core.adain import statistics
from style_a_video.pipelines.core.mixing import mix
from style_a_video.pipelines.core.perceptual import PerceptualEncoder
from style_a_video.pipelines.core.sctnet import COMPRESSED, LEVELS, SCT, SCTNet

WIDTHS, CONVOLUTIONS = (4, 8, 12, 16, 8), (2, 2, 3, 3, 1)


def features(t=1, c=16, size=(9, 12), seed=0):
    return torch.randn(t, c, *size, generator=torch.Generator().manual_seed(seed)).relu()


@pytest.fixture
def sct():
    torch.manual_seed(0)
    return SCT(16, 4)


def test_the_picture_counts_by_covariance_and_mean_not_by_arrangement(sct):
    x, style = features(), features(seed=1)
    seen = sct.see(style)
    assert seen.covariance.shape == (1, COMPRESSED, COMPRESSED)
    torch.testing.assert_close(seen.covariance, seen.covariance.mT)
    assert torch.linalg.eigvalsh(seen.covariance).min() > -1e-5
    lifted = sct.see(style + 3)  # the mean is taken off first
    torch.testing.assert_close(lifted.covariance, seen.covariance, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sct(x, lifted), sct(x, seen) + 3, atol=1e-4, rtol=1e-4)


def test_the_result_is_the_covariance_times_the_normalised_frame(sct):
    x, seen = features(t=2), sct.see(features(seed=1))
    mean, deviation = statistics(x)
    flat = sct.content((x - mean) / deviation).flatten(2)
    expected = sct.restore((seen.covariance @ flat).view(2, COMPRESSED, 9, 12)) + seen.mean
    torch.testing.assert_close(sct(x, seen), expected)


def test_a_brighter_frame_of_more_contrast_gives_the_same(sct):
    seen = sct.see(features(seed=1))
    x = features()
    torch.testing.assert_close(sct(3 * x + 2, seen), sct(x, seen), atol=1e-3, rtol=1e-3)


def test_statistics_of_a_shot_change_nothing_else_in_a_frame(sct):
    x, seen = features(), sct.see(features(seed=1))
    other = x.clone()
    other[..., 6:] += 4
    own = statistics(x)
    first, second = (sct(y, seen, own) for y in (x, other))
    assert torch.equal(first[..., :6], second[..., :6])
    assert not torch.allclose(sct(other, seen)[..., :6], first[..., :6])


def test_a_mix_of_pictures_lies_between_them(sct):
    x = features()
    a, b = (sct.see(features(seed=s)) for s in (1, 2))
    mixed = sct(x, mix([a, b], [3, 1]))
    expected = 0.75 * sct(x, a) + 0.25 * sct(x, b)
    torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-4)


def network_and_features(variant, links=True):
    torch.manual_seed(0)
    encoder = PerceptualEncoder(WIDTHS, CONVOLUTIONS)
    network = SCTNet(variant, WIDTHS, CONVOLUTIONS, links)
    frame, picture = torch.rand(2, 3, 32, 48), torch.rand(2, 3, 80, 64)
    return network, *(encoder(x, network.layers) for x in (frame, picture))


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("variant", LEVELS)
def test_pictures_come_back_at_the_size_of_the_frame(variant, links):
    network, content, style = network_and_features(variant, links)
    assert network(content, style).shape == (2, 3, 32, 48)


@pytest.mark.parametrize("variant", LEVELS)
def test_what_reaches_the_last_convolution_has_the_picture_s_statistics(variant):
    network, content, style = network_and_features(variant)
    seen = {}

    def styled(layer, x):
        seen[layer] = network.put(x, statistics(x), network.see(style)[layer])
        return seen[layer]

    network.draw(content, styled)
    assert (
        tuple(seen) == network.layers == tuple(f"relu{k}_1" for k in range(LEVELS[variant], 0, -1))
    )
    found, wanted = statistics(seen["relu1_1"]), statistics(style["relu1_1"])
    torch.testing.assert_close(found.mean, wanted.mean, atol=0.05, rtol=0.05)
    assert (found.deviation < wanted.deviation + 1e-3).all()  # less where a channel is 0 all over


def test_the_published_network_sees_the_picture_at_the_deepest_layer_alone():
    network, content, style = network_and_features("art", links=False)
    plain = network(content, style)
    finer = {k: x if k == "relu4_1" else x + 1 for k, x in style.items()}
    assert torch.equal(network(content, finer), plain)
    linked, *_ = network_and_features("art")
    linked.load_state_dict(network.state_dict())
    assert not torch.allclose(linked(content, finer), linked(content, style))


def test_a_spike_does_not_get_through():
    network, content, style = network_and_features("art")
    looks, x = network.see(style), content["relu1_1"].clone()
    own = statistics(x)
    x[0, 1, 5, 7] += 100 * own.deviation[0, 1, 0, 0]
    for spike, plain in zip(
        network.put(x, own, looks["relu1_1"]),
        network.put(content["relu1_1"], own, looks["relu1_1"]),
        strict=True,
    ):
        gap = (spike - plain).abs()
        assert gap.max() <= 10 * looks["relu1_1"].deviation.max()


def test_half_precision_is_near_to_full(sct):
    x, seen = features(), sct.see(10 * features(seed=1))
    full = sct(x, seen)
    half = sct.to(torch.bfloat16)(x.bfloat16(), seen)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.05 * full.abs().mean()


def test_with_vgg_19_it_has_the_published_shape():
    """Channels of the authors' code: cnet and snet 512-256-128-32, photo 256-128-32."""
    vgg = (64, 128, 256, 512, 512), (2, 2, 4, 4, 1)
    shapes = {
        variant: [
            list(p.shape)
            for n, p in SCTNet(variant, *vgg).sct.named_parameters()
            if n.endswith("weight")
        ]
        for variant in LEVELS
    }
    assert shapes["art"] == [
        *([256, 512, 1, 1], [128, 256, 1, 1], [32, 128, 1, 1]),
        *([256, 512, 3, 3], [128, 256, 3, 3], [32, 128, 1, 1]),
        [512, 32, 1, 1],
    ]
    assert shapes["photo"] == [
        *([128, 256, 1, 1], [32, 128, 1, 1]),
        *([128, 256, 3, 3], [32, 128, 1, 1]),
        [256, 32, 1, 1],
    ]


def test_a_variant_there_is_not_is_named():
    with pytest.raises(ValueError, match="no variant 'film'; they are art, photo"):
        SCTNet("film")
