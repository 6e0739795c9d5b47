"""MicroAST (Wang et al. 2023, AAAI): the teacher of stage 1b, and a peer of picture engines.

FOLDER holds the four models of github.com/EndyWon/MicroAST (MIT), which are not shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from style_a_video.pipelines.core.adain import adain, statistics
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def load(folder: Path) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    """Picture of the style (1,3,H,W) → (frames (T,3,H,W) → frames), all in [0,1]."""
    names = ("content_encoder", "style_encoder", "modulator", "decoder")
    states = [
        torch.load(folder / f"{name}_iter_160000.pth.tar", weights_only=True) for name in names
    ]
    content_encoder, style_encoder, modulator, decoder = states

    def of(picture: Tensor) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            style = _encode(style_encoder, picture)
            filters = [
                [_convolve(modulator, f"{name}{k + 1}.0", x).mean((2, 3), keepdim=True)
                 for name in ("weight", "bias")]
                for k, x in enumerate(style)
            ]  # fmt: skip

        def stylize(frames: Tensor) -> Tensor:
            with torch.no_grad():
                x = adain(_encode(content_encoder, frames)[1], *statistics(style[1]))
                x = _modulated(decoder, "dec1", x, *filters[1])
                x = _modulated(decoder, "dec2", adain(x, *statistics(style[0])), *filters[0])
                for first in (1, 6):
                    x = F.interpolate(x, scale_factor=2, mode="bilinear")
                    x = F.relu(_convolve(decoder, f"dec3.{first}", x))
                    x = F.relu(_convolve(decoder, f"dec3.{first + 2}", x))
                x = _convolve(decoder, "dec3.10", x)
                return F.interpolate(x, frames.shape[-2:], mode="bilinear").clamp(0, 1)

        return stylize

    return of


def _encode(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    for name, stride in (("0", 1), ("2", 2), ("4", 1), ("6", 2), ("8", 1)):
        x = F.relu(_convolve(state, f"enc1.{name}", x, stride))
    x = _residual(state, "enc1.10", x)
    return x, _residual(state, "enc2.0", x)


def _residual(state: State, name: str, x: Tensor) -> Tensor:
    inner = F.relu(_convolve(state, f"{name}.conv1", x))
    return x + _convolve(state, f"{name}.conv2", inner)


def _modulated(state: State, name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    inner = F.relu(weight * _convolve(state, f"{name}.conv1", x) + bias * x)
    return x + weight * _convolve(state, f"{name}.conv2", inner) + bias * inner


def _convolve(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight, bias = (state[f"{name}.conv_layer.{part}"] for part in ("weight", "bias"))
    border = [weight.shape[-1] // 2] * 4
    return F.conv2d(
        F.pad(x, border, "reflect"), weight, bias, stride, groups=x.shape[1] // weight.shape[1]
    )
