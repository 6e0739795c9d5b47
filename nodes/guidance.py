"""Guidance by several conditions as ComfyUI's GUIDER: any sampler, one batch for all conditions.

A CONDITIONING keeps all that ComfyUI gave it: areas, masks, time ranges, ControlNets, hooks. Where
one of these leaves a condition out of a region or a step, the base stands in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..pipelines.core import attention, guidance
from ..pipelines.errors import StyleAVideoError
from . import host
from .attention import RUNNING, AttentionReader, Running
from .context_windows import window_options
from .easycache import DividedCache
from .presets import (
    BERNINI,
    PRESETS,
    WeightedCondition,
    describe,
    preset_conditions,
    scale_input,
    schedule_of,
    weights_at,
)

WeightedConditions = io.Custom("STYLEAVIDEO_CONDITION")
NO_PROJECTION = guidance.Projection()
_ZERO = 1e-6


@dataclass(frozen=True)
class _Output:
    """Of some frames: guided, base and fullest x0, their attention mask, running sums by name."""

    guided: Tensor
    base: Tensor
    fullest: Tensor
    mask: Tensor | None
    sums: dict[str, Tensor]


class MultiConditionGuider(comfy.samplers.CFGGuider):
    """Σ w_k x0(c_k) with weights that add up to 1 (Huang et al. 2023, section 3.3).

    All conditions and frames are one batch of the U-Net. Where memory does not allow that, frames
    are split, not conditions; each frame's result is the same.
    """

    def __init__(
        self,
        model: Any,
        base: list[Any],
        conditions: Sequence[WeightedCondition],
        frames_per_batch: int = 0,
        projection: guidance.Projection = NO_PROJECTION,
    ) -> None:
        super().__init__(model)
        self.conditions = list(conditions)
        self.frames_per_batch = frames_per_batch
        self.projection = projection
        # ComfyUI reads these two names: a ControlNet of "positive" may also apply to the rest.
        self.names = ["negative", "positive", *(f"condition {k}" for k in range(2, 101))]
        self.names = self.names[: len(self.conditions) + 1]
        given = [base, *(c.conditioning for c in self.conditions)]
        for conditioning in given:
            host.check_frame_condition(model, conditioning)
        self.inner_set_conds(dict(zip(self.names, given, strict=True)))

    def sample(self, noise: Tensor, latent_image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if noise.is_nested:
            raise StyleAVideoError(
                "This guider works on one latent a frame, not on sound and video in one: use "
                "ComfyUI's CFGGuider for such a model."
            )
        for name, entries in self.original_conds.items():
            host.check_frame_count(name, entries, noise)
        self._mask_before: Tensor | None = None
        self._controls: dict[Any, Any] = {}
        self._cache = DividedCache()
        self._running: dict[str, Tensor] = {}
        try:
            return super().sample(noise, latent_image, *args, **kwargs)
        finally:
            # ComfyUI keeps the guider for the next prompt; what the run made goes now.
            self._mask_before, self._controls, self._cache = None, {}, DividedCache()
            self._running = {}

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: dict | None = None,
        seed: int | None = None,
    ) -> Tensor:
        options = window_options(model_options or {})
        percent = host.step_percent(timestep, options)
        # cfg_pp samplers read the base even where its weight is 0.
        keep = bool(options.get("disable_cfg1_optimization"))
        weights = weights_at(self.conditions, percent)
        terms = [] if self.projection.is_off else self._terms(percent)
        if terms:
            names = self._ends_of(terms)
        else:
            names, weights = self._needed(x, timestep, weights, keep)
        parts = self._parts(x, names)
        entries = [entry for name in names for entry in self.conds[name]]
        own_options = self._cache.options(self.inner_model, x, timestep, parts, options, entries)
        outputs = [
            self._predict(names, weights, terms, x, timestep, part, own)
            for part, own in zip(parts, own_options, strict=True)
        ]
        guided = torch.cat([o.guided for o in outputs])
        masks = [o.mask for o in outputs if o.mask is not None]
        if len(masks) == len(parts):  # else a cache left the network out
            self._mask_before = torch.cat(masks)
        # What is differentiated is no step.
        if terms and self.projection.momentum and not x.requires_grad:
            self._running = {n: torch.cat([o.sums[n] for o in outputs]) for n in outputs[0].sums}
        base, fullest = (torch.cat([getattr(o, n) for o in outputs]) for n in ("base", "fullest"))
        return host.post_cfg(self, guided, fullest, base, x, timestep, options)

    def _terms(self, percent: float) -> list[tuple[float, str, str]]:
        """The differences of a scale that is not 0, as scale, of and against."""
        named = list(zip(self.names[1:], self.conditions, strict=True))
        known: dict[str | None, str] = {None: "negative"}
        known |= {c.name: name for name, c in named}
        terms = [(c.at(percent), name, known[c.against]) for name, c in named]
        return [term for term in terms if abs(term[0]) > _ZERO]

    def _ends_of(self, terms: list[tuple[float, str, str]]) -> list[str]:
        ends = {"negative", *(of for _, of, _ in terms), *(against for _, _, against in terms)}
        return [name for name in self.names if name in ends]

    def _parts(self, x: Tensor, names: list[str]) -> list[slice]:
        """Which frames go together."""
        step = self.frames_per_batch or host.frames_that_fit(
            self.inner_model, x, len(names), [self.conds[n] for n in names]
        )
        return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]

    def _needed(
        self, x: Tensor, timestep: Tensor, weights: list[float], keep_base: bool
    ) -> tuple[list[str], list[float]]:
        """Conditions whose weight is not 0, the base first unless its own weight is 0.

        The base also fills what others leave uncovered, so it goes only where all cover everything.
        """
        used = [(n, w) for n, w in zip(self.names[1:], weights, strict=True) if abs(w) > _ZERO]
        own = 1 - sum(w for _, w in used)
        everywhere = all(
            self.conditions[self.names.index(n) - 1].mask is None
            and host.coverage(self.conds[n], x, timestep) is None
            for n, _ in used
        )
        if used and everywhere and abs(own) <= _ZERO and not keep_base:
            return [n for n, _ in used], [w for _, w in used]
        return ["negative", *(n for n, _ in used)], [own, *(w for _, w in used)]

    def _predict(
        self,
        names: list[str],
        weights: list[float],
        terms: list[tuple[float, str, str]],
        x: Tensor,
        timestep: Tensor,
        part: slice,
        options: dict,
    ) -> _Output:
        """What is made of some frames."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        count, frames, t = len(x), x[part], timestep[part]
        conds = [
            host.frames_of(
                self._with_running(self.conds[n]), part, count, self.inner_model, self._controls
            )
            for n in names
        ]
        running, reader = self._asked(names), None
        if running is not None:
            reader = AttentionReader(self.inner_model, running.layer, index=self._own(names))
            options = reader.patched(options)
        preds = comfy.samplers.calc_cond_batch(self.inner_model, conds, frames, t, options)
        covers = [
            host.times(host.coverage(c, frames, t), self._mask(n, frames, part, count))
            for n, c in zip(names, conds, strict=True)
        ]
        fullest = preds[next((i for i, n in enumerate(names) if n != "negative"), 0)]
        if covers[0] is not None:  # a base that is itself limited: the rest stands in for it
            preds[0] = covers[0] * preds[0] + (1 - covers[0]) * fullest
        if terms:
            before = {} if x.requires_grad else {n: t[part] for n, t in self._running.items()}
            seen = {
                name: pred if m is None else preds[0] + m * (pred - preds[0])
                for name, pred, m in zip(names, preds, covers, strict=True)
            }
            guided, sums = guidance.combine_projected(
                seen, "negative", terms, self.projection, before
            )
        else:
            guided, sums = guidance.combine(preds, weights[1:], covers[1:]), {}
        mask = None
        if running is not None and reader is not None and reader.received is not None:
            received = attention.smoothed_to(reader.received, *frames.shape[-2:])
            mask = attention.attention_mask(received, running.threshold)
        return _Output(guided, preds[0], fullest, mask, sums)

    def _mask(self, name: str, frames: Tensor, part: slice, count: int) -> Tensor | None:
        if name == "negative":
            return None
        mask = self.conditions[self.names.index(name) - 1].mask
        return None if mask is None else host.latent_mask(mask, frames, part, count)

    def _asked(self, names: list[str]) -> Running | None:
        """What a running attention condition among these asks for."""
        for name in names:
            for entry in self.conds[name]:
                if RUNNING in entry:
                    return entry[RUNNING]
        return None

    def _own(self, names: list[str]) -> int:
        """The condition whose attention is read: (c_I,∅), else one with a frame, else the first."""

        def sees_frame(name: str) -> bool:
            return any(host.FRAME_LATENTS in e and RUNNING not in e for e in self.conds[name])

        labels = ["base", *(c.name for c in self.conditions)]
        framed = [i for i, name in enumerate(names) if sees_frame(name)]
        alone = [i for i in framed if labels[self.names.index(names[i])] == "frame"]
        return next(iter(alone + framed), 0)

    def _with_running(self, entries: list[dict]) -> list[dict]:
        mask = self._mask_before
        if mask is None or not any(RUNNING in e for e in entries):
            return entries
        return [host.masked_frame(e, mask) if RUNNING in e else e for e in entries]


class WeightedConditionNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoWeightedCondition",
            display_name="Weighted Condition",
            category="Style-A-Video/guidance",
            description=(
                "One condition for the Multi-condition Guider: how strong it is, when, and where."
            ),
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="Any CONDITIONING: a text, a frame condition, one with ControlNet.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    tooltip="Weight of this condition against the base; negative pushes away.",
                ),
                io.Curve.Input(
                    "schedule",
                    default=[(0.0, 1.0), (1.0, 1.0)],
                    optional=True,
                    tooltip="Multiplies the weight over the steps: left the first, right the last.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the condition applies, one mask for all frames or one a frame.",
                ),
            ],
            outputs=[
                WeightedConditions.Output(
                    display_name="condition", tooltip="For Multi-condition Guider."
                )
            ],
        )

    @classmethod
    def execute(cls, conditioning, weight, schedule=None, mask=None) -> io.NodeOutput:
        return io.NodeOutput(WeightedCondition(conditioning, weight, schedule_of(schedule), mask))


class MultiConditionGuiderNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        condition = WeightedConditions.Input("condition", tooltip="From a Weighted Condition.")
        return io.Schema(
            node_id="StyleAVideoMultiConditionGuider",
            display_name="Multi-condition Guider",
            category="Style-A-Video/guidance",
            description=(
                "base + the weighted differences of any number of conditions from it, in one "
                "batched evaluation. Goes into SamplerCustomAdvanced."
            ),
            search_aliases=["weighted guidance", "multi cfg", "regional prompt"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                io.Conditioning.Input(
                    "base",
                    tooltip="What the others are measured from: the empty or the negative prompt.",
                ),
                io.Autogrow.Input(
                    "conditions",
                    template=io.Autogrow.TemplatePrefix(
                        condition, prefix="condition_", min=1, max=16
                    ),
                    tooltip="Weighted conditions; a new place appears for each one connected.",
                ),
                _frames_per_batch(),
                *_projection_inputs(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model, base, conditions, frames_per_batch, eta=1.0, norm_threshold=0.0, momentum=0.0
    ) -> io.NodeOutput:
        given = [
            WeightedCondition(c.conditioning, c.weight, c.schedule, c.mask, f"condition {k}")
            for k, c in enumerate(conditions.values(), 1)
            if c is not None
        ]
        projection = guidance.Projection(eta, norm_threshold, momentum)
        return _guider(cls, model, base, given, frames_per_batch, "base", projection)


class PresetGuiderNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def schedule(name: str) -> io.Input:
            return io.Custom("CURVE").Input(
                f"{name}_schedule",
                optional=True,
                tooltip=f"Multiplies {name}_scale over the steps: left the first, right the last. "
                "Where it is 0 the condition is not computed.",
                extra_dict={"forceInput": True},  # a wire from Curve Editor
            )

        return io.Schema(
            node_id="StyleAVideoPresetGuider",
            display_name="Style Guider",
            category="Style-A-Video/guidance",
            description=(
                "The guidance of the Style-A-Video paper, of InstructPix2Pix or of Bernini from "
                "its scales. Goes into SamplerCustomAdvanced."
            ),
            search_aliases=["style a video", "instructpix2pix guider", "bernini guider"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                io.Conditioning.Input("prompt", tooltip="The style: in words, or of a picture."),
                io.Conditioning.Input(
                    "negative", tooltip="The empty prompt, or what the result should not be."
                ),
                io.Conditioning.Input(
                    "frame",
                    optional=True,
                    tooltip="Frame Condition on the negative text: what the video shows.",
                ),
                io.Conditioning.Input(
                    "attention",
                    optional=True,
                    tooltip="Attention Condition: keeps what the model looks at.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="instruct-pix2pix",
                    tooltip=(
                        "instruct-pix2pix: text together with the frame. paper: text, frame and "
                        "attention as separate conditions. Bernini: its authors' modes."
                    ),
                ),
                scale_input("frame_scale", 1.0, "s_I: how closely the result follows the frame."),
                scale_input("text_scale", 1.0, "s_T: how strongly the result follows the words."),
                scale_input("attention_scale", 0.0, "s_M: weight of the attention condition."),
                _frames_per_batch(),
                scale_input(
                    "reference_scale",
                    4.5,
                    "ω_I, Bernini rv2v and r2v only: how closely the result follows the reference "
                    "images.",
                    optional=True,
                    advanced=True,
                ),
                *(schedule(name) for name in ("frame", "text", "attention", "reference")),
                *_projection_inputs(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        prompt,
        negative,
        preset,
        frame_scale,
        text_scale,
        attention_scale,
        frames_per_batch,
        frame=None,
        attention=None,
        reference_scale=4.5,
        frame_schedule=None,
        text_schedule=None,
        attention_schedule=None,
        reference_schedule=None,
        eta=1.0,
        norm_threshold=0.0,
        momentum=0.0,
    ) -> io.NodeOutput:
        scales = (frame_scale, text_scale, attention_scale, reference_scale)
        schedules = {
            "frame": schedule_of(frame_schedule),
            "text": schedule_of(text_schedule),
            "attention": schedule_of(attention_schedule),
            "reference": schedule_of(reference_schedule),
        }
        base, conditions = preset_conditions(
            preset, scales, prompt, negative, frame, attention, schedules
        )
        projection = guidance.Projection(eta, norm_threshold, momentum, preset not in BERNINI)
        base_name = PRESETS[preset][0].against
        return _guider(cls, model, base, conditions, frames_per_batch, base_name, projection)


def _frames_per_batch() -> io.Int.Input:
    return io.Int.Input(
        "frames_per_batch",
        default=0,
        min=0,
        max=4096,
        advanced=True,
        tooltip="Frames at a time in the U-Net; 0 lets free memory decide. It changes no pixel.",
    )


def _projection_inputs() -> list[io.Input]:
    def number(name: str, default: float, low: float, high: float, tooltip: str) -> io.Input:
        return io.Float.Input(
            name,
            default=default,
            min=low,
            max=high,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=f"Adaptive projected guidance: {tooltip}",
        )

    return [
        number(
            "eta",
            1.0,
            -10.0,
            10.0,
            "what the part of the guidance that makes colours garish weighs; 1 keeps it, 0 leaves "
            "it out.",
        ),
        number(
            "norm_threshold",
            0.0,
            0.0,
            1000.0,
            "the greatest norm of a frame's guidance; 0 sets no limit.",
        ),
        number(
            "momentum",
            0.0,
            -1.0,
            1.0,
            "how much of the guidance of the steps before goes on; below 0 pushes away from it.",
        ),
    ]


def _outputs() -> list[io.Output]:
    return [
        io.Guider.Output(display_name="GUIDER"),
        io.String.Output(
            display_name="weights", tooltip="Each condition's weight at the first step, as text."
        ),
    ]


def _guider(
    block: type[io.ComfyNode],
    model: Any,
    base: list[Any],
    conditions: list[WeightedCondition],
    frames_per_batch: int,
    base_name: str,
    projection: guidance.Projection,
) -> io.NodeOutput:
    guider = MultiConditionGuider(model, base, conditions, frames_per_batch, projection)
    weights = describe(base_name, conditions)
    host.show(weights, block)
    return io.NodeOutput(guider, weights, ui=ui.PreviewText(weights))
