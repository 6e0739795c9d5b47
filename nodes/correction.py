"""The sampling correction around any of ComfyUI's samplers (Huang et al. 2023, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import comfy.taesd.taesd
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor, nn

from ..pipelines.core import correction
from ..pipelines.engines.diffusion.decoders import colour_chart
from ..pipelines.errors import StyleAVideoError
from . import host
from .builtin_model import Autoencoder

KEY = "style_a_video_correction"
DECODERS = ("linear", "tiny", "full")
Decoder = Callable[[Tensor], Tensor]


class ClipCorrection:
    """A wrapper of the guider's prediction: x → x', x0~ from x', the step from x.

    With z = c x the U-Net's own input (c² = 1/(σ²+1) for Stable Diffusion), z' = z - λ ∂L/∂z is
    x' = x - (λ/c²) ∂L/∂x. Only the input of the prediction moves, as in the pipeline's denoiser.

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
        moved = self._corrected(guider, x, timestep, options)
        denoised = executor(moved, timestep, model_options, seed)
        # The network's output stays as it is, only x goes back: x0 is affine in both, and this is
        # the share of x (1 for eps, 1/(σ²+1) for v).
        none, one = x.new_zeros(1, 1, 1, 1), x.new_ones(1, 1, 1, 1)
        scale = model.model_sampling.calculate_denoised(timestep[:1], none, one).item()
        return denoised + scale * (x - moved)

    def _corrected(self, guider: Any, x: Tensor, timestep: Tensor, options: dict) -> Tensor:
        model = guider.inner_model
        entries = _active(guider.conds, x, timestep)
        if not entries:
            return x
        c = model.model_sampling.calculate_input(timestep[:1], x.new_ones(1, 1, 1, 1)).item()
        options = host.on_one_device(options)
        with (
            torch.inference_mode(False),
            _without_hooks(model),
            _usable_weights(model, self.vision.model),
            _without_hooks(model),
        ):
            entries = [_usable(entry) for entry in entries]
            controls: dict[tuple[int, int], Any] = {}

            def denoise(z: Tensor, part: slice) -> Tensor:
                comfy.model_management.throw_exception_if_processing_interrupted()
                part = slice(part.start, min(part.stop, len(x)))
                conds = host.frames_of(entries, part, len(x), model, controls)
                t = timestep[part].clone()
                denoised = comfy.samplers.calc_cond_batch(model, [conds], z / c, t, options)[0]
                return model.latent_format.process_out(denoised)

            z = correction.correct(
                c * x.clone(), denoise, self.decode, self._embed, self.target, self.strength
            )
        return z / c

    def _embed(self, frames: Tensor) -> Tensor:
        return embed(self.vision, frames)


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


def _active(conds: dict[str, Any], x: Tensor, timestep: Tensor) -> list[dict[str, Any]]:
    """The fullest condition that has a say at this step; none where all are out of their time."""
    for name in sorted(conds, key=lambda n: n != "positive"):
        if conds[name] and any(host.at_step(entry, x, timestep) for entry in conds[name]):
            return conds[name]
    return []


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
                "Before each prediction the noisy latent takes a step towards what CLIP sees in "
                "the source frame: content survives strong styles. Works with every sampler."
            ),
            search_aliases=["sampling correction", "clip guidance", "clip loss"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                io.ClipVision.Input("clip_vision", tooltip="The CLIP whose likeness counts."),
                io.Vae.Input("vae", tooltip="The autoencoder of the model."),
                io.Image.Input("frames", tooltip="The source frames that are stylized."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    tooltip="λ: how far the latent moves; 0 changes nothing.",
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
        percents = (start_percent, end_percent)
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
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, KEY, wrapper)
    known = model.get_additional_models_with_key(KEY)
    model.set_additional_models(KEY, [*known, vision.patcher, *models])
    return model
