import math

import pytest
import torch
from style_a_video.pipelines.core import measures
from style_a_video.pipelines.core.flow import visible_before

STILL = torch.zeros(1, 2, 48, 64)
EVERYWHERE = torch.ones(1, 1, 48, 64, dtype=torch.bool)


def noise(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def picture(seed=0):
    return torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(seed))


def moved(by_x, by_y):
    """The two frames of a clip that moves by whole pixels, and its exact flows."""
    large = torch.rand(1, 3, 68, 84, generator=torch.Generator().manual_seed(1))
    prev = large[..., 10:58, 10:74]
    this = large[..., 10 - by_y : 58 - by_y, 10 - by_x : 74 - by_x]
    flow_to_prev = torch.tensor([-by_x, -by_y]).float()[None, :, None, None].expand(1, 2, 48, 64)
    return this, prev, flow_to_prev, -flow_to_prev


# along the flow


@pytest.mark.parametrize("by", [(0, 0), (3, 0), (-4, 2), (0, -7)])
def test_a_clip_that_moves_by_whole_pixels_has_no_error_along_its_flow(by):
    this, prev, flow_to_prev, prev_flow_to_this = moved(*by)
    visible = visible_before(flow_to_prev, prev_flow_to_this)
    assert visible.float().mean() == (64 - abs(by[0])) * (48 - abs(by[1])) / (64 * 48)
    # grid_sample finds its pixels in float32
    assert measures.warping_error(this, prev, flow_to_prev, visible).item() < 1e-9
    assert measures.pair_error(this, prev, flow_to_prev, visible).item() < 1e-5
    if by != (0, 0):  # the other way the error is that of unrelated noise
        assert measures.pair_error(this, prev, prev_flow_to_this, visible).item() > 0.2


def test_fresh_noise_has_twice_its_variance():
    frame, s = torch.full((1, 3, 48, 64), 0.5), 0.05
    a, b = frame + noise(1, 3, 48, 64, scale=s), frame + noise(1, 3, 48, 64, seed=1, scale=s)
    found = measures.warping_error(b, a, STILL, EVERYWHERE).item()
    # the mean of n squares of variance 2 s² has the deviation 2 s² sqrt(2 / n)
    assert abs(found - 2 * s**2) < 4 * 2 * s**2 * math.sqrt(2 / (3 * 48 * 64))
    # the mean of |N(0, 2 s²)| is 2 s / sqrt(pi)
    found = measures.pair_error(b, a, STILL, EVERYWHERE).item()
    assert found == pytest.approx(2 * s / math.sqrt(math.pi), rel=0.03)


@pytest.mark.parametrize("b", [0.1, -0.03])
def test_a_step_of_brightness_costs_its_square_and_its_size(b):
    frame = picture()
    error = measures.warping_error(frame + b, frame, STILL, EVERYWHERE)
    assert error.shape == (1,) and error.item() == pytest.approx(b**2, rel=1e-4)
    error = measures.pair_error(frame + b, frame, STILL, EVERYWHERE)
    assert error.item() == pytest.approx(abs(b), rel=1e-4)


def test_only_visible_pixels_count():
    frame = picture()
    this, visible = frame.clone(), EVERYWHERE.clone()
    this[..., :, :32] = 1 - this[..., :, :32]
    this[..., :, 32:] += 0.1
    visible[..., :32] = False
    assert measures.warping_error(this, frame, STILL, visible).item() == pytest.approx(
        0.01, rel=1e-3
    )
    assert measures.pair_error(this, frame, STILL, visible).item() == pytest.approx(0.1, rel=1e-3)
    nothing = torch.zeros_like(visible)
    assert measures.warping_error(this, frame, STILL, nothing).isnan().all()
    assert measures.pair_error(this, frame, STILL, nothing).isnan().all()


