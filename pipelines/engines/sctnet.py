"""Style from a picture by one trained network (Wu et al. 2022): paintings, photographs, video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .coherence import coherence_option
from .kinds import PICTURES, EngineKind, Loaded
from .options import option
from .transfer import Look, Shot, ShotOptions, Transfer

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor, nn

    from ..core.adain import Statistics
    from ..core.sctnet import SCTNet
    from ..core.wct import Gaussian

PIXELS = "pixels"  # beside the layers
RIDGE = {"art": 0.3, "photo": 0.02}  # of the colours' whitening, see core.wct
CRACKLED, SHIFTED, SPREAD = "relu2_1", 0.9, 0.7
"""Where strokes get only these shares of the picture's mean and deviation: all of it is drawn as a
net of fine dark cracks (docs/figures.md)."""
VARIANTS = {"video": "art", "art": "art", "photo": "photo"}  # by mode


@dataclass(frozen=True)
class SCTNetOptions(ShotOptions):
    mode: str = option(
        "video",
        "of the picture: strokes, calm along a shot (video) or frame by frame (art), or its "
        "colours alone (photo)",
        choices=tuple(VARIANTS),
    )
    coherence: str = coherence_option()

    @property
    def along_shot(self) -> bool:
        return self.mode != "art"


class Softened(NamedTuple):
    """Statistics (T,C,1,1) of pictures, of which not all is put on."""

    mean: Tensor
    deviation: Tensor


class SCTNetTransfer(Transfer):
    """By the network; last, its pixels get the covariance of the picture's colours (core/wct.py),
    which means and deviations of features do not hold.
    """

    options: SCTNetOptions

    def own_networks(self) -> dict[str, nn.Module]:
        from ...weights.sctnet import load_sctnet

        return {"sctnet": load_sctnet(self.variant)}

    @property
    def variant(self) -> str:
        return VARIANTS[self.options.mode]

    @property
    def network(self) -> SCTNet:
        return cast("SCTNet", self.networks["sctnet"])

    def see(self, picture: Tensor) -> dict[str, Any]:
        return self._seen(picture, self.networks["encoder"](picture, self.network.layers))

    def _seen(self, images: Tensor, features: Mapping[str, Tensor]) -> dict[str, Any]:
        from ..core.wct import colour, gaussian

        seen: dict[str, Any] = dict(self.network.see(features))
        if self.variant == "art":
            seen[CRACKLED] = Softened(*seen[CRACKLED])
        return {**seen, PIXELS: colour(gaussian(images), RIDGE[self.variant])}

    def draw(self, frames: Tensor, look: Look, shot: Shot) -> Tensor:
        content = self.networks["encoder"](frames, self.network.layers)
        look = self._by_strength(look, frames, content)
        drawn = self.network.draw(content, lambda layer, x: self.styled(x, layer, look, shot))
        return self.put_on(drawn.float().clamp(0, 1), PIXELS, look, shot.means)

    def _by_strength(self, look: Look, frames: Tensor, content: Mapping[str, Tensor]) -> Look:
        """Each picture mixed with the frame itself as a picture: so much of the style."""
        from ..core.mixing import mix

        strength = self.options.style_strength
        if strength == 1:
            return look
        own, shares = self._seen(frames, content), (1 - strength, strength)
        mixed = [{k: mix((own[k], p[k]), shares) for k in own} for p in look.pictures]
        return replace(look, pictures=mixed)

    def statistics(self, features: Tensor, region: Tensor | None = None) -> Statistics | Gaussian:
        from ..core.adain import statistics
        from ..core.wct import gaussian

        pixels = features.shape[1] == 3
        return gaussian(features, region) if pixels else statistics(features, region)

    def steadied(self, carried: Any, own: Any) -> Any:
        from ..core import adain, wct

        return (wct if isinstance(own, wct.Gaussian) else adain).steadied(carried, own)

    def put(self, features: Tensor, own: Any, wanted: Any) -> Tensor:
        from ..core.wct import Colour, wct

        if isinstance(wanted, Colour):
            of_frame = own.mean, own.covariance
            ridge = RIDGE[self.variant]
            return wct(features, wanted.mean, wanted.root, *of_frame, 1.0, ridge)
        if isinstance(wanted, Softened):
            less = [1 - self.options.style_strength * (1 - share) for share in (SHIFTED, SPREAD)]
            mean = own.mean + less[0] * (wanted.mean - own.mean)
            wanted = type(own)(mean, less[1] * wanted.deviation)
        return self.network.put(features, own, wanted)


def load(options: SCTNetOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return SCTNetTransfer(options, device, dtype)


KIND = EngineKind(
    name="sctnet",
    what="a picture's strokes, or its colours alone, by a trained network (Wu et al. 2022)",
    takes=frozenset({PICTURES}),
    speed="6 frames/s at 512x288 on two cores, refiner included",
    licence="Apache-2.0; the weights CC BY 4.0",
    options=SCTNetOptions,
    load=load,
)
