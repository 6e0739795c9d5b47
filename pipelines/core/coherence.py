"""What is shown again stays as it was drawn: features of the frame before, moved along the flow
(Chen et al. 2017, "Coherent Online Video Style Transfer").
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .flow import inside, warp
from .perceptual import reflected

AS_GOOD = 1.2  # times the error along the flow: moving by it makes features smoother, and so alike


class TracedMask(nn.Module):
    """Where this frame's features are those of the frame before, moved: M of section 3.2.

    Three convolutions on |F_t - W(F_{t-1})| of the encoder's features: of what the frames show,
    before any style, so that one network serves all styles.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 32, 16, 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3) for before, after in zip(widths, widths[1:], strict=False)
        )

    def forward(self, features: Tensor, warped: Tensor) -> Tensor:
        """(T,C,h,w) both → (T,1,h,w) in [0,1]."""
        return self.logits(features, warped).sigmoid()

    def logits(self, features: Tensor, warped: Tensor) -> Tensor:
        first, second, last = self.convolutions
        x = (features - warped).abs()
        x = F.relu(second(reflected(F.relu(first(reflected(x))))))
        return last(reflected(x))


def flow_on_grid(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow (T,2,H,W) in px on a coarser grid, in that grid's own steps."""
    height, width = flow.shape[-2:]
    steps = flow.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)
    return F.interpolate(flow, size, mode="area") * steps


def moved_along(flow: Tensor, before: Tensor) -> Tensor:
    """W: features or frames (T,C,h,w) along a flow (T,2,H,W) px, in float32: half precision cannot
    tell the places apart.
    """
    return warp(before.float(), flow_on_grid(flow.float(), (before.shape[-2], before.shape[-1])))


def settled(flow: Tensor, features: Tensor, before: Tensor) -> Tensor:
    """The flow (T,2,H,W) without what noise makes of a still place: 0 where the frame before shows
    the same at the very place as well as where the flow leads, by the features (T,C,h,w) of both.
    """
    moved = moved_along(flow, before)
    errors = [(features.float() - x).abs().mean(1, keepdim=True) for x in (before.float(), moved)]
    here, there = (F.avg_pool2d(e, 5, 1, 2, count_include_pad=False) for e in errors)
    still = F.interpolate((here <= AS_GOOD * there).float(), flow.shape[-2:], mode="nearest")
    return flow * (1 - still)


def composed(x: Tensor, before: Tensor, flow_to_prev: Tensor, mask: Tensor) -> Tensor:
    """M W(F°_{t-1}) + (1 - M) F_t (their equation 4), where the frame before shows the place.

    Args:
        x, before: (T,C,h,w), features or frames; `before` as it was composed.
        flow_to_prev: (T,2,H,W) px; mask (T,1,.,.) in [0,1]: of any size, brought to x's.
    """
    size, mask = (x.shape[-2], x.shape[-1]), mask.float()
    if mask.shape[-2:] != size:
        mask = F.interpolate(mask, size, mode="bilinear")
    mask = mask * inside(flow_on_grid(flow_to_prev, size))
    return x.float().lerp(moved_along(flow_to_prev, before), mask).to(x)
