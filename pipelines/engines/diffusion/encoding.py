"""Words, frames and latents: what goes through the text encoder, the autoencoder and CLIP."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core import correction
from ...errors import StyleAVideoError
from . import decoders
from .conditions import Text, joined

logger = logging.getLogger(__name__)

TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"
MOST_WINDOWS = 4
"""Of a prompt, each as long as the text encoder takes: 300 tokens between their starts and ends."""


class EncodingMixin:
    """The encoders and decoders of a pipeline with these components."""

    vae: Any
    unet: Any
    tokenizer: Any
    text_encoder: Any
    image_encoder: Any
    feature_extractor: Any
    config: Any
    maybe_convert_prompt: Any
    _execution_device: torch.device

    @property
    def vae_scale_factor(self) -> int:
        """Pixels a latent, along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_patch(self) -> int:
        """Latents of the autoencoder a position of the U-Net, along one side.

        1, or 2 where the U-Net has four times the channels: patched latents.
        """
        return decoders.latent_patch(self.vae, self.unet.config.out_channels)

    @property
    def size_multiple(self) -> int:
        """Frames are padded to multiples of it: the latents' factor times the U-Net's halvings."""
        levels = len(self.unet.config.block_out_channels)
        return self.vae_scale_factor * self.latent_patch * 2 ** (levels - 1)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C,h,w) of the latents of a frame, padded to `size_multiple`."""
        h, w = (s + -s % self.size_multiple for s in (height, width))
        f = self.vae_scale_factor * self.latent_patch
        return self.unet.config.out_channels, h // f, w // f

    def pad(self, frames: Tensor) -> Tensor:
        """(T,C,H,W) padded right and below to multiples of `size_multiple` by replication."""
        h, w = frames.shape[-2:]
        return F.pad(frames, (0, -w % self.size_multiple, 0, -h % self.size_multiple), "replicate")

    @torch.no_grad()
    def encode_prompt(self, prompt: str | Sequence[str]) -> Text:
        """Prompts → hidden states (B,L,D), and pooled (B,P) where the U-Net takes it as a class.

        What is longer than the text encoder takes is read in windows of that length, as ComfyUI
        reads it: hidden states of one follow those of the other, and pooled is the first one's.
        What lies beyond `MOST_WINDOWS` is cut, with a warning that says what.

        Raises:
            StyleAVideoError: the U-Net wants pooled text and the text encoder has no projection.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        unique = list(dict.fromkeys(prompts))
        windows = [self._windows(text) for text in unique]
        output = self.text_encoder(torch.cat(windows).to(self._execution_device))
        counts = [len(window) for window in windows]
        pooled: Sequence[Tensor | None] = [None] * len(unique)
        if self.unet.config.class_embed_type == "projection":
            if getattr(output, "text_embeds", None) is None:
                raise StyleAVideoError(
                    "This U-Net takes the pooled text as its class: load the text encoder as "
                    "CLIPTextModelWithProjection."
                )
            pooled = [one[:1].to(self.unet.dtype) for one in output.text_embeds.split(counts)]
        hidden = [one.flatten(0, 1)[None] for one in output.last_hidden_state.split(counts)]
        texts = [Text(h.to(self.unet.dtype), p) for h, p in zip(hidden, pooled, strict=True)]
        return joined([texts[unique.index(text)] for text in prompts])

    def beyond(self, prompt: str, windows: int) -> str:
        """What of a prompt lies beyond so many windows; mostly nothing."""
        # verbose: transformers would warn of a length that is read all the same.
        ids = self.tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        return self.tokenizer.decode(ids[windows * (self.tokenizer.model_max_length - 2) :])

    def _windows(self, prompt: str) -> Tensor:
        """Token ids (windows,L), each window with its start and end."""
        # The next line tokenizes without `verbose`: this is transformers' mark that it has warned.
        self.tokenizer.deprecation_warnings[TOO_LONG] = True
        prompt = self.maybe_convert_prompt(prompt, self.tokenizer)
        if cut := self.beyond(prompt, MOST_WINDOWS):
            logger.warning("The prompt is longer than %d windows; left out: %r", MOST_WINDOWS, cut)
        length = self.tokenizer.model_max_length
        return self.tokenizer(
            prompt,
            padding="max_length",
            max_length=length,
            truncation=True,
            return_overflowing_tokens=True,
            return_tensors="pt",
        ).input_ids[:MOST_WINDOWS]

    @torch.no_grad()
    def encode_latents(self, frames: Tensor, chunk_size: int | None = None) -> Tensor:
        """E(x): frames (T,3,H,W) in [0,1] → (T,C,h,w), the posterior's mode, unscaled; padded."""
        latents = []
        for part in self._parts(len(frames), chunk_size):
            x = self.pad(frames[part]).to(self._execution_device, self.vae.dtype)
            output = self.vae.encode(decoders.in_fast_layout(2 * x - 1))
            tiny = hasattr(output, "latents")
            latents.append(output.latents if tiny else output.latent_dist.mode())
        return F.pixel_unshuffle(torch.cat(latents), self.latent_patch).to(self.unet.dtype)

    def encode_frames(self, frames: Tensor, chunk_size: int | None = None) -> Tensor:
        """c_I = E(x^f): frames (T,3,H,W) in [0,1] → (T,C,h,w), scaled as this U-Net expects it."""
        scale = self.vae.config.scaling_factor if self.config.scale_image_latents else 1.0
        return scale * self.encode_latents(frames, chunk_size)

    @torch.no_grad()
    def decode_latents(
        self, latents: Tensor, chunk_size: int | None = None, size: tuple[int, int] | None = None
    ) -> Tensor:
        """z_0 (T,C,h,w) → frames (T,3,H,W) float32 in [0,1], cropped to `size` (H,W)."""
        h, w = size or (None, None)
        frames = [
            decoders.decode(self.vae, latents[part])[..., :h, :w].float().clamp(0, 1)
            for part in self._parts(len(latents), chunk_size)
        ]
        return torch.cat(frames)

    def _parts(self, count: int, chunk_size: int | None) -> Iterator[slice]:
        return parts(count, decoders.at_once(self._execution_device, chunk_size or count))

    def encode_images(self, frames: Tensor) -> Tensor:
        """CLIP(x): frames (T,3,H,W) nominally in [0,1] → image embeds (T,d); keeps the gradient."""
        mean = getattr(self.feature_extractor, "image_mean", correction.CLIP_MEAN)
        std = getattr(self.feature_extractor, "image_std", correction.CLIP_STD)
        size = self.image_encoder.config.image_size
        x = correction.clip_preprocess(frames.to(self._execution_device), size, mean, std)
        return self.image_encoder(x.to(self.image_encoder.dtype)).image_embeds


def parts(count: int, chunk_size: int | None = None) -> Iterator[slice]:
    """`count` frames as slices of at most `chunk_size`; one slice where it is None."""
    step = chunk_size or count
    return (slice(start, start + step) for start in range(0, count, step))
