"""Style from a picture by whitening and colouring, from coarse to fine (Li et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .cascade import Cascade
from .kinds import PICTURES, EngineKind, Loaded
from .options import option
from .transfer import TransferOptions

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor

    from ..core.wct import Colour, Gaussian

RIDGE = 0.1  # of the whitening, see core.wct: less noise in flat places


@dataclass(frozen=True)
class WCTOptions(TransferOptions):
    style_strength: float = option(0.9, "how much of the style, 0 to 1", high=1, metavar="X")


class WCT(Cascade):
    def statistics(self, features: Tensor, region: Tensor | None = None) -> Gaussian:
        from ..core.wct import gaussian

        return gaussian(features, region)

    def of_picture(self, features: Tensor) -> Colour:
        from ..core.wct import colour

        return colour(self.statistics(features), RIDGE)

    def put(self, features: Tensor, own: Gaussian, wanted: Colour) -> Tensor:
        from ..core.wct import wct

        return wct(features.float(), *wanted, *own, self.options.style_strength, RIDGE)


def load(options: WCTOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return WCT(options, device, dtype)


KIND = EngineKind(
    name="wct",
    what="a picture's colours, softly, by covariances, coarse to fine (Li et al. 2017)",
    takes=frozenset({PICTURES}),
    speed="4 frames/s at 512x288 on two cores, refiner included",
    licence="Apache-2.0; the encoder's weights CC BY 4.0",
    options=WCTOptions,
    load=load,
)
