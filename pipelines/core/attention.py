"""Self-attention maps: how much attention every position of a frame receives.

Huang et al. 2023, section 3.2, "self-features condition": A = softmax(Q K^T / sqrt d), ψ = mean(A),
M = 1(A > ψ). A is reduced to one value a position (mean over heads, sum over queries), whose mean
is exactly 1; ψ is therefore a threshold of 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def attention_received(query: Tensor, key: Tensor, *, chunk_size: int = 1024) -> Tensor:
    """a_j = mean over heads, sum over queries i of softmax_j(q_i·k_j / sqrt d)  (section 3.2).

    Frames are taken one by one and queries in chunks, so that memory is O(heads · chunk_size · N)
    and the N x N map never exists.

    Args:
        query, key: (B, heads, N, d), any float dtype.
        chunk_size: queries at a time, at least 1.

    Returns:
        (B, N) float32, each row of mean 1.
    """
    scale = query.shape[-1] ** -0.5
    received = query.new_zeros(query.shape[0], key.shape[2], dtype=torch.float32)
    for a, q, k in zip(received, query.float(), key.float(), strict=True):
        for q_chunk in q.split(chunk_size, dim=1):
            a += (scale * q_chunk @ k.transpose(-1, -2)).softmax(-1).mean(0).sum(0)
    return received


def attention_mask(received: Tensor, threshold: float = 1.0) -> Tensor:
    """M = 1(a > ψ) as 0.0 and 1.0 (section 3.2); ψ is 1, the mean of `received`, by default."""
    return (received > threshold).to(received.dtype)


def smoothed_to(received: Tensor, height: int, width: int) -> Tensor:
    """Attention (B,1,h,w) of a coarse layer between its positions, (B,1,height,width): bilinear.

    Its mask then has the shape of what is attended, not that of the layer's grid.
    """
    return F.interpolate(received, size=(height, width), mode="bilinear")


def to_grid(received: Tensor, height: int, width: int) -> Tensor:
    """(B, N) in row order → (B, 1, height, width), N = height · width."""
    return rearrange(received, "b (h w) -> b 1 h w", h=height, w=width)


def resize_to(mask: Tensor, height: int, width: int) -> Tensor:
    """(B,1,h,w) → (B,1,height,width) by the nearest position, so that 0 and 1 stay 0 and 1."""
    return F.interpolate(mask, size=(height, width), mode="nearest-exact")


def grid_of(positions: int, latent_hw: tuple[int, int]) -> tuple[int, int]:
    """The level's grid h, w with h·w = positions; each level halves the latent grid, rounding up.

    Raises:
        ValueError: no level of this latent grid has that many positions.
    """
    h, w = latent_hw
    while h * w > positions and h * w > 1:
        h, w = -(-h // 2), -(-w // 2)
    if h * w != positions:
        raise ValueError(
            f"{positions} positions are no level of a {latent_hw[0]}x{latent_hw[1]} latent."
        )
    return h, w


def attention_layers(unet: nn.Module) -> list[str]:
    """The layers whose self-attention can be recorded, "mid" first, then in the module's order.

    A layer is named by the path of the block that holds it, such as "down_blocks.2.attentions.0".
    """
    names = [name for name, _ in _self_attentions(unet)]
    layers = dict.fromkeys(name.split(".transformer_blocks.")[0] for name in names)
    mid = ["mid"] if any(name.startswith("mid_block.") for name in names) else []
    return mid + list(layers)


def self_attention(unet: nn.Module, layer: str = "mid") -> nn.Module:
    """The first self-attention of `layer`: "mid", or a dotted path or its beginning.

    Raises:
        ValueError: there is none; the message names the layers there are.
    """
    prefix = "mid_block" if layer == "mid" else layer
    for name, module in _self_attentions(unet):
        if f"{name}.".startswith(f"{prefix}."):
            return module
    known = ", ".join(attention_layers(unet)) or "none in this U-Net"
    raise ValueError(f"There is no self-attention in layer {layer!r}; the layers are: {known}.")


def _self_attentions(unet: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    # "attn1" is the self-attention of a transformer block in every diffusers U-Net
    return ((n, m) for n, m in unet.named_modules() if n.split(".")[-1] == "attn1")


class _Recorded(Exception):
    """Ends a pass of which only the map is wanted; never leaves the recorder's block."""


class AttentionRecorder:
    """Records the attention received in one self-attention module while the `with` block lasts.

    The fused attention of diffusers and PyTorch never shows its map, so queries and keys are
    computed once more from the hidden states that the module is given, by the module's own to_q and
    to_k. The hook goes with the block, whatever happens in it, and leaves the module as it was.

    Args:
        module: a self-attention with `to_q`, `to_k` and `heads`, such as diffusers' Attention.
        latent_hw: height and width of the latent that the U-Net is given; the module sees h·w only.
        batch: which part of the batch to record; all by default.
        chunk_size: queries at a time (see `attention_received`).
        stop: whether the pass ends there and the block with it, where only the map is wanted.

    Attributes:
        received: (B,1,h,w) float32 of the last pass, None before it.

    Raises:
        ValueError: in the pass, where the module's positions are no level of `latent_hw`.
    """

    def __init__(
        self,
        module: nn.Module,
        latent_hw: tuple[int, int],
        batch: slice = slice(None),
        chunk_size: int = 1024,
        stop: bool = False,
    ) -> None:
        self.module = module
        self.latent_hw = latent_hw
        self.batch = batch
        self.chunk_size = chunk_size
        self.stop = stop
        self.received: Tensor | None = None

    def __enter__(self) -> AttentionRecorder:
        self._hook = self.module.register_forward_pre_hook(self._record, with_kwargs=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._hook.remove()
        return kind is _Recorded

    @torch.no_grad()
    def _record(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = (args[0] if args else kwargs["hidden_states"])[self.batch]
        q, k = (
            rearrange(to(x), "b n (heads d) -> b heads n d", heads=module.heads)
            for to in (module.to_q, module.to_k)
        )
        h, w = grid_of(x.shape[1], self.latent_hw)
        self.received = to_grid(attention_received(q, k, chunk_size=self.chunk_size), h, w)
        if self.stop:
            raise _Recorded
