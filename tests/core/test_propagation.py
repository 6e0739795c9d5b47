"""A picture carried along a known motion, from one side or from both."""

import torch
from style_a_video.pipelines.core.propagation import (
    Side,
    beside,
    carried,
    chained,
    resized,
    unseen,
)

H, W = 24, 32


def flow(x, y=0.0):
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).expand(1, 2, H, W).clone()


def picture(seed=0, shift=0):
    generator = torch.Generator().manual_seed(seed)
    wide = torch.rand(1, 3, H, W + 16, generator=generator)
    return wide[..., 8 + shift : 8 + shift + W]


def side(trust, along=0.0):
    return Side(flow(along), torch.full((1, 1, H, W), trust))


def test_flows_one_after_the_other_are_their_sum_where_they_are_even():
    assert torch.allclose(chained(flow(2, 1), flow(-5, 3)), flow(-3, 4))


def test_a_chain_reads_the_second_flow_where_the_first_leads():
    then = torch.zeros(1, 2, H, W)
    then[..., 10:] = 4.0  # right of column 10
    assert torch.allclose(chained(flow(3), then)[0, 0, 0, :8], torch.tensor([3.0] * 7 + [7.0]))


def test_one_side_is_the_keyframe_moved():
    at, key = picture(shift=4), picture(shift=0)  # the camera went right by 4 px
    there = beside(at, key, flow(4), flow(-4))
    made = carried([(there, 1 - key, 0.25)])
    assert torch.allclose(made[..., :-6], (1 - at)[..., :-6], atol=1e-4)


def test_what_leaves_the_picture_is_trusted_less():
    at, key = picture(shift=4), picture(shift=0)
    trust = beside(at, key, flow(4), flow(-4)).trust
    assert trust[..., :-7].min() > 0.99 and trust[..., -2:].max() < 0.3
    assert 2 / W < unseen([Side(flow(4), trust)]) < 7 / W


def test_the_nearer_keyframe_counts_more_and_the_other_fills_what_it_does_not_show():
    near, far = torch.zeros(1, 3, H, W), torch.ones(1, 3, H, W)
    assert torch.allclose(carried([(side(1.0), near, 0.25), (side(1.0), far, 0.75)]), far * 0.25)
    blind = side(1.0)
    blind.trust[..., :8] = 1e-6
    made = carried([(blind, near, 0.25), (side(1.0), far, 0.75)])
    assert made[..., :6].min() > 0.99 and torch.allclose(made[..., 10:], far[..., 10:] * 0.25)
    assert unseen([blind, side(1.0)]) == 0 and unseen([blind]) == 8 / W


def test_alike_keyframes_on_a_still_source_stay_as_they_are():
    still = picture()
    there = beside(still, still, flow(0), flow(0))
    for away in (0.1, 0.5, 0.9):
        made = carried([(there, 1 - still, away), (there, 1 - still, 1 - away)])
        assert torch.allclose(made, 1 - still, atol=1e-5)


def test_a_side_for_stylized_frames_of_another_size():
    large = resized(side(0.5, along=2.0), (2 * H, 3 * W))
    assert large.trust.shape == (1, 1, 2 * H, 3 * W) and torch.all(large.trust == 0.5)
    assert torch.allclose(large.flow_to_key[:, 0], torch.tensor(6.0))
    assert not large.flow_to_key[:, 1].any()
    same = side(0.5)
    assert resized(same, (H, W)) is same
