"""What adapts ComfyUI's own objects: conditionings, models, masks on the latent grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any
from uuid import uuid5

import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.samplers
from comfy_api.latest import io
from torch import Tensor
from torch.nn import functional as F

from ..pipelines.checks import check_number
from ..pipelines.core.attention import resize_to
from ..pipelines.errors import StyleAVideoError
from . import frame_place
from .frame_place import (  # noqa: F401
    CONCAT,
    MASK,
    PROBED,
    masked_condition,
    masked_latents,
    with_frame_of,
)

FRAME_LATENTS = CONCAT
"""Where ComfyUI keeps the latent that is concatenated to z_t."""
PER_FRAME = {
    FRAME_LATENTS: "frames",
    "cross_attn": "prompts",
    "mask": "masks",
    "concat_mask": "masks",
    "reference_latents": "reference frames",
    "context_latents": "context frames",
    "vace_frames": "VACE frames",
    "vace_mask": "VACE masks",
}
"""What a CONDITIONING can hold for every frame, alone or as a list of such, in people's words."""


# Blocks


def show(text: str, block: type[io.ComfyNode]) -> None:
    """On the block itself, where a browser shows it; the block asks for its unique_id."""
    if block.hidden is not None and block.hidden.unique_id is not None:
        from server import PromptServer

        PromptServer.instance.send_progress_text(text, block.hidden.unique_id)


def guard(block: type[io.ComfyNode]) -> None:
    """Have a block refuse numbers that are none, or outside what it declares, before it works.

    ComfyUI lets NaN through, and whatever comes by a link.
    """
    execute = block.execute.__func__

    @wraps(execute)
    def checked(cls: type[io.ComfyNode], *args: Any, **inputs: Any) -> io.NodeOutput:
        check_numbers(inputs, cls.define_schema().inputs)
        return execute(cls, *args, **inputs)

    block.execute = classmethod(checked)


def check_numbers(inputs: dict[str, Any], declared: Sequence[io.Input] = ()) -> None:
    """Refuse a float that is not finite, of the inputs of an option too, or out of its range."""
    floats = {one.id: one for one in declared if isinstance(one, io.Float.Input)}
    combos = {one.id: one for one in declared if isinstance(one, io.DynamicCombo.Input)}
    for name, value in inputs.items():
        if isinstance(value, dict):
            options = combos[name].options if name in combos else []
            check_numbers(value, [i for o in options if o.key == value.get(name) for i in o.inputs])
        elif isinstance(value, int | float) and name in floats:
            low, high = floats[name].min, floats[name].max
            check_number(
                name, value, -math.inf if low is None else low, math.inf if high is None else high
            )
        elif isinstance(value, float):
            check_number(name, value, -math.inf)


# Models


def latent_channels(model: Any) -> int:
    """Channels of z_t."""
    return int(model.model.latent_format.latent_channels)


def sees_frames(model: Any) -> bool:
    """Whether the U-Net has room for the frame latent beside z_t (InstructPix2Pix)."""
    return model.model.model_config.unet_config.get("in_channels") == 2 * latent_channels(model)


