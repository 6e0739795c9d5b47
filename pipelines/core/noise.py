"""Noise that belongs to a frame: a function of (seed, frame index), not of batch, device or dtype.

`randn` of a batch would give a frame another noise in every other batch, and a clip other pixels
for every other chunk size. One noise for all frames keeps a stylized video calm.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

MODES = ("shared", "per-frame", "blended")

_MASK64 = 2**64 - 1
_MASK32 = 2**32 - 1


def frame_noise(
    shape: tuple[int, int, int],
    seed: int,
    frame_indices: Iterable[int],
    mode: str = "per-frame",
    blend: float = 0.5,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """n^f ~ N(0, I) for each frame f, a function of (seed, f) alone.

    "per-frame" draws every frame's own n^f, "shared" one n for all frames, and "blended" takes
    sqrt(1-b) n^f + sqrt(b) n, of unit variance and correlation b between frames (Ge et al. 2023,
    PYoCo, "mixed noise").

    Args:
        shape: (C,h,w) of one frame.
        seed: any integer.
        frame_indices: T absolute frame numbers.
        blend: b in [0,1], read in the mode "blended".

    Returns:
        (T,C,h,w), drawn in float32 on the CPU and then moved.

    Raises:
        ValueError: an unknown mode, or b outside [0,1].
    """
    if mode not in MODES:
        raise ValueError(f"There is no noise mode {mode!r}; the modes are: {', '.join(MODES)}.")
    if not 0.0 <= blend <= 1.0:
        raise ValueError(f"blend must lie between 0 and 1, not {blend}.")
    indices = list(frame_indices)
    own = [] if mode == "shared" else [_draw(shape, frame_key(seed, f)) for f in indices]
    if mode == "per-frame":
        noise = torch.stack(own)
    else:
        shared = _draw(shape, frame_key(seed, None))
        noise = shared.expand(len(indices), *shape)
        if mode == "blended":
            noise = (1 - blend) ** 0.5 * torch.stack(own) + blend**0.5 * noise
    return noise.to(device=device, dtype=dtype)


def frame_generators(
    seed: int, frame_indices: Iterable[int], mode: str = "per-frame"
) -> list[torch.Generator]:
    """One CPU generator a frame, for the noise that a stochastic sampler adds (DDPM, LCM).

    It is another stream than `frame_noise`'s. In the mode "shared" all frames get the same one.
    """
    stream = seed ^ 0x5DEECE66D  # any constant: keeps the steps' noise apart from the first
    keys = (frame_key(stream, None if mode == "shared" else f) for f in frame_indices)
    return [torch.Generator().manual_seed(key) for key in keys]


def frame_key(seed: int, frame: int | None) -> int:
    """A stable 32-bit key of (seed, frame); None is the key that all frames share.

    PyTorch's CPU generator keeps only the low 32 bits of its seed, so that a 64-bit hash would make
    two of 65,536 frames collide as likely as not. Here the frame passes through a bijection of 32
    bits: the frames of one seed never collide.
    """
    state = _splitmix64(seed & _MASK64)
    word = state >> 32 if frame is None else state + frame
    return _mix32(word & _MASK32)


def _splitmix64(x: int) -> int:
    """Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)


def _mix32(x: int) -> int:
    """The 32-bit finaliser of MurmurHash3 (Appleby 2011): a bijection."""
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _MASK32
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _MASK32
    return x ^ (x >> 16)


def _draw(shape: tuple[int, int, int], key: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(key))
