"""Attention maps in the graph: read in ComfyUI's U-Net, shown, edited as MASK, used as c_M.

Huang et al. 2023, section 3.2, "self-features condition".
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io, ui
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..pipelines.core import attention
from ..pipelines.core.noise import MODES, frame_noise
from ..pipelines.errors import StyleAVideoError
from . import host

RUNNING = "style_a_video_running"
"""The key under which a CONDITIONING says that its frame is masked by the step before."""


@dataclass(frozen=True)
class Running:
    """Attention of the step before: in which layer, above which threshold ψ."""

    layer: str
    threshold: float


def layers(unet: Any) -> dict[str, Any]:
    """The U-Net's blocks with self-attention by name ("middle", "input 8", "output 3")."""
    blocks = [("middle", unet.middle_block)]
    for kind in ("input", "output"):
        found = enumerate(getattr(unet, f"{kind}_blocks"))
        blocks += [(f"{kind} {i}", block) for i, block in found]
    transformers = ((name, _transformer(block)) for name, block in blocks)
    return {name: module for name, module in transformers if module is not None}


def _transformer(block: Any) -> Any:
    return next((m.transformer_blocks[0] for m in block if hasattr(m, "transformer_blocks")), None)


class AttentionReader:
    """Reads the attention received in one layer while ComfyUI evaluates conditions.

    Args:
        model: ComfyUI's inner model.
        layer: a name of `layers`.
        index: which of the conditions of `calc_cond_batch` to read.

    Attributes:
        received: (T,1,h,w) float32 of the last evaluation, None before it.

    Raises:
        StyleAVideoError: a model without such a layer; the message names those there are.
    """

    def __init__(self, model: Any, layer: str, index: int) -> None:
        unet = model.diffusion_model
        if not hasattr(unet, "middle_block"):
            raise StyleAVideoError(
                f"Attention maps need a U-Net (Stable Diffusion 1.5, SDXL), not "
                f"{type(unet).__name__}: leave the attention condition out."
            )
        known = layers(unet)
        if layer not in known:
            raise StyleAVideoError(
                f"There is no attention layer {layer!r}; this model has: {', '.join(known)}."
            )
        self._block = known[layer]
        kind, _, number = layer.partition(" ")
        self._place = (kind, int(number or 0))
        self._index = index
        self.received: Tensor | None = None

    def patched(self, options: dict[str, Any]) -> dict[str, Any]:
        """Model options whose evaluations this reads; the given ones stay as they are."""
        transformer = copy.copy(options.get("transformer_options", {}))
        patches = copy.copy(transformer.get("patches", {}))
        # First: others may tile or merge the positions (HyperTile, ToMe).
        patches["attn1_patch"] = [self._read, *patches.get("attn1_patch", [])]
        transformer["patches"] = patches
        return {**host.on_one_device(options), "transformer_options": transformer}

    def _read(self, x: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]):
        block, conditions = tuple(extra["block"][:2]), extra["cond_or_uncond"]
        here = block[0] == self._place[0] and (block[0] == "middle" or block == self._place)
        h, w = extra["activations_shape"][-2:]
        # A condition's entry for a part of the frame has fewer positions.
        part = self.received is not None and h * w <= self.received[0].numel()
        wanted = here and extra.get("block_index", 0) == 0 and self._index in conditions
        if wanted and not part:
            own = x.chunk(len(conditions))[conditions.index(self._index)]
            module = self._block.attn1
            q, k = (
                rearrange(to(own), "b n (heads d) -> b heads n d", heads=module.heads)
                for to in (module.to_q, module.to_k)
            )
            self.received = attention.to_grid(attention.attention_received(q, k), h, w)
        return x, context, value


