"""Safetensors and JSON read with care: a bad file is one sentence, before anything heavy.

No pickle is ever opened: it may run code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import (
    check_file,
    kind_of_place,
    opened,
    parse_json,
    read_bounded,
    shown,
    told,
)

MAX_HEADER = 4 << 20  # bytes; Stable Diffusion 1.5 has 150 kB, the largest models of today 1 MB
MAX_JSON = 1 << 20  # bytes of a config; an index of shards is as large at most
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes by name from a safetensors header, which is all that is read.

    Raises:
        StyleAVideoError: missing, a pickle by name or content, not safetensors, truncated, a weight
            that is no floating-point number.
    """
    check_file(path)
    if path.suffix.lower() in PICKLES:
        raise StyleAVideoError(
            f"{shown(path)} is a pickle, which may run code; get the checkpoint as .safetensors."
        )
    with opened(path) as file, told(path):
        size = path.stat().st_size
        head = file.read(9)
        if head[8:] != b"{":
            if head.startswith((b"PK\x03\x04", b"\x80")):  # torch.save, new and old
                raise StyleAVideoError(
                    f"{shown(path)} is a pickle in spite of its name, which may run code; get the "
                    "checkpoint as real .safetensors."
                )
            raise StyleAVideoError(
                f"{shown(path)} is not a safetensors file ({size:,} bytes); download it again or "
                "give another."
            )
        length = int.from_bytes(head[:8], "little")
        truncated = StyleAVideoError(
            f"{shown(path)} is truncated ({size:,} bytes); download it again."
        )
        if size < 8 + length:
            raise truncated
        damaged = StyleAVideoError(
            f"The header of {shown(path)} cannot be read; download the file again."
        )
        if not 2 <= length <= MAX_HEADER:
            raise damaged
        text = b"{" + file.read(length - 1)
    try:
        header = parse_json(text)
        header.pop("__metadata__", None)
        end = max((_whole(entry["data_offsets"][1]) for entry in header.values()), default=0)
        shapes = {key: [_whole(n) for n in entry["shape"]] for key, entry in header.items()}
        kinds = {key: entry["dtype"] for key, entry in header.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged from error
    if size < 8 + length + end:
        raise truncated
    for key, kind in kinds.items():
        if kind not in FLOATS and not _is_count(key):
            raise StyleAVideoError(
                f"Tensor {key!r:.200} of {shown(path)} holds {kind!r:.20}, no floating-point "
                "numbers; get the model unquantized."
            )
    return shapes


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"no size: {value!r}")
    return value


def _is_count(key: str) -> bool:
    """Counters that checkpoints hold beside their weights."""
    return key.endswith(("position_ids", "num_updates", "num_batches_tracked"))


@contextmanager
def safetensors_of(path: Path) -> Iterator[Any]:
    """The file, opened for its tensors.

    Raises:
        StyleAVideoError: it is damaged.
    """
    try:
        with told(path), safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise StyleAVideoError(
            f"{shown(path)} is a damaged safetensors file ({error}); download it again."
        ) from error


def check_finite(path: Path, keys: Iterable[str] | None = None) -> None:
    """Refuse NaN and infinity, naming the first tensor that has one; one tensor in memory."""
    with safetensors_of(path) as file:
        for key in file.keys() if keys is None else keys:
            finite(path, key, file.get_tensor(key))


def finite(path: Path, key: str, tensor: Tensor) -> Tensor:
    """A tensor of a file, without NaN and infinity."""
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    # float8 has no reductions
    seen = tensor.float() if tensor.element_size() == 1 else tensor
    low, high = (float(v) for v in seen.aminmax())  # NaN passes through both
    if not (math.isfinite(low) and math.isfinite(high)):
        raise StyleAVideoError(
            f"Tensor {key} of {shown(path)} holds NaN or infinity; download it again or give "
            "another checkpoint."
        )
    return tensor


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder.

    Raises:
        StyleAVideoError: missing, no regular file, too large, not JSON, or JSON of another kind.
    """
    if not kind_of_place(path):
        raise StyleAVideoError(f"{shown(path)} is missing; download the model again.")
    try:
        value = parse_json(read_bounded(path, MAX_JSON))
    except StyleAVideoError:
        raise
    except ValueError as error:
        raise StyleAVideoError(f"{shown(path)} is not JSON; download the model again.") from error
    if not isinstance(value, dict):
        raise StyleAVideoError(f"{shown(path)} is not a JSON object; download the model again.")
    return value
