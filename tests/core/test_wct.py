import pytest
import torch
from style_a_video.pipelines.core.mixing import mix
from style_a_video.pipelines.core.wct import Colour, Gaussian, colour, gaussian, steadied, wct


def features(t=2, c=6, size=(16, 20), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(t, c, *size, generator=generator)
    axes = torch.randn(c, c, generator=generator) + torch.eye(c)
    return (
        torch.einsum("ij,tjhw->tihw", axes, x) + torch.randn(c, generator=generator)[:, None, None]
    )


def picture(**kwargs):
    return colour(gaussian(features(1, **kwargs)))


def test_a_gaussian_is_mean_and_covariance():
    x = features()
    mean, covariance = gaussian(x)
    assert mean.dtype == covariance.dtype == torch.float64
    for k in range(2):
        flat = x[k].flatten(1)
        torch.testing.assert_close(mean[k].float(), flat.mean(1), atol=1e-5, rtol=1e-5)
        expected = torch.cov(flat, correction=0)
        torch.testing.assert_close(covariance[k].float(), expected, atol=1e-4, rtol=1e-4)


def test_the_result_has_the_picture_s_mean_and_covariance_whatever_its_size():
    wanted = gaussian(features(1, size=(9, 31), seed=1))
    found = gaussian(wct(features(), *colour(wanted), strength=1))
    torch.testing.assert_close(found.mean, wanted.mean.expand(2, -1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found.covariance, wanted.covariance.expand(2, -1, -1), atol=1e-3, rtol=1e-3
    )


def test_features_with_the_covariance_already_stay():
    x = features(1)
    torch.testing.assert_close(wct(x, *colour(gaussian(x)), strength=1), x, atol=1e-4, rtol=1e-4)


def test_uncorrelated_channels_change_as_by_their_deviations():
    """Where no two channels go together, the transform is AdaIN's: σ_s (x - μ_x) / σ_x + μ_s."""
    x = torch.zeros(1, 3, 2, 4)
    x[0, 0] = torch.tensor([1.0, -1.0]).repeat(4).view(2, 4)
    x[0, 1] = torch.tensor([2.0, 2.0, -2.0, -2.0]).repeat(2).view(2, 4)
    x[0, 2, 0], x[0, 2, 1] = 3, -3
    mean, deviation = torch.tensor([[5.0, 6, 7]]).double(), torch.tensor([4.0, 1, 6]).double()
    found = wct(x, mean, deviation.diag()[None], strength=1)
    scale = torch.tensor([4.0, 0.5, 2.0])[:, None, None]
    torch.testing.assert_close(found, scale * x + mean.float()[..., None, None])


def test_a_channel_of_no_variance_is_dropped_and_nothing_explodes():
    x = features()
    x[:, 2] = 0.4
    x[:, 4] = x[:, 1]  # two that are one
    found = wct(x, *picture(seed=1), strength=1)
    assert found.isfinite().all() and found.abs().max() < 100


def test_strength_goes_from_the_frame_to_the_picture():
    x, style = features(), picture(seed=1)
    full = wct(x, *style, strength=1)
    torch.testing.assert_close(wct(x, *style, strength=0), x)
    mixed = wct(x, *style, strength=0.3)
    torch.testing.assert_close(mixed, 0.7 * x + 0.3 * full, atol=1e-4, rtol=1e-4)


def test_carried_statistics_make_the_same_change_to_every_frame():
    x = features(1)
    other = x.clone()
    other[..., 10:] += 4
    style, seen = picture(seed=1), gaussian(x)
    first, second = (wct(y, *style, *seen) for y in (x, other))
    torch.testing.assert_close(first[..., :10], second[..., :10])
    assert not torch.allclose(wct(other, *style)[..., :10], first[..., :10], atol=0.1)


def test_a_mix_is_the_mean_of_the_results():
    x, pictures = features(), [picture(seed=s) for s in (1, 2)]
    mixed = wct(x, *mix(pictures, [3, 1]))
    a, b = (wct(x, *p) for p in pictures)
    torch.testing.assert_close(mixed, 0.75 * a + 0.25 * b, atol=1e-4, rtol=1e-4)


def test_a_mask_leaves_out_what_it_does_not_cover():
    x = features(1)
    mask = torch.zeros(1, 1, 16, 20)
    mask[..., 2:9, 3:15] = 1
    for got, wanted in zip(gaussian(x, mask), gaussian(x[..., 2:9, 3:15]), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    for got, wanted in zip(gaussian(x, 0 * mask), gaussian(x), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-6)


def test_the_gradient_reaches_the_frame_through_given_statistics():
    x = features(1).requires_grad_()
    wct(x, *picture(seed=1), *gaussian(x.detach())).square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_half_precision_is_kept():
    assert wct(features().bfloat16(), *picture(seed=1)).dtype == torch.bfloat16


def test_weights_that_fit_no_picture_are_refused():
    style = Colour(torch.zeros(1, 6), torch.eye(6)[None])
    with pytest.raises(ValueError, match="2 pictures need a weight each, not 3"):
        mix([style, style], [1, 1, 1])


def test_carried_statistics_stay_near_the_frame_s_own():
    own = gaussian(features(1))
    same = steadied(own, own)
    assert all(torch.equal(a, b) for a, b in zip(same, own, strict=True))
    dark = Gaussian(0 * own.mean, own.covariance / 1e4)
    found = steadied(dark, own)
    torch.testing.assert_close(found.covariance, own.covariance / 4)
    deviation = own.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert ((found.mean - own.mean).abs() <= deviation * 1.0001).all()
