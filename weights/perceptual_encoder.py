"""The weights of the networks behind styles from pictures (perceptual/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..pipelines.errors import StyleAVideoError

if TYPE_CHECKING:
    from ..pipelines.core.decoder import StyleDecoder
    from ..pipelines.core.perceptual import PerceptualEncoder

FOLDER = Path(__file__).parent / "perceptual"
ENCODERS = ("slim", "vgg19")
VGG19 = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation, RGB in [0,1]


def load_encoder(name: str = "slim") -> PerceptualEncoder:
    """The encoder in float32, ready to use.

    Args:
        name: slim, the one that ships, which the decoders belong to; or vgg19, torchvision's, whose
            weights the user's torch.hub must hold already.

    Raises:
        StyleAVideoError: no such encoder, or vgg19's weights are not here or damaged.
    """
    from ..pipelines.core.perceptual import PerceptualEncoder

    if name == "vgg19":
        return _vgg19()
    if name != "slim":
        raise StyleAVideoError(
            f"There is no encoder {name!r}; the encoders are: {', '.join(ENCODERS)}."
        )
    encoder = PerceptualEncoder()
    encoder.load_state_dict(load_file(FOLDER / "encoder.safetensors"))
    return encoder.float().eval().requires_grad_(False)


def load_decoder(level: int) -> StyleDecoder:
    """The decoder of relu{level}_1, 1 to 4, in float32, ready to use."""
    from ..pipelines.core.decoder import StyleDecoder

    prefix = f"relu{level}_1."
    state = load_file(FOLDER / "decoders.safetensors")
    decoder = StyleDecoder(level)
    decoder.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    return decoder.float().eval().requires_grad_(False)


def _vgg19() -> PerceptualEncoder:
    from ..pipelines.core.perceptual import PerceptualEncoder
    from .checkpoints import FITTING, OTHER_TORCHVISION, load_network

    try:
        from torchvision.models import vgg19
    except OTHER_TORCHVISION as error:
        raise StyleAVideoError(f"The encoder vgg19 needs {FITTING}.") from error
    theirs = load_network(
        vgg19, "The encoder vgg19", "VGG-19", VGG19, ", or choose the encoder slim."
    )
    encoder = PerceptualEncoder((64, 128, 256, 512, 512), (2, 2, 4, 4, 1))
    ours = [c for level in range(5) for c in encoder.block(level)]
    layers = cast(torch.nn.Sequential, theirs.features)
    convolutions = [m for m in layers if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        for own, of in zip(ours, convolutions, strict=False):
            own.weight.copy_(of.weight)
            cast(Tensor, own.bias).copy_(cast(Tensor, of.bias))
        # Theirs takes (x - mean) / deviation, ours 2 x - 1.
        mean, deviation = (torch.tensor(v) for v in IMAGENET)
        first = encoder.block(0)[0]
        shift = (0.5 - mean) / deviation
        cast(Tensor, first.bias).add_((first.weight.sum((2, 3)) * shift).sum(1))
        first.weight.mul_(0.5 / deviation[:, None, None])
    return encoder.eval().requires_grad_(False)
