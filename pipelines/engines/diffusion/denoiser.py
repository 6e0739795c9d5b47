"""The guided prediction of one step, and the correction before it (Huang et al. 2023, 3.3, 3.4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core import attention, correction, guidance
from ...core import inner as levels
from ...core.denoised import alpha_bar, predict_denoised
from ...errors import StyleAVideoError
from . import decoders
from .conditions import SEES_FRAME, SEES_TEXT, Conditions
from .encoding import parts
from .settings import Settings

FULLEST_FIRST = ("frame_text", "frame", "attention", "text", "null")
"""The first of these that a guidance has is its main condition: what it adds the others to."""


@dataclass(frozen=True)
class Reused:
    """What a step before has left to use again, by condition; none of it: all is evaluated.

    Attributes:
        differences: of each other condition from the main one (T,C,h,w). The main condition alone
            is then evaluated (Castillo et al. 2023, "Adaptive Guidance").
        inner: what the U-Net's inner levels gave (T,C',h',w'). Its outermost level alone is then
            run (see `core.inner`).
    """

    differences: Mapping[str, Tensor] = field(default_factory=dict)
    inner: Mapping[str, Tensor] = field(default_factory=dict)


class Guided(NamedTuple):
    """What `guided` returns.

    Attributes:
        pred: the guided prediction (T,C,h,w).
        received: attention received (T,1,h',w') in the module `record`: that of (c_I,∅) where it is
            evaluated, else of (c_I,c_T), else of the first condition; None without a module, and
            where what lies inside is not run.
        kept: of this step, what was asked for and evaluated.
    """

    pred: Tensor
    received: Tensor | None
    kept: Reused


def predict(
    unet: Any,
    z: Tensor,
    t: Tensor,
    conditions: Conditions,
    names: Sequence[str],
    part: slice,
    inner: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The U-Net's output (K·T',C,h,w) for K conditions of the T' frames in `part`; z is theirs.

    inner: what its inner levels gave for all frames in a step before, which are then not run.
    """
    x, text = conditions.batch(names, z, part)
    if inner:
        given = torch.cat([inner[name][part] for name in names])
        return levels.outer(unet, x, t, text.hidden, text.pooled, given)
    output = unet(
        x, t, encoder_hidden_states=text.hidden, class_labels=text.pooled, return_dict=False
    )
    return output[0]


def guided(
    unet: Any,
    z: Tensor,
    t: Tensor,
    conditions: Conditions,
    weights: dict[str, float],
    chunk_size: int | None = None,
    record: torch.nn.Module | None = None,
    reused: Reused = Reused(),
    keep: Collection[str] = (),
) -> Guided:
    """Σ w_k eps(c_k) over the conditions of `weights`, whose weights add up to 1 (section 3.3).

    All conditions of a chunk of frames are one U-Net batch. The sum is of the raw outputs: it holds
    for eps, v and x0 alike, since the weights add up to 1.

    Args:
        keep: what later steps want to use again, of the names of `Reused`.
    """
    names = list(weights)
    main = main_condition(names)
    evaluated = [main] if reused.differences else names
    if reused.differences or reused.inner:
        record = None
    preds, maps, differences, inner = [], [], [], []
    for part in parts(len(z), chunk_size):
        made = _evaluated(
            unet, z, t, conditions, evaluated, part, record, reused.inner, "inner" in keep
        )
        outputs = made.outputs
        maps += [] if made.received is None else [made.received]
        inner += [made.inner] if made.inner else []
        if reused.differences:
            others = [n for n in names if n != main]
            outputs |= {n: outputs[main] + reused.differences[n][part] for n in others}
        elif "differences" in keep:
            differences.append({n: outputs[n] - outputs[main] for n in names if n != main})
        # One frame's output broadcasts over all of them.
        guide = [outputs[name] for name in names]
        combined = guidance.combine(guide, [weights[name] for name in names[1:]])
        preds.append(combined.expand_as(z[part]))
    kept = Reused(_joined(differences), _joined(inner))
    return Guided(torch.cat(preds), torch.cat(maps) if maps else None, kept)


