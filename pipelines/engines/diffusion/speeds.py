"""Named ways to save evaluations of the U-Net; benchmarks/speed.py says what each costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .settings import Settings


FEWEST = 3  # steps, where there are as many; two are far from the picture of ten


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
        inner_every: see `Settings`.
    """

    share: float = 1.0
    scheduler: str | None = None
    inner_every: int = 1

    def saved(self, settings: Settings) -> Saved:
        """What changes in a run of these settings; one step leaves nothing to save."""
        steps = settings.num_inference_steps
        if steps == 1 or self == EXACT:
            return Saved({}, None)
        fewer = min(steps, max(FEWEST, round(self.share * steps), settings.least_steps))
        changed = {"num_inference_steps": fewer, "inner_every": self.inner_every}
        return Saved(changed, self.scheduler)


EXACT = Speed()
# Of 30 steps with four conditions, 120 evaluations: 40 and 20. Without its inner levels one of the
# built-in U-Net counts as two thirds.
SPEEDS: Mapping[str, Speed] = {
    "exact": EXACT,
    "balanced": Speed(2 / 5, "dpmpp", inner_every=2),
    "fast": Speed(1 / 5, inner_every=2),
}
