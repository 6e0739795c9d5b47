"""What weights are, in one number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch


def fingerprint(components: Mapping[str, Any]) -> str:
    """SHA-256 of all weights of these modules, by name, wherever they came from."""
    found = hashlib.sha256()
    for name, module in sorted(components.items()):
        if isinstance(module, torch.nn.Module):
            for key, tensor in module.state_dict().items():
                found.update(f"{name}.{key}".encode())
                found.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()
