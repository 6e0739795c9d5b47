"""ComfyUI's EasyCache under a guider that divides the frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..pipelines.errors import StyleAVideoError


class DividedCache:
    """ComfyUI's EasyCache (comfy_extras/nodes_easycache.py) where frames are divided.

    It takes the output of the step before again while input and output change little in the mean
    over all frames, and knows a condition by its uuid. So each part of the frames has a cache of
    its own, and what these have measured becomes one mean, from which all decide alike: the same
    steps are left out as where the frames are not divided.
    """

    def __init__(self) -> None:
        self._begin([], [])

    def _begin(self, places: list[tuple[int, int]], caches: list[Any]) -> None:
        self._places, self._caches = places, caches
        self._sum = self._sum_before = 0.0  # of the changes since a step was evaluated
        self._changes: list[float] | None = None  # of the input, at the step last evaluated
        self._now: list[float] | None = None  # the same at this step
        self._seen: Tensor | None = None

    def options(
        self,
        model: Any,
        x: Tensor,
        timestep: Tensor,
        parts: list[slice],
        options: dict[str, Any],
        entries: Iterable[Mapping[str, Any]],
    ) -> list[dict[str, Any]]:
        """The model options for each part of x (T,C,h,w) at this step.

        Args:
            entries: of all conditions that are evaluated.

        Raises:
            StyleAVideoError: one of them is for an area. The cache then measures changes of what
                the network sees of it, which the mean over all frames cannot stand for.
        """
        transformer = options.get("transformer_options", {})
        cache = transformer.get("easycache")
        # LazyCache has the same place, but stands around the guider and sees all frames.
        if len(parts) == 1 or getattr(cache, "name", None) != "EasyCache":
            return [options] * len(parts)
        if any("area" in entry for entry in entries):
            raise StyleAVideoError(
                "EasyCache and conditions for an area do not go together where the frames are "
                "divided: leave EasyCache out, or give Weighted Condition a mask in the place of "
                "the area."
            )
        places = [(part.start, part.stop) for part in parts]
        if places != self._places:
            clones = [cache.clone().prepare_timesteps(model.model_sampling) for _ in parts]
            self._begin(places, clones)
        if self._decide(model, [x[p] for p in parts], [timestep[p] for p in parts]):
            cache.total_steps_skipped += 1
        return [
            {**options, "transformer_options": {**transformer, "easycache": own}}
            for own in self._caches
        ]

    def _decide(self, model: Any, frames: list[Tensor], timesteps: list[Tensor]) -> bool:
        """Whether this step is left out; the caches of the parts follow."""
        first = self._caches[0]
        evaluated = first.x_prev_subsampled is not self._seen  # the step before
        self._seen = first.x_prev_subsampled
        if evaluated and self._now is not None:
            self._changes, self._sum = self._now, 0.0
        elif not first.skip_current_step:  # nothing was decided: the first condition had no part
            self._sum = self._sum_before
        self._now, self._sum_before = None, self._sum
        if not first.should_do_easycache(timesteps[0]) or first.is_past_end_timestep(timesteps[0]):
            return False
        self._now = self._input_changes(model, frames, timesteps)
        self._sum += self._change([len(f) for f in frames])
        skip = self._sum < first.reuse_threshold
        for cache in self._caches:  # each adds its own change and compares: this outweighs it
            cache.cumulative_change_rate = -torch.inf if skip else torch.inf
        return skip

    def _input_changes(
        self, model: Any, frames: list[Tensor], timesteps: list[Tensor]
    ) -> list[float] | None:
        """Mean change of what the network sees since its last evaluation; None before that."""
        changes = []
        for cache, x, timestep in zip(self._caches, frames, timesteps, strict=True):
            x = model.model_sampling.calculate_input(timestep, x).to(model.get_dtype_inference())
            x, before = x[:, : cache.output_channels], cache.x_prev_subsampled
            if before is None:
                return None
            x = cache.subsample(x, [cache.first_cond_uuid], clone=False)
            changes.append(float((x - before).abs().mean()))
        return changes

    def _change(self, counts: list[int]) -> float:
        """Expected change of the output in this step, in parts of it; infinite if unknown."""
        rates = [cache.relative_transformation_rate for cache in self._caches]
        if self._now is None or self._changes is None or None in rates:
            return torch.inf
        weights = [n / sum(counts) for n in counts]

        def mean(values: Sequence[Any]) -> float:
            return sum(w * float(v) for w, v in zip(weights, values, strict=True))

        output = mean([rate * c for rate, c in zip(rates, self._changes, strict=True)])
        norm = mean([cache.output_prev_norm for cache in self._caches])
        whole = mean(self._changes) * norm
        return output * mean(self._now) / whole if whole else torch.inf
