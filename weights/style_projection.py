"""What makes a text condition of the built-in model from a picture (embedded/README.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.torch import load_file

from .styles import EMBEDDED

if TYPE_CHECKING:
    from ..pipelines.core.style_projection import StyleProjection

FILE = EMBEDDED / "style_projection.safetensors"


def load_style_projection() -> StyleProjection:
    """In float32, ready to use."""
    from ..pipelines.core.style_projection import StyleProjection

    projection = StyleProjection()
    projection.load_state_dict(load_file(FILE))
    return projection.float().eval().requires_grad_(False)
