"""Networks from their checked configs and their weights; nothing of a folder is run or imported.

diffusers' and transformers' own loaders import what a folder names, and read whatever lies in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import shown
from .files import finite, safetensors_of, tensor_shapes

MAX_WEIGHTS = 2_000_000_000  # numbers of a part; Stable Diffusion 1.5's U-Net has 860 million

# Of autoencoders that were saved before 2023.
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def plain(key: str) -> str:
    """A weight's name, whatever the version that saved or reads it calls it."""
    key = re.sub(r"^(text_model|vision_model)\.", "", key)  # flattened in transformers 5.6
    return re.sub(
        r"(attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda found: f"{found[1]}.{_OLD[found[2]]}.",
        key,
    )


def build(
    where: Path,
    make: Callable[[], nn.Module],
    files: Sequence[Path],
    dtype: torch.dtype,
    name_of: Callable[[str], str] = plain,
    most: int = MAX_WEIGHTS,
) -> nn.Module:
    """The network that `make` describes, with the weights of these files, in `dtype`.

    It is made without memory for its weights; their names and shapes are compared with the files'
    headers, and only then they are read, one at a time.

    Args:
        where: of the part, to be named.
        name_of: brings names of the network and of the files to one form.
        most: numbers that the network may have.

    Raises:
        StyleAVideoError: the weights are of another network, damaged, or hold NaN or infinity.
    """
    from accelerate import init_empty_weights

    stored: dict[str, tuple[Path, str, list[int]]] = {}
    for file in files:
        for key, shape in tensor_shapes(file).items():
            if not key.endswith("position_ids"):
                stored[name_of(key)] = file, key, shape
    with making(where), init_empty_weights():
        module = make()
    needed = {
        name_of(key): (key, list(value.shape))
        for key, value in module.state_dict().items()
        if not key.endswith("position_ids")
    }
    _check_fit(
        where,
        {name: shape for name, (_, shape) in needed.items()},
        {name: shape for name, (_, _, shape) in stored.items()},
        where.name.endswith("_encoder"),
        most,
    )
    state: dict[str, Tensor] = {}
    for file in dict.fromkeys(file for file, _, _ in stored.values()):
        with safetensors_of(file) as opened:
            for name, (source, key, _) in stored.items():
                if source == file and name in needed:
                    tensor = finite(file, key, opened.get_tensor(key))
                    state[needed[name][0]] = tensor.to(dtype)
    module.load_state_dict(state, strict=False, assign=True)
    return module.eval().requires_grad_(True)


@contextmanager
def making(where: Path) -> Iterator[None]:
    """Whatever a library raises while it makes a part of `where` becomes our sentence: diffusers,
    transformers and tokenizers agree on no class for a config that is wrong.
    """
    try:
        yield
    except (MemoryError, StyleAVideoError):
        raise
    except Exception as error:
        raise unloadable(where, error) from error


def unloadable(where: Path, error: Exception) -> StyleAVideoError:
    """What a library says of a part, as our sentence."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return StyleAVideoError(
        f"{shown(where)} cannot be loaded ({reason}); where that does not tell what to do, "
        "download the whole model again."
    )


def _check_fit(
    where: Path,
    needed: Mapping[str, list[int]],
    stored: Mapping[str, list[int]],
    more: bool,
    most: int,
) -> None:
    """Refuse other names or shapes; `more`: what is too much is not read, such as a projection that
    the class of an encoder leaves out.
    """
    total = sum(math.prod(shape) for shape in needed.values())
    if total > most:
        raise StyleAVideoError(
            f"The {where.name} of {shown(where.parent)} has {total:,} weights, more than any of "
            "its kind; give another model."
        )
    for name in [*needed, *(() if more else stored)]:
        want, have = needed.get(name), stored.get(name)
        if want == have:
            continue
        told = f"{name!r:.120} of shape {have if want is None else want}"
        found = "is not stored" if have is None else f"is stored with {have}"
        if want is None:
            found = "has no place in it"
        raise StyleAVideoError(
            f"The {where.name} of {shown(where.parent)} does not fit its config.json: {told} "
            f"{found}; download the whole model again."
        )