def check_frame_condition(model: Any, conditioning: list[Any]) -> None:
    """Refuse a frame condition on a model that would not see it, or not as it is meant."""
    references = [r for _, extra in conditioning for r in extra.get("reference_latents") or []]
    if isinstance(model.model, comfy.model_base.HiDreamO1):
        if any(len(r) > 1 for r in references):
            raise StyleAVideoError(
                "HiDreamO1 sees the first picture of a reference in every frame: give references "
                "of one picture, or choose a model that takes one a frame (Flux Kontext)."
            )
        return
    for _, extra in conditioning:
        place = extra.get(frame_place.PLACE, (None, None))[0]
        if place is not None and place != frame_place.place_of(model):
            raise StyleAVideoError(
                f"The frame was made for a model that takes it as {place}, and this one takes it "
                f"as {frame_place.place_of(model)}: connect this model to Frame Condition too."
            )
    if not any(FRAME_LATENTS in entry[1] for entry in conditioning):
        return
    have = frame_place.input_channels(model)
    place = frame_place.known_place(model)
    if place == CONCAT:
        return
    if place is not None:
        raise StyleAVideoError(
            f"{type(model.model).__name__} takes a frame as {place}: connect this model to Frame "
            "Condition too."
        )
    # Others than InstructPix2Pix concatenate too (inpainting, image to video): as they mean it.
    if have is not None and have != latent_channels(model):
        return
    raise StyleAVideoError(
        f"A frame condition needs a model with {2 * latent_channels(model)} input channels "
        f"(InstructPix2Pix) and this one ({type(model.model).__name__}) has {have or 'no room'}: "
        "load it with Load Edit Model, or leave the frame condition out and steer with ControlNet."
    )


def check_frame_count(name: str, entries: list[dict[str, Any]], latents: Tensor) -> None:
    """Refuse a condition for another number of frames than latents (T,...).

    ComfyUI would stretch it silently. A MASK may come without frames: (H,W), of a video (T,H,W).

    Raises:
        StyleAVideoError: another number than one for all frames, or one a frame.
    """
    count = len(latents)
    for entry in entries:
        for what, words in PER_FRAME.items():
            value = entry.get(what)
            for v in value if isinstance(value, list | tuple) else [value]:
                if not isinstance(v, Tensor) or "mask" in what and v.ndim <= latents.ndim - 2:
                    continue
                if len(v) not in (1, count):
                    raise StyleAVideoError(
                        f"The {name} condition has {len(v)} {words} and the latent has {count} "
                        "frames: give both the same number of frames."
                    )


