"""A frame that goes on from the one before inside an engine (Chen et al. 2017): its state.

The flow and the mask are of what the video shows, whatever the engine and the style.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .kinds import Carried
from .options import option

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from torch import Tensor

    from ..core.coherence import TracedMask

NONE = "none"
KEPT = 0.85  # of what is traced: where flow or mask are wrong, what is left behind fades


def coherence_option() -> Any:
    return option(
        NONE,
        "what goes on from the frame before, along the flow: the drawing's features, the frame "
        "itself (input), the drawn frame (output), or nothing",
        choices=(NONE, "input", "features", "output"),
    )


class Coherence:
    """At the level that was chosen, what an engine has there is composed with the frame before's.

    Args:
        level: a choice of `coherence_option`.
        mask: where features can be traced.
        frame: (1,3,H,W), and its features (1,C,h,w) that the mask was trained on.
        before: `after` of the frame before; None at the beginning of a shot.

    Attributes:
        after: what the next frame goes on from.
    """

    def __init__(
        self,
        level: str,
        mask: TracedMask,
        frame: Tensor,
        features: Tensor,
        before: Carried | None,
    ) -> None:
        self.level, self.before = level, before
        # Laid out as a job's file gives it back: another layout may change the last bits.
        self.after = {"frame": frame.contiguous(), "content": features.contiguous()}
        if before is not None:
            self.flow, self.mask = _traced(mask, frame, features, before)

    def __call__(self, level: str, x: Tensor, name: str = "composed") -> Tensor:
        """Features or a frame (1,C,.,.) of a level → composed, or as they are at another level."""
        from ..core.coherence import composed

        if level != self.level:
            return x
        if self.before is not None:
            x = composed(x, self.before[name].to(x), self.flow, self.mask)
        self.after[name] = x.contiguous()
        return x


def _traced(
    mask: TracedMask, frame: Tensor, features: Tensor, before: Carried
) -> tuple[Tensor, Tensor]:
    """The flow (1,2,H,W) to the frame before, and where the features can be followed along it."""
    from ..core.coherence import moved_along, settled
    from ..flow import dis

    content = before["content"].to(features)
    flow = dis(frame[0], before["frame"][0])[None].to(features.device)
    flow = settled(flow, features, content)
    return flow, KEPT * mask(features, moved_along(flow, content).to(features))
