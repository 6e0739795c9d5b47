import pytest
import torch
from style_a_video.pipelines.core.gram import gram, style_distance, style_frechet


def features(seed=0, t=2, size=(10, 12)):
    generator = torch.Generator().manual_seed(seed)
    return {
        "relu1_1": torch.randn(t, 4, *size, generator=generator).relu(),
        "relu2_1": 50 * torch.randn(t, 6, size[0] // 2, size[1] // 2, generator=generator).relu(),
    }


def test_gram_is_the_mean_product_of_two_channels():
    x = features()["relu1_1"]
    found = gram(x)
    assert found.shape == (2, 4, 4)
    assert found[1, 0, 2].item() == pytest.approx((x[1, 0] * x[1, 2]).mean().item(), rel=1e-5)


@pytest.mark.parametrize("distance", [style_distance, style_frechet])
def test_a_style_is_at_no_distance_of_itself_wherever_things_are(distance):
    x = features()
    order = torch.randperm(10)
    moved = x | {"relu1_1": x["relu1_1"][:, :, order]}
    assert distance(x, x).tolist() == [0, 0]
    assert distance(moved, x).max() < 1e-6
    other = distance(features(1), {k: 2 * v for k, v in x.items()})
    assert other.min() > 0.01


def test_the_distance_is_relative_and_squared():
    x = features()
    nothing = {k: torch.zeros_like(v) for k, v in x.items()}
    torch.testing.assert_close(style_distance(nothing, x), torch.ones(2))
    twice = {k: 2 * v for k, v in x.items()}  # Gram matrices four times as large
    torch.testing.assert_close(style_distance(twice, x), torch.full((2,), 9.0))
    one = x | {"relu2_1": 0 * x["relu2_1"]}
    torch.testing.assert_close(style_distance(one, x), torch.full((2,), 0.5))


def test_pictures_need_not_be_of_one_size_and_one_may_stand_for_all():
    wanted = features(1, t=1, size=(30, 14))
    for distance in (style_distance, style_frechet):
        found = distance(features(), wanted)
        assert found.shape == (2,) and (found > 0).all()
        second = {k: v[1:] for k, v in features().items()}
        assert distance(second, wanted).item() == pytest.approx(found[1].item(), rel=1e-4)


def test_the_gradient_leads_towards_the_style():
    x, wanted = {k: v.clone().requires_grad_() for k, v in features().items()}, features(1)
    before = style_distance(x, wanted)
    before.sum().backward()
    nearer = {k: v - 0.5 * v.grad / v.grad.norm() for k, v in x.items()}
    assert (style_distance(nearer, wanted) < before).all()


def test_other_layers_are_refused():
    x = features()
    for distance in (style_distance, style_frechet):
        with pytest.raises(ValueError, match="relu1_1.*relu2_1"):
            distance(x, {"relu1_1": x["relu1_1"]})
        with pytest.raises(ValueError, match="same layers"):
            distance({}, {})
