"""What is smoothed keeps the edges of the guide."""

import torch
from style_a_video.pipelines.core.guided import guided


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_flat_pictures_stay():
    flat = torch.full((2, 3, 20, 30), 0.4)
    torch.testing.assert_close(guided(flat, noise(2, 1, 20, 30)), flat)


def test_what_depends_on_the_guide_stays_where_that_varies():
    guide = noise(1, 1, 24, 24)
    picture = torch.cat([0.5 * guide + 0.2, 1 - guide], 1)
    torch.testing.assert_close(guided(picture, guide, epsilon=1e-7), picture, atol=1e-3, rtol=0)


def test_noise_goes_and_the_edge_of_the_guide_stays():
    edge = torch.zeros(1, 1, 40, 40)
    edge[..., 20:] = 1
    rough = edge + 0.2 * (noise(1, 1, 40, 40) - 0.5)
    smooth = guided(rough, edge, radius=4)
    assert (smooth - edge).abs().mean() < 0.3 * (rough - edge).abs().mean()
    assert (smooth[..., 20] - smooth[..., 19]).min() > 0.8
    blurred = guided(rough, torch.zeros_like(edge), radius=4)
    assert (blurred[..., 20] - blurred[..., 19]).max() < 0.3
