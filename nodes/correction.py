"""The sampling correction around any of ComfyUI's samplers (Huang et al. 2023, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.samplers
import comfy.taesd.taesd
import comfy.utils
import folder_paths
import torch
from comfy.k_diffusion import sampling
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor, nn

from ..pipelines.core import correction
from ..pipelines.engines.diffusion.decoders import colour_chart
from ..pipelines.errors import StyleAVideoError
from . import host
from .builtin_model import Autoencoder
from .guidance import MultiConditionGuider

KEY = "style_a_video_correction"
STEPS_FROM_X = "style_a_video_sampler_steps_from_x"
ONE_EVALUATION = (
    *("euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "lms", "ddpm", "lcm"),
    *("dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun"),
    *("dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ipndm", "ipndm_v", "deis"),
    *("res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral"),
    *("res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp"),
    "er_sde",
)
"""Samplers of comfy/k_diffusion/sampling.py with one evaluation a step, at the x they step from.
ComfyUI's ddim is its euler."""
DECODERS = ("linear", "tiny", "full")
Decoder = Callable[[Tensor], Tensor]


class ClipCorrection:
    """A wrapper of the guider's prediction: x itself moves, then x0 is predicted there.

    x' = x - λ σ L_s Δx / rms(Δx), Δx = ∇_x L_s, for x0 as the guider gives it, all its conditions
    and its scale included; frame by frame.

    The samplers of ONE_EVALUATION pass the tensor that they then step from. It is overwritten, and
    the step is exactly the one from x'. Others evaluate points between, pass a copy, or step from
    the point before (heun, dpm_2, dpmpp_2s, dpmpp_sde, seeds, dpm_fast, sa_solver, uni_pc), and
    with a denoise mask ComfyUI passes a blend: these keep their x and take over x0 at x', a weaker
    correction. A direction from a point that moved, (x' - x0) / σ, would undo it.

    Args:
        vision: ComfyUI's CLIP_VISION.
        decode: x0 (1,C,h,w), unscaled → frame (1,3,.,.) nominally in [0,1].
        target: CLIP(x^f) (T,d).
        strength: λ.
        percents: first and last part of the steps in which it works, 0 to 1.
    """

    def __init__(
        self,
        vision: Any,
        decode: Decoder,
        target: Tensor,
        strength: float,
        percents: tuple[float, float],
    ) -> None:
        self.vision = vision
        self.decode = decode
        self.target = target
        self.strength = strength
        self.percents = percents

    def towards(self, frames: Tensor) -> ClipCorrection:
        """The same towards other frames, IMAGE (T,H,W,3)."""
        target = targets(self.vision, frames)
        return ClipCorrection(self.vision, self.decode, target, self.strength, self.percents)

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        guider, options = executor.class_obj, model_options or {}
        model = guider.inner_model
        if x.ndim != 4:
            raise StyleAVideoError(
                f"CLIP Correction works on one latent an image; {type(model).__name__} keeps a "
                "whole video in one: leave the correction out."
            )
        sigma = float(timestep.max())
        start, end = (model.model_sampling.percent_to_sigma(p) for p in self.percents)
        if not end <= sigma <= start:
            return executor(x, timestep, model_options, seed)
        if len(self.target) != len(x):
            raise StyleAVideoError(
                f"CLIP Correction was given {len(self.target)} frames and the latent has {len(x)}: "
                "connect the frames that are stylized."
            )
        moved = self._corrected(guider, x, timestep, options, seed)
        if options.get(STEPS_FROM_X):
            moved = x.copy_(moved)
        return executor(moved, timestep, model_options, seed)

    def _corrected(
        self, guider: Any, x: Tensor, timestep: Tensor, options: dict[str, Any], seed: int | None
    ) -> Tensor:
        model = guider.inner_model
        options = host.on_one_device(options)
        with (
            torch.inference_mode(False),
            _without_hooks(model),
            _usable_weights(model, self.vision.model),
            _without_hooks(model),
        ):
            controls: dict[Any, Any] = {}

            def denoise(z: Tensor, part: slice) -> Tensor:
                comfy.model_management.throw_exception_if_processing_interrupted()
                view = _of_frames(guider, part, len(x), controls)
                denoised = view.predict_noise(z, timestep[part].clone(), options, seed)
                return model.latent_format.process_out(denoised)

            return correction.correct(
                x.clone(),
                denoise,
                self.decode,
                self._embed,
                self.target,
                self.strength,
                float(timestep.max()),
            )

    def _embed(self, frames: Tensor) -> Tensor:
        return embed(self.vision, frames)


