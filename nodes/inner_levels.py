"""A U-Net's inner levels left out for a step, on any MODEL with one (see pipelines/core/inner.py).

By ComfyUI's own patches alone, so LoRAs, ControlNets, attention patches and other wrappers stay:
the layers of inner blocks hand on what they are given, and the first outermost block after them
starts from what they gave in a step before. A block is ("input" | "middle" | "output", number).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules import openaimodel
from comfy_api.latest import io
from torch import Tensor, nn

from ..pipelines.errors import StyleAVideoError
from . import host

KEY = "style_a_video_inner_levels"
MOST = 16  # steps from one pass through the inner levels to the next

Options = dict[str, Any]


class Edges(NamedTuple):
    """Input blocks before number `inputs` and output blocks from number `output` on are the
    outermost level.
    """

    inputs: int
    output: int

    def inside(self, block: tuple[str, int]) -> bool:
        kind, number = block
        return not (
            (kind == "input" and number < self.inputs)
            or (kind == "output" and number >= self.output)
        )


def edges_of(unet: Any) -> Edges | None:
    """Where the outermost level ends: where the picture is first made smaller, and last larger.
    None without a level inside it, and for what is no U-Net of ComfyUI's.
    """
    if not isinstance(unet, openaimodel.UNetModel) or unet.middle_block is None:
        return None
    smaller = _with_a(openaimodel.Downsample, unet.input_blocks)
    larger = _with_a(openaimodel.Upsample, unet.output_blocks)
    return Edges(smaller[0], larger[-1] + 1) if smaller and larger else None


def _with_a(layer: type[nn.Module], blocks: nn.ModuleList) -> list[int]:
    return [i for i, block in enumerate(blocks) for m in block.children() if isinstance(m, layer)]


def reused(model: Any, every: int) -> Any:
    """A MODEL whose inner levels run in every so many-th step; the given one where that is each, or
    it has none.
    """
    if every == 1 or edges_of(model.model.diffusion_model) is None:
        return model
    places = comfy.patcher_extension.WrappersMP
    changed = model.clone()
    wrappers = {
        places.OUTER_SAMPLE: _Run(every),
        places.CALC_COND_BATCH: _called,
        places.DIFFUSION_MODEL: _evaluated,
    }
    for place, wrapper in wrappers.items():
        changed.remove_wrappers_with_key(place, KEY)  # one before is replaced
        changed.add_wrapper_with_key(place, KEY, wrapper)
    return changed


class _Run:
    """Wraps a run of a guider: what is kept goes when it ends."""

    def __init__(self, every: int) -> None:
        self.every = every

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        guider = executor.class_obj
        given = guider.model_options
        # Context Windows: a condition is the same in all of them, the frames are not.
        if given.get("context_handler") is not None:
            return executor(*args, **kwargs)
        options = comfy.model_patcher.create_model_options_clone(given)
        options.setdefault("transformer_options", {})[KEY] = _Kept(self.every)
        guider.model_options = options
        try:
            return executor(*args, **kwargs)
        finally:
            guider.model_options = given


class _Inner(NamedTuple):
    """What the inner levels gave in a step (T,C,h,w), on ComfyUI's intermediate device."""

    step: int
    given: Tensor


