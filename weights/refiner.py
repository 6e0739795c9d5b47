"""The weights of the temporal consistency refiner (refiner.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

if TYPE_CHECKING:
    from ..pipelines.core.refiner import Refiner

FILE = Path(__file__).parent / "refiner.safetensors"


def load_refiner() -> Refiner:
    """The network in float32, ready to use."""
    from ..pipelines.core.refiner import Refiner

    network = Refiner()
    network.load_state_dict(load_file(FILE))
    return network.float().eval().requires_grad_(False)
