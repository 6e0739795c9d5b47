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
        evaluate_every: as in `Settings`.
    """

    share: float = 1.0
    scheduler: str | None = None
    evaluate_every: int = 1

    def saved(self, settings: Settings) -> Saved:
        """What changes in a run of these settings; one step leaves nothing to save."""
        steps = settings.num_inference_steps
        if steps == 1 or self == EXACT:
            return Saved({}, None)
        fewer = max(2, round(self.share * steps), settings.least_steps)
        changed = {"num_inference_steps": fewer, "evaluate_every": self.evaluate_every}
        return Saved(changed, self.scheduler)


EXACT = Speed()
# Of 30 steps with four conditions, 120 evaluations: 30 and 19.
SPEEDS: Mapping[str, Speed] = {
    "exact": EXACT,
    "balanced": Speed(0.4, "dpmpp", 2),
    "fast": Speed(0.234, "dpmpp", 2),
}