def test_every_frame_has_its_own_number():
    prev, b = picture().repeat(3, 1, 1, 1), torch.tensor([0.0, 0.1, 0.2])
    this = prev + b[:, None, None, None]
    clip = this, prev, STILL.expand(3, -1, -1, -1), EVERYWHERE.expand(3, -1, -1, -1)
    torch.testing.assert_close(measures.warping_error(*clip), b.square(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(measures.pair_error(*clip), b, atol=1e-6, rtol=1e-4)


# without a flow


def test_the_unedited_clip_agrees_with_itself_moving_or_still():
    this, prev, *_ = moved(3, 1)
    one = torch.ones(1)
    torch.testing.assert_close(measures.difference_agreement(prev, this, prev, this), one)
    assert torch.equal(measures.difference_agreement(prev, prev, prev, prev), one)


def test_agreement_does_not_see_contrast_negative_or_colour():
    this, prev, *_ = moved(3, 1)
    for edit in (lambda x: 0.5 * x + 0.2, lambda x: 1 - x, lambda x: measures.luma(x).expand_as(x)):
        agreement = measures.difference_agreement(prev, this, edit(prev), edit(this))
        assert agreement.item() == pytest.approx(1, abs=1e-4)


def test_fresh_noise_does_not_agree_with_a_still_clip_nor_with_a_moving_one():
    this, prev, *_ = moved(3, 1)
    a, b = noise(1, 3, 48, 64, scale=0.1), noise(1, 3, 48, 64, seed=1, scale=0.1)
    assert measures.difference_agreement(prev, prev, prev + a, prev + b).item() == 0
    assert abs(measures.difference_agreement(prev, this, a, b).item()) < 0.15
    # a result that freezes while the source moves
    assert measures.difference_agreement(prev, this, prev, prev).item() == 0


def test_flicker_is_the_change_where_the_source_stands_still():
    frame = picture()
    b = 0.07
    assert measures.flicker(frame, frame, frame, frame + b).item() == pytest.approx(b, rel=1e-3)
    this = frame.clone()
    this[..., 32:] = (this[..., 32:] + 0.5).clamp(max=2)  # the right half moves
    result = frame.clone()
    result[..., 40:] += 0.3
    # smoothing carries the edge at 32 at most 3 px to the left of it; 40 is out of its reach
    assert measures.flicker(frame, this, frame, result).item() == 0
    assert measures.flicker(frame, frame + 0.1, frame, frame).isnan().all()


# of a frame


def test_strength_is_the_mean_difference():
    frame = picture()
    assert measures.strength(frame, frame).item() == 0
    assert measures.strength(frame + 0.25, frame).item() == pytest.approx(0.25, rel=1e-4)
    assert measures.strength(1 - frame, frame).item() == pytest.approx(0.5, rel=0.03)


def test_likeness_sees_neither_contrast_negative_strokes_nor_size():
    y, x = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    shape = ((x - 90).hypot(y - 80) < 50).float() + 0.5 * (x + y > 300)
    source = 0.5 * shape.expand(1, 3, -1, -1)
    drawn = 0.9 - 0.4 * source + noise(1, 3, 192, 256, scale=0.03)
    large = torch.nn.functional.interpolate(source, scale_factor=3)
    assert measures.likeness(source, source).item() == pytest.approx(1, abs=1e-5)
    assert measures.likeness(drawn, source).item() > 0.8
    assert measures.likeness(large, large.flip(2)).item() == pytest.approx(
        measures.likeness(source, source.flip(2)).item(), abs=0.02
    )
    both = torch.cat([source.roll(100, 3), torch.full_like(source, 0.5)])
    other, even = measures.likeness(both, source.expand_as(both)).tolist()
    assert other < 0.2 and math.isnan(even)
    assert measures.likeness(torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1)).isnan()


def test_sharpness_goes_with_the_square_of_contrast_and_falls_with_blur():
    frame = picture()
    sharp = measures.sharpness(frame)
    torch.testing.assert_close(measures.sharpness(0.5 * frame + 0.3), 0.25 * sharp)
    soft = torch.nn.functional.avg_pool2d(frame, 3, 1, 1, count_include_pad=False)
    assert measures.sharpness(soft) < 0.3 * sharp
    assert measures.sharpness(torch.full_like(frame, 0.4)).item() < 1e-12


@pytest.mark.parametrize("period", [4, 8, 16])
def test_sharpness_of_a_sine(period):
    x = torch.arange(64 * period, dtype=torch.float64)
    omega, amplitude = 2 * math.pi / period, 0.3
    wave = (0.5 + amplitude * torch.sin(omega * x)).expand(1, 3, 32, -1)
    passes = math.exp(-((omega * measures.DETAIL) ** 2) / 2)  # what a Gaussian leaves of it
    expected = amplitude**2 / 2 * (1 - passes) ** 2
    # within what the kernel's cut at 3 sigma and the two borders cost
    assert measures.sharpness(wave).item() == pytest.approx(expected, rel=0.03)


# of features


def test_covariances_of_the_same_axes_differ_by_their_deviations():
    """Σ (m₁ - m₂)² + Σ (√a - √b)², the axes turned together."""
    a, b = torch.rand(2, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a[:, 3:] = 0  # flat in some directions, as a picture of few colours is
    b[:, 5:] = 0
    means = torch.stack([a.flip(1), b.roll(1, 1)])
    axes = torch.linalg.qr(noise(5, 8, 8).double()).Q
    turned = [axes @ c.diag_embed() @ axes.mT for c in (a, b)]
    found = measures.frechet_distance(means[0], turned[0], means[1], turned[1])
    known = (means[0] - means[1]).square().sum(1) + (a.sqrt() - b.sqrt()).square().sum(1)
    # an eigenvalue of nothing is rounded to 1e-16, and its root to 1e-8
    torch.testing.assert_close(found, known, atol=1e-6, rtol=0)
    back = measures.frechet_distance(means[1], turned[1], means[0], turned[0])
    torch.testing.assert_close(back, known, atol=1e-6, rtol=0)


def test_covariances_of_other_axes():
    """Of 2x2, where (Tr √M)² = Tr M + 2 √det M, with M = C₁C₂."""
    halves = noise(2, 6, 2, 2).double()
    c1, c2 = halves @ halves.mT
    product = c1 @ c2
    trace = product.diagonal(dim1=1, dim2=2).sum(1)
    root = (trace + 2 * torch.linalg.det(product).sqrt()).sqrt()
    known = (c1 + c2).diagonal(dim1=1, dim2=2).sum(1) - 2 * root
    zero = torch.zeros(6, 2, dtype=torch.float64)
    torch.testing.assert_close(measures.frechet_distance(zero, c1, zero, c2), known)


@pytest.mark.parametrize("positions", [(3, 4), (20, 30)])  # fewer than the channels, and more
def test_the_same_features_are_at_no_distance_wherever_they_are(positions):
    features = noise(2, 64, *positions).relu()
    mean, covariance = (x.double() for x in measures.gaussian(features))
    assert measures.frechet_distance(mean, covariance, mean, covariance).tolist() == [0, 0]
    known = torch.stack([torch.cov(x.flatten(1)) for x in features.double()])
    torch.testing.assert_close(covariance, known, atol=1e-6, rtol=0)
    shuffled = features.flatten(2)[..., torch.randperm(positions[0] * positions[1])]
    others = (x.double() for x in measures.gaussian(shuffled.unflatten(2, positions)))
    assert measures.frechet_distance(mean, covariance, *others).max() < 1e-3
    other = measures.frechet_distance(mean[:1], covariance[:1], mean[1:], covariance[1:])
    assert other.item() > 1


def test_features_that_are_no_numbers_are_at_no_defined_distance():
    features = noise(2, 8, 6, 6)
    features[0, 3, 2, 2] = math.nan
    mean, covariance = measures.gaussian(features)
    found = measures.frechet_distance(mean, covariance, mean[1:], covariance[1:])
    assert found[0].isnan() and found[1] < 1e-6


def test_the_blur_keeps_brightness_and_spreads_a_point_by_sigma():
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    spread = measures.blur(point, 2.0)
    at = torch.arange(41) - 20.0
    assert spread.sum().item() == pytest.approx(1)
    variance = (spread.sum(-1)[0, 0] * at**2).sum().item()
    assert variance == pytest.approx(4, rel=0.04)
    torch.testing.assert_close(spread, spread.mT)
