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

LEVELS = (4, 2, 1)  # of relu4_1, relu2_1, relu1_1, in the order of the cascade (NOTES.md)


@dataclass(frozen=True)
class AdaINOptions(TransferOptions):
    pass


class AdaIN(Transfer):
    """By the cascade and the decoders of WCT (Li et al. 2017), with the statistics of AdaIN.

    Huang and Belongie train a decoder on relu4_1 with styles. Decoders that only give pictures back
    need the finer levels too, for colours.
    """

    def __init__(self, options: AdaINOptions, device: torch.device, dtype: torch.dtype) -> None:
        from ...weights.perceptual_encoder import load_decoder, load_encoder

        decoders = {f"decoder{level}": load_decoder(level) for level in LEVELS}
        super().__init__(options, device, dtype, {"encoder": load_encoder(), **decoders})

    def see(self, picture: Tensor) -> dict[int, Statistics]:
        from ..core.adain import statistics

        features = self.networks["encoder"](picture, [_layer(level) for level in LEVELS])
        return {level: statistics(features[_layer(level)]) for level in LEVELS}

    def transfer(self, frames: Tensor, look: Look, means: RunningMeans | None) -> Tensor:
        for level in LEVELS:
            frames = self._level(frames, level, look, means)
        return frames

    def _level(self, frames: Tensor, level: int, look: Look, means: RunningMeans | None) -> Tensor:
        from ..core.adain import Statistics, adain, by_region, mix, statistics

        layer = _layer(level)
        x = self.networks["encoder"](frames, [layer])[layer]
        own = statistics(x)
        if means is not None:
            own = Statistics(*(means(f"{layer}.{name}", v) for name, v in own._asdict().items()))
        pictures = [picture[level] for picture in look.pictures]
        places = look.places(*x.shape[-2:])
        if places is None:
            wanted = mix(pictures, look.shares)
        else:
            wanted = by_region([*pictures, own], places)
        stylized = adain(x, *wanted, own.mean, own.deviation, self.options.style_strength)
        return self.networks[f"decoder{level}"](stylized)


def _layer(level: int) -> str:
    return f"relu{level}_1"


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
