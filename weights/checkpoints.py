"""torchvision's networks with their weights, as torch.hub keeps these; nothing is downloaded."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..pipelines.errors import StyleAVideoError

OTHER_TORCHVISION = (ImportError, RuntimeError, AttributeError)
"""What its import ends in where it is missing, or made for another torch."""

FITTING = (
    f"torchvision made for torch {torch.__version__}, from where that came (pip may replace both)"
)
"""What to install. Named alone, torchvision makes pip replace a torch of another build."""

_DAMAGED = (
    *(RuntimeError, EOFError, TypeError, ValueError, LookupError, AttributeError, OSError),
    *(pickle.UnpicklingError, struct.error, AssertionError),  # what a broken pickle ends in
)


def load_network(
    build: Callable[[], nn.Module], who: str, name: str, url: str, otherwise: str = ""
) -> nn.Module:
    """What `build` gives, with the weights in which torch.hub keeps what lies at `url`.

    Args:
        who: needs it; name: of the network; otherwise: what else can be done.

    Raises:
        StyleAVideoError: they are not here, or are damaged, or no weights of it.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not file.is_file():
        raise StyleAVideoError(
            f"{who} needs the weights of torchvision's {name}: download {url} to {file}{otherwise}"
        )
    network = build()
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except _DAMAGED as error:
        raise StyleAVideoError(
            f"{file} holds no weights of torchvision's {name}: download {url} again{otherwise}"
        ) from error
    return network