def look_at_sampler(
    executor: Any, guider: Any, sigmas: Tensor, extra_args: dict[str, Any], *args: Any, **kw: Any
) -> Tensor:
    """A wrapper of the sampling: notes whether the sampler steps from the x it passes."""
    function = getattr(executor.class_obj, "sampler_function", None)
    known = (getattr(sampling, f"sample_{name}", None) for name in ONE_EVALUATION)
    extra_args["model_options"][STEPS_FROM_X] = function is not None and function in known
    return executor(guider, sigmas, extra_args, *args, **kw)


def _of_frames(guider: Any, part: slice, count: int, controls: dict[Any, Any]) -> Any:
    """A copy of a guider for some of the frames, whose prediction a gradient can pass."""
    view = copy(guider)
    view.conds = {
        name: host.frames_of(
            [_usable(entry) for entry in entries or []], part, count, guider.inner_model, controls
        )
        for name, entries in guider.conds.items()
    }
    if isinstance(view, MultiConditionGuider):
        view.conditions = [replace(c, mask=_of(c.mask, part)) for c in guider.conditions]
        view._mask_before = _of(guider._mask_before, part)
    return view


def _of(mask: Tensor | None, part: slice) -> Tensor | None:
    """A mask (1 or T,...) of some of the frames, usable for a gradient."""
    if mask is None:
        return None
    return mask.clone() if len(mask) == 1 else mask[part].clone()


def embed(vision: Any, frames: Tensor) -> Tensor:
    """CLIP(x): frames (T,3,H,W) nominally in [0,1] → (T,d), with the gradient.

    ComfyUI's own path rounds the pixels and adds in place, which both end a gradient.
    """
    size, model = vision.image_size, vision.model
    x = correction.clip_preprocess(frames, size, vision.image_mean, vision.image_std)
    tower = model.vision_model
    x = tower.pre_layrnorm(tower.embeddings(x.to(vision.load_device)))
    attention = comfy.ldm.modules.attention.optimized_attention_for_device(x.device, mask=False)
    for layer in tower.encoder.layers:
        x = x + layer.self_attn(layer.layer_norm1(x), None, attention)
        x = x + layer.mlp(layer.layer_norm2(x))
    return model.visual_projection(tower.post_layernorm(x[:, 0]))


def targets(
    vision: Any, frames: Tensor, told: Callable[[int], None] = lambda count: None
) -> Tensor:
    """CLIP(x^f) (T,d) of an IMAGE (T,H,W,3); `told` of each frame that is done."""
    comfy.model_management.load_models_gpu([vision.patcher])
    with torch.inference_mode(False), torch.no_grad(), _usable_weights(vision.model):
        found = []
        for image in frames[..., :3].clone().movedim(-1, 1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            found.append(embed(vision, image[None]))
            told(1)
        return torch.cat(found)


def decoder(kind: str, model: Any, vae: Any) -> tuple[Decoder, list[Any]]:
    """The decoder of that kind, and the models it wants on the device.

    Raises:
        StyleAVideoError: no tiny autoencoder of the model's latents.
    """
    if kind == "linear":
        chart = colour_chart()
        latents = vae.encode(chart.movedim(1, -1))
        weight, bias = correction.fit_linear_decoder(latents, chart)
        return lambda z: correction.linear_decode(z, weight.to(z.device), bias.to(z.device)), []
    if kind == "full" or isinstance(vae.first_stage_model, Autoencoder | comfy.taesd.taesd.TAESD):
        return _decoder_of(vae), [vae.patcher]
    small = _tiny(model)
    decode = _decoder_of(small)
    # A TAESD reads latents in the diffusion's scaling.
    return lambda z: decode(model.model.latent_format.process_in(z)), [small.patcher]


def _decoder_of(vae: Any) -> Decoder:
    def decode(latents: Tensor) -> Tensor:
        network = vae.first_stage_model
        with _usable_weights(network):
            pixels = network.decode(latents.to(vae.device, vae.vae_dtype))
        return pixels.float() / 2 + 0.5

    return decode


def _tiny(model: Any) -> Any:
    """The TAESD of the model's latents from models/vae_approx, as ComfyUI's previews use it."""
    import comfy.sd
    import comfy.utils

    name = model.model.latent_format.taesd_decoder_name
    if name is None:
        raise StyleAVideoError(
            "There is no tiny decoder for this model's latents: choose linear or full."
        )
    file = f"{name}.safetensors"
    if file not in folder_paths.get_filename_list("vae_approx"):
        raise StyleAVideoError(
            f"The tiny decoder needs {file} in models/vae_approx: put it there, or choose linear "
            "or full."
        )
    weights = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("vae_approx", file))
    latents = host.latent_channels(model)
    vae = comfy.sd.VAE(sd=comfy.taesd.taesd.TAESD(latent_channels=latents).state_dict())
    vae.first_stage_model.taesd_decoder.load_state_dict(weights)
    return vae


