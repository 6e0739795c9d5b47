"""The temporal consistency refiner: ŷ^f from x^{f-1}, x^f, ŷ^{f-1}, y^f (Huang et al. 2023, 3.5).

x the source, y the frames stylized one by one, ŷ the refined ones. Both refiners here see the frame
before warped along the source's flow, so that what they compare lies in one place; what a style
keeps to its place on the screen they see unmoved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from . import flow as motion

PATCH = 4
"""The network works on patches of this many px, folded into channels."""


@dataclass(frozen=True)
class Seen:
    """What a refiner is shown of frame f, all (T,.,H,W) on its grid, pictures in [0,1].

    Attributes:
        source: x^f.
        stylized: y^f.
        source_before: x^{f-1}, warped.
        refined_before: ŷ^{f-1}, warped but for what y keeps to its place on the screen, its light
            changed where that of x and y did.
        visible: M_{f,f-1} in {0,1}: pixels that frame f-1 shows too.
    """

    source: Tensor
    stylized: Tensor
    source_before: Tensor
    refined_before: Tensor
    visible: Tensor


def see(
    source: Tensor,
    stylized: Tensor,
    source_prev: Tensor,
    refined_prev: Tensor,
    flow_to_prev: Tensor,
    prev_flow_to_this: Tensor,
) -> Seen:
    """x^{f-1} and ŷ^{f-1} brought to frame f; (T,3,H,W) each, flows (T,2,H,W) px of the source."""
    visible = motion.consistent(flow_to_prev, prev_flow_to_this) & motion.inside(flow_to_prev)
    visible = visible.to(stylized.dtype)
    source_before = motion.warp(source_prev, flow_to_prev)
    # Warped again in every frame to come: bilinear would blur a little more each time.
    refined_before = motion.warp(refined_prev, flow_to_prev, "bicubic")
    refined_before = nearer(refined_before, refined_prev, stylized)
    light = light_change(source - source_before, stylized - refined_before, visible)
    refined_before = refined_before + light
    return Seen(source, stylized, source_before, refined_before.clamp(0, 1), visible)


def nearer(warped: Tensor, unmoved: Tensor, stylized: Tensor, margin: float = 1.25) -> Tensor:
    """ŷ^{f-1} (T,3,H,W): unmoved where its distance to y^f, times `margin`, is below that of the
    warped one, which it is elsewhere. The distances are means over 9 px around each pixel.

    A screen of dots, blocks or a grid stands still while the scene moves behind it. Dragged along,
    it would be a smear within a second. The margin keeps flicker alone from deciding.
    """
    moved, kept = (
        _mean((past - stylized).abs().mean(1, keepdim=True), 9) for past in (warped, unmoved)
    )
    return torch.where(margin * kept < moved, unmoved, warped)


def light_change(
    source: Tensor, stylized: Tensor, visible: Tensor, size: int = 16, tolerance: float = 0.01
) -> Tensor:
    """What is added to ŷ^{f-1} so that its light follows, (T,3,H,W) in units of [0,1].

    sign(Δy) min(3 |Δx|, |Δy|) where the averages Δx and Δy agree in sign, |Δy| less `tolerance`.
    A past that keeps its light while the camera's exposure changes is given up sooner in one place
    than in the next, which shows as clouds with edges. It goes towards y^f, up to `tolerance`, but
    only as the source changes: what only y changes is flicker.

    Args:
        source: x^f - x^{f-1}; stylized: y^f - ŷ^{f-1}, both warped and (T,3,H,W).
        visible: M_{f,f-1} (T,1,H,W) in {0,1}.
        size: px over which the two are averaged, where they are visible.
        tolerance: much less than what a past is given up for, in units of [0,1].
    """
    h, w = source.shape[-2:]
    pad = (0, -w % size, 0, -h % size)
    changes = F.pad(torch.cat([source * visible, stylized * visible, visible], 1), pad)
    changes = F.avg_pool2d(F.avg_pool2d(changes, size), 3, 1, 1)
    x, y = (changes[:, :6] / (changes[:, 6:] + 0.01)).chunk(2, 1)  # little visible: little known
    y = y - y.clamp(-tolerance, tolerance)
    # A style may show a change of light up to three times as strongly.
    both = torch.where(x * y > 0, torch.minimum(3 * x.abs(), y.abs()) * y.sign(), 0)
    full = F.interpolate(both, scale_factor=size, mode="bilinear", align_corners=False)
    return full[..., :h, :w]


def blend(seen: Seen, keep: float = 0.85, tolerance: float = 0.08) -> Tensor:
    """The refiner that needs no training: recursive blending along the flow.

    ŷ = y + keep · κ · (ŷ^{f-1} - y), κ = M S exp(-(|x - x^{f-1}| / tolerance)²): the past counts
    where the flow explains the source and S, `same_structure`, finds the same shape in both.
    `tolerance` in units of [0,1]. (T,3,H,W), held by `hold_to_surroundings`.
    """
    gap = (seen.source - seen.source_before).abs().mean(1, keepdim=True)
    gap = _mean(gap, 5)
    trust = seen.visible * same_structure(seen) * torch.exp(-((gap / tolerance) ** 2))
    refined = seen.stylized + keep * trust * (seen.refined_before - seen.stylized)
    return hold_to_surroundings(refined, seen.stylized)


class Refiner(nn.Module):
    """The learned refiner, a small convolutional network; what it remembers is ŷ^{f-1}.

    It says how far each pixel follows its past, and adds what blending takes away:
    ŷ = y + a (ŷ^{f-1} - y) + r, a in [0,1], |r| ≤ 0.25. A past that has come to show another shape
    than y is not followed (`same_structure`), and ŷ shows nothing that y does not show close by
    (`hold_to_surroundings`).
    """

    def __init__(self, channels: int = 48, blocks: int = 4) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(13 * PATCH**2, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
        )
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.tail = nn.Conv2d(channels, 6 * PATCH**2, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, seen: Seen) -> Tensor:
        """ŷ^f (T,3,H,W), unclamped; H and W in multiples of 4."""
        pictures = (seen.source, seen.stylized, seen.source_before, seen.refined_before)
        x = torch.cat([*pictures, seen.visible], 1)
        x[:, :-1].mul_(2).sub_(1)
        x = self.head(_patches(x))
        for block in self.body:
            x = x + block(x)
        follow, add = F.pixel_shuffle(self.tail(x), PATCH).chunk(2, 1)
        # Where the past does not show this pixel there is nothing to follow.
        follow = seen.visible * same_structure(seen) * torch.sigmoid(follow + 1)
        refined = seen.stylized + follow * (seen.refined_before - seen.stylized)
        refined = refined + 0.25 * torch.tanh(add)
        return hold_to_surroundings(refined, seen.stylized)


def _patches(x: Tensor) -> Tensor:
    """`pixel_unshuffle` (T,C,H,W) → (T,C PATCH²,H/PATCH,W/PATCH), in memory channels last: so
    convolutions on a CPU are a tenth faster.
    """
    folded = rearrange(x, "t c (h i) (w j) -> t h w (c i j)", i=PATCH, j=PATCH)
    return folded.movedim(-1, 1)


def same_structure(seen: Seen, tolerance: float = 0.08) -> Tensor:
    """Where ŷ^{f-1} and y^f, averaged over 9 px, are alike, (T,1,H,W) in [0,1].

    Flicker is fine and averages out; a shape that small errors of the flow have dragged along over
    many frames does not, and would be seen as a ghost. `tolerance` in units of [0,1].
    """
    coarse = _mean(seen.refined_before - seen.stylized, 9)
    # To the fourth: nearly yes or no. Half of the one and half of the other would be a blur.
    return torch.exp(-((coarse.abs().mean(1, keepdim=True) / tolerance) ** 4))


def hold_to_surroundings(
    refined: Tensor, stylized: Tensor, size: int = 5, tolerance: float = 0.03
) -> Tensor:
    """ŷ clamped to what y^f shows within `size` px, ± `tolerance`, (T,3,H,W).

    Temporal antialiasing does so against ghosts (Karis 2014, "High-quality temporal
    supersampling"): specks and thin lines that the flow has left behind are too small for
    `same_structure`. y's range is moved by the mean difference around the pixel: light that
    flickers is no ghost.
    """
    light = _mean(refined - stylized, 9)
    lowest = _joined(stylized, size, torch.minimum) + light - tolerance
    highest = _joined(stylized, size, torch.maximum) + light + tolerance
    return refined.clamp(lowest, highest)


def _mean(picture: Tensor, size: int) -> Tensor:
    """Averages over `size` px around each pixel."""
    return _joined(picture, size, torch.add) / size**2


def _joined(picture: Tensor, size: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """What `join` makes of the `size` px around each pixel; beyond the border lies its nearest.

    By shifts: torch's pooling takes twenty times as long on a CPU.
    """
    h, w = picture.shape[-2:]
    padded = F.pad(picture, (size // 2,) * 4, mode="replicate")
    rows = reduce(join, (padded[..., i : i + w] for i in range(size)))
    return reduce(join, (rows[..., i : i + h, :] for i in range(size)))
