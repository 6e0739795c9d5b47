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
from .conditions import Text

logger = logging.getLogger(__name__)


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
        """Prompts → hidden states (B,77,D), and pooled (B,P) where the U-Net takes it as a class.

        What lies beyond the text encoder's length is cut, with a warning that says what.

        Raises:
            StyleAVideoError: the U-Net wants pooled text and the text encoder has no projection.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        unique = list(dict.fromkeys(prompts))
        output = self.text_encoder(self._tokenize(unique).to(self._execution_device))
        rows = [unique.index(text) for text in prompts]
        hidden = output.last_hidden_state[rows].to(self.unet.dtype)
        if self.unet.config.class_embed_type != "projection":
            return Text(hidden, None)
        if getattr(output, "text_embeds", None) is None:
            raise StyleAVideoError(
                "This U-Net takes the pooled text as its class: load the text encoder as "
                "CLIPTextModelWithProjection."
            )
        return Text(hidden, output.text_embeds[rows].to(self.unet.dtype))

    def unread(self, prompt: str) -> str:
        """What of a prompt lies beyond the text encoder's length, which is cut; mostly nothing."""
        # verbose: transformers would warn of what is cut here.
        ids = self.tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        return self.tokenizer.decode(ids[self.tokenizer.model_max_length - 2 :])

    def _tokenize(self, prompts: list[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        prompts = [self.maybe_convert_prompt(text, self.tokenizer) for text in prompts]
        for text in prompts:
            if cut := self.unread(text):
                logger.warning("The prompt is longer than %d tokens; left out: %r", length, cut)
        return self.tokenizer(
            prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids

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
