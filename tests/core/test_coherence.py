import pytest
import torch
from style_a_video.pipelines.core.coherence import TracedMask, composed, flow_on_grid, settled


def randoms(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_flow_on_a_coarser_grid_is_counted_in_its_steps():
    flow = torch.stack([torch.full((16, 32), 8.0), torch.full((16, 32), -4.0)])[None]
    coarse = flow_on_grid(flow, (4, 8))
    assert coarse.shape == (1, 2, 4, 8)
    assert coarse[0, 0].eq(2).all() and coarse[0, 1].eq(-1).all()


def test_what_is_traced_goes_on_and_the_rest_is_drawn_anew():
    x, before = randoms(1, 4, 6, 8), randoms(1, 4, 6, 8, seed=1)
    still = torch.zeros(1, 2, 24, 32)
    mask = torch.zeros(1, 1, 6, 8)
    mask[..., :4] = 1
    found = composed(x, before, still, mask)
    torch.testing.assert_close(found[..., :4], before[..., :4])
    torch.testing.assert_close(found[..., 4:], x[..., 4:])


def test_it_goes_on_where_the_flow_leads_and_not_from_outside():
    x, before = randoms(1, 4, 6, 8), randoms(1, 4, 6, 8, seed=1)
    flow = torch.zeros(1, 2, 24, 32)
    flow[:, 0] = 4  # px of the frame: one step of the features, from the right
    found = composed(x, before, flow, torch.ones(1, 1, 6, 8))
    torch.testing.assert_close(found[..., :7], before[..., 1:])
    torch.testing.assert_close(found[..., 7:], x[..., 7:])


def test_half_precision_moves_by_the_very_flow():
    """In bfloat16 a place of 128 and what is added to it are known to a quarter and worse."""
    before = torch.zeros(1, 1, 8, 128)
    before[..., 1::2] = 1
    flow = torch.zeros(1, 2, 8, 128)
    flow[:, 0] = 0.3
    x, mask = torch.zeros(1, 1, 8, 128, dtype=torch.bfloat16), torch.ones(1, 1, 8, 128)
    found = composed(x, before.bfloat16(), flow, mask)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(
        found[..., :127].float(), torch.lerp(before, 1 - before, 0.3)[..., :127], atol=0.01, rtol=0
    )


def test_a_mask_of_another_size_is_brought_to_the_features():
    x, before = randoms(1, 3, 24, 32), randoms(1, 3, 24, 32, seed=1)
    found = composed(x, before, torch.zeros(1, 2, 24, 32), torch.full((1, 1, 6, 8), 0.5))
    torch.testing.assert_close(found, (x + before) / 2)


def test_a_still_place_does_not_follow_a_flow_of_noise():
    """And one that moves does: the right half has moved by a place, as the flow says everywhere."""
    before = randoms(1, 8, 12, 16)
    features = before.clone()
    features[..., 8:-1] = before[..., 9:]
    flow = torch.zeros(1, 2, 48, 64)
    flow[:, 0] = 4
    found = settled(flow, features, before)
    assert found[..., :20].eq(0).all()
    assert torch.equal(found[..., 48:52], flow[..., 48:52])


@pytest.mark.parametrize("size", [(1, 1), (5, 9)])
def test_the_mask_sees_the_difference_alone(size):
    torch.manual_seed(0)
    network = TracedMask(8)
    x, warped = randoms(2, 8, *size), randoms(2, 8, *size, seed=1)
    found = network(x, warped)
    assert found.shape == (2, 1, *size) and found.min() >= 0 and found.max() <= 1
    torch.testing.assert_close(network(x + 3, warped + 3), found)
