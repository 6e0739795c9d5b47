"""The engines: the one list that names them."""

from __future__ import annotations

from ..checks import check_choice
from . import adain, analogy, comfyui, diffusion, edit, gatys, onnx, sctnet, stylebank, wct
from .kinds import EngineKind, forms_of
from .style import Style

KINDS: tuple[EngineKind, ...] = tuple(
    engine.KIND
    for engine in (sctnet, diffusion, wct, adain, gatys, stylebank, analogy, onnx, comfyui, edit)
)
"""In the order of preference: the first that takes a style is its default."""


def kind_named(name: str) -> EngineKind:
    """The engine of that name.

    Raises:
        StyleAVideoError: there is none; the message lists them.
    """
    names = [kind.name for kind in KINDS]
    check_choice("engine", name, names)
    return KINDS[names.index(name)]


def default_for(style: Style) -> EngineKind:
    """The engine that makes such a style where none is named."""
    wanted = forms_of(style)
    fitting = tuple(kind for kind in KINDS if wanted <= kind.takes)
    willing = tuple(kind for kind in KINDS if wanted & kind.takes)
    # One that does not take all of it says so itself: EngineKind.check.
    return (fitting or willing or KINDS)[0]
