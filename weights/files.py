"""Safetensors and JSON read with care: a bad file is one sentence, before anything heavy.

No pickle is ever opened: it may run code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..pipelines.errors import StyleAVideoError

MAX_HEADER = 100_000_000  # bytes, safetensors' own limit
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes by name from a safetensors header, which is all that is read.

    Raises:
        StyleAVideoError: missing, a pickle by name or content, not safetensors, or truncated.
    """
    if not path.is_file():
        raise StyleAVideoError(f"There is no file {str(path)!r}; check the path.")
    if path.suffix.lower() in PICKLES:
        raise StyleAVideoError(
            f"{path} is a pickle, which may run code; get the checkpoint as .safetensors."
        )
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
        if head[8:] != b"{":
            if head.startswith((b"PK\x03\x04", b"\x80")):  # torch.save, new and old
                raise StyleAVideoError(
                    f"{path} is a pickle in spite of its name, which may run code; get the "
                    "checkpoint as real .safetensors."
                )
            raise StyleAVideoError(
                f"{path} is not a safetensors file ({size:,} bytes); download it again or give "
                "another."
            )
        length = int.from_bytes(head[:8], "little")
        truncated = StyleAVideoError(f"{path} is truncated ({size:,} bytes); download it again.")
        if size < 8 + length:
            raise truncated
        damaged = StyleAVideoError(f"The header of {path} cannot be read; download the file again.")
        if not 2 <= length <= MAX_HEADER:
            raise damaged
        text = b"{" + file.read(length - 1)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = {key: list(entry["shape"]) for key, entry in header.items()}
        whole = size >= 8 + length + end
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged from error
    if not whole:
        raise truncated
    return shapes


def check_finite(path: Path, keys: Iterable[str] | None = None) -> None:
    """Refuse NaN and infinity, naming the first tensor that has one; one tensor in memory."""
    try:
        opened = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise StyleAVideoError(
            f"{path} is a damaged safetensors file ({error}); download it again."
        ) from error
    with opened as file:
        for key in file.keys() if keys is None else keys:
            tensor = file.get_tensor(key)
            if not tensor.is_floating_point() or not tensor.numel():
                continue
            if tensor.element_size() == 1:  # float8 has no reductions
                tensor = tensor.float()
            low, high = (float(v) for v in tensor.aminmax())  # NaN passes through both
            if not (math.isfinite(low) and math.isfinite(high)):
                raise StyleAVideoError(
                    f"Tensor {key} of {path} holds NaN or infinity; download it again or give "
                    "another checkpoint."
                )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder.

    Raises:
        StyleAVideoError: missing, not JSON, or JSON of another kind.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StyleAVideoError(
            f"{path} is missing or not JSON; download the model again."
        ) from error
    if not isinstance(value, dict):
        raise StyleAVideoError(f"{path} is not a JSON object; download the model again.")
    return value
