"""Style from a picture by whitening and colouring, from coarse to fine (Li et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .kinds import PICTURES, EngineKind, Loaded
from .options import option
from .transfer import Look, Transfer, TransferOptions

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor

    from ..core.running import RunningMeans
    from ..core.wct import Colour

LEVELS = (4, 2, 1)  # of relu4_1, relu2_1, relu1_1, in the order of the cascade (NOTES.md)
RIDGE = 0.1  # of the whitening, see core.wct: less noise in flat places


@dataclass(frozen=True)
class WCTOptions(TransferOptions):
    style_strength: float = option(0.8, "how much of the style, 0 to 1", high=1, metavar="X")


class WCT(Transfer):
    bytes_per_pixel = 2048

    def __init__(self, options: WCTOptions, device: torch.device, dtype: torch.dtype) -> None:
        from ...weights.perceptual_encoder import load_decoder, load_encoder

        decoders = {f"decoder{level}": load_decoder(level) for level in LEVELS}
        super().__init__(options, device, dtype, {"encoder": load_encoder(), **decoders})

    def see(self, picture: Tensor) -> dict[int, Colour]:
        from ..core.wct import colour, gaussian

        features = self.networks["encoder"](picture, [_layer(level) for level in LEVELS])
        return {level: colour(gaussian(features[_layer(level)]), RIDGE) for level in LEVELS}

    def transfer(self, frames: Tensor, look: Look, means: RunningMeans | None) -> Tensor:
        for level in LEVELS:
            frames = self._level(frames, level, look, means)
        return frames

    def _level(self, frames: Tensor, level: int, look: Look, means: RunningMeans | None) -> Tensor:
        from ..core.wct import Gaussian, colour, gaussian, mix, wct, wct_by_region

        layer = _layer(level)
        x = self.networks["encoder"](frames, [layer])[layer].float()
        own = gaussian(x)
        if means is not None:
            own = Gaussian(*(means(f"{layer}.{name}", v) for name, v in own._asdict().items()))
        pictures = [picture[level] for picture in look.pictures]
        places, strength = look.places(*x.shape[-2:]), self.options.style_strength
        if places is None:
            wanted = mix(pictures, look.shares)
            x = wct(x, *wanted, own.mean, own.covariance, strength, RIDGE)
        else:
            pictures.append(colour(own, RIDGE))
            x = wct_by_region(x, pictures, places, own.mean, own.covariance, strength, RIDGE)
        return self.networks[f"decoder{level}"](x.to(self.dtype))


def _layer(level: int) -> str:
    return f"relu{level}_1"


def load(options: WCTOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return WCT(options, device, dtype)


KIND = EngineKind(
    name="wct",
    what="a picture's colours and strokes by covariances, coarse to fine (Li et al. 2017)",
    takes=frozenset({PICTURES}),
    speed="",
    licence="Apache-2.0",
    options=WCTOptions,
    load=load,
)
