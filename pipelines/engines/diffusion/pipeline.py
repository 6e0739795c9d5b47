"""StyleAVideoPipeline: stylize frames from words (Huang et al. 2023, arXiv 2305.05464)."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DiffusionPipeline,
    SchedulerMixin,
    UNet2DConditionModel,
)
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import VaeImageProcessor
from diffusers.loaders import StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin
from diffusers.pipelines.pipeline_utils import StableDiffusionMixin
from diffusers.utils import BaseOutput
from torch import Tensor
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)
from transformers.image_processing_utils import BaseImageProcessor

from ... import checks
from ...core import attention, guidance
from ...core.inner import has_inner
from ...core.noise import frame_generators, frame_noise
from ...errors import StyleAVideoError
from . import decoders
from .conditions import Conditions, Text
from .denoiser import (
    Corrector,
    Reused,
    guided,
    main_condition,
    probe_attention,
    recorded_module,
)
from .encoding import EncodingMixin
from .settings import Settings

OUTPUT_TYPES = ("pt", "np", "pil", "latent")


@dataclass
class StyleAVideoOutput(BaseOutput):
    """Stylized frames: (T,3,H,W) tensor or (T,H,W,3) array in [0,1], PIL images, or latents."""

    frames: Tensor | np.ndarray | list[PIL.Image.Image]


class StyleAVideoPipeline(
    EncodingMixin,
    DiffusionPipeline,
    StableDiffusionMixin,
    TextualInversionLoaderMixin,
    StableDiffusionLoraLoaderMixin,
):
    """Stylization of video frames, each guided by itself, a text and its attention map.

    Args:
        vae: autoencoder of the latents.
        text_encoder: with projection where the U-Net's class embedding takes the pooled text.
        tokenizer: of the text encoder.
        unet: takes z_t with the frame latent concatenated (8 channels for Stable Diffusion 1.5), or
            z_t alone, which leaves out the conditions that see the frame.
        scheduler: any of diffusers' for Stable Diffusion.
        image_encoder: for the sampling correction only.
        feature_extractor: mean and deviation that the image encoder expects; CLIP's own if absent.
        tiny_vae: for the correction decoder "tiny" where `vae` is not tiny itself.
        defaults: the model's own values of `Settings`, kept in model_index.json.
        scale_image_latents: whether the frame latent is multiplied by the autoencoder's scaling
            factor; InstructPix2Pix was trained without.
    """

    # The U-Net last: with the correction its gradient is still to come when the autoencoder and the
    # image encoder run, so nothing after it may push it off the device.
    model_cpu_offload_seq = "text_encoder->image_encoder->vae->unet"
    _optional_components = ["image_encoder", "feature_extractor", "tiny_vae"]
    _callback_tensor_inputs = ["latents", "image_latents", "prompt_embeds"]

    def __init__(
        self,
        vae: AutoencoderKL | AutoencoderTiny,
        text_encoder: CLIPTextModel | CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: SchedulerMixin,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: BaseImageProcessor | None = None,
        tiny_vae: AutoencoderTiny | None = None,
        defaults: dict[str, Any] | None = None,
        scale_image_latents: bool = False,
    ) -> None:
        super().__init__()
        Settings.resolve(defaults)
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            tiny_vae=tiny_vae,
        )
        self.register_to_config(defaults=defaults or {}, scale_image_latents=scale_image_latents)
        self._interrupt = False
        self._num_timesteps = 0

    @classmethod
    def from_single_file(
        cls,
        path: str | os.PathLike[str],
        *,
        torch_dtype: torch.dtype = torch.float32,
        tokenizer: str | os.PathLike[str] | None = None,
        **components: Any,
    ) -> StyleAVideoPipeline:
        """A Stable Diffusion 1.5 checkpoint in one LDM-format .safetensors file → pipeline.

        Args:
            path: InstructPix2Pix (8 input channels) or plain (4, widened to 8).
            torch_dtype: of all weights.
            tokenizer: folder of the CLIP tokenizer, which the file lacks; else from the hub.
            components: what to put in place of the file's own, by name.

        Raises:
            StyleAVideoError: a file that is not there or cannot be used.
        """
        from ....weights.single_file import load_single_file

        return cls(**(load_single_file(path, dtype=torch_dtype, tokenizer=tokenizer) | components))

    @property
    def interrupt(self) -> bool:
        """Set `pipeline._interrupt = True` from a callback to end sampling after this step."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Steps of the run under way, as diffusers' callbacks read it."""
        return self._num_timesteps

    @property
    def sees_frames(self) -> bool:
        """Whether the U-Net's input has room for the frame latent beside z_t."""
        return self.unet.config.in_channels > self.unet.config.out_channels

    @torch.no_grad()
    def attention_maps(
        self,
        frames: Tensor | Sequence[PIL.Image.Image],
        *,
        layer: str | None = None,
        level: float | None = None,
        negative_prompt: str | Sequence[str] = "",
        seed: int = 0,
        noise: str | None = None,
        frame_indices: Sequence[int] | None = None,
        chunk_size: int | None = None,
    ) -> Tensor:
        """Attention received per frame, by one pass over its latent noised to `level` (the probe).

        `attention.attention_mask` of it is the M that `__call__` takes as `attention_mask`: there a
        person can look at it and edit it. `layer`, `level` and `noise` are the settings
        attention_layer, attention_level and noise; the rest is as in `__call__`.

        Returns:
            (T,1,H,W) float32, of mean 1 before the padding is cropped; above 1 where a position
            receives more attention than the average one.

        Raises:
            StyleAVideoError: input that cannot be used, or a U-Net that does not see frames.
        """
        frames = checks.check_frames(frames)
        if chunk_size is not None:
            checks.check_count("chunk_size", chunk_size)
        settings = Settings.resolve(
            self.config.defaults, attention_layer=layer, attention_level=level, noise=noise
        )
        self._require_frames("attention_maps")
        recorded_module(self.unet, settings.attention_layer)
        count, (h, w) = len(frames), frames.shape[-2:]
        negatives = checks.check_prompts("negative_prompt", negative_prompt, count, empty=True)
        start = self._noise((h, w), settings, seed, _indices(frame_indices, count))
        text = self.encode_prompt(negatives)
        conditions = self._conditions(frames, text, negatives, chunk_size)
        received = self._probe(start, conditions, settings, chunk_size)
        padded = (s * self.vae_scale_factor * self.latent_patch for s in start.shape[-2:])
        return attention.resize_to(received, *padded)[..., :h, :w]

    @torch.inference_mode(False)  # a caller's inference mode would forbid the correction's gradient
    @torch.no_grad()
    def __call__(
        self,
        frames: Tensor | Sequence[PIL.Image.Image],
        prompt: str | Sequence[str] | Text,
        negative_prompt: str | Sequence[str] = "",
        *,
        preset: str | None = None,
        num_inference_steps: int | None = None,
        frame_scale: float | None = None,
        text_scale: float | None = None,
        attention_scale: float | None = None,
        schedules: dict[str, guidance.Schedule] | None = None,
        attention_mode: str | None = None,
        attention_layer: str | None = None,
        attention_threshold: float | None = None,
        attention_level: float | None = None,
        attention_mask: Tensor | None = None,
        correction: float | None = None,
        correction_decoder: str | None = None,
        seed: int = 0,
        generator: torch.Generator | None = None,
        noise: str | None = None,
        noise_blend: float | None = None,
        start_level: float | None = None,
        evaluate_every: int | None = None,
        inner_every: int | None = None,
        frame_indices: Sequence[int] | None = None,
        chunk_size: int | None = None,
        latents: Tensor | None = None,
        output_type: str = "pt",
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> StyleAVideoOutput | tuple[Any]:
        """Stylize frames from a prompt (Huang et al. 2023, sections 3.2-3.4).

        A setting left None takes the model's own default (`pipeline.config.defaults`), then the
        library's; what each means and allows is said in `Settings`.

        Args:
            frames: (T,3,H,W) float in [0,1], of any size, or PIL images.
            prompt: one for all frames or one a frame, up to 2,000 characters; or a text encoded
                already, of one row or one a frame.
            negative_prompt: the text of every condition that does not see the prompt.
            attention_mask: M (T,1,H,W) in [0,1] of the user's own; no map is then computed.
            seed: of the noise; generator: draws the seed in its place.
            frame_indices: absolute frame numbers, to which the noise belongs; 0..T-1 by default.
            chunk_size: frames at a time in the U-Net and the autoencoder, all by default. It bounds
                memory and changes no pixel.
            latents: initial noise (T,C,h,w) of unit variance in place of the seed's.
            output_type: "pt", "np", "pil" or "latent".
            callback_on_step_end: as in diffusers; may return changed latents, image_latents and
                prompt_embeds.

        Returns:
            StyleAVideoOutput, or a tuple of its frames where return_dict is False.

        Raises:
            StyleAVideoError: input that cannot be used, before anything is computed; or a result
                that is not finite.
        """
        settings = Settings.resolve(
            self.config.defaults,
            preset=preset,
            num_inference_steps=num_inference_steps,
            frame_scale=frame_scale,
            text_scale=text_scale,
            attention_scale=attention_scale,
            schedules=schedules,
            attention_mode=attention_mode,
            attention_layer=attention_layer,
            attention_threshold=attention_threshold,
            attention_level=attention_level,
            correction=correction,
            correction_decoder=correction_decoder,
            noise=noise,
            noise_blend=noise_blend,
            start_level=start_level,
            evaluate_every=evaluate_every,
            inner_every=inner_every,
        )
        frames = checks.check_frames(frames)
        count, size = len(frames), (frames.shape[-2], frames.shape[-1])
        if isinstance(prompt, Text):
            prompt = prompt.rows(count, self.unet.config)
        else:
            prompt = checks.check_prompts("prompt", prompt, count)
        negatives = checks.check_prompts("negative_prompt", negative_prompt, count, empty=True)
        indices = _indices(frame_indices, count)
        checks.check_choice("output type", output_type, OUTPUT_TYPES)
        chunk = count if chunk_size is None else checks.check_count("chunk_size", chunk_size)
        self._check(settings, attention_mask, count)
        inputs = callback_on_step_end_tensor_inputs
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            inputs = callback_on_step_end.tensor_inputs
        for name in inputs:
            checks.check_choice("callback tensor", name, self._callback_tensor_inputs)
        if generator is not None:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        start = self._noise(size, settings, seed, indices)
        if latents is not None:
            checks.check_shape("latents", latents, start.shape)
            start = latents.to(start)

        text = prompt.to(start) if isinstance(prompt, Text) else self.encode_prompt(prompt)
        conditions = self._conditions(frames, text, negatives, chunk)
        if attention_mask is not None:
            mask = self.pad(attention.resize_to(attention_mask.float(), *size))
            conditions = _masked(conditions, mask, start)
        elif settings.attention_scale and settings.attention_mode == "probe":
            received = self._probe(start, conditions, settings, chunk)
            mask = attention.attention_mask(received, settings.attention_threshold)
            conditions = _masked(conditions, mask, start)
        z = self._sample(
            start,
            conditions,
            settings,
            frames,
            chunk,
            running=settings.attention_mode == "running" and attention_mask is None,
            generators=frame_generators(seed, indices, settings.noise),
            callback=callback_on_step_end,
            callback_inputs=inputs,
        )
        if not z.isfinite().all():
            raise StyleAVideoError(
                f"Sampling gave numbers that are not finite in {z.dtype}; use float32 or lower "
                "scales."
            )
        result = self._output(z, output_type, chunk, size)
        self.maybe_free_model_hooks()
        return StyleAVideoOutput(frames=result) if return_dict else (result,)

    def _sample(
        self,
        noise: Tensor,
        conditions: Conditions,
        settings: Settings,
        frames: Tensor,
        chunk: int,
        *,
        running: bool,
        generators: list[torch.Generator],
        callback: Callable[..., dict[str, Any]] | None,
        callback_inputs: Sequence[str],
    ) -> Tensor:
        """z_T → z_0 by the scheduler, with the guided and, where λ > 0, corrected prediction."""
        latents, timesteps = self._start(noise, conditions, settings)
        self._num_timesteps = len(timesteps)
        self._interrupt = False
        accepted = inspect.signature(self.scheduler.step).parameters
        extra = {"generator": generators} if "generator" in accepted else {}
        corrector = Corrector(self, frames, settings, chunk) if settings.correction else None
        module = recorded_module(self.unet, settings.attention_layer) if running else None
        keep = _to_keep(settings, self.unet)
        kept = Reused()
        with self.progress_bar(total=len(timesteps)) as progress:
            for i, t in enumerate(timesteps):
                weights = settings.weights(i / max(1, len(timesteps) - 1))
                if corrector is not None:
                    latents = corrector(latents, t, conditions, weights)
                z = self.scheduler.scale_model_input(latents, t)
                record = module if "attention" in weights else None
                reused = _reused(kept, weights, i, settings)
                made = guided(self.unet, z, t, conditions, weights, chunk, record, reused, keep)
                pred = made.pred
                kept = Reused(
                    made.kept.differences or reused.differences, made.kept.inner or reused.inner
                )
                if made.received is not None:
                    received = attention.smoothed_to(made.received, *z.shape[-2:])
                    mask = attention.attention_mask(received, settings.attention_threshold)
                    conditions = _masked(conditions, mask, z)
                latents = self.scheduler.step(pred, t, latents, **extra, return_dict=False)[0]
                if callback is not None:
                    given = _tensors(latents, conditions)
                    changed = callback(self, i, t, {name: given[name] for name in callback_inputs})
                    latents, conditions = _changed(latents, conditions, changed or {})
                progress.update()
                if self.interrupt:
                    break
        return latents

    def _start(
        self, noise: Tensor, conditions: Conditions, settings: Settings
    ) -> tuple[Tensor, Tensor]:
        """The scheduler's first sample (T,C,h,w), and the timesteps from there.

        Below level 1 these are the last of a longer schedule, as of ComfyUI's `denoise`.
        """
        scheduler = self.scheduler
        scheduler.set_timesteps(settings.schedule_length, device=noise.device)
        skipped = settings.schedule_length - settings.num_inference_steps
        if not skipped:
            return noise * scheduler.init_noise_sigma, scheduler.timesteps
        skipped *= getattr(scheduler, "order", 1)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        timesteps = scheduler.timesteps[skipped:]
        clean = self._clean(conditions)
        return scheduler.add_noise(clean, noise, timesteps[:1].expand(len(noise))), timesteps

    def _clean(self, conditions: Conditions) -> Tensor:
        """E(x^f) in the scaling of z_t."""
        assert conditions.image_latents is not None
        scale = 1.0 if self.config.scale_image_latents else self.vae.config.scaling_factor
        return scale * conditions.image_latents

    def _conditions(
        self, frames: Tensor, prompt: Text, negatives: list[str], chunk: int | None
    ) -> Conditions:
        return Conditions(
            image_latents=self.encode_frames(frames, chunk) if self.sees_frames else None,
            prompt=prompt,
            null=self.encode_prompt(negatives),
        )

    def _probe(
        self, noise: Tensor, conditions: Conditions, settings: Settings, chunk: int | None
    ) -> Tensor:
        """Attention (T,1,h,w) in one pass (c_I,∅) at sqrt(ᾱ) E(x^f) + sqrt(1-ᾱ) n."""
        steps = self.scheduler.config.num_train_timesteps
        level = round(settings.attention_level * (steps - 1))
        t = torch.tensor(level, device=noise.device)
        a = float(self.scheduler.alphas_cumprod[level])
        z = a**0.5 * self._clean(conditions) + (1 - a) ** 0.5 * noise
        module = recorded_module(self.unet, settings.attention_layer)
        received = probe_attention(self.unet, z, t, conditions, module, chunk)
        return attention.smoothed_to(received, *z.shape[-2:])

    def _noise(
        self, size: tuple[int, int], settings: Settings, seed: int, indices: Sequence[int]
    ) -> Tensor:
        return frame_noise(
            self.latent_shape(*size),
            seed,
            indices,
            settings.noise,
            settings.noise_blend,
            self._execution_device,
            self.unet.dtype,
        )

    def _check(self, settings: Settings, mask: Tensor | None, count: int) -> None:
        """Refuse what these settings need and this pipeline has not."""
        for name in ("frame_scale", "attention_scale"):
            if getattr(settings, name):
                self._require_frames(f"{name} above 0")
        if settings.start_level < 1:
            self._require_frames("start_level below 1")
        if settings.correction and self.image_encoder is None:
            raise StyleAVideoError(
                "correction needs an image_encoder, which this model has not: give the pipeline a "
                "CLIPVisionModelWithProjection, or set correction to 0."
            )
        if settings.correction and settings.correction_decoder == "tiny":
            decoders.tiny(self)
        if settings.attention_scale and mask is None:
            recorded_module(self.unet, settings.attention_layer)
        if mask is not None:
            checks.check_mask(mask, count)
            if not settings.attention_scale:
                raise StyleAVideoError(
                    "attention_mask has no effect while attention_scale is 0; raise the scale."
                )

    def _require_frames(self, what: str) -> None:
        have = self.unet.config.in_channels
        if not self.sees_frames:
            raise StyleAVideoError(
                f"{what} needs a U-Net with {2 * have} input channels and this one has {have}: "
                "load it with style_a_video.weights.loading.load, which widens it, or set "
                "frame_scale and attention_scale to 0."
            )

    def _output(self, z: Tensor, output_type: str, chunk: int, size: tuple[int, int]) -> Any:
        if output_type == "latent":
            return z
        frames = self.decode_latents(z, chunk, size)
        if output_type == "pt":
            return frames
        images = frames.permute(0, 2, 3, 1).cpu().numpy()
        return images if output_type == "np" else VaeImageProcessor.numpy_to_pil(images)


def _to_keep(settings: Settings, unet: Any) -> list[str]:
    """What of a step the next ones use again, by the names of `Reused`."""
    wanted = {
        "differences": settings.evaluate_every > 1,
        "inner": settings.inner_every > 1 and has_inner(unet),
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _reused(kept: Reused, weights: dict[str, float], step: int, settings: Settings) -> Reused:
    """What of a step before this step uses again: what its turn is not, and all conditions have."""
    main = main_condition(weights)
    differences = kept.differences if step % settings.evaluate_every else {}
    if weights.keys() != {*differences, main}:
        differences = {}
    inner = kept.inner if step % settings.inner_every else {}
    needed = {main} if differences else weights.keys()
    return Reused(differences, inner if needed <= inner.keys() else {})


def _masked(conditions: Conditions, mask: Tensor, like: Tensor) -> Conditions:
    """The conditions with M brought to the grid, device and dtype of the latents."""
    return replace(conditions, mask=attention.resize_to(mask, *like.shape[-2:]).to(like))


def _tensors(latents: Tensor, conditions: Conditions) -> dict[str, Tensor | None]:
    return {
        "latents": latents,
        "image_latents": conditions.image_latents,
        "prompt_embeds": conditions.prompt.hidden,
    }


def _changed(
    latents: Tensor, conditions: Conditions, changes: dict[str, Any]
) -> tuple[Tensor, Conditions]:
    """Latents and conditions with what a callback returned in their place."""
    hidden = changes.get("prompt_embeds", conditions.prompt.hidden)
    prompt = replace(conditions.prompt, hidden=hidden)
    image_latents = changes.get("image_latents", conditions.image_latents)
    conditions = replace(conditions, image_latents=image_latents, prompt=prompt)
    return changes.get("latents", latents), conditions


def _indices(frame_indices: Sequence[int] | None, count: int) -> list[int]:
    indices = list(range(count)) if frame_indices is None else [int(i) for i in frame_indices]
    if len(indices) != count:
        raise StyleAVideoError(
            f"frame_indices must number each of the {count} frames, not {len(indices)}."
        )
    return indices
