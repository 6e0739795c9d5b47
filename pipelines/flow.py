"""Optical flow of real frames, by estimators of others: DIS (OpenCV) and RAFT (torchvision)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..weights.checkpoints import FITTING, OTHER_TORCHVISION, load_network
from .checks import check_choice
from .errors import StyleAVideoError

Flow = Callable[[Tensor, Tensor], Tensor]
"""(this, other), (3,H,W) in [0,1] → flow (2,H,W) px, on the grid of `this`, into `other`."""


def dis(this: Tensor, other: Tensor) -> Tensor:
    """Dense inverse search (Kroeger et al. 2016), OpenCV's medium preset.

    Raises:
        StyleAVideoError: no OpenCV here.
    """
    h, w = this.shape[-2:]
    # On a side of less than 16 px OpenCV refuses, or crashes the process.
    margin = (0, max(0, 16 - h)), (0, max(0, 16 - w))
    pair = [np.pad(_grey(frame), margin, "edge") for frame in (this, other)]
    flow = _dis().calc(*pair, None)[:h, :w]
    return torch.from_numpy(flow).movedim(-1, 0).contiguous()


def raft(this: Tensor, other: Tensor) -> Tensor:
    """RAFT small (Teed and Deng 2020), torchvision's weights.

    Raises:
        StyleAVideoError: no torchvision here, or its weights are not here or damaged.
    """
    network = _raft(str(this.device))
    h, w = this.shape[-2:]
    # RAFT wants sides of at least 128 and in multiples of 8.
    size = [max(128, -(-side // 8) * 8) for side in (h, w)]
    pair = torch.stack([this, other]).float()
    pair = F.pad(pair, (0, size[1] - w, 0, size[0] - h), mode="replicate") * 2 - 1
    with torch.no_grad():
        return network(pair[:1], pair[1:])[-1][0, :, :h, :w]


FLOWS: dict[str, Flow] = {"dis": dis, "raft": raft}


def check_flow(name: str) -> None:
    """Raises StyleAVideoError for an unknown one, and where it lacks a library or weights."""
    check_choice("flow", name, FLOWS)
    _dis() if name == "dis" else _raft("cpu")


def both_ways(this: Tensor, prev: Tensor, flow: Flow = dis) -> tuple[Tensor, Tensor]:
    """flow_to_prev and prev_flow_to_this, (1,2,H,W) each."""
    return flow(this, prev)[None], flow(prev, this)[None]


def _grey(frame: Tensor) -> np.ndarray:
    red, green, blue = frame.float().cpu().clamp(0, 1)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    return (grey * 255).round().to(torch.uint8).numpy()


def _dis() -> Any:
    """A new one for each pair: small pictures make it change its settings for all that follow."""
    try:
        import cv2
    except ImportError:
        raise StyleAVideoError(
            "Optical flow needs OpenCV, which is not installed: pip install opencv-python-headless"
        ) from None
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


@lru_cache(1)
def _raft(device: str) -> Any:
    try:
        from torchvision.models.optical_flow import Raft_Small_Weights, raft_small
    except OTHER_TORCHVISION:
        raise StyleAVideoError(f"RAFT needs a {FITTING}. Or choose the flow dis.") from None
    url = Raft_Small_Weights.DEFAULT.url
    network = load_network(raft_small, "RAFT", "raft_small", url, ", or choose the flow dis.")
    return network.to(device).eval()
