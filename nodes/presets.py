"""Conditions with their scales: a guider's presets, and what each condition weighs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.input import CurveInput
from comfy_api.latest import io
from torch import Tensor

from ..pipelines.core import guidance
from ..pipelines.core.guidance import Term
from ..pipelines.engines.diffusion.denoiser import FULLEST_FIRST
from ..pipelines.errors import StyleAVideoError
from . import host

BERNINI = {f"Bernini {mode}": terms for mode, terms in guidance.BERNINI.items()}
PRESETS = guidance.TERMS | BERNINI


def scale_input(name: str, default: float, tooltip: str, **more: Any) -> io.Float.Input:
    """The widget of a scale."""
    return io.Float.Input(
        name, default=default, min=0.0, max=100.0, step=0.05, tooltip=tooltip, **more
    )


@dataclass(frozen=True)
class WeightedCondition:
    """A condition of the guidance: base + Σ s_k (m_k (pred_k - base) less the same of `against`).

    Attributes:
        conditioning: ComfyUI's CONDITIONING.
        weight: s_k at multiplier 1.
        schedule: multiplier over the steps, 0 the first and 1 the last; None is 1 throughout.
        mask: m_k (1 or T,H,W) in [0,1]; None covers everything.
        name: what people read.
        against: the name of the condition that the difference is taken from; None is the base.
    """

    conditioning: list[Any]
    weight: float
    schedule: CurveInput | None = None
    mask: Tensor | None = None
    name: str = "condition"
    against: str | None = None

    def at(self, percent: float) -> float:
        multiplier = 1.0 if self.schedule is None else float(self.schedule.interp(percent))
        return self.weight * multiplier


def weights_at(conditions: Sequence[WeightedCondition], percent: float) -> list[float]:
    """What each prediction weighs: its own scale, less those of what is measured from it."""
    places = {c.name: k for k, c in enumerate(conditions)}
    scales = [c.at(percent) for c in conditions]
    weights = list(scales)
    for condition, scale in zip(conditions, scales, strict=True):
        if condition.against is not None:
            weights[places[condition.against]] -= scale
    return weights


def describe(base_name: str, conditions: Sequence[WeightedCondition]) -> str:
    """The weights at the first step, and at the last where they move, as people read them."""
    first, last = weights_at(conditions, 0.0), weights_at(conditions, 1.0)
    moving = any(c.schedule is not None for c in conditions)
    lines = [f"{base_name}: {1 - sum(first):g}"]
    for c, weight, end in zip(conditions, first, last, strict=True):
        if c.against is None and c.weight == weight == end == 0:
            continue
        own = c.schedule is not None or moving and weight != end
        lines.append(
            f"{c.name}: {weight:g}"
            + (f" → {end:g}" if own else "")
            + ("" if c.mask is None else " in its mask")
        )
    return "\n".join(lines)


def preset_conditions(
    preset: str,
    scales: Sequence[float],
    prompt: list[Any],
    null: list[Any],
    frame: list[Any] | None,
    attention_condition: list[Any] | None,
    schedules: Mapping[str, CurveInput | None] | None = None,
) -> tuple[list[Any], list[WeightedCondition]]:
    """A preset's conditions (Huang et al. 2023, section 3.3; Brooks et al. 2023, eq. 3; Bernini).

    Args:
        scales: of frame, text, attention and, for Bernini's presets, reference.
        schedules: multipliers of the scales over the steps, by the same names.

    Returns:
        The base and the others with their scales, those without any part left out.

    Raises:
        StyleAVideoError: a scale above 0 whose condition is not connected.
    """
    named = dict(zip(("frame", "text", "attention", "reference"), scales, strict=False))
    entries: Mapping[str, list[Any] | None]
    if preset in BERNINI:
        if frame is not None or attention_condition is not None:
            raise StyleAVideoError(
                f"The preset {preset} takes video and references from prompt: connect Bernini "
                "Conditioning to prompt and negative, and leave frame and attention unconnected."
            )
        entries = bernini_conditions(preset, prompt, null)
    else:
        _check_connected(named, frame, attention_condition)
        entries = {
            "null": null,
            "frame": frame,
            "text": prompt,
            "frame_text": None if frame is None else host.with_frame_of(prompt, frame),
            "attention": attention_condition,
        }
    return _of_terms(preset, named, entries, schedules or {})


def _check_connected(
    scales: Mapping[str, float], frame: list[Any] | None, attention_condition: list[Any] | None
) -> None:
    for what, given in (("frame", frame), ("attention", attention_condition)):
        if scales[what] and given is None:
            raise StyleAVideoError(
                f"{what}_scale is {scales[what]:g} and nothing is connected to {what}: connect "
                f"{what.capitalize()} Condition, or set it to 0."
            )


def _of_terms(
    preset: str,
    scales: Mapping[str, float],
    entries: Mapping[str, list[Any] | None],
    schedules: Mapping[str, CurveInput | None],
) -> tuple[list[Any], list[WeightedCondition]]:
    """The base, and the preset's terms of a scale above 0 as conditions, the fullest first."""
    terms = PRESETS[preset]
    base = terms[0].against
    used = [term for term in terms if scales[term.scale]]
    # A condition may serve only as what another is measured from.
    bare = {t.against for t in used} - {t.of for t in used} - {base}
    used += [Term("none", name, base) for name in bare]
    conditions = []
    for term in used:
        entry = entries[term.of]
        if entry is None:
            raise StyleAVideoError(
                f"The preset {preset} needs a frame: connect Frame Condition to frame, or choose "
                "the preset paper with frame_scale 0."
            )
        against = None if term.against == base else term.against
        scale, schedule = scales.get(term.scale, 0.0), schedules.get(term.scale)
        conditions.append(WeightedCondition(entry, scale, schedule, name=term.of, against=against))
    # The fullest first: it is what ComfyUI calls "positive", and what the correction looks at.
    order = [*FULLEST_FIRST, *_BERNINI_ORDER]
    base_entry = entries[base]
    assert base_entry is not None
    return base_entry, sorted(conditions, key=lambda c: order.index(c.name))


