"""What the engines share that put a picture's statistics onto the features of frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .coherence import NONE, Coherence, coherence_option
from .kinds import Carried, CarryingEngine, Engine
from .options import Options, option
from .style import Style, StylePicture

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor, nn

    from ..core.running import RunningMeans

GRID = 16  # px: frames are padded to multiples of it, for the encoder halves them four times


@dataclass(frozen=True)
class PictureOptions(Options):
    """What every engine that takes pictures lets a user choose."""

    style_strength: float = option(1.0, "how much of the style, 0 to 1", high=1, metavar="X")
    style_size: int = option(
        512,
        "the longer side that pictures are seen at, px: strokes grow with it",
        low=64,
        high=1024,
        metavar="N",
    )
    keep_colour: bool = option(False, "the colours of the video stay")


class ShotOptions(PictureOptions):
    """What `Transfer` asks of an engine's options about a shot."""

    coherence: str

    @property
    def along_shot(self) -> bool:
        """Whether the frames' statistics are carried along a shot."""
        raise NotImplementedError


@dataclass(frozen=True)
class TransferOptions(ShotOptions):
    statistics: str = option(
        "shot",
        "of the frames: carried along a shot, which is calmer, or each frame's own",
        choices=("shot", "frame"),
    )
    coherence: str = coherence_option()

    @property
    def along_shot(self) -> bool:
        return self.statistics == "shot"


@dataclass(frozen=True)
class Look:
    """A style as an engine sees it: what it made of each picture, shares of the sum 1, regions.

    `masks` (1,N,h,w) in [0,1], or None: every picture counts everywhere.
    """

    pictures: Sequence[Any]
    shares: Sequence[float]
    masks: Tensor | None

    def places(self, height: int, width: int) -> Tensor | None:
        """Each picture's share at every place, and last the frame's own, where the masks leave
        some: (1,N+1,height,width) of the sum 1. None without masks.
        """
        import torch
        from torch.nn.functional import interpolate

        if self.masks is None:
            return None
        masks = interpolate(self.masks, (height, width), mode="area")
        shares = masks * torch.tensor(self.shares).to(masks).view(1, -1, 1, 1)
        # Where one picture alone counts it counts in full, whatever its weight.
        covered = masks.sum(1, keepdim=True).clamp(max=1)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6) * covered
        return torch.cat([shares, 1 - covered], 1)

    def uncovered(self, frames: Tensor, stylized: Tensor) -> Tensor:
        """The frames themselves where no picture counts; (T,3,H,W) all."""
        places = self.places(*frames.shape[-2:])
        return stylized if places is None else stylized.lerp(frames, places[:, -1:].to(frames))


class Shot(NamedTuple):
    """What frames have of those before them in the shot.

    Attributes:
        means: of statistics, where they are carried.
        goes_on: (level, values, name) → the values, at its own level composed with those before;
            for one frame at a time.
    """

    means: RunningMeans | None = None
    goes_on: Callable[[str, Tensor, str], Tensor] = lambda level, x, name: x


