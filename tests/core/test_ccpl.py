import math

import pytest
import torch
from style_a_video.pipelines.core.ccpl import (
    NEIGHBOURS,
    TEMPERATURE,
    DifferenceHeads,
    ccpl,
    contrast,
    differences,
    random_centres,
)

WIDTHS = {"relu1_1": 8, "relu2_1": 12}


def features(seed=0, t=2):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"relu1_1": (14, 18), "relu2_1": (7, 9)}
    return {k: torch.randn(t, c, *sizes[k], generator=generator) for k, c in WIDTHS.items()}


def heads():
    torch.manual_seed(0)
    return DifferenceHeads(WIDTHS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_differences_are_of_a_centre_and_its_neighbours_row_by_row():
    x = torch.arange(20.0).view(1, 1, 4, 5)
    found = differences(x, torch.tensor([[1, 2], [2, 3]]))
    steps = [-6.0, -5.0, -4.0, -1.0, 1.0, 4.0, 5.0, 6.0]  # down 1 is 5 more, right 1 is 1 more
    assert found.shape == (1, 16, 1)
    assert found[0, :, 0].tolist() == [-s for s in steps] * 2
    assert [5 * down + right for down, right in NEIGHBOURS] == steps


def test_centres_lie_inside_are_different_and_no_more_than_there_are():
    found = random_centres(5, 6, 100, seeded())
    assert len({tuple(c) for c in found.tolist()}) == len(found) == 12
    assert found.min() == 1 and found[:, 0].max() == 3 and found[:, 1].max() == 4
    assert torch.equal(random_centres(9, 9, 4, seeded(1)), random_centres(9, 9, 4, seeded(1)))


def test_the_closed_form_where_differences_are_alike_or_at_right_angles():
    """Two vectors, each like its own and nothing like the other: log(1 + exp(-1/τ))."""
    e = torch.eye(2)[None]
    alike = math.log(1 + math.exp(-1 / TEMPERATURE))
    other = math.log(1 + math.exp(1 / TEMPERATURE))
    assert contrast(3 * e, e).item() == pytest.approx(alike, abs=1e-6)
    assert contrast(e.flip(1), e).item() == pytest.approx(other, rel=1e-4)
    same = torch.ones(1, 5, 3)
    assert contrast(same, same).item() == pytest.approx(math.log(5), rel=1e-4)


def test_the_loss_is_the_sum_of_its_layers():
    result, content, by = features(0), features(1), heads()
    parts = [ccpl(result, content, {k: by[k]}, 200) for k in by]  # every place there is
    torch.testing.assert_close(ccpl(result, content, by, 200), sum(parts))


def test_each_picture_is_compared_with_itself_alone():
    result, content, by = features(0), features(1), heads()
    one = [{k: x[i : i + 1] for k, x in f.items()} for f in (result, content) for i in (0, 1)]
    apart = [ccpl(one[i], one[2 + i], by, 16, seeded()) for i in (0, 1)]
    both = ccpl(result, content, by, 16, seeded())
    torch.testing.assert_close(both, torch.stack(apart).mean())


def test_what_changes_all_places_alike_costs_nothing():
    """Colours and brightness are style: the loss has no gradient in that direction."""
    content, by = features(1), heads()
    result = {k: x.clone().requires_grad_() for k, x in content.items()}
    loss = ccpl(result, content, by, 16, seeded())
    loss.backward()
    for x in result.values():
        assert x.grad.abs().max() > 1e-5
        assert x.grad.sum((2, 3)).abs().max() < 1e-5 * x.grad.abs().sum((2, 3)).max()
    lifted = {k: x + 5 for k, x in content.items()}
    torch.testing.assert_close(ccpl(lifted, content, by, 16, seeded()), loss, rtol=1e-3, atol=1e-3)


def test_a_shuffled_result_costs_more_than_the_frame_itself():
    content, by = features(1), heads()
    moved = {k: x.roll((3, 4), (2, 3)) for k, x in content.items()}
    assert ccpl(moved, content, by, 16, seeded()) > ccpl(content, content, by, 16, seeded()) + 1


def test_the_content_side_takes_no_gradient():
    result, by = features(0), heads()
    content = {k: x.requires_grad_() for k, x in features(1).items()}
    result = {k: x.requires_grad_() for k, x in result.items()}
    ccpl(result, content, by, 16).backward()
    assert all(x.grad is None for x in content.values())
    assert all(x.grad is not None for x in result.values())
    assert all(p.grad is not None for p in by.parameters())


def test_the_generator_decides():
    result, content, by = features(0), features(1), heads()
    again = [ccpl(result, content, by, 4, seeded(s)) for s in (7, 7, 8)]
    assert again[0] == again[1] != again[2]


def test_the_comparisons_grow_with_the_centres_not_with_the_picture():
    for size in ((8, 9), (64, 96)):
        centres = random_centres(*size, 6, seeded())
        assert differences(torch.randn(1, 3, *size), centres).shape == (1, 48, 3)
