"""Style from a picture by adaptive instance normalisation (Huang and Belongie 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .kinds import PICTURES, EngineKind, Loaded
from .transfer import Look, Transfer, TransferOptions

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor

    from ..core.adain import Statistics
    from ..core.running import RunningMeans

LAYER = "relu4_1"


@dataclass(frozen=True)
class AdaINOptions(TransferOptions):
    pass


class AdaIN(Transfer):
    def __init__(self, options: AdaINOptions, device: torch.device, dtype: torch.dtype) -> None:
        from ...weights.perceptual_encoder import load_adain_decoder, load_encoder

        networks = {"encoder": load_encoder(), "decoder": load_adain_decoder()}
        super().__init__(options, device, dtype, networks)

    def see(self, picture: Tensor) -> Statistics:
        from ..core.adain import statistics

        return statistics(self._features(picture))

    def transfer(self, frames: Tensor, look: Look, means: RunningMeans | None) -> Tensor:
        from ..core.adain import Statistics, adain, by_region, mix, statistics

        x = self._features(frames)
        own = statistics(x)
        if means is not None:
            own = Statistics(*(means(name, v) for name, v in own._asdict().items()))
        places = look.places(*x.shape[-2:])
        if places is None:
            wanted = mix(look.pictures, look.shares)
        else:
            wanted = by_region([*look.pictures, own], places)
        stylized = adain(x, *wanted, own.mean, own.deviation, self.options.style_strength)
        return self.networks["decoder"](stylized)

    def _features(self, images: Tensor) -> Tensor:
        return self.networks["encoder"](images, [LAYER])[LAYER]


def load(options: AdaINOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return AdaIN(options, device, dtype)


KIND = EngineKind(
    name="adain",
    what="a picture's colours and texture by feature statistics, fast (Huang and Belongie 2017)",
    takes=frozenset({PICTURES}),
    speed="",
    licence="Apache-2.0",
    options=AdaINOptions,
    load=load,
)