def frames_that_fit(
    model: Any, x: Tensor, conditions: int, prepared: Sequence[list[dict[str, Any]]] = ()
) -> int:
    """Frames at a time whose conditions fit into free memory as one batch, at least 1.

    Args:
        conditions: how many of them.
        prepared: the conditions inside a guider, where a model counts what they bring (references).
    """
    free = model.current_patcher.get_free_memory(x.device)
    one = _sizes_of_a_frame(model, prepared, len(x))
    count = len(x)
    while count > 1:
        shapes = {what: [[count * s[0], *s[1:]] for s in sizes] for what, sizes in one.items()}
        shape = [conditions * count, *x.shape[1:]]
        if 1.5 * model.memory_required(shape, cond_shapes=shapes) <= free:
            break
        count = -(-count // 2)
    return count


def _sizes_of_a_frame(
    model: Any, prepared: Sequence[list[dict[str, Any]]], count: int
) -> dict[str, list[list[int]]]:
    """By name, the sizes that ComfyUI's estimate of memory counts beside the latent's."""
    return {
        what: [
            cond_of_frames(what, entry["model_conds"][what], slice(0, 1), count).size()
            for entries in prepared
            for entry in entries
            if what in entry["model_conds"]
        ]
        for what in model.memory_usage_factor_conds
    }


def on_one_device(options: dict[str, Any]) -> dict[str, Any]:
    """Model options for what is read or differentiated: on one GPU, and always evaluated.

    EasyCache would take the output of a step before, through which no gradient goes.
    """
    transformer = options.get("transformer_options", {})
    wrappers = {
        place: {key: w for key, w in by_key.items() if key != "easycache"}
        for place, by_key in transformer.get("wrappers", {}).items()
    }
    kept = {k: v for k, v in options.items() if not k.startswith("multigpu")}
    return {**kept, "transformer_options": {**transformer, "wrappers": wrappers}}


def step_percent(timestep: Tensor, model_options: dict[str, Any]) -> float:
    """Where this step stands among the steps: 0 the first, 1 the last."""
    sigmas = model_options.get("transformer_options", {}).get("sample_sigmas")
    if sigmas is None or len(sigmas) < 3:
        return 0.0
    return step_of(timestep, sigmas) / (len(sigmas) - 2)


def step_of(sigma: Tensor, sigmas: Tensor) -> int:
    """In which of the steps between `sigmas` a noise level lies, counted from 0.

    Between two steps (Heun, DPM++ 2S) the later one has not begun.
    """
    passed = int((sigmas[:-1] >= float(sigma.max()) * (1 - 1e-5)).sum())
    return max(0, passed - 1)


def post_cfg(
    guider: Any,
    denoised: Tensor,
    cond: Tensor,
    uncond: Tensor,
    x: Tensor,
    timestep: Tensor,
    options: dict[str, Any],
) -> Tensor:
    """What ComfyUI's own guidance does last: patches that look at the result (cfg_pp samplers)."""
    for patch in options.get("sampler_post_cfg_function", []):
        denoised = patch(
            {
                "denoised": denoised,
                "cond": guider.conds.get("positive"),
                "uncond": guider.conds.get("negative"),
                "cond_scale": 1.0,
                "model": guider.inner_model,
                "uncond_denoised": uncond,
                "cond_denoised": cond,
                "sigma": timestep,
                "model_options": options,
                "input": x,
            }
        )
    return denoised


# Conditionings


def with_values(conditioning: list[Any], **values: Any) -> list[Any]:
    """A CONDITIONING with more values in each entry; None leaves one out."""
    given = {k: v for k, v in values.items() if v is not None}
    return [[text, {**extra, **given}] for text, extra in conditioning]


# Conditions inside a guider


def coverage(entries: list[dict[str, Any]], x: Tensor, timestep: Tensor) -> Tensor | None:
    """m (T,1,h,w) in [0,1]: where, at this step, the entries give a prediction; None everywhere."""
    if not any(_limited(entry) for entry in entries):
        return None
    covered = x.new_zeros(len(x), 1, *x.shape[2:])
    for entry in entries:
        part = at_step(entry, x, timestep)
        if part is None:
            continue
        window = covered
        for i, (size, start) in enumerate(_windows(part.area, x.ndim - 2)):
            window = window.narrow(i + 2, start, size)
        window += part.mult[:, :1]
    return covered.clamp(0, 1)


def at_step(entry: dict[str, Any], x: Tensor, timestep: Tensor) -> Any:
    """ComfyUI's area and multiplier of an entry, or None out of its time.

    Strength is left out: it weighs overlapping entries of one condition against each other.
    """
    alone = {**entry, "model_conds": {}, "strength": 1.0}
    return comfy.samplers.get_area_and_mult(alone, x, timestep)


def _limited(entry: dict[str, Any]) -> bool:
    limits = ("timestep_start", "timestep_end", "area", "mask")
    return any(entry.get(name) is not None for name in limits)


def _windows(area: Any, dims: int) -> list[tuple[int, int]]:
    return [] if area is None else [(area[i], area[dims + i]) for i in range(dims)]


def times(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a * b


def latent_mask(mask: Tensor, frames: Tensor, part: slice, count: int) -> Tensor:
    """MASK (1 or T,H,W) → (t,1,h,w) of the frames in `part`, averaged over each latent's area."""
    if len(mask) not in (1, count):
        raise StyleAVideoError(
            f"The mask of a condition has {len(mask)} frames and the latent has {count}: give one "
            "mask, or one a frame."
        )
    mask = mask[part] if len(mask) == count else mask
    grid = F.interpolate(mask[:, None].to(frames), frames.shape[-2:], mode="area").clamp(0, 1)
    return frame_place.on_grid(grid, frames)


def masked_frame(entry: dict[str, Any], mask: Tensor) -> dict[str, Any]:
    """A prepared condition whose concatenated latent is multiplied by M (T,1,h',w')."""
    conds = dict(entry["model_conds"])
    latents = conds["c_concat"].cond
    grid = resize_to(mask.to(latents), *latents.shape[-2:])
    conds["c_concat"] = conds["c_concat"]._copy_with(latents * grid)
    return {**entry, "model_conds": conds}


def cond_of_frames(what: str, cond: Any, part: slice, count: int) -> Any:
    """A condition of `count` frames, as comfy/conds.py has them, for the frames in `part`.

    A CONDConstant is one value for all frames. The others hold a tensor (1 or T,...), a CONDList
    several.

    Args:
        what: its name in ComfyUI, for people.

    Raises:
        StyleAVideoError: tensors of another number of frames; where `part` is not all of them, a
            kind that does not say which of it belongs to a frame, or a model that looks at all
            frames together.
    """

    def some(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or len(tensor) == 1:
            return tensor
        if len(tensor) != count:
            raise StyleAVideoError(
                f"The condition {what} is for {len(tensor)} frames and the latent has {count}: "
                "give one for all frames, or one a frame."
            )
        return tensor[part]

    value = getattr(cond, "cond", None)
    if not isinstance(cond, comfy.conds.CONDConstant):
        if isinstance(value, Tensor):
            return cond._copy_with(some(value))
        if isinstance(value, list | tuple) and all(isinstance(v, Tensor) for v in value):
            return cond._copy_with([some(v) for v in value])
    elif what != "num_video_frames":
        return cond
    if not _is_all(part, count):
        raise StyleAVideoError(
            f"The frames cannot be divided, for this model's condition {what} belongs to all of "
            f"them together: set frames_per_batch to {count}, or take fewer or smaller frames."
        )
    return cond


def _is_all(part: slice, count: int) -> bool:
    return part.start == 0 and part.stop >= count


def frames_of(
    entries: list[dict[str, Any]],
    part: slice,
    count: int,
    model: Any,
    controls: dict[Any, Any],
) -> list[dict[str, Any]]:
    """Prepared conditions of some of the frames.

    controls: ControlNets for parts of the frames, kept for a run: conditions that share one go on
    sharing, and its hints are prepared once.

    Raises:
        StyleAVideoError: what `cond_of_frames` refuses.
    """

    def control_of(control: Any) -> Any:
        key = (id(control), part.start, part.stop)
        if key not in controls:
            controls[key] = _control_of(control, range(count)[part])
            controls[key].pre_run(model, model.model_sampling.percent_to_sigma)
        return controls[key]

    conds = [
        {what: cond_of_frames(what, cond, part, count) for what, cond in e["model_conds"].items()}
        for e in entries
    ]
    if _is_all(part, count):
        return entries
    return [
        _frames_of({**entry, "model_conds": own}, part, count, control_of)
        for entry, own in zip(entries, conds, strict=True)
    ]


def _frames_of(
    entry: dict[str, Any], part: slice, count: int, control_of: Callable[[Any], Any]
) -> dict[str, Any]:
    changed = dict(entry)
    # Caches know a condition by it: each part is one of its own, the same at every step.
    changed["uuid"] = uuid5(entry["uuid"], f"{part.start} {part.stop}")
    if "mask" in entry and len(entry["mask"]) == count:
        changed["mask"] = entry["mask"][part]
    if entry.get("control") is not None:
        changed["control"] = control_of(entry["control"])
    return changed


def _control_of(control: Any, frames: range) -> Any:
    """A ControlNet that sees the hints of some of the frames; the network itself is shared.

    As ComfyUI does it, hints (T,...) of fewer frames begin again where they end.
    """

    def some(hint: Any) -> Any:
        if not isinstance(hint, Tensor) or len(hint) == 1:
            return hint
        return hint[[frame % len(hint) for frame in frames]]

    copied = control.copy()
    copied.cond_hint_original = some(control.cond_hint_original)
    copied.extra_concat_orig = [some(x) for x in control.extra_concat_orig]
    if control.previous_controlnet is not None:
        copied.previous_controlnet = _control_of(control.previous_controlnet, frames)
    return copied