class _ProbeGuider(comfy.samplers.CFGGuider):
    """One evaluation of one condition a chunk of frames, read by an AttentionReader."""

    def __init__(self, model: Any, conditioning: list[Any], layer: str) -> None:
        super().__init__(model)
        self.layer = layer
        self.received: list[Tensor] = []
        self.inner_set_conds({"positive": conditioning})

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options=None, seed=None) -> Tensor:
        step = host.frames_that_fit(self.inner_model, x, 1)
        bar = comfy.utils.ProgressBar(len(x))
        for start in range(0, len(x), step):
            comfy.model_management.throw_exception_if_processing_interrupted()
            part = slice(start, start + step)
            reader = AttentionReader(self.inner_model, self.layer, index=0)
            conds = host.frames_of(self.conds["positive"], part, len(x), self.inner_model, {})
            options = reader.patched(model_options or {})
            comfy.samplers.calc_cond_batch(
                self.inner_model, [conds], x[part], timestep[part], options
            )
            if reader.received is None:
                raise StyleAVideoError(
                    "The frame condition has a time range that leaves this level out: remove the "
                    "range, or choose another level."
                )
            self.received.append(reader.received)
            bar.update(len(x[part]))
        return x


def probe(
    model: Any,
    conditioning: list[Any],
    latents: Tensor,
    layer: str,
    level: float,
    noise: Tensor,
) -> Tensor:
    """Attention received (T,1,h,w) in one pass (c_I,∅) over E(x^f) noised to `level`.

    Args:
        conditioning: with the frame latent.
        latents: E(x^f) (T,C,h,w), unscaled, as ComfyUI's VAE gives them.
        level: 0 clean, 1 noise, of the training steps.
        noise: (T,C,h,w).
    """
    host.check_frame_condition(model, conditioning)
    guider = _ProbeGuider(model, conditioning, layer)
    sigmas = model.get_model_object("model_sampling").sigmas
    sigma = sigmas[round(level * (len(sigmas) - 1))]

    def once(denoise: Callable[..., Tensor], x: Tensor, steps: Tensor, extra_args=None, **_: Any):
        denoise(x, steps[0] * x.new_ones(len(x)), **(extra_args or {}))
        return x

    sampler = comfy.samplers.KSAMPLER(once)
    guider.sample(noise, latents, sampler, torch.stack([sigma, sigma * 0]), disable_pbar=True)
    return torch.cat(guider.received)


class AttentionMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoAttentionMap",
            display_name="Attention Map",
            category="Style-A-Video/attention",
            description=(
                "What the model looks at in every frame, as a mask: positions that receive more "
                "attention than the average. Look at it, edit it, give it to Attention Condition."
            ),
            search_aliases=["self-attention map", "saliency", "attention mask"],
            inputs=[
                io.Model.Input("model", tooltip="A model that sees frames (InstructPix2Pix)."),
                io.Conditioning.Input(
                    "frame", tooltip="Frame Condition on the negative text, one latent a frame."
                ),
                _layer(),
                io.Float.Input(
                    "level",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How far the frame is noised before the look: 0 clean, 1 noise.",
                ),
                _threshold(),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of the noise; the same seed gives the same map.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(MODES),
                    default="shared",
                    advanced=True,
                    tooltip="shared: one noise for all frames, the calmest maps; per-frame: each "
                    "its own; blended: half of each.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="1 where attention is above the threshold."
                ),
                io.Mask.Output(
                    display_name="attention",
                    tooltip="The attention itself, 1 for the highest hundredth of each frame.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model, frame, layer, level, threshold, seed, noise) -> io.NodeOutput:
        latents = next((e[host.FRAME_LATENTS] for _, e in frame if host.FRAME_LATENTS in e), None)
        if latents is None:
            raise StyleAVideoError("frame has no frame latent: connect a Frame Condition.")
        shape = tuple(latents.shape[1:])
        start = frame_noise(shape, seed, range(len(latents)), noise)
        received = probe(model, frame, latents, layer, level, start)
        received = attention.smoothed_to(received, *shape[1:])
        mask = attention.attention_mask(received, threshold)
        full = [8 * s for s in shape[1:]]
        mask, received = (attention.resize_to(m, *full)[:, 0].cpu() for m in (mask, received))
        # A few positions draw most of the attention: against their maximum all else would be dark.
        bright = received.flatten(1).quantile(0.99, dim=1)[:, None, None]
        heat = (received / bright).clamp(max=1)
        shown = mask[:, :, :, None].expand(-1, -1, -1, 3)
        return io.NodeOutput(mask, heat, ui=ui.PreviewImage(shown[:16], cls=cls))


class AttentionCondition(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoAttentionCondition",
            display_name="Attention Condition",
            category="Style-A-Video/attention",
            description=(
                "c_M: the frame where the attention mask is 1, nothing elsewhere. Without a mask "
                "the map of the sampling step before is used."
            ),
            inputs=[
                io.Conditioning.Input(
                    "frame", tooltip="Frame Condition on the negative text, one latent a frame."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="From Attention Map or painted; absent: the map of the step before.",
                ),
                _layer(", without a mask"),
                _threshold(" (without a mask)"),
            ],
            outputs=[io.Conditioning.Output(display_name="CONDITIONING")],
        )

    @classmethod
    def execute(cls, frame, layer, threshold, mask=None) -> io.NodeOutput:
        if mask is None:
            running = {RUNNING: Running(layer, threshold)}
            return io.NodeOutput(host.with_values(frame, **running))
        masked = host.masked_condition(frame, mask)
        return io.NodeOutput(host.with_values(masked, **{host.PROBED: True}))


class AttentionOverlay(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoAttentionOverlay",
            display_name="Attention Overlay",
            category="Style-A-Video/attention",
            description="A heat map of attention, or of any mask, over the frames.",
            inputs=[
                io.Image.Input("frames", tooltip="The frames under the map."),
                io.Mask.Input("attention", tooltip="One map for all frames, or one a frame."),
                io.Float.Input(
                    "opacity",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Of the map: 0 shows the frames alone, 1 the map alone.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE")],
        )

    @classmethod
    def execute(cls, frames, attention, opacity) -> io.NodeOutput:
        return io.NodeOutput(overlay(frames, attention, opacity))


# Dark blue over magenta and orange to pale yellow: even in lightness, as matplotlib's plasma.
HEAT = torch.tensor(
    [[0.05, 0.03, 0.53], [0.49, 0.01, 0.66], [0.80, 0.28, 0.47], [0.97, 0.58, 0.25],
     [0.94, 0.98, 0.13]]
)  # fmt: skip


def overlay(frames: Tensor, heat: Tensor, opacity: float) -> Tensor:
    """Frames (T,H,W,3) under a map (1 or T,h,w) in [0,1] as colours → (T,H,W,3)."""
    if len(heat) not in (1, len(frames)):
        raise StyleAVideoError(
            f"There are {len(heat)} maps for {len(frames)} frames: give one for all frames, or "
            "one a frame."
        )
    heat = F.interpolate(heat[:, None].float(), tuple(frames.shape[1:3]), mode="bilinear")[:, 0]
    place = heat.clamp(0, 1) * (len(HEAT) - 1)
    low = place.floor().long().clamp(max=len(HEAT) - 2)
    scale = HEAT.to(heat.device)
    colours = torch.lerp(scale[low], scale[low + 1], (place - low)[..., None]).to(frames)
    return torch.lerp(frames[..., :3], colours.expand(len(frames), -1, -1, -1), opacity)


def _layer(when: str = "") -> io.String.Input:
    return io.String.Input(
        "layer",
        default="middle",
        advanced=True,
        tooltip=f"Where in the U-Net: middle, or a block such as input 8 or output 3{when}.",
    )


def _threshold(when: str = "") -> io.Float.Input:
    return io.Float.Input(
        "threshold",
        default=1.0,
        min=0.0,
        max=10.0,
        step=0.05,
        tooltip="A position counts when it receives more attention than this; the mean is 1"
        + when
        + ".",
    )
