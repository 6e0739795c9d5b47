import pytest
import torch
from style_a_video.pipelines.core.adain import adain, statistics, steadied
from style_a_video.pipelines.core.mixing import mix


def features(t=2, c=5, size=(9, 12), seed=0):
    x = torch.randn(t, c, *size, generator=torch.Generator().manual_seed(seed))
    scale = torch.linspace(0.5, 3, c)[:, None, None]
    return (scale * x + scale.flip(0)).relu()


def test_statistics_are_the_mean_and_deviation_of_each_channel():
    x = features()
    mean, deviation = statistics(x)
    torch.testing.assert_close(mean, x.mean((2, 3), keepdim=True))
    expected = x.std((2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(deviation, expected, atol=1e-4, rtol=1e-4)


def test_the_result_has_the_picture_s_statistics_whatever_its_size():
    style = statistics(features(1, size=(20, 7), seed=1))
    found = statistics(adain(features(), *style))
    for got, wanted in zip(found, style, strict=True):
        torch.testing.assert_close(got, wanted.expand_as(got), atol=1e-3, rtol=1e-3)


def test_features_with_the_statistics_already_stay():
    x = features(1)
    torch.testing.assert_close(adain(x, *statistics(x)), x, atol=1e-5, rtol=1e-5)


def test_strength_goes_from_the_frame_to_the_picture():
    x, style = features(), statistics(features(1, seed=1))
    full = adain(x, *style)
    torch.testing.assert_close(adain(x, *style, strength=0), x)
    half = adain(x, *style, strength=0.5)
    torch.testing.assert_close(half, (x + full) / 2, atol=1e-5, rtol=1e-5)


def test_carried_statistics_make_the_same_change_to_every_frame():
    """A bright thing that comes into view must not darken what was there before."""
    x = features(1)
    other = x.clone()
    other[..., 6:] += 4
    style, seen = statistics(features(1, seed=1)), statistics(x)
    first, second = (adain(y, *style, *seen) for y in (x, other))
    assert torch.equal(first[..., :6], second[..., :6])
    assert not torch.allclose(adain(other, *style)[..., :6], first[..., :6])


def test_a_mix_is_the_mean_of_the_results():
    x = features()
    pictures = [statistics(features(1, seed=s)) for s in (1, 2, 3)]
    mixed = adain(x, *mix(pictures, [3, 1, 0]))
    a, b, _ = (adain(x, *p) for p in pictures)
    torch.testing.assert_close(mixed, 0.75 * a + 0.25 * b, atol=1e-5, rtol=1e-5)


def test_a_mask_leaves_out_what_it_does_not_cover():
    x = features(1)
    mask = torch.zeros(1, 1, 9, 12)
    mask[..., 2:7, 3:9] = 1
    inside = statistics(x[..., 2:7, 3:9])
    for got, wanted in zip(statistics(x, mask), inside, strict=True):
        torch.testing.assert_close(got, wanted)
    for got, wanted in zip(statistics(x, 0 * mask), statistics(x), strict=True):
        torch.testing.assert_close(got, wanted)


def test_an_even_channel_stays_finite():
    even = torch.full((1, 3, 4, 4), 0.7)
    style = statistics(features(1, c=3, seed=1))
    found = adain(even, *style)
    torch.testing.assert_close(found, style.mean.expand_as(even), atol=1e-3, rtol=1e-3)


def test_the_gradient_reaches_frame_and_picture():
    x, s = features().requires_grad_(), features(1, seed=1).requires_grad_()
    adain(x, *statistics(s)).square().sum().backward()
    for grad in (x.grad, s.grad):
        assert grad.isfinite().all() and grad.abs().sum() > 0


def test_half_precision_is_kept_and_its_statistics_are_not_rounded():
    x = features().bfloat16()
    assert statistics(x).mean.dtype == torch.float32
    assert adain(x, *statistics(features(1, seed=1))).dtype == torch.bfloat16


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0]])
def test_weights_that_make_no_mix_are_refused(weights):
    picture = statistics(features(1))
    with pytest.raises(ValueError, match="[Ww]eight"):
        mix([picture, picture], weights)


def test_carried_statistics_stay_near_the_frame_s_own():
    own = statistics(features(1))
    same = steadied(own, own)
    assert all(torch.equal(a, b) for a, b in zip(same, own, strict=True))
    black = type(own)(0 * own.mean, 0 * own.deviation + 3e-3)
    found = steadied(black, own)
    torch.testing.assert_close(found.mean, (own.mean - own.deviation).clamp(min=0))
    torch.testing.assert_close(found.deviation, own.deviation / 2)
