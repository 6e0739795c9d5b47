import pytest
import torch
from style_a_video.pipelines.core.perceptual import LAYERS, PerceptualEncoder
from torch.nn import functional as F


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return PerceptualEncoder((4, 6, 8, 10, 12)).eval().requires_grad_(False)


def pictures(*size, seed=0):
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (33, 47), (64, 96)])
def test_each_level_halves_the_picture(encoder, size):
    features = encoder(pictures(*size), LAYERS)
    for level, name in enumerate(LAYERS):
        h, w = (side // 2**level for side in size)
        assert features[name].shape == (2, encoder.widths[name], h, w)
        assert features[name].isfinite().all() and features[name].min() >= 0


def test_a_layer_is_the_same_alone_and_among_others(encoder):
    images = pictures(32, 32)
    every = encoder(images, LAYERS)
    for name in LAYERS:
        alone = encoder(images, (name,))
        assert list(alone) == [name]
        assert torch.equal(alone[name], every[name])
    assert encoder(images, ()) == {}


def test_nothing_deeper_than_asked_for_is_computed(encoder):
    seen = []
    hooks = [
        c.register_forward_hook(lambda module, *_: seen.append(module))
        for block in encoder.blocks
        for c in block
    ]
    encoder(pictures(32, 32), ("relu1_1", "relu2_1"))
    for hook in hooks:
        hook.remove()
    assert seen == [*encoder.blocks[0], encoder.blocks[1][0]]


def test_a_frame_does_not_see_the_others(encoder):
    images = pictures(32, 48)
    both, one = encoder(images, ("relu4_1",)), encoder(images[1:], ("relu4_1",))
    torch.testing.assert_close(both["relu4_1"][1:], one["relu4_1"], atol=1e-6, rtol=1e-5)


def test_an_even_picture_has_no_border(encoder):
    """Zeros around a picture would be a frame of another colour, and a style of their own."""
    features = encoder(torch.full((1, 3, 64, 64), 0.3), LAYERS)
    for x in features.values():
        torch.testing.assert_close(x, x.mean((2, 3), keepdim=True).expand_as(x))


def test_the_gradient_reaches_the_picture(encoder):
    images = pictures(32, 32).requires_grad_()
    encoder(images, ("relu5_1",))["relu5_1"].square().sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0


def test_half_precision_is_near(encoder):
    images = pictures(48, 48)
    exact = encoder(images, ("relu4_1",))["relu4_1"]
    half = PerceptualEncoder((4, 6, 8, 10, 12)).requires_grad_(False)
    half.load_state_dict(encoder.state_dict())
    found = half.bfloat16()(images, ("relu4_1",))["relu4_1"]
    assert found.dtype == torch.bfloat16
    assert F.mse_loss(found.float(), exact) < 1e-3 * exact.square().mean()


def test_a_layer_that_is_none_is_named(encoder):
    with pytest.raises(ValueError, match="relu4_2.*relu1_1"):
        encoder(pictures(16, 16), ("relu1_1", "relu4_2"))
