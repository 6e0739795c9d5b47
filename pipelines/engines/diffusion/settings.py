"""The settings of one stylization: values, where they come from, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ...checks import check_choice, check_count, check_number
from ...core import guidance, noise
from ...errors import StyleAVideoError
from .decoders import DECODERS

SCALES = ("frame_scale", "text_scale", "attention_scale")
ATTENTION_MODES = ("probe", "running")

MAX_STEPS = 1000  # as many as the schedulers were trained with
LOWEST_START = 0.05
_ZERO = 1e-6  # weights such as 1 - 0.7 - 0.3 are zero but for rounding


@dataclass(frozen=True)
class Settings:
    """The defaults are 30 steps (Huang et al. 2023, section 4) and InstructPix2Pix's scales.

    Attributes:
        preset: a name of `guidance.FORMULAS`.
        num_inference_steps: steps of the sampler, at least 1.
        frame_scale, text_scale, attention_scale: s_I, s_T, s_M, at least 0.
        schedules: multipliers of scales over the steps, by the scale's name (see `guidance.at`).
        attention_mode: "probe" (one pass over the noised frame latent) or "running" (the step
            before).
        attention_layer: "mid" or the dotted path of a block (see `attention.attention_layers`).
        attention_threshold: ψ; the mean attention received is 1.
        attention_level: how far the probe's latent is noised, 0 clean, 1 noise.
        correction: λ of the sampling correction, at least 0; 0 leaves it out. At 1 a frame whose
            CLIP loss is 0.1 moves by a tenth of its noise at each step. 0.2 is normal, 1 too much.
        correction_decoder: a name of `decoders.DECODERS`.
        noise: a mode of `noise.frame_noise`; noise_blend: its blend.
        start_level: where sampling starts, above 0: 1 from noise, below from the frame's latent
            noised to that level, 0 being clean (Meng et al. 2022, SDEdit). The steps are the same
            in number.
        evaluate_every: steps from one evaluation of all conditions to the next; between, only the
            main one is evaluated and the others keep their difference from it.
        inner_every: steps from one pass through the U-Net's inner levels to the next; between, only
            the outermost level is run, on what they gave (see `core.inner`). A U-Net of one level
            has none to leave out.
    """

    preset: str = "instruct-pix2pix"
    num_inference_steps: int = 30
    frame_scale: float = 1.5
    text_scale: float = 7.5
    attention_scale: float = 0.0
    schedules: Mapping[str, guidance.Schedule] = field(default_factory=dict)
    attention_mode: str = "probe"
    attention_layer: str = "mid"
    attention_threshold: float = 1.0
    attention_level: float = 0.3
    correction: float = 0.0
    correction_decoder: str = "linear"
    noise: str = "shared"
    noise_blend: float = 0.5
    start_level: float = 1.0
    evaluate_every: int = 1
    inner_every: int = 1

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, guidance.FORMULAS)
        check_choice("attention mode", self.attention_mode, ATTENTION_MODES)
        check_choice("correction decoder", self.correction_decoder, DECODERS)
        check_choice("noise mode", self.noise, noise.MODES)
        check_count("num_inference_steps", self.num_inference_steps)
        check_number("num_inference_steps", self.num_inference_steps, high=MAX_STEPS)
        check_count("evaluate_every", self.evaluate_every)
        check_count("inner_every", self.inner_every)
        for name in (*SCALES, "attention_threshold", "correction"):
            check_number(name, getattr(self, name))
        for name in ("attention_level", "noise_blend"):
            check_number(name, getattr(self, name), high=1.0)
        check_number("start_level", self.start_level, LOWEST_START, 1.0)
        if not isinstance(self.schedules, Mapping):
            raise StyleAVideoError(f"schedules must be by name, not {self.schedules!r:.60}.")
        for name, schedule in self.schedules.items():
            check_choice("scale to schedule", name, SCALES)
            _check_schedule(name, schedule)
        if self.num_inference_steps < self.least_steps:
            raise StyleAVideoError(
                f"A start_level of {self.start_level:g} needs {self.least_steps} steps or more, "
                f"not {self.num_inference_steps}: raise num_inference_steps, or start from noise "
                "(1)."
            )

    @property
    def least_steps(self) -> int:
        """So many that the schedule from noise has one more."""
        level = self.start_level
        return 1 if level == 1 else math.ceil(round(level / (1 - level), 6))

    @property
    def schedule_length(self) -> int:
        """Steps of the schedule from noise whose last num_inference_steps are taken."""
        return int(round(self.num_inference_steps / self.start_level, 6))

    @classmethod
    def resolve(cls, defaults: Mapping[str, Any] | None, **given: Any) -> Settings:
        """Given values that are not None, then a model's own defaults, then the library's.

        Under a preset's name `defaults` may hold values that are its own with that preset alone.
        """
        given = {k: v for k, v in given.items() if v is not None}
        known = [f.name for f in fields(cls)]
        own: dict[str, Any] = {}
        presets: dict[str, Mapping[str, Any]] = {}
        for name, value in dict(defaults or {}).items():
            if name in guidance.FORMULAS and isinstance(value, Mapping):
                presets[name] = value
            else:
                own[name] = value
        for name in (*own, *(name for values in presets.values() for name in values)):
            check_choice("setting", name, known)
        chosen = given.get("preset", own.get("preset", cls.preset))
        of_preset = presets.get(chosen, {}) if isinstance(chosen, str) else {}
        return cls(**{**own, **of_preset, **given})

    def weights(self, percent: float) -> dict[str, float]:
        """Non-zero weights by condition name at `percent` (0..1) of the steps; they add up to 1."""
        scales = (
            getattr(self, name) * guidance.at(self.schedules.get(name, 1.0), percent)
            for name in SCALES
        )
        weights = guidance.FORMULAS[self.preset](*scales)
        return {name: w for name, w in weights.items() if abs(w) > _ZERO}


def _check_schedule(name: str, schedule: guidance.Schedule) -> None:
    try:
        points = [(0.0, schedule)] if isinstance(schedule, int | float) else list(schedule)
        guidance.at(points, 0.0)
        for percent, multiplier in points:
            check_number(f"A percent in the schedule of {name}", percent, high=1.0)
            check_number(f"A multiplier in the schedule of {name}", multiplier)
    except StyleAVideoError:
        raise
    except (TypeError, ValueError) as error:
        raise StyleAVideoError(
            f"The schedule of {name} must be a number or points (percent, multiplier) in rising "
            f"order of percent, not {schedule!r}."
        ) from error
