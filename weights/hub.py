"""Models of the Hugging Face hub: downloaded with progress, kept in the hub's cache."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from ..pipelines.errors import StyleAVideoError
from .parts import OPTIONAL, PARTS


def download_model(repo: str) -> Path:
    """The diffusers folder of a hub repository: what is needed of it, safetensors only."""
    allow = [
        "model_index.json",
        "tokenizer/*.json",
        "tokenizer/*.txt",
        "scheduler/*.json",
        "feature_extractor/*.json",
    ]
    for name, part in (PARTS | OPTIONAL).items():
        if part.stem:
            allow += [f"{name}/config.json", f"{name}/{part.stem}*.safetensors*"]
    # The half-precision copies only where the repository has no other.
    folder = download(repo, allow, ["*.fp16.*", "*.non_ema*"], by_hand(repo))
    if not any((folder / "unet").glob("*.safetensors")):
        folder = download(repo, allow, ["*.non_ema*"], by_hand(repo))
    return folder


def by_hand(repo: str) -> str:
    """What to do where the hub cannot be reached."""
    return (
        f"download it elsewhere with `hf download {repo} --local-dir FOLDER`, copy FOLDER to this "
        "machine and give its path as the model"
    )


def download(repo: str, allow: list[str], ignore: list[str], otherwise: str) -> Path:
    """Snapshot of a hub repository, with progress, from the hub's cache where it is there.

    Args:
        allow, ignore: patterns of file names.
        otherwise: what to do where the hub cannot be reached, for the message.

    Raises:
        StyleAVideoError: no such model, no way to the hub, or no space.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    # Transport errors have the base class of whichever HTTP client the hub's library uses.
    failures: tuple[Any, ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        return Path(snapshot_download(repo, allow_patterns=allow, ignore_patterns=ignore))
    except HFValidationError as error:
        raise StyleAVideoError(
            f"{repo!r} is not a hub id: give OWNER/NAME, as in timbrooks/instruct-pix2pix."
        ) from error
    except RepositoryNotFoundError as error:
        raise StyleAVideoError(
            f"The hub shows no model {repo} (and there is no such folder here); check the name, or "
            "log in with `hf auth login` if it is private."
        ) from error
    except failures as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise StyleAVideoError(
                f"The disk is full while {repo} is downloaded: free space, or set HF_HOME to a "
                "folder on another disk."
            ) from error
        raise StyleAVideoError(
            f"The hub cannot be reached for {repo}, which is not in the cache; {otherwise}."
        ) from error
