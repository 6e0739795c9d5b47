"""Named ways to save evaluations of the U-Net; benchmarks/speed.py says what each costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .settings import Settings


class Saved(NamedTuple):
    """The settings that change, and the sampler, a name of `SCHEDULERS`, where it does."""

    settings: dict[str, Any]
    scheduler: str | None


@dataclass(frozen=True)
class Speed:
    """A way to save.

    Attributes:
        share: of the steps that are taken.
        scheduler: a sampler that makes up for it; None leaves the model's own.
    """

    share: float = 1.0
    scheduler: str | None = None

    def saved(self, settings: Settings) -> Saved:
        """What changes in a run of these settings; one step leaves nothing to save."""
        steps = settings.num_inference_steps
        if steps == 1 or self == EXACT:
            return Saved({}, None)
        fewer = max(2, round(self.share * steps), settings.least_steps)
        return Saved({"num_inference_steps": fewer}, self.scheduler)


EXACT = Speed()
# Of 30 steps with four conditions, 120 evaluations: 40 and 20.
SPEEDS: Mapping[str, Speed] = {
    "exact": EXACT,
    "balanced": Speed(1 / 3, "dpmpp"),
    "fast": Speed(1 / 6),
}