class Transfer(ABC):
    """Implements `kinds.Loaded`: networks in whose features statistics are put onto frames.

    What the statistics are, where they are put on and how is the engine's own. Features are by
    layer of the encoder; so is what is made of a picture.
    """

    side = 512  # px
    bytes_per_pixel = 2048  # some dozen maps of 16 channels in float32, at the full size

    def __init__(self, options: ShotOptions, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        from ...weights.perceptual_encoder import load_encoder

        self.options, self.device, self.dtype = options, device, dtype
        self.networks = {
            name: network.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, network in {
                "encoder": load_encoder(),
                **self.own_networks(),
                **self._tracing_networks(),
            }.items()
        }

    @abstractmethod
    def own_networks(self) -> dict[str, nn.Module]:
        """What is needed beside the encoder, by name."""

    def _tracing_networks(self) -> dict[str, nn.Module]:
        """StyleBank's: its encoder is the one that the mask was trained on."""
        from ...weights.stylebank import load_network, load_traced_mask

        if self.options.coherence == NONE:
            return {}
        return {"stylebank": load_network(), "traced": load_traced_mask()}

    @abstractmethod
    def see(self, picture: Tensor) -> dict[str, Any]:
        """A picture (1,3,H,W) → what is put onto frames, a NamedTuple of tensors by layer."""

    @abstractmethod
    def draw(self, frames: Tensor, look: Look, shot: Shot) -> Tensor:
        """Frames (T,3,H,W) of sides in `GRID` → frames in the style, unclamped; uses `styled`."""

    @abstractmethod
    def statistics(self, features: Tensor, region: Tensor | None = None) -> Any:
        """Of features (T,C,h,w), in a region (1,1,h,w): a NamedTuple of tensors (T,...)."""

    @abstractmethod
    def put(self, features: Tensor, own: Any, wanted: Any) -> Tensor:
        """What was made of a picture onto features (T,C,h,w) whose own statistics are known."""

    def steadied(self, carried: Any, own: Any) -> Any:
        """Statistics carried along the shot, brought near enough to the frame's own."""
        return carried

    def remarks(self, style: Style) -> list[str]:
        return []

    @cached_property
    def weights(self) -> str:
        from ...weights.fingerprint import fingerprint

        return fingerprint(self.networks)

    def identity(self) -> dict[str, Any]:
        return {"weights": self.weights, **self.options.as_dict()}

    def engine(self, style: Style) -> Engine | CarryingEngine:
        import torch

        from ..core.mixing import mix

        with torch.no_grad():
            look = look_at(style, self._seen_at_size, self.device)
        if look.masks is None:  # once for all frames
            layers = {k: mix([p[k] for p in look.pictures], look.shares) for k in look.pictures[0]}
            look = Look([layers], [1.0], None)
        if self.options.along_shot or self.options.coherence != NONE:
            return _AlongShot(self, look)
        return lambda frames, frame_indices: self.stylize(frames, look, Shot())

    def _seen_at_size(self, picture: StylePicture) -> dict[str, Any]:
        shown = at_size(picture.image[None].float(), self.options.style_size)
        return self.see(shown.to(self.device, self.dtype))

    def prepared(self, frames: Tensor) -> Tensor:
        """Frames (T,3,H,W) as the networks take them: padded to `GRID`, channels last."""
        import torch

        shown = padded(frames.to(self.device, self.dtype))
        return shown.contiguous(memory_format=torch.channels_last)

    def coherence(self, frame: Tensor, before: Carried | None) -> Coherence:
        """Of one frame (1,3,H,W); `before`: what its neighbour left, None where a shot begins."""
        stylebank, traced = (cast("Any", self.networks[k]) for k in ("stylebank", "traced"))
        shown = self.prepared(frame)
        content = stylebank.encode(shown)
        return Coherence(self.options.coherence, traced, shown.float(), content, before)

    def stylize(self, frames: Tensor, look: Look, shot: Shot) -> Tensor:
        import torch

        from ..core.colour import keep_colour

        height, width = frames.shape[-2:]
        source = frames.to(self.device).float()
        with torch.no_grad():
            shown = shot.goes_on("input", self.prepared(frames), "composed")
            drawn = self.draw(shown, look, shot).float().clamp(0, 1)
            stylized = shot.goes_on("output", drawn, "composed")[..., :height, :width]
        if self.options.keep_colour:
            stylized = keep_colour(stylized, source)
        return look.uncovered(source, stylized)

    def styled(self, x: Tensor, layer: str, look: Look, shot: Shot) -> Tensor:
        """Features (T,C,h,w) of a layer with what each picture has of it put on, by region; then
        composed with those of the frame before.
        """
        return shot.goes_on("features", self.put_on(x, layer, look, shot.means), layer)

    def put_on(self, x: Tensor, layer: str, look: Look, means: RunningMeans | None) -> Tensor:
        """`styled` without what was before."""
        import torch

        pictures = [picture[layer] for picture in look.pictures]
        places = look.places(*x.shape[-2:])
        if places is None:
            (picture,) = pictures
            return self.put(x, self._own(x, None, layer, means), picture)
        regions = places[:, :-1]
        # Where masks leave the frame its own, the pictures go on all the same, and the pixels are
        # taken back last: the frame's features may have another scale than what is put on.
        shares = regions + 1e-6 * torch.tensor(look.shares).to(regions).view(1, -1, 1, 1)
        shares = shares / shares.sum(1, keepdim=True)
        result = torch.zeros_like(x)
        for k, picture in enumerate(pictures):
            own = self._own(x, regions[:, k : k + 1], f"{layer}.{k}", means)
            result = result + shares[:, k : k + 1].to(x) * self.put(x, own, picture)
        return result

    def _own(
        self, features: Tensor, region: Tensor | None, name: str, means: RunningMeans | None
    ) -> Any:
        """The frames' statistics, of a region where one is given; along the shot where asked."""
        own = self.statistics(features, region)
        if means is None:
            return own
        carried = (means(f"{name}.{part}", v) for part, v in own._asdict().items())
        return self.steadied(type(own)(*carried), own)


class _AlongShot:
    """A `kinds.CarryingEngine`: the frames' statistics are running means of the shot, or what was
    drawn goes on, or both.
    """

    def __init__(self, transfer: Transfer, look: Look) -> None:
        self.transfer, self.look = transfer, look

    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        import torch

        coherent, found = self.transfer.options.coherence != NONE, []
        for some in frames.split(1 if coherent else len(frames)):
            drawn, carried = self._carry(some, carried)
            found.append(drawn)
        assert carried is not None, "no frame"
        return torch.cat(found), carried

    def _carry(self, frames: Tensor, carried: Carried | None) -> tuple[Tensor, Carried]:
        """Of a coherent engine, one frame."""
        from ..core.running import RunningMeans

        transfer, after = self.transfer, {}
        means = RunningMeans(carried) if transfer.options.along_shot else None
        shot = Shot(means)
        if transfer.options.coherence != NONE:
            coherence = transfer.coherence(frames, carried)
            shot, after = Shot(means, coherence), coherence.after
        drawn = transfer.stylize(frames, self.look, shot)
        return drawn, {**(means.after if means else {}), **after}


def look_at(style: Style, see: Callable[[Any], Any], device: torch.device) -> Look:
    """What `see` makes of each picture or learned style."""
    import torch
    from torch.nn.functional import interpolate

    given = [(one, share) for one, share in zip(style.members, style.shares, strict=True) if share]
    shares, seen = [share for _, share in given], [see(one) for one, _ in given]
    if all(one.mask is None for one, _ in given):
        return Look(seen, shares, None)
    whole = torch.ones(1, 1, 1)
    masks = [whole if one.mask is None else one.mask for one, _ in given]
    size = max(mask.shape[-2] for mask in masks), max(mask.shape[-1] for mask in masks)
    fitted = [interpolate(mask[None].float(), size, mode="nearest") for mask in masks]
    return Look(seen, shares, torch.cat(fitted, 1).to(device))


def padded(frames: Tensor) -> Tensor:
    """(T,3,H,W) with sides in multiples of `GRID`, the border repeated."""
    from torch.nn.functional import pad

    height, width = frames.shape[-2:]
    return pad(frames, (0, -width % GRID, 0, -height % GRID), mode="replicate")


def at_size(picture: Tensor, longer_side: int) -> Tensor:
    """(1,3,H,W) scaled to a longer side of so many px, in the same shape; at least `GRID` px."""
    from torch.nn.functional import interpolate

    height, width = picture.shape[-2:]
    scale = longer_side / max(height, width)
    size = [max(GRID, round(side * scale)) for side in (height, width)]
    return interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1)
