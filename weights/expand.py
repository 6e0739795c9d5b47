"""Room for the frame: a U-Net that takes z_t alone becomes one that also takes c_I."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


def expand_weight(weight: Tensor) -> Tensor:
    """First convolution (O,C,k,k) → (O,2C,k,k); the new weights, of c_I's channels, are zero.

    Zero as InstructPix2Pix starts its training (Brooks et al. 2023, section 3.2): until trained,
    the result is the C-channel model's whatever the frame.
    """
    return torch.cat([weight, torch.zeros_like(weight)], dim=1)


def expand_input_channels(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Double the input channels of a diffusers U-Net in place, config included; returns it."""
    old = unet.conv_in
    new = nn.Conv2d(
        2 * old.in_channels,
        old.out_channels,
        old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        bias=old.bias is not None,
        device="meta",  # replaced below: nothing to initialise
    )
    new.weight = nn.Parameter(expand_weight(old.weight.data), old.weight.requires_grad)
    new.bias = old.bias
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)
    return unet
