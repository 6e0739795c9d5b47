"""Learned styles: a shared encoder and decoder with a filter bank a style (Chen et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .coherence import NONE, Coherence, coherence_option
from .kinds import LEARNED, Carried, CarryingEngine, Engine, EngineKind, Loaded
from .options import Options, option
from .style import LearnedStyle, Style
from .transfer import Look, look_at, padded

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
    coherence: str = coherence_option()


class _LoadedBank:
    """Implements `kinds.Loaded`."""

    side = 512  # px
    bytes_per_pixel = 1024  # 32 maps in float32 at the full size, some of them twice

    def __init__(self, options: StyleBankOptions, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        from ...weights.stylebank import load_network, load_traced_mask

        self.options, self.device, self.dtype = options, device, dtype
        network = load_network().to(device, dtype)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.traced = load_traced_mask().to(device, dtype)
        self._seen: tuple[Tensor, Tensor] | None = None

    def remarks(self, style: Style) -> list[str]:
        alone = self.options.fade_frames and len(style.learned) == 1
        return ["There is one style alone: fade_frames changes nothing."] if alone else []

    @cached_property
    def weights(self) -> str:
        from ...weights.fingerprint import fingerprint

        return fingerprint({"network": self.network, "traced": self.traced})

    def identity(self) -> dict[str, Any]:
        return {"weights": self.weights, **self.options.as_dict()}

    def engine(self, style: Style) -> Engine | CarryingEngine:
        look = look_at(style, self._bank, self.device)
        if self.options.coherence != NONE:
            return _Coherent(self, look)
        return lambda frames, frame_indices: self.stylize(frames, look, frame_indices)

    def _bank(self, style: LearnedStyle) -> Tensor:
        return style.filters.to(self.device, self.dtype)

    def stylize(self, frames: Tensor, look: Look, frame_indices: Sequence[int]) -> Tensor:
        """Frames (T,3,H,W) in [0,1] → the same in the style."""
        import torch

        with torch.no_grad():
            styled = self.styled(self.features(frames), look, frame_indices)
            return self.shown(self.drawn(styled), frames, look)

    def drawn(self, styled: Tensor) -> Tensor:
        """Features in the style → frames in [0,1], padded as `padded`."""
        return self.network.decode(styled).float().clamp(0, 1)

    def shown(self, drawn: Tensor, frames: Tensor, look: Look) -> Tensor:
        """What of the drawn frames is shown, by size, colours, strength and regions."""
        from ..core.colour import keep_colour

        height, width = frames.shape[-2:]
        drawn = drawn[..., :height, :width]
        source = frames.to(drawn)
        if self.options.keep_colour:
            drawn = keep_colour(drawn, source)
        # Not in the features: what the decoder makes of the frame's own has lost its colours.
        return look.uncovered(source, source.lerp(drawn, self.options.style_strength))

    def features(self, frames: Tensor) -> Tensor:
        """Of frames, padded; once for several styles that are asked for one after the other."""
        import torch

        if self._seen is None or self._seen[0] is not frames:
            shown = padded(frames).to(self.device, self.dtype)
            shown = shown.contiguous(memory_format=torch.channels_last)
            self._seen = frames, self.network.encode(shown)
        return self._seen[1]

    def styled(self, features: Tensor, look: Look, frame_indices: Sequence[int]) -> Tensor:
        """Features through the filters of each frame's own mixture, or by region."""
        import torch

        from ..core.stylebank import faded, through_bank, through_banks, unchanged

        places, fade = look.places(*features.shape[-2:]), self.options.fade_frames
        if places is not None:
            return through_banks(features, [*look.pictures, unchanged().to(features)], places)
        banks, parts = torch.stack(list(look.pictures)), []
        for frame, index in zip(features.split(1), frame_indices, strict=True):
            shares = faded(index / fade, len(banks)) if fade else look.shares
            mixed = torch.tensordot(torch.tensor(shares).to(banks), banks, 1)
            parts.append(through_bank(frame, mixed))
        return torch.cat(parts)


class _Coherent:
    """A `CarryingEngine`: what was drawn before goes on where the frame shows the same."""

    def __init__(self, bank: _LoadedBank, look: Look) -> None:
        self.bank, self.look = bank, look

    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        import torch

        found = []
        with torch.no_grad():
            for frame, index in zip(frames.split(1), frame_indices, strict=True):
                drawn, carried = self._drawn(padded(frame), index, carried)
                found.append(self.bank.shown(drawn, frame, self.look))
        assert carried is not None, "no frame"
        return torch.cat(found), carried

    def _drawn(self, frame: Tensor, index: int, carried: Carried | None) -> tuple[Tensor, Carried]:
        """A frame (1,3,H,W), padded → it in the style, and what the next one goes on from."""
        bank, features = self.bank, self.bank.features(frame)
        goes_on = Coherence(bank.options.coherence, bank.traced, frame, features, carried)
        source = goes_on("input", frame)
        styled = goes_on("features", bank.styled(bank.features(source), self.look, [index]))
        return goes_on("output", bank.drawn(styled)), goes_on.after


def load(options: StyleBankOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return _LoadedBank(options, device, dtype)


KIND = EngineKind(
    name="stylebank",
    what="styles learned beforehand, yours in minutes (Chen et al. 2017)",
    takes=frozenset({LEARNED}),
    speed="3 frames/s at 512x288 on two cores, refiner included",
    licence="Apache-2.0; the weights CC BY 4.0",
    options=StyleBankOptions,
    load=load,
)
