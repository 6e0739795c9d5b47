"""What makes a text condition of the built-in model from a picture (embedded/README.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from safetensors.torch import load_file
from torch import Tensor, nn

from .perceptual_encoder import load_encoder
from .styles import EMBEDDED

if TYPE_CHECKING:
    from ..pipelines.core.style_projection import StyleProjection

FILE = EMBEDDED / "style_projection.safetensors"
PLACES = 77  # tokens of a prompt


def load_style_projection() -> StyleProjection:
    """In float32, ready to use."""
    from ..pipelines.core.style_projection import StyleProjection

    projection = StyleProjection()
    projection.load_state_dict(load_file(FILE))
    return projection.float().eval().requires_grad_(False)


def picture_networks() -> dict[str, nn.Module]:
    """What decides c_T of a picture, by name."""
    return {"perceptual_encoder": load_encoder(), "style_projection": load_style_projection()}


def picture_text(pictures: Sequence[Tensor], shares: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Pictures (3,H,W) in [0,1] with shares that add up to 1, as c_T of the built-in model.

    Returns:
        hidden (1,PLACES,128) and pooled (1,128), float32, as its text encoder gives them of words.
    """
    from ..pipelines.core.style_projection import as_text

    return as_text(pictures, shares, load_encoder(), load_style_projection(), PLACES)
