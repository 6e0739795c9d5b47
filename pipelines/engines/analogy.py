"""Style from a picture of like content, patch by patch: Deep Image Analogy (Liao et al. 2017).

Along a video: at a keyframe all levels are searched. The frames between take over the matches of
the frame before, as the video moves, and search a little at the finest level: nothing jumps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
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

    from ..core.analogy import Analogy

logger = logging.getLogger(__name__)

STEADY = 0.1  # by how much a new match must be more like than the one that moves with the video
LOST = 0.5  # share of the picture that came into view since a keyframe: it is time for the next
ENOUGH = 0.55  # share of patches that find a match in a picture of like content (docs/figures.md)


@dataclass(frozen=True)
class AnalogyOptions(PictureOptions):
    style_size: int = option(
        384,
        "the longer side that pictures are seen at, px: strokes grow with it",
        low=64,
        high=1024,
        metavar="N",
    )
    content: int = option(
        2, "how much of its own shapes a frame keeps, 1 to 3", low=1, high=3, metavar="N"
    )
    colours_only: bool = option(False, "lines and surfaces of the video stay: for two photos")
    search_every: int = option(
        24,
        "after so many frames, or where much has changed, all is searched anew",
        low=1,
        metavar="N",
    )
    reconstruct: str = option(
        "warp",
        "how features come to a finer level: warped, or by L-BFGS as in the authors' code, where "
        "shapes stay better, in six times the time",
        choices=("warp", "lbfgs"),
    )


class Seen(NamedTuple):
    """A picture of a style: itself (3,H,W), its features as `analogy` takes them, its name."""

    picture: Tensor
    features: Mapping[str, Tensor]
    name: str


class Pair(NamedTuple):
    """Two pictures, A and B', in each other's look.

    Attributes:
        a_prime: (3,H,W), what A shows in the look of B'.
        b: (3,H',W'), what B' shows in the look of A.
        confidence: (H,W) in [0,1], where patches of A have found a match.
        flow: (1,2,H,W) px, from each place of A to its match in B'.
        share: of the patches that have found a match.
    """

    a_prime: Tensor
    b: Tensor
    confidence: Tensor
    flow: Tensor
    share: float


class Analogies:
    """Implements `kinds.Loaded`, in float32 whatever is asked for: matches differ by little."""

    side = 384  # px
    device: torch.device
    dtype: torch.dtype
    bytes_per_pixel = 4096  # rows of patches of both looks, twice, and the candidates

    def __init__(self, options: AnalogyOptions, device: torch.device) -> None:
        import torch

        from ...weights.perceptual_encoder import load_encoder

        self.options, self.device, self.dtype = options, device, torch.float32
        with torch.inference_mode(False):  # weights of it know no gradient
            self.encoder = load_encoder().to(device)

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

        with torch.no_grad():
            return _AlongShot(self, look_at(style, self._see, self.device))

    def _see(self, picture: StylePicture) -> Seen:
        image = at_size(picture.image[None].float(), self.options.style_size).to(self.device)
        return Seen(image[0], self._features(image), picture.name)

    def _features(self, image: Tensor) -> Mapping[str, Tensor]:
        """Of all layers, with the picture (1,3,H,W) itself."""
        from ..core.analogy import PICTURE

        return {PICTURE: image, **self.encoder(image)}

    def _analogy(
        self,
        a: Mapping[str, Tensor],
        b_prime: Mapping[str, Tensor],
        found_level: Callable[[], object] = lambda: None,
    ) -> Analogy:
        from ..core.analogy import analogy

        encoder = self.encoder if self.options.reconstruct == "lbfgs" else None
        return analogy(
            a,
            b_prime,
            self.options.content,
            found_level=found_level,
            at_work=at_work,
            encoder=encoder,
        )

    def pair(
        self,
        a: StylePicture,
        b_prime: StylePicture,
        found_level: Callable[[], object] = lambda: None,
    ) -> Pair:
        """Both pictures in each other's look, at a longer side of `style_size`.

        Args:
            found_level: called after each of the five levels.
        """
        import torch
        from torch.nn.functional import interpolate

        from ..core.analogy import flow_of
        from ..core.patchmatch import size_of

        with torch.no_grad():
            seen_a, seen_b = self._see(a), self._see(b_prime)
            found = self._analogy(seen_a.features, seen_b.features, found_level)
            a_prime = self.shown(seen_a.picture[None], seen_b, found.to_b.float())[0]
            b = self.shown(seen_b.picture[None], seen_a, found.to_a.float())[0]
            confidence = interpolate(
                found.found[None, None], size_of(a_prime), mode="bilinear", align_corners=False
            )
        share = found.found.mean().item()
        return Pair(a_prime, b, confidence[0, 0], flow_of(found.to_b), share)

    def first(self, frame: Tensor, index: int, seen: Seen) -> Match:
        """Of the first frame (1,3,H,W) of a shot."""
        found = self._analogy(self._features(frame), seen.features)
        share = found.found.mean().item()
        if share < ENOUGH:
            logger.warning(
                f"The picture {seen.name} and frame {index} have too little in common, only "
                f"{share:.0%} of the patches found a match: choose a picture that shows like "
                "things, or another engine."
            )
        return Match(found.to_b.float(), found.b)

    def anew(self, frame: Tensor, seen: Seen, start: Tensor, lead: Tensor) -> Match:
        """Of a later keyframe. Of the matches `start` that came along with the video those stay
        that are about as good.
        """
        from ..core.analogy import FINEST

        features = self._features(frame)
        found = self._analogy(features, seen.features)
        field = self._searched(features[FINEST], seen, found.b, start, lead, found.to_b)
        return Match(field, found.b)

    def along(self, frame: Tensor, seen: Seen, b: Tensor, start: Tensor, lead: Tensor) -> Match:
        """Of a frame between keyframes."""
        from ..core.analogy import FINEST

        features = self.encoder(frame, [FINEST])
        return Match(self._searched(features[FINEST], seen, b, start, lead), b)

    def _searched(
        self,
        features: Tensor,
        seen: Seen,
        b: Tensor,
        start: Tensor,
        lead: Tensor,
        rival: Tensor | None = None,
    ) -> Tensor:
        import torch

        from ..core.analogy import FINEST, refined
        from ..core.patchmatch import size_of, within

        start = within(start, size_of(b))
        whole = start.round().long()
        f_b_prime = seen.features[FINEST][0]
        content = self.options.content
        field = refined(features[0], b, f_b_prime, whole, rival, lead, content, at_work=at_work)
        return torch.where(field == whole, start, field.float())  # parts of a pixel add up

    def shown(self, frame: Tensor, seen: Seen, field: Tensor) -> Tensor:
        """What the matches show (1,3,H,W), in the strength that is asked for."""
        from ..core.colour import light
        from ..core.guided import guided
        from ..core.patchmatch import size_of, voted, within

        whole = within(field.round().long(), size_of(seen.picture))
        result = voted(seen.picture, whole, patch=3)[None]
        if self.options.colours_only:
            result = frame + guided(result - frame, light(frame))
        return frame.lerp(result, self.options.style_strength)


class Match(NamedTuple):
    """Of a frame and a picture: the field (2,H,W) in px, with parts of them, and the features of B
    at relu1_1.
    """

    field: Tensor
    b: Tensor


class _AlongShot:
    """A `kinds.CarryingEngine`: carries the frame before, and its field to each picture."""

    def __init__(self, analogies: Analogies, look: Look) -> None:
        self.analogies, self.look = analogies, look

    def carry(
        self, frames: Tensor, frame_indices: Sequence[int], carried: Carried | None
    ) -> tuple[Tensor, Carried]:
        import torch

        from ..core.colour import keep_colour

        height, width = frames.shape[-2:]
        source = frames.to(self.analogies.device, self.analogies.dtype)
        shown = padded(source)
        found = []
        with torch.no_grad():
            for frame, index in zip(shown.split(1), frame_indices, strict=True):
                stylized, carried = self._next(frame, index, carried)
                found.append(stylized)
        assert carried is not None, "no frame"
        stylized = torch.cat(found)[..., :height, :width].clamp(0, 1)
        if self.analogies.options.keep_colour:
            stylized = keep_colour(stylized, source)
        return self.look.uncovered(source, stylized), carried

    def _next(self, frame: Tensor, index: int, before: Carried | None) -> tuple[Tensor, Carried]:
        """A frame (1,3,H,W) → the stylized one, and what the next one starts from."""
        from ..core.flow import visible_before
        from ..flow import both_ways

        if before is None:
            matches = [self.analogies.first(frame, index, seen) for seen in self.look.pictures]
            return self._mixed(frame, matches), _state(frame, matches, since=1, lost=0.0)
        before = {name: value.to(frame.device) for name, value in before.items()}
        to_prev, to_this = (f.to(frame) for f in both_ways(frame[0], before["frame"][0]))
        visible = visible_before(to_prev, to_this)
        lead = STEADY * visible[0, 0].float()
        since = int(before["since"]) + 1
        lost = float(before["lost"]) + 1 - visible.float().mean().item()
        anew = since > self.analogies.options.search_every or lost > LOST
        matches = []
        for k, seen in enumerate(self.look.pictures):
            start, b = _followed(before[f"{k}.field"], to_prev), before[f"{k}.b"]
            if anew:
                matches.append(self.analogies.anew(frame, seen, start, lead))
            else:
                matches.append(self.analogies.along(frame, seen, b, start, lead))
        state = (1, 0.0) if anew else (since, lost)
        return self._mixed(frame, matches), _state(frame, matches, *state)

    def _mixed(self, frame: Tensor, matches: Sequence[Match]) -> Tensor:
        """By the pictures' shares, place by place where there are masks."""
        places = self.look.places(*frame.shape[-2:])
        if places is None:
            shares: Any = self.look.shares
            result = 0 * frame
        else:
            shares = places.split(1, dim=1)
            result = shares[-1] * frame
        for share, seen, match in zip(shares, self.look.pictures, matches, strict=False):
            result = result + share * self.analogies.shown(frame, seen, match.field)
        return result


