"""Features in which statistics mean style: a slim VGG (Simonyan and Zisserman 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""A level each: the first activation of a block, at 1, 1/2, 1/4, 1/8 and 1/16 of the size."""

WIDTHS = (16, 32, 96, 192, 128)
CONVOLUTIONS = (2, 2, 3, 3, 1)  # of a block, as in VGG-16


class PerceptualEncoder(nn.Module):
    """Pictures → features by layer name. Convolutions of 3x3 with ReLU, max pooling between blocks.

    Args:
        widths: channels of each block; convolutions: how many a block has, the last one counting to
            relu5_1 only. VGG-19 to relu5_1 is (64, 128, 256, 512, 512) and (2, 2, 4, 4, 1).
    """

    def __init__(
        self, widths: Sequence[int] = WIDTHS, convolutions: Sequence[int] = CONVOLUTIONS
    ) -> None:
        super().__init__()
        self.widths = dict(zip(LAYERS, widths, strict=True))
        before = [3, *widths]
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                nn.Conv2d(before[level] if i == 0 else width, width, 3) for i in range(count)
            )
            for level, (width, count) in enumerate(zip(widths, convolutions, strict=True))
        )

    def forward(self, images: Tensor, layers: Sequence[str] = LAYERS) -> dict[str, Tensor]:
        """No deeper than the deepest layer asked for.

        Args:
            images: (T,3,H,W) in [0,1], any size from 16 px on; brought to the weights' precision.

        Returns:
            (T,C,h,w) a layer, from 0 up, where C is `widths[layer]` and h is H over 1, 2, 4, 8 or
            16, rounded down.

        Raises:
            ValueError: a layer that is none of LAYERS.
        """
        unknown = [name for name in layers if name not in LAYERS]
        if unknown:
            raise ValueError(f"no layer {unknown[0]!r}; the layers are {', '.join(LAYERS)}")
        found: dict[str, Tensor] = {}
        x = images
        for level, name in enumerate(LAYERS):
            if len(found) == len(set(layers)):
                break
            x = self.deeper(x, level)
            if name in layers:
                found[name] = x
        return found

    def deeper(self, x: Tensor, level: int) -> Tensor:
        """To features of `LAYERS[level]` from those of the layer before it; to those of the first
        one from images as `forward` takes them.
        """
        if level:
            x = self._rest(level - 1, x)
        else:
            x = (2 * x - 1).to(self.block(0)[0].weight.dtype)
        return F.relu(self.block(level)[0](reflected(x)))

    def block(self, level: int) -> list[nn.Conv2d]:
        """The convolutions of a block, counted from 0."""
        return cast(list[nn.Conv2d], list(cast(nn.ModuleList, self.blocks[level])))

    def _rest(self, level: int, x: Tensor) -> Tensor:
        """From the first activation of a block to the pooled end of it."""
        for convolution in self.block(level)[1:]:
            x = F.relu(convolution(reflected(x)))
        return F.max_pool2d(x, 2)


def reflected(x: Tensor) -> Tensor:
    """(T,C,h,w) with a border of 1 px mirrored about the edge; a side of 1 px is repeated."""
    if min(x.shape[-2:]) == 1:
        return F.pad(x, (1, 1, 1, 1), "replicate")
    return F.pad(x, (1, 1, 1, 1), "reflect")
