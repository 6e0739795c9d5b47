"""One convolution before upsampling is the same map as upsampling and two after it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from style_a_video.pipelines.core.joined import joined, upsampled


def weights(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(s, generator=draw) / 5 for s in ((6, 5, 3, 3), (3, 6, 3, 3)))
    return first, second, torch.randn(3, generator=draw)


def by_steps(x, first, second, bias):
    large = F.interpolate(x, scale_factor=2, mode="nearest")
    return F.conv2d(F.conv2d(large, first, padding=1), second, bias, padding=1)


@pytest.mark.parametrize("size", [(8, 12), (2, 2), (1, 3)])
def test_the_same_map_up_to_the_last_pixel(size):
    x = torch.randn(2, 5, *size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(upsampled(x, *weights()), by_steps(x, *weights()))


def test_without_the_borders_being_made_by_steps_they_would_differ():
    x, (first, second, bias) = torch.ones(1, 5, 6, 6), weights()
    alone = F.pixel_shuffle(
        F.conv2d(x, joined(first, second), bias.repeat_interleave(4), padding=1), 2
    )
    gap = (alone - by_steps(x, first, second, bias)).abs()
    assert gap[..., 1:-1, 1:-1].max() < 1e-5 < 0.1 < gap.max()


def test_the_same_gradient():
    x = torch.randn(1, 5, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    grads = [
        torch.autograd.grad(f(x, *weights()).square().sum(), x)[0] for f in (upsampled, by_steps)
    ]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)
