"""A U-Net without room for the frame is expanded and computes what it computed."""

import copy

import pytest
import torch
from style_a_video.weights.expand import expand_input_channels, expand_weight


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (320, 4, 3, 3)], ids=["small", "SD1.5"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_weights_are_zero_and_change_nothing(shape, dtype):
    torch.manual_seed(0)
    weight, z = torch.randn(shape).to(dtype), torch.randn(2, shape[1], 16, 24).to(dtype)
    expanded = expand_weight(weight)
    assert expanded.shape == (shape[0], 2 * shape[1], *shape[2:]) and expanded.dtype == dtype
    assert torch.equal(expanded[:, : shape[1]], weight) and not expanded[:, shape[1] :].any()
    frame = 50 * torch.randn_like(z)
    before = torch.conv2d(z, weight, padding=1)
    after = torch.conv2d(torch.cat([z, frame], 1), expanded, padding=1)
    # As near as the order of the sums allows.
    torch.testing.assert_close(after, before, rtol=0, atol=2e-5 if dtype == torch.float32 else 0.1)


@pytest.fixture
def plain_unet(sd15_components):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    config = {**sd15_components["unet"].config, "in_channels": 4}
    return UNet2DConditionModel.from_config(config).eval()


@torch.no_grad()
def test_the_whole_unet_computes_the_same_for_any_frame(plain_unet):
    expanded = expand_input_channels(copy.deepcopy(plain_unet))
    z, text = torch.randn(2, 4, 8, 12), torch.randn(2, 5, 16)
    before = plain_unet(z, 500, text).sample
    for frame in (torch.zeros_like(z), torch.randn_like(z), torch.full_like(z, 100.0)):
        after = expanded(torch.cat([z, frame], 1), 500, text).sample
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_the_expanded_unet_trains_its_new_weights(plain_unet):
    expanded = expand_input_channels(plain_unet)
    expanded(torch.randn(1, 8, 8, 8), 10, torch.randn(1, 5, 16)).sample.square().sum().backward()
    assert expanded.conv_in.weight.grad[:, 4:].abs().sum() > 0


def test_the_config_tells_and_survives_saving(plain_unet, tmp_path):
    from diffusers import UNet2DConditionModel

    expand_input_channels(plain_unet).save_pretrained(tmp_path)
    loaded = UNet2DConditionModel.from_pretrained(tmp_path)
    assert loaded.config.in_channels == loaded.conv_in.in_channels == 8
    assert torch.equal(loaded.conv_in.weight, plain_unet.conv_in.weight)


def test_precision_is_kept(plain_unet):
    expanded = expand_input_channels(plain_unet.half())
    assert {p.dtype for p in expanded.parameters()} == {torch.float16}