def _joined(of_parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {n: torch.cat([each[n] for each in of_parts]) for n in of_parts[0]} if of_parts else {}


def main_condition(names: Collection[str]) -> str:
    return next(name for name in FULLEST_FIRST if name in names)


class _Made(NamedTuple):
    """Outputs by condition for some frames, of one frame where they are the same for all of them;
    the attention received; what the inner levels gave, where it is asked for.
    """

    outputs: dict[str, Tensor]
    received: Tensor | None
    inner: dict[str, Tensor]


def _evaluated(
    unet: Any,
    z: Tensor,
    t: Tensor,
    conditions: Conditions,
    names: Sequence[str],
    part: slice,
    record: torch.nn.Module | None,
    given: Mapping[str, Tensor],
    keep_inner: bool,
) -> _Made:
    """The U-Net for the frames in `part`, with the inner levels of a step before where given."""
    if given:
        batch = predict(unet, z[part], t, conditions, names, part, given)
        return _Made(dict(zip(names, batch.chunk(len(names)), strict=True)), None, {})
    once = _same_for_all_frames(z[part], conditions, names, part) if record is None else []
    each = [name for name in names if name not in once]
    n = len(z[part])
    recorder = None
    if record is not None:
        own = next((name for name in ("frame", "frame_text") if name in names), names[0])
        first = each.index(own) * n
        grid = (z.shape[-2], z.shape[-1])
        recorder = attention.AttentionRecorder(record, grid, slice(first, first + n))
    outputs: dict[str, Tensor] = {}
    inner: dict[str, Tensor] = {}
    watched: AbstractContextManager[list[Tensor]]
    watched = levels.recorded(unet) if keep_inner else nullcontext([])
    with recorder or nullcontext(), watched as kept:
        for some, frames in ((each, part), (once, slice(part.start, part.start + 1))):
            if some:
                batch = predict(unet, z[frames], t, conditions, some, frames)
                outputs |= dict(zip(some, batch.chunk(len(some)), strict=True))
            if some and keep_inner:
                of_each = kept[-1].chunk(len(some))
                inner |= {k: v.expand(n, -1, -1, -1) for k, v in zip(some, of_each, strict=True)}
    return _Made(outputs, None if recorder is None else recorder.received, inner)


def probe_attention(
    unet: Any,
    z: Tensor,
    t: Tensor,
    conditions: Conditions,
    module: torch.nn.Module,
    chunk_size: int | None = None,
) -> Tensor:
    """Attention received (T,1,h',w') in `module` by (c_I,∅); what lies behind it is not run."""
    maps = []
    for part in parts(len(z), chunk_size):
        grid = (z.shape[-2], z.shape[-1])
        with attention.AttentionRecorder(module, grid, stop=True) as recorder:
            predict(unet, z[part], t, conditions, ["frame"], part)
        assert recorder.received is not None
        maps.append(recorder.received)
    return torch.cat(maps)


def _same_for_all_frames(
    z: Tensor, conditions: Conditions, names: Sequence[str], part: slice
) -> list[str]:
    """The conditions whose input is the same for all these frames, so that one evaluation does.

    They are those that do not see the frame, in the first step of shared noise.
    """

    def same(x: Tensor) -> bool:
        return bool((x == x[:1]).all())

    if len(z) == 1 or not same(z):
        return []
    text = {name: conditions.prompt if name in SEES_TEXT else conditions.null for name in names}
    blind = [name for name in names if name not in SEES_FRAME]
    return [name for name in blind if same(text[name].hidden[part])]


def recorded_module(unet: torch.nn.Module, layer: str) -> torch.nn.Module:
    """The self-attention of `layer`, or a StyleAVideoError that names the layers there are."""
    try:
        return attention.self_attention(unet, layer)
    except ValueError as error:
        raise StyleAVideoError(str(error)) from None


class Corrector:
    """The sampling correction of one run (section 3.4): z_t moves and all goes on from there.

    The U-Net is evaluated at z' = z_t - λ σ L_s Δz_t / rms(Δz_t) and the scheduler steps from z'.
    Stepping from z_t instead would give x0 back what it has been corrected by. x0 is that of the
    guided prediction: a frame condition alone is the frame already and would have nothing to gain.
    The gradient runs through all its conditions, a frame at a time.

    Of a scheduler with two evaluations a step (Heun) the first one moves: the direction from a
    point that moved, (z' - x0) / σ, would undo it. UniPC's corrector steps from the sample before
    and takes over x0 at z' alone.
    """

    def __init__(
        self, pipeline: Any, frames: Tensor, settings: Settings, chunk_size: int | None
    ) -> None:
        self.pipeline = pipeline
        self.strength = settings.correction
        self.decode = decoders.DECODERS[settings.correction_decoder](pipeline)
        self.target = torch.cat(
            [pipeline.encode_images(frames[part]) for part in parts(len(frames), chunk_size)]
        )

    def __call__(
        self, latents: Tensor, t: Tensor, conditions: Conditions, weights: dict[str, float]
    ) -> Tensor:
        """The scheduler's sample (T,C,h,w) at its step t → the moved one."""
        unet, scheduler = self.pipeline.unet, self.pipeline.scheduler
        if not getattr(scheduler, "state_in_first_order", True):
            return latents

        def denoise(z: Tensor, part: slice) -> Tensor:
            z = scheduler.scale_model_input(z, t)
            outputs = predict(unet, z, t, conditions, list(weights), part).chunk(len(weights))
            output = guidance.combine(outputs, list(weights.values())[1:])
            return predict_denoised(scheduler, output, z, t)

        # The U-Net's input has noise of sqrt(1-ᾱ), whatever the scaling of the scheduler's sample.
        scale = scheduler.scale_model_input(latents.new_ones(1, 1, 1, 1), t).item()
        sigma = (1 - alpha_bar(scheduler, t)) ** 0.5 / scale
        return correction.correct(
            latents,
            denoise,
            self.decode,
            self.pipeline.encode_images,
            self.target,
            self.strength,
            sigma,
        )
