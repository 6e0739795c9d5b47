"""From latents to frames: the model's own decoder, and the correction's choice of them by cost.

Each builder of `DECODERS` takes the pipeline and gives a differentiable map latents (T,C,h,w) →
frames (T,3,.,.), nominally in [0,1]; nothing is clamped, for a clamp stops the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.correction import fit_linear_decoder, linear_decode
from ...core.joined import upsampled
from ...errors import StyleAVideoError

Decoder = Callable[[Tensor], Tensor]


def full(pipeline: Any) -> Decoder:
    """The model's own autoencoder: exact, and the dearest."""
    return lambda latents: decode(pipeline.vae, latents)


def tiny(pipeline: Any) -> Decoder:
    """A tiny autoencoder of the same latents (TAESD class): the model's own or its tiny_vae."""
    from diffusers import AutoencoderTiny  # here: ComfyUI imports this file when it starts

    for vae in (pipeline.vae, pipeline.tiny_vae):
        if isinstance(vae, AutoencoderTiny):
            return lambda latents: decode(vae, latents)
    raise StyleAVideoError(
        "The tiny correction decoder needs an AutoencoderTiny of the model's latents: give the "
        "pipeline one as tiny_vae, such as madebyollin/taesd for Stable Diffusion 1.5, or choose "
        "'linear' or 'full'."
    )


def linear(pipeline: Any) -> Decoder:
    """The linear latent → RGB map, fitted to the autoencoder on a fixed colour chart: next to free.

    A chart, not the clip's own frames: the map is then the same for every frame, chunk and clip.
    """
    chart = colour_chart()
    latents = pipeline.vae.config.scaling_factor * pipeline.encode_latents(chart)
    weight, bias = fit_linear_decoder(latents, chart)
    return lambda latents: linear_decode(latents, weight, bias)


DECODERS: dict[str, Callable[[Any], Decoder]] = {"linear": linear, "tiny": tiny, "full": full}


def latent_patch(vae: Any, channels: int) -> int:
    """Latents of `vae` along a side of one position of `channels` channels: 1 where they agree."""
    return math.isqrt(channels // vae.config.latent_channels)


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Latents in the diffusion's scaling → frames (T,3,H,W) nominally in [0,1]."""
    z = F.pixel_shuffle(latents, latent_patch(vae, latents.shape[1]))
    return decoded(vae, (z / vae.config.scaling_factor).to(vae.dtype)) / 2 + 0.5


def decoded(vae: Any, z: Tensor) -> Tensor:
    """The autoencoder's own output (T,3,H,W), nominally in [-1,1], for its own latents (T,C,h,w),
    the quickest way.
    """
    z = in_fast_layout(z)
    return _joined(vae, z) if _ends_linearly(vae) else vae.decode(z, return_dict=False)[0]


def at_once(device: torch.device, chunk_size: int) -> int:
    """Frames at a time in the autoencoder. On a CPU one: more do not fit into its caches."""
    return 1 if device.type == "cpu" else chunk_size


def in_fast_layout(x: Tensor) -> Tensor:
    """(T,C,h,w) with the order in memory that convolutions are fastest at: channels last on CPUs.

    What follows from it keeps that order. The built-in autoencoder takes three quarters of the
    time, Stable Diffusion's 19 parts of 20.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def _ends_linearly(vae: Any) -> bool:
    """Whether a decoder ends with upsampling and two convolutions, as the built-in one does, and
    nothing else has to happen when it is called.
    """
    from diffusers import AutoencoderTiny

    if not isinstance(vae, AutoencoderTiny) or vae.use_tiling or hasattr(vae, "_hf_hook"):
        return False
    up, first, second = vae.decoder.layers[-3:]
    return (
        isinstance(up, nn.Upsample)
        and (up.mode, up.scale_factor) == ("nearest", 2)
        and all(
            isinstance(layer, nn.Conv2d)
            and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            for layer in (first, second)
        )
        and first.bias is None
        and second.bias is not None
    )


def _joined(vae: Any, z: Tensor) -> Tensor:
    """`vae.decode`, its end as one convolution: at two thirds of the time."""
    *body, _, first, second = vae.decoder.layers
    x = torch.tanh(z / 3) * 3  # as diffusers' DecoderTiny
    for layer in body:
        x = layer(x)
    return 2 * upsampled(x, first.weight, second.weight, second.bias) - 1


def colour_chart(size: int = 256, patch: int = 16) -> Tensor:
    """(2,3,size,size) in [0,1]: random patches over the whole RGB cube, hard-edged and smooth."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(2, 3, size // patch, size // patch, generator=generator)
    hard = F.interpolate(colours[:1], size=(size, size), mode="nearest")
    smooth = F.interpolate(colours[1:], size=(size, size), mode="bilinear")
    return torch.cat([hard, smooth])
