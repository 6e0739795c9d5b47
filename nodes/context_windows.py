"""ComfyUI's Context Windows over the frames of an image model, under our guider."""

from __future__ import annotations

import copy
from typing import Any

import comfy.conds
from comfy.context_windows import IndexListCallbacks
from torch import Tensor

from ..pipelines.errors import StyleAVideoError


def window_options(options: dict[str, Any]) -> dict[str, Any]:
    """The model options with windows that see a list a frame (references) as they see a tensor.

    ComfyUI gives each window its frames of a condition's tensor, and of a CONDList the first ones.

    Raises:
        StyleAVideoError: EasyCache beside them, which knows a condition, and not its window.
    """
    handler = options.get("context_handler")
    if handler is None or getattr(handler, "dim", None) != 0:
        return options
    cache = options.get("transformer_options", {}).get("easycache")
    if getattr(cache, "name", None) == "EasyCache":
        raise StyleAVideoError(
            "EasyCache and Context Windows together would give a window the frames of another: "
            "take one of them off the model, or use LazyCache."
        )
    changed = copy.copy(handler)
    known = handler.callbacks.get("callbacks", {})
    kind = IndexListCallbacks.RESIZE_COND_ITEM
    own = {**known.get(kind, {}), "style_a_video": [_list_of_window]}
    changed.callbacks = {**handler.callbacks, "callbacks": {**known, kind: own}}
    return {**options, "context_handler": changed}


def _list_of_window(
    name: str, cond: Any, window: Any, x: Tensor, device: Any, conds: dict[str, Any]
) -> Any:
    """ComfyUI's callback: the condition for the frames of a window; None leaves it to ComfyUI."""
    if not isinstance(cond, comfy.conds.CONDList):
        return None
    some = [window.get_tensor(v, device) if len(v) == len(x) else v for v in cond.cond]
    return cond._copy_with(some)
