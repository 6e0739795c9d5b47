"""Guidance by several conditions: a weighted sum of predictions whose weights add up to 1.

Conditions are named by what the U-Net is given: "null" (∅,∅), "frame" (c_I,∅), "text" (∅,c_T),
"attention" (c_M,∅) and "frame_text" (c_I,c_T). A preset is a sum of differences, each with its
scale s_I, s_T or s_M, and so one weight per condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

Schedule = float | Sequence[tuple[float, float]]


def combine(
    preds: Sequence[Tensor],
    weights: Sequence[float | Tensor],
    masks: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """base + Σ_k w_k m_k (pred_k - base), with base = preds[0] (Huang et al. 2023, section 3.3).

    Without masks this is Σ w_k pred_k, base's own weight being 1 - Σ w_k. At one z_t, eps, v and x0
    are affine in each other; as the weights add up to 1, the sum holds for all three.

    Args:
        preds: K predictions of one shape (B,C,h,w), the base first.
        weights: K-1 weights, of preds[1:]; numbers, or tensors that broadcast.
        masks: K-1 coverages m_k in [0,1] that broadcast to a prediction; None covers everything.
            Where nothing covers, the base remains.

    Raises:
        ValueError: the counts do not match.
    """
    base, others = preds[0], preds[1:]
    covers = [None] * len(others) if masks is None else masks
    if not len(others) == len(weights) == len(covers):
        raise ValueError(
            f"{len(preds)} predictions need {len(others)} weights and masks, "
            f"not {len(weights)} and {len(covers)}."
        )
    guided = base
    for pred, w, m in zip(others, weights, covers, strict=True):
        delta = pred - base
        guided = guided + w * (delta if m is None else m * delta)
    return guided


@dataclass(frozen=True)
class Term:
    """A difference of the guidance, s (pred_of - pred_against)."""

    scale: str
    of: str
    against: str = "null"


def weights_of(terms: Sequence[Term], scales: Mapping[str, float]) -> dict[str, float]:
    """ε(null) + Σ s (ε(of) - ε(against)) as one weight per condition, the base first; their sum
    is 1."""
    weights = {"null": 1.0}
    for term in terms:
        s = scales[term.scale]
        weights[term.of] = weights.get(term.of, 0.0) + s
        weights[term.against] = weights.get(term.against, 0.0) - s
    return weights


PAPER = (Term("frame", "frame"), Term("text", "text"), Term("attention", "attention"))
INSTRUCT_PIX2PIX = (
    Term("frame", "frame"),
    Term("text", "frame_text", "frame"),
    Term("attention", "attention"),
)


def paper(frame_scale: float, text_scale: float, attention_scale: float) -> dict[str, float]:
    """(1 - s_I - s_T - s_M) ε(∅,∅) + s_I ε(c_I,∅) + s_T ε(∅,c_T) + s_M ε(c_M,∅).

    Huang et al. 2023, section 3.3, "condition guidance". Weights by condition name; their sum is 1.
    """
    scales = {"frame": frame_scale, "text": text_scale, "attention": attention_scale}
    return weights_of(PAPER, scales)


def instruct_pix2pix(
    frame_scale: float, text_scale: float, attention_scale: float
) -> dict[str, float]:
    """ε(∅,∅) + s_I (ε(c_I,∅) - ε(∅,∅)) + s_T (ε(c_I,c_T) - ε(c_I,∅)) + s_M (ε(c_M,∅) - ε(∅,∅)).

    Brooks et al. 2023 (InstructPix2Pix), eq. 3, at s_M = 0; the last term is Huang et al. 2023's
    attention condition. Weights by condition name; their sum is 1.
    """
    scales = {"frame": frame_scale, "text": text_scale, "attention": attention_scale}
    return weights_of(INSTRUCT_PIX2PIX, scales)


FORMULAS: dict[str, Callable[[float, float, float], dict[str, float]]] = {
    "paper": paper,
    "instruct-pix2pix": instruct_pix2pix,
}

TERMS: dict[str, tuple[Term, ...]] = {"paper": PAPER, "instruct-pix2pix": INSTRUCT_PIX2PIX}
"""What FORMULAS add up."""

BERNINI: dict[str, tuple[Term, ...]] = {
    "rv2v": (
        Term("frame", "V"),
        Term("reference", "VI", "V"),
        Term("text", "VTI", "VI"),
    ),
    "v2v": (Term("text", "VTI", "VI"),),
    "v2v_chain": (Term("frame", "V"), Term("text", "VTI", "V")),
    "r2v": (Term("reference", "I"), Term("text", "TI", "I")),
    "t2v": (Term("text", "T"),),
}
"""Guidance of Bernini (ByteDance 2026, github.com/bytedance/Bernini), by its authors' names.

V is the source video, I the reference images, VI both, T the words beside them; "null" is nothing.
The scales frame, reference and text are ω_V, ω_I and ω_T. The first difference is from what the sum
stands on: "null", in v2v VI. The authors' r2v_apg, v2v_apg and t2v_apg project the differences.
"""


def at(schedule: Schedule, percent: float) -> float:
    """The multiplier of a scale at `percent` of the steps (0 the first step, 1 the last).

    A number is constant. Points (percent, multiplier) in rising order of percent are joined by
    straight lines; before the first and after the last the end value holds. Two points at one
    percent make a jump: the later one holds from there on.

    Raises:
        ValueError: no point, or points out of order.
    """
    if isinstance(schedule, int | float):
        return float(schedule)
    points = list(schedule)
    if not points or any(a[0] > b[0] for a, b in zip(points, points[1:], strict=False)):
        raise ValueError(f"A schedule needs points in rising order of percent, not {points}.")
    if percent < points[0][0]:
        return float(points[0][1])
    for (p0, m0), (p1, m1) in zip(points, points[1:], strict=False):
        if p0 <= percent < p1:
            return m0 + (m1 - m0) * (percent - p0) / (p1 - p0)
    return float(points[-1][1])
