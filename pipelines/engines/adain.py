"""Style from a picture by adaptive instance normalisation (Huang and Belongie 2017).

They train a decoder on relu4_1 with styles. Here the statistics go through the cascade of
`cascade.py`, whose decoders only give pictures back: finer levels bring the colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cascade import Cascade
from .kinds import PICTURES, EngineKind, Loaded
from .transfer import TransferOptions

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor

    from ..core.adain import Statistics


class AdaIN(Cascade):
    def statistics(self, features: Tensor, region: Tensor | None = None) -> Statistics:
        from ..core.adain import statistics

        return statistics(features, region)

    def steadied(self, carried: Statistics, own: Statistics) -> Statistics:
        from ..core.adain import steadied

        return steadied(carried, own)

    def of_picture(self, features: Tensor) -> Statistics:
        return self.statistics(features)

    def put(self, features: Tensor, own: Statistics, wanted: Statistics) -> Tensor:
        from ..core.adain import adain

        return adain(features, *wanted, *own, self.options.style_strength)


def load(options: TransferOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return AdaIN(options, device, dtype)


KIND = EngineKind(
    name="adain",
    what="a picture's colours, softest, by means and deviations (Huang and Belongie 2017)",
    takes=frozenset({PICTURES}),
    speed="5 frames/s at 512x288 on two cores, refiner included",
    licence="Apache-2.0; the encoder's weights CC BY 4.0",
    options=TransferOptions,
    load=load,
)
