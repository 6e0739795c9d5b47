"""Learned styles: a shared encoder and decoder with a filter bank a style (Chen et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .kinds import LEARNED, Engine, EngineKind, Loaded
from .options import Options, option
from .style import LearnedStyle, Style
from .transfer import GRID, Look, look_at

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class StyleBankOptions(Options):
    style_strength: float = option(1.0, "how much of the style, 0 to 1", high=1, metavar="X")
    keep_colour: bool = option(False, "the colours of the video stay")
    fade_frames: int = option(
        0,
        "so many frames from the first style to the last, counted from the video's beginning (0: "
        "they are mixed by their weights)",
        high=1e9,
        metavar="N",
    )


class _LoadedBank:
    """Implements `kinds.Loaded`."""

    side = 512  # px
    bytes_per_pixel = 1024  # 32 maps in float32 at the full size, some of them twice

    def __init__(
        self, options: StyleBankOptions, device: torch.device, dtype: torch.dtype
    ) -> None:
        import torch

        from ...weights.stylebank import load_network

        self.options, self.device, self.dtype = options, device, dtype
        network = load_network().to(device, dtype)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._seen: tuple[Tensor, Tensor] | None = None

    def remarks(self, style: Style) -> list[str]:
        return []

    @cached_property
    def weights(self) -> str:
        from ...weights.fingerprint import fingerprint

        return fingerprint({"network": self.network})

    def identity(self) -> dict[str, Any]:
        return {"weights": self.weights, **self.options.as_dict()}

    def engine(self, style: Style) -> Engine:
        look = look_at(style, self._bank, self.device)
        return lambda frames, frame_indices: self.stylize(frames, look, frame_indices)

    def _bank(self, style: LearnedStyle) -> Tensor:
        return style.filters.to(self.device, self.dtype)

    def stylize(self, frames: Tensor, look: Look, frame_indices: Sequence[int]) -> Tensor:
        """Frames (T,3,H,W) in [0,1] → the same in the style."""
        import torch

        from ..core.colour import keep_colour

        height, width = frames.shape[-2:]
        source = frames.to(self.device)
        with torch.no_grad():
            styled = self._styled(self._features(source), look, frame_indices)
            shown = self.network.decode(styled)[..., :height, :width].float().clamp(0, 1)
        if self.options.keep_colour:
            shown = keep_colour(shown, source.float())
        # Not in the features: what the decoder makes of the frame's own has lost its colours.
        shown = source.float().lerp(shown, self.options.style_strength)
        return look.uncovered(source.float(), shown)

    def _features(self, frames: Tensor) -> Tensor:
        """Of frames; once for several styles that are asked for one after the other."""
        import torch
        from torch.nn.functional import pad

        if self._seen is None or self._seen[0] is not frames:
            height, width = frames.shape[-2:]
            shown = pad(frames, (0, -width % GRID, 0, -height % GRID), mode="replicate")
            shown = shown.to(self.dtype).contiguous(memory_format=torch.channels_last)
            self._seen = frames, self.network.encode(shown)
        return self._seen[1]

    def _styled(self, features: Tensor, look: Look, frame_indices: Sequence[int]) -> Tensor:
        import torch

        from ..core.stylebank import faded, through_bank, through_banks, unchanged

        places = look.places(*features.shape[-2:])
        if places is not None:
            banks = [*look.pictures, unchanged().to(features)]
            return through_banks(features, banks, places)
        if self.options.fade_frames:
            shares = [faded(i / self.options.fade_frames, len(look.pictures)) for i in frame_indices]
        else:
            shares = [look.shares] * len(frame_indices)
        banks = torch.stack(list(look.pictures))
        parts = []
        for frame, share in zip(features.split(1), shares, strict=True):
            mixed = torch.einsum("n,nabcd->abcd", torch.tensor(share).to(banks), banks)
            parts.append(through_bank(frame, mixed))
        return torch.cat(parts)


def load(options: StyleBankOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return _LoadedBank(options, device, dtype)


KIND = EngineKind(
    name="stylebank",
    what="styles learned beforehand, yours in minutes (Chen et al. 2017)",
    takes=frozenset({LEARNED}),
    speed="6 frames/s at 512x288 on two cores, refiner included",
    licence="Apache-2.0; the weights CC BY 4.0",
    options=StyleBankOptions,
    load=load,
)
