"""The patch of another picture that is most like each patch of this one: PatchMatch (Barnes et al.
2009) by jump flooding over features, as Liao et al. 2017 search.

A field is (2,H,W) in whole px, xy order: where in the other picture the match of each place lies.
Features are (C,H,W) with a norm of 1 at each place, so that their products are cosines. Sizes are
(height, width).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

JUMPS = (8, 4, 2, 1)  # px: which neighbours are asked for their matches


def places(size: tuple[int, int], device: torch.device) -> Tensor:
    """(2,H,W): each place itself."""
    y = torch.arange(size[0], device=device)[:, None].expand(size)
    x = torch.arange(size[1], device=device).expand(size)
    return torch.stack([x, y])


def identity(size: tuple[int, int], other: tuple[int, int], device: torch.device) -> Tensor:
    """The field that stretches the one picture over the other."""
    at = places(size, device).movedim(0, -1) + 0.5
    scale = torch.tensor([other[1] / size[1], other[0] / size[0]], device=device)
    return within((at * scale).long().movedim(-1, 0), other)


def within(field: Tensor, other: tuple[int, int]) -> Tensor:
    """(...,2,H,W) brought inside a picture of that size."""
    return torch.minimum(field.clamp(min=0), _pair(other[1] - 1, other[0] - 1, field.device))


def size_of(picture: Tensor) -> tuple[int, int]:
    return picture.shape[-2], picture.shape[-1]


def upsampled(field: Tensor, size: tuple[int, int], other: tuple[int, int]) -> Tensor:
    """A coarser level's field for pictures of these sizes: what lies between moves as it does."""
    device, coarse = field.device, size_of(field)
    ratios = size[0] / coarse[0], size[1] / coarse[1]
    y, x = (
        ((torch.arange(n, device=device) + 0.5) / ratio).long().clamp(max=end - 1)
        for n, ratio, end in zip(size, ratios, coarse, strict=True)
    )
    moved = (field - places(coarse, device))[:, y[:, None], x]
    moved = (moved * _pair(ratios[1], ratios[0], device)).round().long()
    return within(places(size, device) + moved, other)


class Similarity:
    """How like patches of two pictures are: the mean product of their places, of those that lie in
    both pictures.

    Args:
        features, others: (C,H,W) and (C,H',W').
        patch: px a side, odd.
    """

    def __init__(self, features: Tensor, others: Tensor, patch: int) -> None:
        self.patch = patch
        self.size, self.other = size_of(features), size_of(others)
        self.rows, self.other_rows = _rows(features, patch), _rows(others, patch)

    def __call__(self, fields: Tensor) -> Tensor:
        """(K,2,H,W) → (K,H,W), from -1 to 1."""
        x, y = fields.flatten(2).movedim(0, -1)  # (H·W,K) each
        total = torch.zeros(x.shape, device=fields.device)
        for row in range(self.patch):
            mine = self.rows[row : row + self.size[0]].flatten(0, 1)
            columns = (y + row) * self.other[1] + x
            total += sampled_products(mine, self.other_rows.flatten(0, 1), columns)
        return total.movedim(-1, 0).view(-1, *self.size) / self._in_both(fields)

    def _in_both(self, fields: Tensor) -> Tensor:
        """(K,H,W): how many places of two patches lie in both pictures."""
        reach, here = self.patch // 2, places(self.size, fields.device)
        before = torch.minimum(here, fields).clamp(max=reach)
        end, other_end = (_pair(w - 1, h - 1, fields.device) for h, w in (self.size, self.other))
        after = torch.minimum(end - here, other_end - fields).clamp(max=reach)
        wide, high = (before + 1 + after).unbind(1)
        return wide * high


