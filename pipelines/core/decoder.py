"""Features of the encoder (`perceptual.py`) back to a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from .perceptual import CONVOLUTIONS, LAYERS, WIDTHS, reflected


class StyleDecoder(nn.Module):
    """The encoder to one layer, mirrored: pooling becomes doubling by the nearest pixel.

    Li et al. 2017 (Universal Style Transfer via Feature Transforms) and Huang and Belongie 2017
    (AdaIN) decode so. There is no ReLU after the last convolution.

    Args:
        level: 1 to 5, of the layer relu{level}_1 whose features it takes.
        widths, convolutions: those of the encoder.

    Raises:
        ValueError: there is no such level.
    """

    def __init__(
        self,
        level: int,
        widths: Sequence[int] = WIDTHS,
        convolutions: Sequence[int] = CONVOLUTIONS,
    ) -> None:
        if not 1 <= level <= len(LAYERS):
            raise ValueError(f"There is no level {level}; the levels are 1 to {len(LAYERS)}.")
        super().__init__()
        before = [3, *widths]
        self.blocks = nn.ModuleList()
        for block in reversed(range(level)):
            # Of the deepest block, only the one convolution before the features is mirrored.
            count = 1 if block == level - 1 else convolutions[block]
            outputs = [widths[block]] * (count - 1) + [before[block]]
            self.blocks.append(nn.ModuleList(nn.Conv2d(widths[block], c, 3) for c in outputs))

    def forward(
        self, features: Tensor, at_level: Callable[[int, Tensor], Tensor] | None = None
    ) -> Tensor:
        """(T,C,h,w) → (T,3,H,W), unclamped, H = 2^(level - 1) h.

        Args:
            at_level: (level, what stands for the encoder's relu{level}_1) → what goes on in its
                place; asked at each level below the first.
        """
        x = features
        for i, block in enumerate(self.blocks):
            level = len(self.blocks) - i
            if i:
                x = F.relu(F.interpolate(x, scale_factor=2, mode="nearest"))
                if at_level:
                    x = at_level(level, x)
            for k, convolution in enumerate(cast(nn.ModuleList, block)):
                x = convolution(reflected(F.relu(x) if k else x))
        return x
