"""Sampling correction: a step down the gradient of a CLIP loss (Huang et al. 2023, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# CLIP's own statistics (Radford et al. 2021), RGB
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Gradients of a cosine with respect to pixels are near 1e-6 and would vanish in fp16. A power of
# two changes no bit of the result in fp32.
_LOSS_SCALE = 2.0**10
_NO_LENGTH = 1e-30  # of a gradient


def clip_loss(a: Tensor, b: Tensor) -> Tensor:
    """L_s = 1 - cos(a, b) per frame: embeddings (T,d), (T,d) → (T,) in [0,2]  (section 3.4)."""
    return 1 - F.cosine_similarity(a.float(), b.float(), dim=-1)


def correct(
    x: Tensor,
    predict_denoised: Callable[[Tensor, slice], Tensor],
    decode: Callable[[Tensor], Tensor],
    encode_image: Callable[[Tensor], Tensor],
    target: Tensor,
    strength: float,
    sigma: float,
    *,
    chunk_size: int = 1,
) -> Tensor:
    """z_t - λ σ L_s Δz_t / rms(Δz_t), Δz_t = ∇_z L_s, L_s = 1 - cos(CLIP(x^f), CLIP(x0 from z_t)).

    Section 3.4 moves by λ Δz_t; a gradient's length changes a hundredfold between noise levels and
    with the model's size. Here a frame moves by λ L_s of the noise's standard deviation, at every
    level, and comes to rest as L_s goes to 0.

    The gradient runs through everything, the denoiser too. Frames do not see each other, so the
    gradient of Σ_f L_s is each frame's own and frames go through in chunks: memory is that of
    `chunk_size` frames. Where x0 does not depend on z, or L_s is flat, z stays.

    Args:
        x: z_t (T,C,h,w), in any scaling.
        predict_denoised: (z of some frames, their slice of T) → x0 of the same shape: the guided
            prediction, all conditions summed.
        decode: x0 → frames (.,3,H,W) in [0,1]; encode_image: frames → embeddings (.,d).
        target: CLIP(x^f), (T,d).
        strength: λ ≥ 0. At 0 the very tensor x comes back and nothing is evaluated.
        sigma: standard deviation of the noise in x, in the scaling of x.
    """
    if strength == 0:
        return x
    moved = []
    for start in range(0, len(x), chunk_size):
        part = slice(start, min(start + chunk_size, len(x)))
        with torch.inference_mode(False), torch.enable_grad():
            z = x[part].detach().clone().requires_grad_()
            embeds = encode_image(decode(predict_denoised(z, part)))
            loss = clip_loss(target[part].clone(), embeds)
            delta = _gradient(loss, z)
        length = delta.square().mean((1, 2, 3), keepdim=True).sqrt()
        step = strength * sigma * loss.detach()[:, None, None, None] * delta
        moved.append(x[part] - (step / length.clamp_min(_NO_LENGTH)).to(x.dtype))
    return torch.cat(moved)


def _gradient(loss: Tensor, z: Tensor) -> Tensor:
    """∇_z Σ loss in float32, up to a constant factor; zeros where the loss does not depend on z."""
    if not loss.requires_grad:
        return torch.zeros_like(z, dtype=torch.float32)
    (delta,) = torch.autograd.grad(_LOSS_SCALE * loss.sum(), z)
    return delta.detach().float()


def fit_linear_decoder(latents: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map latent → RGB of least squares against frames averaged over each latent's area.

    The cheapest decoder of section 3.4's "predicted frame": a latent of a convolutional autoencoder
    is close to a linear code of its patch's mean colour.

    Args:
        latents: (T,C,h,w); frames: (T,3,H,W) in [0,1].

    Returns:
        weight (3,C), bias (3,), float32 on the latents' device.
    """
    h, w = latents.shape[-2:]
    colours = F.adaptive_avg_pool2d(frames.double(), (h, w))
    z = rearrange(latents, "t c h w -> (t h w) c").double().cpu()
    y = rearrange(colours, "t c h w -> (t h w) c").cpu()
    design = torch.cat([z, torch.ones_like(z[:, :1])], dim=1)
    solution = torch.linalg.lstsq(design, y, driver="gelsd").solution.T.to(latents.device).float()
    return solution[:, :-1], solution[:, -1]


def linear_decode(latents: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(T,C,h,w) → frames (T,3,h,w) by the map of `fit_linear_decoder`; not clamped."""
    return F.conv2d(latents.float(), weight[:, :, None, None], bias)


def clip_preprocess(
    frames: Tensor,
    size: int,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> Tensor:
    """CLIP's preprocessing with a gradient: short side to `size`, centre square, normalised.

    As transformers' CLIPImageProcessor, without its rounding to 8 bits and without a clamp, both of
    which stop gradients.

    Args:
        frames: (T,3,H,W), nominally in [0,1].

    Returns:
        (T,3,size,size) float32; half precision has no antialiased resize on the CPU.
    """
    h, w = frames.shape[-2:]
    short = min(h, w)
    h, w = h * size // short, w * size // short
    x = F.interpolate(frames.float(), size=(h, w), mode="bicubic", antialias=True)
    top, left = (h - size) // 2, (w - size) // 2
    x = x[..., top : top + size, left : left + size]
    return (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]
