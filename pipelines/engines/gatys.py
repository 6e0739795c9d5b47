"""Style from a picture by optimisation (Gatys et al. 2016), along a video (Ruder et al. 2016).

Minutes a frame where others take a second: what they are measured against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from .at_work import at_work
from .kinds import PICTURES, Carried, EngineKind, Loaded
from .options import option
from .style import Style, StylePicture
from .transfer import Look, PictureOptions, at_size, look_at, padded

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor

CONTENT = "relu4_1"
SMOOTH = 0.1  # roughness as the picture's own, beside style of weight 1
LATER = 2  # a frame that starts from the one before needs so many times fewer steps
CLOUDS = 0.2  # of a shot's first frame: without, flat places find no strokes


@dataclass(frozen=True)
class GatysOptions(PictureOptions):
    style_strength: float = option(0.7, "how much of the style, 0 to 1", high=1, metavar="X")
    temporal_strength: float = option(
        5.0, "weight of likeness to the frame before, where that shows the same", metavar="X"
    )
    iterations: int = option(
        100,
        "steps for the first frame of a shot; the others take half as many",
        low=1,
        metavar="N",
    )
    encoder: str = option(
        "slim",
        "whose features: the one that ships, or torchvision's VGG-19 where its weights are",
        choices=("slim", "vgg19"),
    )


class Seen(NamedTuple):
    """A picture of a style: its Gram matrices (1,C,C) by layer, and how rough it is."""

    grams: Mapping[str, Tensor]
    roughness: Tensor


class Gatys:
    """Implements `kinds.Loaded`, in float32 whatever is asked for: gradients need it.

    The loss is s (style + `SMOOTH` roughness) + (1 - s) content + t temporal, s and t being the
    options' strengths: at s = 0 the frames stay as they are, at 1 nothing but the start holds them.
    """

    side = 512  # px
    device: torch.device
    dtype: torch.dtype
    bytes_per_pixel: int

    def __init__(self, options: GatysOptions, device: torch.device) -> None:
        import torch

        from ...weights.perceptual_encoder import load_encoder

        self.options, self.device, self.dtype = options, device, torch.float32
        with torch.inference_mode(False):  # weights of it know no gradient
            encoder = load_encoder(options.encoder).to(device)
            self.encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.bytes_per_pixel = 256 * self.encoder.widths["relu1_1"]

    def remarks(self, style: Style) -> list[str]:
        return []

    @cached_property
    def weights(self) -> str:
        from ...weights.fingerprint import fingerprint

        return fingerprint({"encoder": self.encoder})

    def identity(self) -> dict[str, Any]:
        return {"weights": self.weights, **self.options.as_dict()}

    def engine(self, style: Style) -> _AlongShot:
        import torch

        with torch.inference_mode(False), torch.no_grad():
            return _AlongShot(self, look_at(style, self._see, self.device))

    def _see(self, picture: StylePicture) -> Seen:
        from ..core.gatys import roughness
        from ..core.gram import gram

        image = at_size(picture.image[None].float(), self.options.style_size)
        image = image.to(self.device, self.dtype)
        return Seen({k: gram(x) for k, x in self.encoder(image).items()}, roughness(image))

    def stylize(self, frame: Tensor, look: Look, before: Carried | None) -> Tensor:
        """A frame (1,3,H,W), sides in multiples of `GRID` → the stylized one."""
        import torch

        from ..core.gatys import (
            SMALLEST,
            clouded,
            content_loss,
            optimized,
            roughness,
            style_loss,
            temporal_loss,
        )

        s, t = self.options.style_strength, self.options.temporal_strength
        with torch.inference_mode(False), torch.no_grad():
            frame = frame.clone()
            x = self.encoder(frame)
            grams, masks = _regions(look, x)
            rough = sum(k * p.roughness for k, p in zip(look.shares, look.pictures, strict=True))
            rough = rough.clamp(min=SMALLEST)
            iterations, along = self.options.iterations, None
            if before is None:
                start = clouded(frame, CLOUDS * s)
            else:
                along = _along_flow(frame, before)
                start = along[0]
                iterations = -(-iterations // LATER)

        def loss(y: Tensor) -> Tensor:
            at_work()
            features = self.encoder(y)
            style = style_loss(features, grams, masks) + SMOOTH * roughness(y) / rough
            total = s * style + (1 - s) * content_loss(features[CONTENT], x[CONTENT])
            return total if along is None else total + t * temporal_loss(y, *along)

        return optimized(start, loss, iterations)


class _AlongShot:
    """A `kinds.CarryingEngine`: carries the frame before, and what became of it."""

    def __init__(self, gatys: Gatys, look: Look) -> None:
        self.gatys, self.look = gatys, look

    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        import torch

        from ..core.colour import keep_colour

        height, width = frames.shape[-2:]
        shown = padded(frames.to(self.gatys.device, self.gatys.dtype))
        found = []
        for frame in shown.split(1):
            stylized = self.gatys.stylize(frame, self.look, carried)
            carried = {"frame": frame, "stylized": stylized}
            found.append(stylized)
        assert carried is not None, "no frame"
        stylized = torch.cat(found)[..., :height, :width]
        if self.gatys.options.keep_colour:
            stylized = keep_colour(stylized, frames.to(stylized))
        return self.look.uncovered(frames.to(stylized), stylized), carried


def _regions(
    look: Look, features: Mapping[str, Tensor]
) -> tuple[list[Mapping[str, Tensor]], list[Mapping[str, Tensor]] | None]:
    """Gram matrices that are wanted, of each region; and their masks, by layer."""
    if look.masks is None:
        both = list(zip(look.shares, look.pictures, strict=True))
        return [{k: sum(share * p.grams[k] for share, p in both) for k in features}], None
    places = {}
    for name, x in features.items():
        shares = look.places(*x.shape[-2:])
        assert shares is not None
        places[name] = shares.split(1, dim=1)
    grams = [picture.grams for picture in look.pictures]
    return grams, [{k: places[k][n] for k in features} for n in range(len(grams))]


def _along_flow(frame: Tensor, before: Carried) -> tuple[Tensor, Tensor]:
    """The stylized frame before, as the source moves; and where that can be followed."""
    from ..core.flow import visible_before, warp
    from ..flow import both_ways

    flows = [flow.to(frame) for flow in both_ways(frame[0], before["frame"][0].to(frame))]
    return warp(before["stylized"].to(frame), flows[0]), visible_before(*flows)


def load(options: GatysOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return Gatys(options, device)


KIND = EngineKind(
    name="gatys",
    what="a picture's style by optimising every frame, the slow reference (Gatys et al. 2016)",
    takes=frozenset({PICTURES}),
    speed="10 to 25 s a frame of 384 px on one core",
    licence="Apache-2.0",
    options=GatysOptions,
    load=load,
)
