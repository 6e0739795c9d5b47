"""StyleAVideoPipeline: stylize frames from words (Huang et al. 2023, "Style-A-Video", arXiv 2305.05464)."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DiffusionPipeline,
    SchedulerMixin,
    UNet2DConditionModel,
)
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import VaeImageProcessor
from diffusers.loaders import (
    FromSingleFileMixin,
    StableDiffusionLoraLoaderMixin,
    TextualInversionLoaderMixin,
)
from diffusers.pipelines.pipeline_utils import StableDiffusionMixin
from diffusers.utils import BaseOutput
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from . import checks, decoders
from .conditions import Conditions, Text
from .core import attention, correction, guidance
from .core import noise as frame_noise
from .core.denoised import predict_denoised
from .errors import StyleAVideoError
from .settings import Settings

logger = logging.getLogger(__name__)

# The condition whose x0 the correction looks at: the fullest that the guidance evaluates.
CORRECTED = ("frame_text", "frame", "attention", "text", "null")

OUTPUT_TYPES = ("pt", "np", "pil", "latent")


@dataclass
class StyleAVideoOutput(BaseOutput):
    """Stylized frames: a tensor (T,3,H,W), an array (T,H,W,3), both in [0,1], PIL images, or latents."""

    frames: Tensor | np.ndarray | list[PIL.Image.Image]


class StyleAVideoPipeline(
    DiffusionPipeline,
    StableDiffusionMixin,
    TextualInversionLoaderMixin,
    StableDiffusionLoraLoaderMixin,
    FromSingleFileMixin,
):
    """Text-driven stylization of video frames, each guided by its own frame, text and attention map.

    Args:
        vae: autoencoder of the latents.
        text_encoder: with projection where the U-Net's class embedding takes the pooled text.
        tokenizer: of the text encoder.
        unet: takes z_t with the frame latent concatenated (8 channels for Stable Diffusion 1.5), or z_t
            alone, which leaves out the conditions that see the frame.
        scheduler: any of diffusers' for Stable Diffusion.
        image_encoder: for the sampling correction only.
        feature_extractor: mean and deviation that the image encoder expects; CLIP's own if absent.
        tiny_vae: for the correction decoder "tiny" where `vae` is not tiny itself.
        defaults: the model's own values of `Settings`, kept in model_index.json.
        scale_image_latents: whether the frame latent is multiplied by the autoencoder's scaling factor;
            InstructPix2Pix was trained without.
    """

    # The U-Net last: with the correction its gradient is still to come when the autoencoder and the image
    # encoder run, so nothing after it may push it off the device.
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
        feature_extractor: CLIPImageProcessor | None = None,
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

    @property
    def interrupt(self) -> bool:
        """Set `pipeline._interrupt = True` from a callback to end sampling after this step."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Steps of the run under way, as diffusers' callbacks read it."""
        return self._num_timesteps

    @property
    def vae_scale_factor(self) -> int:
        """Pixels a latent, along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def size_multiple(self) -> int:
        """Frames are padded to multiples of this: the latent's factor times the U-Net's own halvings."""
        return self.vae_scale_factor * 2 ** (len(self.unet.config.block_out_channels) - 1)

    @property
    def sees_frames(self) -> bool:
        """Whether the U-Net's input has room for the frame latent beside z_t."""
        return self.unet.config.in_channels > self.unet.config.out_channels

    @torch.no_grad()
    def encode_prompt(self, prompt: str | Sequence[str]) -> Text:
        """Prompts → hidden states (B,77,D), and pooled (B,P) where the U-Net takes it as a class.

        What lies beyond the text encoder's length is cut, with a warning that says what.

        Raises:
            StyleAVideoError: the U-Net wants the pooled text and the text encoder has no projection.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        unique = list(dict.fromkeys(prompts))
        ids = self._tokenize(unique).to(self._execution_device)
        output = self.text_encoder(ids)
        pooled = None
        if self.unet.config.class_embed_type == "projection":
            pooled = getattr(output, "text_embeds", None)
            if pooled is None:
                raise StyleAVideoError(
                    "This U-Net takes the pooled text as its class: load the text encoder as "
                    "CLIPTextModelWithProjection."
                )
        rows = [unique.index(text) for text in prompts]
        dtype = self.unet.dtype
        return Text(
            output.last_hidden_state[rows].to(dtype),
            None if pooled is None else pooled[rows].to(dtype),
        )

    def _tokenize(self, prompts: list[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        prompts = [self.maybe_convert_prompt(text, self.tokenizer) for text in prompts]
        for text in prompts:
            cut = self.tokenizer(text, add_special_tokens=False).input_ids[length - 2 :]
            if cut:
                logger.warning(
                    "The prompt is longer than %d tokens; left out: %r",
                    length,
                    self.tokenizer.decode(cut),
                )
        return self.tokenizer(
            prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids

    @torch.no_grad()
    def encode_latents(self, frames: Tensor, chunk_size: int | None = None) -> Tensor:
        """Frames (T,3,H,W) in [0,1] → latents (T,C,h,w) in the diffusion's scaling (posterior's mode).

        Frames are padded by replication to multiples of `size_multiple`, right and below.
        """
        latents = []
        for part in _parts(len(frames), chunk_size):
            x = self._pad(frames[part]).to(self._execution_device, self.vae.dtype)
            output = self.vae.encode(2 * x - 1)
            latents.append(
                output.latents if hasattr(output, "latents") else output.latent_dist.mode()
            )
        return (torch.cat(latents) * self.vae.config.scaling_factor).to(self.unet.dtype)

    def encode_frames(self, frames: Tensor, chunk_size: int | None = None) -> Tensor:
        """c_I = E(x^f): frames (T,3,H,W) in [0,1] → (T,C,h,w), scaled as this model's U-Net expects it."""
        return self._image_latents(self.encode_latents(frames, chunk_size))

    def _image_latents(self, latents: Tensor) -> Tensor:
        scale = 1.0 if self.config.scale_image_latents else 1 / self.vae.config.scaling_factor
        return latents * scale

    @torch.no_grad()
    def decode_latents(
        self, latents: Tensor, chunk_size: int | None = None, size: tuple[int, int] | None = None
    ) -> Tensor:
        """Latents (T,C,h,w) → frames (T,3,H,W) float32 in [0,1], cropped to `size` (H,W)."""
        h, w = size or (None, None)
        frames = [
            decoders.decode(self.vae, latents[part])[..., :h, :w].float().clamp(0, 1)
            for part in _parts(len(latents), chunk_size)
        ]
        return torch.cat(frames)

    def encode_images(self, frames: Tensor) -> Tensor:
        """CLIP(x): frames (T,3,H,W) nominally in [0,1] → image embeds (T,d); keeps the gradient."""
        mean = getattr(self.feature_extractor, "image_mean", correction.CLIP_MEAN)
        std = getattr(self.feature_extractor, "image_std", correction.CLIP_STD)
        pixels = correction.clip_preprocess(
            frames.to(self._execution_device), self.image_encoder.config.image_size, mean, std
        )
        return self.image_encoder(pixels.to(self.image_encoder.dtype)).image_embeds

    @torch.no_grad()
    def attention_maps(
        self,
        frames: Tensor,
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

        `attention.attention_mask` of it is the M that `__call__` takes as `attention_mask`, where a person
        can look at it and edit it.

        Returns:
            (T,1,H,W) float32, mean 1 but for the padding; above 1 where a position receives more than the
            average.
        """
        frames = checks.check_frames(frames)
        settings = Settings.resolve(
            self.config.defaults, attention_layer=layer, attention_level=level, noise=noise
        )
        self._attention_module(settings)
        count = len(frames)
        null = self.encode_prompt(
            checks.check_prompts("negative_prompt", negative_prompt, count, empty=True)
        )
        latents = self.encode_latents(frames, chunk_size)
        conditions = Conditions(self._image_latents(latents), null, null)
        start = self._noise(latents, settings, seed, _indices(frame_indices, count))
        received = self._probe(latents, start, conditions, settings, chunk_size)
        h, w = (self.vae_scale_factor * s for s in latents.shape[-2:])
        return attention.resize_to(received, h, w)[..., : frames.shape[-2], : frames.shape[-1]]

    @torch.inference_mode(False)  # a caller's inference mode would forbid the correction's gradient
    @torch.no_grad()
    def __call__(
        self,
        frames: Tensor | Sequence[PIL.Image.Image],
        prompt: str | Sequence[str],
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
        frame_indices: Sequence[int] | None = None,
        chunk_size: int | None = None,
        latents: Tensor | None = None,
        output_type: str = "pt",
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> StyleAVideoOutput | tuple[Any]:
        """Stylize frames from a prompt (Huang et al. 2023, sections 3.2-3.4).

        A setting left None takes the model's own default (`pipeline.config.defaults`), then the library's;
        their meanings and ranges are those of `Settings`.

        Args:
            frames: (T,3,H,W) float in [0,1], of any size, or PIL images.
            prompt: one for all frames or one a frame, up to 2,000 characters.
            negative_prompt: stands for the empty text in every condition that does not see the prompt.
            attention_mask: M (T,1,H,W) in [0,1] of the user's own; no map is then computed.
            seed: of the noise; generator: draws the seed in its place.
            frame_indices: absolute frame numbers, which the noise belongs to; 0..T-1 by default.
            chunk_size: frames at a time in the U-Net and the autoencoder; all by default. It bounds memory
                and changes no pixel.
            latents: the initial noise (T,C,h,w) of unit variance in the place of the seed's.
            output_type: "pt", "np", "pil" or "latent".
            callback_on_step_end: as in diffusers; may return changed latents, image_latents and
                prompt_embeds.

        Returns:
            StyleAVideoOutput, or a tuple of its frames where return_dict is False.

        Raises:
            StyleAVideoError: input that cannot be used, said in one sentence before anything is computed;
                or a result that is not finite.
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
        )
        frames = checks.check_frames(frames)
        count, size = len(frames), (frames.shape[-2], frames.shape[-1])
        prompts = checks.check_prompts("prompt", prompt, count)
        negatives = checks.check_prompts("negative_prompt", negative_prompt, count, empty=True)
        indices = _indices(frame_indices, count)
        checks.check_choice("output type", output_type, OUTPUT_TYPES)
        chunk = count if chunk_size is None else checks.check_count("chunk_size", chunk_size)
        self._check(settings, attention_mask, count)
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        for name in callback_on_step_end_tensor_inputs:
            checks.check_choice("callback tensor", name, self._callback_tensor_inputs)
        if generator is not None:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))

        source = self.encode_latents(frames, chunk)
        start = self._noise(source, settings, seed, indices) if latents is None else latents
        if start.shape != source.shape:
            raise StyleAVideoError(
                f"latents must have the shape {tuple(source.shape)} for these frames, "
                f"not {tuple(start.shape)}."
            )
        start = start.to(source)
        conditions = Conditions(
            image_latents=self._image_latents(source) if self.sees_frames else None,
            prompt=self.encode_prompt(prompts),
            null=self.encode_prompt(negatives),
        )
        if attention_mask is not None:
            mask = checks.check_mask(attention_mask, count)
            conditions = self._masked(conditions, self._pad(attention.resize_to(mask, *size)))
        elif settings.attention_scale and settings.attention_mode == "probe":
            received = self._probe(source, start, conditions, settings, chunk)
            mask = attention.attention_mask(received, settings.attention_threshold)
            conditions = self._masked(conditions, mask)

        z = self._sample(
            start,
            conditions,
            settings,
            frames,
            chunk,
            running=settings.attention_mode == "running" and attention_mask is None,
            generators=frame_noise.frame_generators(seed, indices, settings.noise),
            callback=callback_on_step_end,
            callback_inputs=callback_on_step_end_tensor_inputs,
        )
        if not z.isfinite().all():
            raise StyleAVideoError(
                f"Sampling gave numbers that are not finite in {z.dtype}; use float32, or lower the scales."
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
        self.scheduler.set_timesteps(settings.num_inference_steps, device=noise.device)
        timesteps = self.scheduler.timesteps
        self._num_timesteps = len(timesteps)
        self._interrupt = False
        step_accepts = inspect.signature(self.scheduler.step).parameters
        extra = {"generator": generators} if "generator" in step_accepts else {}
        corrector = _Corrector(self, frames, settings, chunk) if settings.correction else None
        latents = noise * self.scheduler.init_noise_sigma
        with self.progress_bar(total=len(timesteps)) as progress:
            for i, t in enumerate(timesteps):
                weights = settings.weights(i / max(1, len(timesteps) - 1))
                z = self.scheduler.scale_model_input(latents, t)
                if corrector is not None:
                    z = corrector(z, t, conditions, weights)
                record = self._attention_module(settings) if running and "attention" in weights else None
                pred, received = self._guided(z, t, conditions, weights, chunk, record)
                if received is not None:
                    mask = attention.attention_mask(received, settings.attention_threshold)
                    conditions = self._masked(conditions, mask)
                latents = self.scheduler.step(pred, t, latents, **extra, return_dict=False)[0]
                if callback is not None:
                    latents, conditions = self._call_back(
                        callback, callback_inputs, i, t, latents, conditions
                    )
                progress.update()
                if self.interrupt:
                    break
        return latents

    def _guided(
        self,
        z: Tensor,
        t: Tensor,
        conditions: Conditions,
        weights: dict[str, float],
        chunk: int,
        record: torch.nn.Module | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The weighted sum over conditions, and the attention received in the module to record.

        All conditions of a chunk of frames are one U-Net batch. The map is that of the frame's own pass
        (c_I,∅) where the guidance evaluates it, else of the first condition.
        """
        names = list(weights)
        recorded = names.index("frame") if "frame" in names else 0
        preds, maps = [], []
        for part in _parts(len(z), chunk):
            n = len(z[part])
            batch = slice(recorded * n, (recorded + 1) * n)
            size = (z.shape[-2], z.shape[-1])
            recorder = attention.AttentionRecorder(record, size, batch) if record else None
            with recorder or nullcontext():
                outputs = self._predict(z[part], t, conditions, names, part).chunk(len(names))
            preds.append(guidance.combine(outputs, [weights[name] for name in names[1:]]))
            if recorder is not None and recorder.received is not None:
                maps.append(recorder.received)
        return torch.cat(preds), torch.cat(maps) if maps else None

    def _predict(
        self, z: Tensor, t: Tensor, conditions: Conditions, names: Sequence[str], part: slice
    ) -> Tensor:
        """The U-Net's output (K·T',C,h,w) for K conditions of the T' frames in `part`, whose z_t is z."""
        x, text = conditions.batch(names, z, part)
        return self.unet(
            x, t, encoder_hidden_states=text.hidden, class_labels=text.pooled, return_dict=False
        )[0]

    def _probe(
        self,
        source: Tensor,
        noise: Tensor,
        conditions: Conditions,
        settings: Settings,
        chunk: int | None,
    ) -> Tensor:
        """Attention received (T,1,h,w) in one pass (c_I,∅) at z_t = sqrt(ᾱ) E(x^f) + sqrt(1-ᾱ) n."""
        steps = self.scheduler.config.num_train_timesteps
        t = round(settings.attention_level * (steps - 1))
        a = float(self.scheduler.alphas_cumprod[t])
        z = a**0.5 * source + (1 - a) ** 0.5 * noise
        module = self._attention_module(settings)
        timestep = torch.tensor(t, device=source.device)
        _, received = self._guided(
            z, timestep, conditions, {"frame": 1.0}, chunk or len(z), module
        )
        assert received is not None
        return received

    def _masked(self, conditions: Conditions, mask: Tensor) -> Conditions:
        c_i = conditions.image_latents
        assert c_i is not None
        return replace(conditions, mask=attention.resize_to(mask, *c_i.shape[-2:]).to(c_i))

    def _attention_module(self, settings: Settings) -> torch.nn.Module:
        try:
            return attention.self_attention(self.unet, settings.attention_layer)
        except ValueError as error:
            raise StyleAVideoError(str(error)) from None

    def _noise(
        self, like: Tensor, settings: Settings, seed: int, indices: Sequence[int]
    ) -> Tensor:
        shape = (like.shape[1], like.shape[2], like.shape[3])
        return frame_noise.frame_noise(
            shape, seed, indices, settings.noise, settings.noise_blend, like.device, like.dtype
        )

    def _check(self, settings: Settings, mask: Tensor | None, count: int) -> None:
        """Refuse what these settings need and this pipeline has not."""
        if not self.sees_frames:
            for name in ("frame_scale", "attention_scale"):
                if getattr(settings, name):
                    raise StyleAVideoError(
                        f"{name} needs a U-Net with {2 * self.unet.config.in_channels} input channels, and "
                        f"this one has {self.unet.config.in_channels}: load it with "
                        f"style_a_video.weights.loading.load, which widens it, or set {name} to 0."
                    )
        if settings.correction:
            if self.image_encoder is None:
                raise StyleAVideoError(
                    "correction needs an image_encoder, which this model has not: give the pipeline a "
                    "CLIPVisionModelWithProjection, or set correction to 0."
                )
            if settings.correction_decoder == "tiny":
                decoders.tiny(self)
        if mask is not None:
            checks.check_mask(mask, count)
            if not settings.attention_scale:
                raise StyleAVideoError(
                    "attention_mask has no effect while attention_scale is 0; set attention_scale above 0."
                )
        elif settings.attention_scale:
            self._attention_module(settings)

    def _call_back(
        self,
        callback: Callable[..., dict[str, Any]],
        names: Sequence[str],
        step: int,
        t: Tensor,
        latents: Tensor,
        conditions: Conditions,
    ) -> tuple[Tensor, Conditions]:
        tensors = {
            "latents": latents,
            "image_latents": conditions.image_latents,
            "prompt_embeds": conditions.prompt.hidden,
        }
        tensors |= callback(self, step, t, {name: tensors[name] for name in names}) or {}
        conditions = replace(
            conditions,
            image_latents=tensors["image_latents"],
            prompt=replace(conditions.prompt, hidden=tensors["prompt_embeds"]),
        )
        return tensors["latents"], conditions

    def _output(self, z: Tensor, output_type: str, chunk: int, size: tuple[int, int]) -> Any:
        if output_type == "latent":
            return z
        frames = self.decode_latents(z, chunk, size)
        if output_type == "pt":
            return frames
        images = frames.permute(0, 2, 3, 1).cpu().numpy()
        return images if output_type == "np" else VaeImageProcessor.numpy_to_pil(images)

    def _pad(self, frames: Tensor) -> Tensor:
        h, w = frames.shape[-2:]
        return F.pad(frames, (0, -w % self.size_multiple, 0, -h % self.size_multiple), "replicate")


class _Corrector:
    """The sampling correction of one run (Huang et al. 2023, section 3.4): z_t → z_t - λ Δz_t.

    Only the input of the prediction moves, eps~ = eps_theta(z_t - λ Δz_t, ...); the scheduler steps from z_t.
    x0 is predicted by one evaluation of the fullest condition, and the gradient runs through the U-Net. z_t
    is the U-Net's scaled input, so that λ means the same for every sampler: for a sampler on sigmas it is
    x' = x - λ (σ²+1) ∂L/∂x. A prediction of v or x0 takes eps's place as it is; as eps it would be divided by
    sqrt(ᾱ), which is 0 in the first step of zero terminal SNR.
    """

    def __init__(
        self, pipeline: StyleAVideoPipeline, frames: Tensor, settings: Settings, chunk: int
    ) -> None:
        self.pipeline = pipeline
        self.strength = settings.correction
        self.decode = decoders.DECODERS[settings.correction_decoder](pipeline)
        self.target = torch.cat(
            [pipeline.encode_images(frames[part]) for part in _parts(len(frames), chunk)]
        )

    def __call__(
        self, z: Tensor, t: Tensor, conditions: Conditions, weights: dict[str, float]
    ) -> Tensor:
        condition = next(name for name in CORRECTED if name in weights)

        def predict(z: Tensor, part: slice) -> Tensor:
            output = self.pipeline._predict(z, t, conditions, [condition], part)
            return predict_denoised(self.pipeline.scheduler, output, z, t)

        return correction.correct(
            z, predict, self.decode, self.pipeline.encode_images, self.target, self.strength
        )


def _parts(count: int, chunk: int | None) -> Iterator[slice]:
    step = chunk or count
    return (slice(start, start + step) for start in range(0, count, step))


def _indices(frame_indices: Sequence[int] | None, count: int) -> list[int]:
    indices = list(range(count)) if frame_indices is None else [int(i) for i in frame_indices]
    if len(indices) != count:
        raise StyleAVideoError(
            f"frame_indices must number each of the {count} frames, not {len(indices)}."
        )
    return indices