class _Kept:
    """What the inner levels gave, by condition and call: ComfyUI's uuid, of frames divided by our
    guider another for each part; and how many calls for conditions came before at this noise.

    PAG, SAG and other blocks that look at the result ask for the same condition once more, changed
    inside or at another x. Each call goes on from what it gave itself, never from another's. It
    runs whole where its own was not asked for in the last `every` steps.

    A frame and condition of Stable Diffusion 1.5 at 512x512 takes 5 MB in fp16, of SDXL at
    1024x1024 21 MB: in main memory, unless ComfyUI runs with --gpu-only.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._inner: dict[tuple[Any, int], _Inner] = {}
        self._noise: float | None = None
        self._call = 0

    def begin(self, sigma: Tensor, step: int) -> None:
        """A call for conditions at this noise level; what is too old for it goes."""
        noise = float(sigma.max())
        self._call = self._call + 1 if noise == self._noise else 0
        self._noise = noise
        self._inner = {key: one for key, one in self._inner.items() if self._is_near(one, step)}

    def keep(self, step: int, conditions: Sequence[Any], inner: Tensor) -> None:
        parts = inner.to(comfy.model_management.intermediate_device()).chunk(len(conditions))
        for condition, part in zip(conditions, parts, strict=True):
            self._inner[condition, self._call] = _Inner(step, part)

    def again(self, step: int, conditions: Sequence[Any], x: Tensor) -> Tensor | None:
        """For a batch x of these conditions; None at a step that is to run whole, and where
        something is not known or too old.
        """
        if step % self.every == 0:
            return None
        found = [self._inner.get((condition, self._call)) for condition in conditions]
        known = [one.given for one in found if one is not None and self._is_near(one, step)]
        if len(known) < len(found):
            return None
        inner = torch.cat(known)
        fits = len(inner) == len(x) and inner.shape[-2:] == x.shape[-2:]
        return inner.to(x.device) if fits else None

    def _is_near(self, one: _Inner, step: int) -> bool:
        return 0 <= step - one.step < self.every


def _called(
    executor: Any, model: Any, conds: Any, x: Tensor, timestep: Tensor, options: Options
) -> list[Tensor]:
    """Wraps a call for conditions, which may be several batches of the U-Net."""
    transformer = options.get("transformer_options", {})
    kept = transformer.get(KEY)
    if kept is not None and not x.requires_grad:
        kept.begin(timestep, _step(timestep, transformer))
    return executor(model, conds, x, timestep, options)


def _step(sigma: Tensor | None, options: Options) -> int:
    sigmas = options.get("sample_sigmas")
    return 0 if sigmas is None or sigma is None else host.step_of(sigma, sigmas)


def _evaluated(
    executor: Any,
    x: Tensor,
    timesteps: Tensor,
    context: Any,
    y: Any,
    control: Any,
    options: Options,
    **more: Any,
) -> Tensor:
    """Wraps the U-Net: whole, or its outermost level alone."""
    kept, edges = options.get(KEY), edges_of(executor.class_obj)
    conditions = options.get("uuids")
    # A gradient goes through all levels.
    if kept is None or edges is None or not conditions or x.requires_grad:
        return executor(x, timesteps, context, y, control, options, **more)
    step = _step(options.get("sigmas"), options)
    inner = kept.again(step, conditions, x)
    if inner is not None:
        control, options = _outermost(control, edges), _starting_from(inner, edges, options)
        return executor(x, timesteps, context, y, control, options, **more)
    found: list[Tensor] = []

    def record(h: Tensor, skip: Tensor, given: Options) -> tuple[Tensor, Tensor]:
        if given["block"] == ("output", edges.output):
            found.append(h.clone())  # patches after this one may write into h
        return h, skip

    options = _patched(options, output_block_patch=[record, *_of(options, "output_block_patch")])
    result = executor(x, timesteps, context, y, control, options, **more)
    if found:
        kept.keep(step, conditions, found[0])
    return result


def _of(options: Options, kind: str) -> list[Any]:
    return list(options.get("patches", {}).get(kind, []))


def _patched(options: Options, **patches: list[Any]) -> Options:
    return {**options, "patches": {**options.get("patches", {}), **patches}}


def _outermost(control: Any, edges: Edges) -> Any:
    """What ControlNets add to the outermost blocks. Blocks take theirs from the end of a list."""
    if control is None:
        return None
    kept: dict[str, list[Tensor | None]] = {"middle": []}
    for kind in ("input", "output"):
        given = control.get(kind, [])
        kept[kind] = [
            None if edges.inside((kind, len(given) - 1 - i)) else one for i, one in enumerate(given)
        ]
    return kept


def _starting_from(inner: Tensor, edges: Edges, options: Options) -> Options:
    """Options by which the outermost level alone runs, from `inner`."""
    layers = _of(options, "forward_timestep_embed_patch")

    def layer_of(
        layer: nn.Module, x: Tensor, emb: Tensor, context: Any, given: Options, *shapes: Any
    ) -> Tensor:
        if not edges.inside(given["block"]):
            own = _patched(given, forward_timestep_embed_patch=layers)
            x = openaimodel.forward_timestep_embed((layer,), x, emb, context, own, *shapes)
        if isinstance(layer, SpatialTransformer):  # other patches know a layer by it
            given["transformer_index"] += 1
        return x

    def start(h: Tensor, skip: Any, given: Options) -> tuple[Tensor, Any]:
        if edges.inside(given["block"]):
            return h, None
        return (inner if given["block"] == ("output", edges.output) else h), skip

    def outside(patch: Callable[..., Any]) -> Callable[..., Any]:
        def of_outermost(h: Tensor, *rest: Any) -> Any:
            *skip, given = rest
            if edges.inside(given["block"]):
                return (h, *skip) if skip else h
            return patch(h, *rest)

        return of_outermost

    kinds = ("input_block_patch", "input_block_patch_after_skip", "output_block_patch")
    others = {kind: [outside(p) for p in _of(options, kind)] for kind in kinds}
    others["output_block_patch"].insert(0, start)
    return _patched(
        options,
        forward_timestep_embed_patch=[(nn.Module, layer_of)],
        middle_block_after_patch=[],
        **others,
    )


class InnerLevels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoInnerLevels",
            display_name="Reuse Inner Levels",
            category="Style-A-Video/model",
            description=(
                "Fewer products a step at nearly the same picture: the inner levels of a U-Net "
                "(Stable Diffusion 1.5, SDXL) run in every so many-th step only, and the outermost "
                "goes on from what they gave (DeepCache)."
            ),
            search_aliases=["deepcache", "deep cache", "faster sampling"],
            inputs=[
                io.Model.Input("model", tooltip="A model with a U-Net, for any guider or sampler."),
                io.Int.Input(
                    "every",
                    default=2,
                    min=1,
                    max=MOST,
                    tooltip="Steps from one pass through the inner levels to the next; 1 is the "
                    "model as it is.",
                ),
            ],
            outputs=[io.Model.Output(display_name="MODEL")],
        )

    @classmethod
    def execute(cls, model, every) -> io.NodeOutput:
        unet = model.model.diffusion_model
        if every > 1 and edges_of(unet) is None:
            raise StyleAVideoError(
                f"{type(unet).__name__} is no U-Net with levels inside (Stable Diffusion 1.5, "
                "SDXL): set every to 1, or use EasyCache."
            )
        return io.NodeOutput(reused(model, every))
