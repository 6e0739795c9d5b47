"""Matches of patches: the right ones are found, the same every time, and they are shown."""

import pytest
import torch
from style_a_video.pipelines.core import patchmatch
from style_a_video.pipelines.core.patchmatch import Similarity
from torch.nn.functional import normalize

CPU = torch.device("cpu")


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def features(c=4, h=12, w=15, seed=0):
    return normalize(noise(c, h, w, seed=seed) - 0.5, dim=0)


def search(one, other, patch=3, iterations=5, seed=0, **more):
    start = patchmatch.identity(one.shape[1:], other.shape[1:], CPU)
    generator = torch.Generator().manual_seed(seed)
    return patchmatch.matched(
        Similarity(one, other, patch), start, max(other.shape[1:]), iterations, generator, **more
    )


def in_words(one, other, field, patch):
    """The definition, place by place."""
    (_, h, w), (_, other_h, other_w), reach = one.shape, other.shape, patch // 2
    result = torch.zeros(h, w)
    for y in range(h):
        for x in range(w):
            to_x, to_y = field[:, y, x].tolist()
            found = [
                one[:, y + j, x + i] @ other[:, to_y + j, to_x + i]
                for j in range(-reach, reach + 1)
                for i in range(-reach, reach + 1)
                if 0 <= y + j < h and 0 <= x + i < w
                if 0 <= to_y + j < other_h and 0 <= to_x + i < other_w
            ]
            result[y, x] = torch.stack(found).mean()
    return result


@pytest.mark.parametrize("patch", [1, 3, 5])
def test_likeness_is_the_mean_product_of_what_both_pictures_show(patch):
    one, other = features(), features(h=9, w=7, seed=1)
    x, y = (noise(3, 1, 12, 15, seed=5) * 7).long(), (noise(3, 1, 12, 15, seed=6) * 9).long()
    fields = torch.cat([x, y], 1)
    found = Similarity(one, other, patch)(fields)
    expected = torch.stack([in_words(one, other, field, patch) for field in fields])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_products_are_the_same_where_rows_are_copied(rows):
    left, right, columns = noise(6, 8), noise(rows, 8, seed=1), (noise(6, 3, seed=2) * rows).long()
    found = patchmatch.sampled_products(left, right, columns)
    expected = torch.stack([(left * right[column]).sum(1) for column in columns.unbind(1)], 1)
    torch.testing.assert_close(found, expected)


def test_a_moved_picture_is_found_again():
    wide = features(6, 40, 50)
    one, other = wide[:, 4:36, 3:43], wide[:, :36, :46]
    field, likeness = search(one, other)
    right = (field - patchmatch.places((32, 40), CPU)) == torch.tensor([3, 4]).view(2, 1, 1)
    assert right.all(0).float().mean() > 0.99
    assert likeness.median() == pytest.approx(1)


def test_more_iterations_find_better_matches_and_the_seed_decides_which():
    one, other = features(4, 24, 24), features(4, 24, 24, seed=1)
    few, many = search(one, other, iterations=1), search(one, other, iterations=6)
    assert many[1].mean() > few[1].mean() + 0.02
    again, others = search(one, other, iterations=1), search(one, other, iterations=1, seed=1)
    assert torch.equal(again[0], few[0]) and not torch.equal(others[0], few[0])


def test_a_lead_holds_what_is_there():
    one, other = features(4, 24, 24), features(4, 24, 24, seed=1)
    start = patchmatch.identity((24, 24), (24, 24), CPU)
    half = torch.zeros(24, 24)
    half[:, :12] = 2.0  # more than any likeness
    field, _ = search(one, other, lead=half)
    assert torch.equal(field[..., :12], start[..., :12])
    assert not torch.equal(field[..., 12:], start[..., 12:])


def test_the_identity_stretches():
    field = patchmatch.identity((2, 4), (4, 4), CPU)
    assert field[0].tolist() == [[0, 1, 2, 3]] * 2
    assert field[1].tolist() == [[1] * 4, [3] * 4]
    assert torch.equal(patchmatch.identity((3, 5), (3, 5), CPU), patchmatch.places((3, 5), CPU))


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (3, 4)])
def test_a_field_of_a_coarser_level_moves_twice_as_far(size):
    coarse = patchmatch.places((3, 4), CPU) + torch.tensor([1, 0]).view(2, 1, 1)
    coarse = patchmatch.within(coarse, (3, 5))
    fine = patchmatch.upsampled(coarse, size, (size[0], 2 * size[1]))
    moved = fine - patchmatch.places(size, CPU)
    assert (moved[0] == round(size[1] / 4)).all() and (moved[1] == 0).all()


def test_matches_show_the_other_picture():
    other = noise(3, 9, 11)
    here = patchmatch.places((9, 11), CPU)
    for patch in (1, 3, 5):
        torch.testing.assert_close(patchmatch.voted(other, here, patch), other)
    moved = patchmatch.within(here + torch.tensor([2, 1]).view(2, 1, 1), (9, 11))
    shown = patchmatch.voted(other, moved, 3)
    torch.testing.assert_close(shown[:, 1:6, 1:7], other[:, 2:7, 3:9])


def test_votes_are_the_mean_of_the_patches_that_cover_a_place():
    other = noise(1, 1, 4)
    field = torch.tensor([[[0, 1, 1, 3]], [[0, 0, 0, 0]]])
    shown = patchmatch.voted(other, field, 3)[0, 0]
    a, b, c, _ = other[0, 0]
    # Place 1 is covered by patches around 0, 1 and 2: they have 0 + 1, 1 and 1 - 1 there.
    assert shown[1].item() == pytest.approx(((b + b + a) / 3).item())
    assert shown[2].item() == pytest.approx(((c + b + c) / 3).item())
