"""A U-Net's inner levels left out for a step (Ma, Fang, Wang 2024, "DeepCache", arXiv 2312.00858).

What the lower resolutions give changes little from one step to the next. So a step may run the
outermost level alone, on what the inner ones gave in a step before. The U-Net is one of diffusers'
conditional ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def recorded(unet: Any) -> Iterator[list[Tensor]]:
    """What the inner levels gave to the outermost (B,C,h,w), of each pass while the block lasts."""
    found: list[Tensor] = []
    inner = unet.up_blocks[-2]
    hook = inner.register_forward_hook(lambda module, given, output: found.append(output))
    try:
        yield found
    finally:
        hook.remove()


def outer(
    unet: Any, x: Tensor, t: Tensor, hidden: Tensor, pooled: Tensor | None, inner: Tensor
) -> Tensor:
    """The U-Net's output (B,C,h,w), where its inner levels give `inner`.

    With what they give for the same input it is the U-Net's own output, bit for bit.
    """
    if unet.config.center_input_sample:
        x = 2 * x - 1
    emb = _embedded(unet, x, t, pooled)
    x = unet.conv_in(x)
    _, outputs = _run(unet.down_blocks[0], hidden, hidden_states=x, temb=emb)
    last = unet.up_blocks[-1]
    skips = (x, *outputs)[: len(last.resnets)]
    y = _run(last, hidden, hidden_states=inner, temb=emb, res_hidden_states_tuple=skips)
    if unet.conv_norm_out:
        y = unet.conv_act(unet.conv_norm_out(y))
    return unet.conv_out(y)


def has_inner(unet: Any) -> bool:
    """Whether there are levels to leave out; not in a U-Net of one."""
    return len(unet.up_blocks) > 1


def _embedded(unet: Any, x: Tensor, t: Tensor, pooled: Tensor | None) -> Tensor:
    """Of the time and, where the U-Net takes one, the class."""
    emb = unet.time_embedding(unet.get_time_embed(sample=x, timestep=t))
    of_class = unet.get_class_embed(sample=x, class_labels=pooled)
    if of_class is not None:
        concat = unet.config.class_embeddings_concat
        emb = torch.cat([emb, of_class], -1) if concat else emb + of_class
    return emb if unet.time_embed_act is None else unet.time_embed_act(emb)


def _run(block: Any, hidden: Tensor, **given: Any) -> Any:
    """A block, with the words where it takes them."""
    if getattr(block, "has_cross_attention", False):
        given["encoder_hidden_states"] = hidden
    return block(**given)