_BERNINI_ORDER = ("VTI", "TI", "T", "VI", "V", "I")


def bernini_conditions(preset: str, prompt: list[Any], null: list[Any]) -> dict[str, list[Any]]:
    """Bernini's conditions from what Bernini Conditioning makes of the two texts.

    V is the first stream, I all that are one picture each, VI all; a stream's place in the list is
    its source id.

    Raises:
        StyleAVideoError: fewer streams than the preset needs.
    """
    given = (e["context_latents"] for _, e in prompt if e.get("context_latents"))
    both: list[Tensor] = next(given, [])
    images = [latents for latents in both if latents.shape[2] == 1]
    for found, need, what in (
        (both, preset in ("Bernini v2v", "Bernini v2v_chain"), "source_video"),
        (both[1:], preset == "Bernini rv2v", "source_video and reference_images"),
        (images, preset == "Bernini r2v", "reference_images"),
    ):
        if need and not found:
            raise StyleAVideoError(
                f"The preset {preset} needs {what}: connect them to Bernini Conditioning, and its "
                "positive to prompt and negative to negative."
            )

    def seeing(text: list[Any], streams: list[Any]) -> list[Any]:
        kept = [[t, {k: v for k, v in e.items() if k != "context_latents"}] for t, e in text]
        return host.with_values(kept, context_latents=streams or None)

    return {
        "null": seeing(null, []),
        "V": seeing(null, both[:1]),
        "I": seeing(null, images),
        "VI": seeing(null, both),
        "VTI": seeing(prompt, both),
        "TI": seeing(prompt, images),
        "T": seeing(prompt, []),
    }


def curve_of(schedule: Any) -> CurveInput:
    """A curve, as ComfyUI's own or as the values of one.

    Raises:
        StyleAVideoError: something else.
    """
    no_curve = StyleAVideoError("schedule is no curve: points of two numbers each.")
    try:
        curve = CurveInput.from_raw(schedule)
        if not all(math.isfinite(value) for point in curve.points for value in point):
            raise no_curve
        return curve
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise no_curve from error


def schedule_of(curve: Any) -> CurveInput | None:
    """A curve as a schedule; None where it is 1 throughout."""
    if curve is None:
        return None
    curve = curve_of(curve)
    return None if all(y == 1.0 for _, y in curve.points) else curve
