"""What a user hands in, checked before anything heavy; every refusal is one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from .errors import StyleAVideoError

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from torch import Tensor

MAX_PROMPT = 2000  # characters


def check_choice(what: str, value: str, known: Collection[str]) -> str:
    """`value` if it is one of `known`; otherwise an error that names them."""
    if not isinstance(value, str) or value not in known:
        raise StyleAVideoError(f"There is no {what} {value!r}; choose one of: {', '.join(known)}.")
    return value


def check_number(what: str, value: float, low: float = 0.0, high: float = math.inf) -> float:
    """`value` as a finite float between low and high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise StyleAVideoError(f"{what} must be a finite number, not {value!r}.")
    if not low <= value <= high:
        span = f"{low:g} or more" if high == math.inf else f"between {low:g} and {high:g}"
        raise StyleAVideoError(f"{what} must be {span}, not {value:g}.")
    return float(value)


def check_count(what: str, value: int) -> int:
    """`value` as a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise StyleAVideoError(f"{what} must be a whole number of at least 1, not {value!r}.")
    return value


def check_frames(frames: Any) -> Tensor:
    """Frames as (T,3,H,W) in [0,1]: a float tensor of that form, or PIL images of one size.

    Raises:
        StyleAVideoError: another type, rank, number of channels, dtype or range, no frame, NaN,
            mixed sizes.
    """
    import numpy as np
    import torch

    if isinstance(frames, list | tuple) and frames and all(hasattr(f, "convert") for f in frames):
        images = [np.asarray(f.convert("RGB")) for f in frames]
        if len({image.shape for image in images}) > 1:
            raise StyleAVideoError("The frames have different sizes; resize them to one size.")
        frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    if not isinstance(frames, torch.Tensor):
        raise StyleAVideoError(
            f"frames must be a tensor (T,3,H,W) or a list of PIL images, "
            f"not {type(frames).__name__}."
        )
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise StyleAVideoError(
            f"frames must have the shape (T,3,H,W) with at least one frame and one pixel, "
            f"not {tuple(frames.shape)}."
        )
    if not frames.is_floating_point():
        raise StyleAVideoError(
            f"frames must be floats between 0 and 1, not {frames.dtype}; "
            "divide 8-bit frames by 255."
        )
    if not frames.isfinite().all():
        raise StyleAVideoError("frames contain NaN or infinity; repair or leave out those frames.")
    low, high = frames.min().item(), frames.max().item()
    if low < -1e-3 or high > 1 + 1e-3:
        raise StyleAVideoError(
            f"frames must lie between 0 and 1, not between {low:g} and {high:g}."
        )
    return frames


def check_shape(what: str, tensor: Tensor, shape: Sequence[int]) -> None:
    """Refuse a tensor of another shape."""
    if tuple(tensor.shape) != tuple(shape):
        raise StyleAVideoError(
            f"{what} must have the shape {tuple(shape)} for these frames, "
            f"not {tuple(tensor.shape)}."
        )


def check_mask(mask: Tensor, count: int) -> None:
    """Refuse anything but a mask (T,1,H,W) in [0,1] for `count` frames."""
    if mask.ndim != 4 or mask.shape[:2] != (count, 1) or 0 in mask.shape:
        raise StyleAVideoError(
            f"attention_mask must have the shape ({count},1,H,W), not {tuple(mask.shape)}."
        )
    if not ((mask >= 0) & (mask <= 1)).all():
        raise StyleAVideoError("attention_mask must lie between 0 and 1.")


def is_text(text: str) -> bool:
    """Whether it can be written down: lone surrogates, such as bytes that are not UTF-8, cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_prompts(
    what: str, prompt: str | Sequence[str], count: int, *, empty: bool = False
) -> list[str]:
    """One prompt for each of `count` frames, from one string for all or one string a frame.

    Raises:
        StyleAVideoError: no string, empty where `empty` is False, over 2,000 characters, or another
            number of prompts than frames, or no text.
    """
    if not isinstance(prompt, Sequence):
        raise StyleAVideoError(f"{what} must be text, not {type(prompt).__name__}.")
    prompts = [prompt] * count if isinstance(prompt, str) else list(prompt)
    if len(prompts) != count:
        raise StyleAVideoError(
            f"{what} must be one string or one for each of the {count} frames, not {len(prompts)}."
        )
    if strange := [text for text in prompts if not isinstance(text, str)]:
        raise StyleAVideoError(f"{what} must be text, not {type(strange[0]).__name__}.")
    for text in dict.fromkeys(prompts):
        if not empty and not text.strip():
            raise StyleAVideoError(f"{what} is empty; name a style, such as 'a watercolour'.")
        if not is_text(text):
            raise StyleAVideoError(
                f"{what} has bytes that are no text ({text!r:.60}): write it in UTF-8."
            )
        if len(text) > MAX_PROMPT:
            raise StyleAVideoError(
                f"{what} has {len(text):,} characters; shorten it to {MAX_PROMPT:,} or fewer."
            )
    return prompts
