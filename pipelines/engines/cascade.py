"""The cascade of levels, coarse to fine (Li et al. 2017), that needs no training with styles."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from .transfer import Look, Shot, Transfer

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from torch import Tensor, nn

CASCADE = {"relu4_1": 4, "relu2_1": 2, "relu1_1": 1}  # in their order (docs/decisions.md)


class Cascade(Transfer):
    """At each level features get the picture's statistics and a decoder makes frames of them, which
    the next level starts from. The decoders only give pictures back: they know no style.
    """

    @abstractmethod
    def of_picture(self, features: Tensor) -> Any:
        """What of a picture's features (1,C,h,w) is put onto frames."""

    def own_networks(self) -> dict[str, nn.Module]:
        from ...weights.perceptual_encoder import load_decoder

        return {f"decoder{level}": load_decoder(level) for level in CASCADE.values()}

    def see(self, picture: Tensor) -> dict[str, Any]:
        features = self.networks["encoder"](picture, list(CASCADE))
        return {layer: self.of_picture(features[layer]) for layer in CASCADE}

    def draw(self, frames: Tensor, look: Look, shot: Shot) -> Tensor:
        for layer, level in CASCADE.items():
            features = self.networks["encoder"](frames, [layer])[layer]
            features = self.styled(features, layer, look, shot).to(self.dtype)
            frames = self.networks[f"decoder{level}"](features)
        return frames
