"""The weights of SCTNet, a file a variant (sctnet/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

if TYPE_CHECKING:
    from ..pipelines.core.sctnet import SCTNet

FOLDER = Path(__file__).parent / "sctnet"


def load_sctnet(variant: str) -> SCTNet:
    """The network of a variant, art or photo, in float32, ready to use.

    Raises:
        ValueError: there is no such variant.
    """
    from ..pipelines.core.sctnet import SCTNet

    network = SCTNet(variant)
    network.load_state_dict(load_file(FOLDER / f"{variant}.safetensors"))
    return network.float().eval().requires_grad_(False)
