"""Means along a shot."""

import pytest
import torch
from style_a_video.pipelines.core.running import RunningMeans


def values(count=7):
    return torch.rand(count, 3, 2, generator=torch.Generator().manual_seed(0))


def test_the_first_frame_is_its_own_mean_and_others_move_it_by_a_share():
    x = values(3)
    means = RunningMeans(None, window=4)("m", x)
    assert torch.equal(means[0], x[0])
    torch.testing.assert_close(means[1], x[0] + (x[1] - x[0]) / 4)
    torch.testing.assert_close(means[2], means[1] + (x[2] - means[1]) / 4)


@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (2, 4, 1)])
def test_chunks_of_any_size_give_the_same_means(sizes):
    x, carried, found = values(), None, []
    for part in x.split(sizes):
        means = RunningMeans(carried)
        found.append(means("m", part))
        carried = means.after
    assert torch.equal(torch.cat(found), RunningMeans(None)("m", x))


def test_what_is_carried_is_by_name_and_the_given_is_not_changed():
    first = RunningMeans(None)
    first("a", values(2))
    before = {name: value.clone() for name, value in first.after.items()}
    second = RunningMeans(first.after)
    second("b", values(1))
    assert set(second.after) == {"a", "b"} and set(first.after) == {"a"}
    assert torch.equal(first.after["a"], before["a"])


def test_a_window_of_one_is_each_value_itself():
    x = values()
    torch.testing.assert_close(RunningMeans(None, window=1)("m", x), x)
