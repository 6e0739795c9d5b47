"""Guidance by several conditions: a weighted sum of predictions whose weights add up to 1.

Conditions are named by what the U-Net is given: "null" (∅,∅), "frame" (c_I,∅), "text" (∅,c_T),
"attention" (c_M,∅) and "frame_text" (c_I,c_T). A preset is a sum of differences, each with its
scale s_I, s_T or s_M, and so one weight per condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
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


@dataclass(frozen=True)
class Projection:
    """Adaptive projected guidance (Sadat et al. 2024, "Eliminating Oversaturation and Artifacts of
    High Guidance Scales in Diffusion Models", arXiv 2410.02416). The defaults change nothing.

    Attributes:
        eta: η, what the part of a difference that is parallel to the prediction weighs. It makes
            colours garish at high scales: 1 keeps it, 0 leaves it out.
        norm_threshold: r, the greatest norm of a frame's difference; 0 sets no limit.
        momentum: β of the running sum of a difference over the steps; below 0 it pushes away from
            the steps before, 0 is none.
        whole: whether a scale's part up to 1 stays as it is and only the rest is guidance, as in
            the paper: D(c) + (w - 1) ΔD. Bernini's authors take w ΔD from the base on instead.
    """

    eta: float = 1.0
    norm_threshold: float = 0.0
    momentum: float = 0.0
    whole: bool = True

    @property
    def is_off(self) -> bool:
        return self.eta == 1 and self.norm_threshold == self.momentum == 0


def project(delta: Tensor, pred: Tensor, eta: float = 1.0, norm_threshold: float = 0.0) -> Tensor:
    """ΔD: a difference of norm r at most, without (1 - η) of its part parallel to D(c).

    Sadat et al. 2024 (see `Projection`). Each frame by itself.

    Args:
        delta: D(c) - D(∅), or its running sum, x0 predictions (B,C,...,h,w).
        pred: D(c), of the same shape.
    """
    frame = (1, -2, -1)  # channels, height and width
    if norm_threshold > 0:
        norm = torch.linalg.vector_norm(delta, dim=frame, keepdim=True)
        delta = delta * (norm_threshold / norm).clamp(max=1)
    along = pred / torch.linalg.vector_norm(pred, dim=frame, keepdim=True).clamp_min(1e-12)
    parallel = (delta * along).sum(frame, keepdim=True) * along
    return delta - parallel + eta * parallel


def combine_projected(
    preds: Mapping[str, Tensor],
    base: str,
    terms: Sequence[tuple[float, str, str]],
    projection: Projection,
    running: Mapping[str, Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """base + Σ s (pred_of - pred_against), what exceeds scale 1 projected (see `Projection`).

    Args:
        preds: x0 predictions of one shape (B,C,...,h,w).
        terms: s, of, against.
        running: each term's sum of differences before this step, by `of`; empty at the first.

    Returns:
        The guided x0, and the sums to go on with.
    """
    guided, sums = preds[base], dict(running)
    for scale, of, against in terms:
        delta = preds[of] - preds[against]
        whole = min(max(scale, 0.0), 1.0) if projection.whole else 0.0
        guided = guided + whole * delta
        if projection.momentum and of in sums:
            sums[of] = delta + projection.momentum * sums[of]
        else:
            sums[of] = delta
        if scale != whole:
            pushed = project(sums[of], preds[of], projection.eta, projection.norm_threshold)
            guided = guided + (scale - whole) * pushed
    return guided, sums


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