def _rows(features: Tensor, patch: int) -> Tensor:
    """(C,H,W) → (H+patch-1,W,patch·C): a row of each patch, 0 outside the picture."""
    padded = F.pad(features, [patch // 2] * 4).movedim(0, -1)
    return padded.unfold(1, patch, 1).movedim(-1, -2).flatten(2).contiguous()


def sampled_products(left: Tensor, right: Tensor, columns: Tensor) -> Tensor:
    """Products of each row of (N,D) with those rows of (M,D) that `columns` (N,K) names: (N,K).

    On CPUs and NVIDIA's GPUs no row is copied: ten times faster. A sparse matrix has no more values
    than places: there must be K rows.
    """
    n, k = columns.shape
    if left.device.type not in ("cpu", "cuda") or len(right) < k:
        return torch.stack([(left * right[column]).sum(1) for column in columns.unbind(1)], 1)
    starts = torch.arange(0, n * k + 1, k, device=columns.device)
    with warnings.catch_warnings():  # that sparse tensors are new
        warnings.simplefilter("ignore", UserWarning)
        wanted = torch.sparse_csr_tensor(
            starts, columns.flatten(), left.new_zeros(n * k), (n, len(right))
        )
    return torch.sparse.sampled_addmm(wanted, left, right.t(), beta=0).values().view(n, k)


def matched(
    similarity: Similarity,
    field: Tensor,
    radius: int,
    iterations: int,
    generator: torch.Generator,
    lead: Tensor | float = 0.0,
    at_work: Callable[[], object] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """The field after so many iterations, each a propagation and a random search.

    Args:
        field: to start from.
        radius: px, of the random search, which is halved down to 1.
        generator: on the CPU, whatever the device.
        lead: (H,W) or one for all: by how much others must be more like than the match in `field`.
        at_work: called before each propagation and search; what it raises ends the run.

    Returns:
        The field, and how like each patch and its match are (H,W), from -1 to 1.
    """
    best = similarity(field[None])[0] + lead
    for _ in range(iterations):
        for jump in JUMPS:
            at_work()
            field, best = better(similarity, field, best, _of_neighbours(field, jump))
        at_work()
        field, best = better(similarity, field, best, _nearby(field, radius, generator))
    return field, similarity(field[None])[0]


def better(
    similarity: Similarity, field: Tensor, best: Tensor, candidates: Tensor
) -> tuple[Tensor, Tensor]:
    """The field with those of the candidates (K,2,H,W) in it that are more like than the `best`
    (H,W) so far; and the best then.
    """
    candidates = within(candidates, similarity.other)
    found, which = similarity(candidates).max(0)
    chosen = candidates.gather(0, which.expand(1, 2, *which.shape))[0]
    return torch.where(found > best, chosen, field), torch.maximum(found, best)


def _of_neighbours(field: Tensor, jump: int) -> Tensor:
    """(4,2,H,W): the matches of the neighbours so many px away, moved back by as much. Beyond the
    border is the other end of the picture: as good a guess as any.
    """
    x, y = _pair(jump, 0, field.device), _pair(0, jump, field.device)
    left, right = field.roll(jump, -1) + x, field.roll(-jump, -1) - x
    above, below = field.roll(jump, -2) + y, field.roll(-jump, -2) - y
    return torch.stack([left, right, above, below])


def _nearby(field: Tensor, radius: int, generator: torch.Generator) -> Tensor:
    """(K,2,H,W): places at random around each match, at most a radius away, half of it, ..., 1."""
    steps = []
    while radius >= 1:
        steps.append(torch.randint(-radius, radius + 1, field.shape, generator=generator))
        radius //= 2
    return field + torch.stack(steps).to(field.device)


def voted(others: Tensor, field: Tensor, patch: int) -> Tensor:
    """What the matches show: (C,H',W') → (C,H,W). Every patch that covers a place votes for what
    its match has there; the mean of the votes counts.
    """
    size, other, reach = size_of(field), size_of(others), patch // 2
    here, votes, valid = places(size, field.device), [], []
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            step = _pair(dx, dy, field.device)
            neighbour = within(here + step, size)
            vote = field[:, neighbour[1], neighbour[0]] - step
            inside = (neighbour == here + step) & (vote == within(vote, other))
            x, y = within(vote, other)
            votes.append((y * other[1] + x).flatten())
            valid.append(inside.all(0).flatten())
    shares = torch.stack(valid, 1).to(others)
    shares = shares / shares.sum(1, keepdim=True)
    table = others.flatten(1).t().contiguous()
    mean = F.embedding_bag(torch.stack(votes, 1), table, mode="sum", per_sample_weights=shares)
    return mean.t().reshape(-1, *size)


def _pair(x: float, y: float, device: torch.device) -> Tensor:
    """(2,1,1), to be combined with a field."""
    return torch.tensor([x, y], device=device).view(2, 1, 1)
