"""What makes frames where no engine is connected: guider, noise, sampler, sigmas and VAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from . import frame_place


@dataclass(frozen=True)
class Sampling:
    """ComfyUI's objects as they are connected.

    Attributes:
        from_frames: whether the sampler begins with the frames; else with an empty latent.
    """

    guider: Any
    noise: Any
    sampler: Any
    sigmas: Tensor
    vae: Any
    from_frames: bool

    def start(self, latents: Tensor) -> Tensor:
        """What the sampler begins with."""
        return latents if self.from_frames else torch.zeros_like(latents)

    def run(self, guider: Any, noise: Tensor, start: Tensor, mask: Tensor | None = None) -> Tensor:
        """Latents by `guider`, the given one for other frames; `mask`: how free each latent is."""
        return guider.sample(
            noise,
            start,
            self.sampler,
            self.sigmas,
            denoise_mask=mask,
            disable_pbar=True,
            seed=self.noise.seed,
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Latents → frames (T,H,W,3)."""
        device = comfy.model_management.intermediate_device()
        return frame_place.decode(self.vae, latents.to(device))[..., :3]
