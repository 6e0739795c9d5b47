"""What engines share that put a picture's statistics onto the features of frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .kinds import Carried, CarryingEngine, Engine
from .options import Options, option
from .style import Style

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor, nn

    from ..core.running import RunningMeans

GRID = 16  # px: frames are padded to multiples of it, for the encoder halves them four times


@dataclass(frozen=True)
class TransferOptions(Options):
    style_strength: float = option(1.0, "how much of the style, 0 to 1", high=1, metavar="X")
    style_size: int = option(
        512,
        "the longer side that pictures are seen at, px: strokes grow with it",
        low=64,
        high=1024,
        metavar="N",
    )
    keep_colour: bool = option(False, "the colours of the video stay")
    statistics: str = option(
        "shot",
        "of the frames: carried along a shot, which is calmer, or each frame's own",
        choices=("shot", "frame"),
    )


@dataclass(frozen=True)
class Look:
    """A style as an engine sees it: what it made of each picture, shares of the sum 1, regions.

    `masks` (1,N,h,w) in [0,1], or None: every picture counts everywhere.
    """

    pictures: Sequence[Any]
    shares: Sequence[float]
    masks: Tensor | None

    def places(self, height: int, width: int) -> Tensor | None:
        """Each picture's share at every place, and last the frame's own, where the pictures leave
        some: (1,N+1,height,width) of the sum 1. None without masks.
        """
        import torch
        from torch.nn.functional import interpolate

        if self.masks is None:
            return None
        masks = interpolate(self.masks, (height, width), mode="area")
        shares = masks * torch.tensor(self.shares).to(masks).view(1, -1, 1, 1)
        # Where one picture alone counts it counts in full, whatever its weight.
        covered = masks.amax(1, keepdim=True)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6) * covered
        return torch.cat([shares, 1 - covered], 1)


class Transfer(ABC):
    """Implements `kinds.Loaded`: an encoder, decoders, and what happens to features between."""

    side = 512  # px
    bytes_per_pixel = 1024  # two dozen maps of 16 channels in float32, at the full size

    def __init__(
        self,
        options: TransferOptions,
        device: torch.device,
        dtype: torch.dtype,
        networks: Mapping[str, nn.Module],
    ) -> None:
        import torch

        self.options, self.device, self.dtype = options, device, dtype
        self.networks = {
            name: network.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, network in networks.items()
        }

    @abstractmethod
    def see(self, picture: Tensor) -> Any:
        """A picture of a style (1,3,H,W) → its statistics."""

    @abstractmethod
    def transfer(self, frames: Tensor, look: Look, means: RunningMeans | None) -> Tensor:
        """Frames (T,3,H,W), sides in multiples of `GRID` → stylized frames, unclamped."""

    def remarks(self, style: Style) -> list[str]:
        return []

    @cached_property
    def weights(self) -> str:
        from ...weights.fingerprint import fingerprint

        return fingerprint(self.networks)

    def identity(self) -> dict[str, Any]:
        return {"weights": self.weights, **self.options.as_dict()}

    def engine(self, style: Style) -> Engine | CarryingEngine:
        look = look_at(style, self.options.style_size, self.see, self.device, self.dtype)
        if self.options.statistics == "shot":
            return _AlongShot(self, look)
        return lambda frames, frame_indices: self.stylize(frames, look, None)

    def stylize(self, frames: Tensor, look: Look, means: RunningMeans | None) -> Tensor:
        import torch
        from torch.nn.functional import pad

        from ..core.colour import keep_colour

        height, width = frames.shape[-2:]
        shown = frames.to(self.device, self.dtype)
        shown = pad(shown, (0, -width % GRID, 0, -height % GRID), mode="replicate")
        shown = shown.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            stylized = self.transfer(shown, look, means)[..., :height, :width]
        stylized = stylized.float().clamp(0, 1)
        if self.options.keep_colour:
            stylized = keep_colour(stylized, frames.to(stylized))
        return stylized


class _AlongShot:
    """A `kinds.CarryingEngine`: the frames' statistics are running means of the shot."""

    def __init__(self, transfer: Transfer, look: Look) -> None:
        self.transfer, self.look = transfer, look

    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        from ..core.running import RunningMeans

        means = RunningMeans(carried)
        return self.transfer.stylize(frames, self.look, means), means.after


def look_at(
    style: Style,
    longer_side: int,
    see: Callable[[Tensor], Any],
    device: torch.device,
    dtype: torch.dtype,
) -> Look:
    """What `see` makes of each picture (1,3,H,W), shown with a longer side of so many px."""
    import torch
    from torch.nn.functional import interpolate

    pictures = []
    for picture in style.pictures:
        shown = at_size(picture.image[None].float(), longer_side)
        pictures.append(see(shown.to(device, dtype)))
    if all(picture.mask is None for picture in style.pictures):
        return Look(pictures, style.shares, None)
    whole = torch.ones(1, 1, 1)
    masks = [whole if picture.mask is None else picture.mask for picture in style.pictures]
    size = max(mask.shape[-2] for mask in masks), max(mask.shape[-1] for mask in masks)
    fitted = [interpolate(mask[None].float(), size, mode="nearest") for mask in masks]
    return Look(pictures, style.shares, torch.cat(fitted, 1).to(device))


def at_size(picture: Tensor, longer_side: int) -> Tensor:
    """(1,3,H,W) scaled to a longer side of so many px, in the same shape; at least `GRID` px."""
    from torch.nn.functional import interpolate

    height, width = picture.shape[-2:]
    scale = longer_side / max(height, width)
    size = [max(GRID, round(side * scale)) for side in (height, width)]
    return interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1)