def _followed(field: Tensor, flow_to_prev: Tensor) -> Tensor:
    """A field (2,H,W) of the frame before, as the video moves. Neighbours may match far apart: none
    are mixed, the nearest one moves by what is left of the way.
    """
    from ..core.flow import warp
    from ..core.patchmatch import places, size_of

    here = places(size_of(field), field.device).to(field)
    offset = warp((field - here)[None], flow_to_prev, "nearest")[0]
    return here + flow_to_prev[0] + offset


def _state(frame: Tensor, matches: Sequence[Match], since: int, lost: float) -> Carried:
    """`since`: frames from the keyframe on; `lost`: share of the picture that is new since then."""
    fields = {f"{k}.field": match.field for k, match in enumerate(matches)}
    features = {f"{k}.b": match.b for k, match in enumerate(matches)}
    counts = {"since": frame.new_tensor(since), "lost": frame.new_tensor(lost)}
    return {"frame": frame, **fields, **features, **counts}


def load(options: AnalogyOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return Analogies(options, device)


KIND = EngineKind(
    name="analogy",
    what="the patches of a picture that shows like things (Liao et al. 2017)",
    takes=frozenset({PICTURES}),
    speed="a frame of 256 px in 1 s on one core, every 24th in 5 s",
    licence="Apache-2.0; the encoder's weights CC BY 4.0",
    options=AnalogyOptions,
    load=load,
)