def _usable(entry: dict[str, Any]) -> dict[str, Any]:
    """A condition that a gradient can pass: no tensors of inference mode, and no ControlNet,
    whose outputs ComfyUI adds in place."""
    conds = {
        name: c._copy_with(c.cond.clone()) if isinstance(getattr(c, "cond", None), Tensor) else c
        for name, c in entry["model_conds"].items()
    }
    tensors = {k: v.clone() for k, v in entry.items() if isinstance(v, Tensor)}
    return {**entry, **tensors, "model_conds": conds, "control": None}


@contextmanager
def _usable_weights(*modules: nn.Module) -> Iterator[None]:
    """Weights that were loaded in inference mode stand in as clones while the block lasts."""
    if not any(p.is_inference() for m in modules for p in m.parameters()):
        yield
        return
    holder = nn.ModuleList(modules)
    clones = {
        name: tensor.detach().clone()
        for name, tensor in (*holder.named_parameters(), *holder.named_buffers())
        if tensor.is_inference()
    }
    with nn.utils.stateless._reparametrize_module(holder, clones):
        yield


@contextmanager
def _without_hooks(model: Any) -> Iterator[None]:
    """LoRA hooks of conditions are off before and after: on clones that go away, ComfyUI would take
    them for still on the weights."""
    patcher = model.current_patcher
    patcher.apply_hooks(hooks=None)
    try:
        yield
    finally:
        patcher.apply_hooks(hooks=None)


class ClipCorrectionNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoClipCorrection",
            display_name="CLIP Correction",
            category="Style-A-Video/sampling",
            description=(
                "At each step the noisy latent moves towards what CLIP sees in the source frame, "
                "and sampling goes on from there: content survives strong styles. Any sampler."
            ),
            search_aliases=["sampling correction", "clip guidance", "clip loss"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                io.ClipVision.Input("clip_vision", tooltip="The CLIP whose likeness counts."),
                io.Vae.Input("vae", tooltip="The autoencoder of the model."),
                io.Image.Input("frames", tooltip="The source frames that are stylized."),
                io.Float.Input(
                    "strength",
                    default=0.2,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="λ: how far the latent moves, in units of its noise; 0 changes "
                    "nothing.",
                ),
                io.Combo.Input(
                    "decoder",
                    options=list(DECODERS),
                    default="linear",
                    tooltip="How CLIP sees the latent: linear is nearly free, tiny a small "
                    "autoencoder (TAESD), full the model's own, the dearest.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="From which part of the sampling on: 0 the first step, 1 the last.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Up to which part of the sampling: 0 the first step, 1 the last.",
                ),
            ],
            outputs=[io.Model.Output(display_name="MODEL")],
        )

    @classmethod
    def execute(
        cls, model, clip_vision, vae, frames, strength, decoder, start_percent, end_percent
    ) -> io.NodeOutput:
        percents = start_percent, end_percent
        return io.NodeOutput(
            corrected(model, clip_vision, vae, frames, strength, decoder, percents)
        )


def corrected(
    model: Any,
    vision: Any,
    vae: Any,
    frames: Tensor,
    strength: float,
    kind: str,
    percents: tuple[float, float] = (0.0, 1.0),
) -> Any:
    """A MODEL whose predictions are corrected; the very same at strength 0.

    Raises:
        StyleAVideoError: no CLIP_VISION, or one without a text-image space.
    """
    if strength == 0:
        return model
    if vae is None:
        raise StyleAVideoError("CLIP Correction needs a VAE: connect the autoencoder of the model.")
    if vision is None or vision.model_type != "clip_vision_model":
        raise StyleAVideoError(
            "CLIP Correction needs a CLIP_VISION of the CLIP family: use Load CLIP Vision with "
            "such a model, or the one of Load Built-in Model."
        )
    target = targets(vision, frames, comfy.utils.ProgressBar(len(frames)).update)
    with torch.inference_mode(False), torch.no_grad():
        decode, models = decoder(kind, model, vae)
    wrapper = ClipCorrection(vision, decode, target, strength, percents)
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, wrapper)
    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, look_at_sampler)
    known = model.get_additional_models_with_key(KEY)
    model.set_additional_models(KEY, [*known, vision.patcher, *models])
    return model
