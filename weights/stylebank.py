"""StyleBank's networks, and learned styles, a file each (stylebank/README.md)."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from ..pipelines.errors import StyleAVideoError
from ..pipelines.files import shown, told
from .files import finite, safetensors_of, tensor_shapes

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.core.coherence import TracedMask
    from ..pipelines.core.stylebank import StyleBank

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "stylebank"
SHIPPED = FOLDER / "styles"
PHOTOS = FOLDER / "photos"
SUFFIX = ".safetensors"
STYLE_NAME = r"[\w-]{1,64}"
FILTERS = "filters"  # the one tensor of a learned style's file


@dataclass(frozen=True)
class BaseStyle:
    """A style that ships.

    Attributes:
        name: as --style takes it.
        source: its picture, a file in the folder of training data.
    """

    name: str
    source: str


BASE = (
    BaseStyle("starry_night", "paintings/starry_night_vangogh_1889.jpg"),
    BaseStyle("scream", "paintings/scream_munch_1893.jpg"),
    BaseStyle("great_wave", "paintings/wave_hokusai_1831.jpg"),
    BaseStyle("composition", "paintings/composition_vii_kandinsky_1913.jpg"),
    BaseStyle("water_lilies", "paintings/water_lilies_monet_1919.jpg"),
    BaseStyle("shipwreck", "paintings/shipwreck_turner_1810.jpg"),
    BaseStyle("udnie", "paintings/udnie_picabia_1913.jpg"),
    BaseStyle("cubist", "paintings/mondrian.jpg"),
    BaseStyle("gold_leaf", "paintings/flowers_sakai_hoitsu.jpg"),
    BaseStyle("dots_of_colour", "styles/paul-signac-la-calanque-1.jpg"),
    BaseStyle("stained_glass", "styles/anonymous-leon-cathedral-windows-13th-century-1.jpg"),
    BaseStyle("engraving", "styles/john-tenniel-alice-in-wonderland-illustration-22-1.jpg"),
)


def load_network() -> StyleBank:
    """Encoder and decoder in float32, ready to use."""
    from ..pipelines.core.stylebank import StyleBank

    with torch.inference_mode(False):  # a style can be learned with it
        network = StyleBank()
        network.load_state_dict(load_file(FOLDER / f"network{SUFFIX}"))
        return network.float().eval().requires_grad_(False)


def load_traced_mask() -> TracedMask:
    """The mask of what goes on from frame to frame, in float32, ready to use."""
    from ..pipelines.core.coherence import TracedMask
    from ..pipelines.core.stylebank import WIDTHS

    network = TracedMask(WIDTHS[-1])
    network.load_state_dict(load_file(FOLDER / f"traced_mask{SUFFIX}"))
    return network.float().eval().requires_grad_(False)


@cache
def network_identity() -> str:
    """What a learned style belongs to: it means nothing to other networks."""
    return hashlib.sha256((FOLDER / f"network{SUFFIX}").read_bytes()).hexdigest()


def photos() -> list[Path]:
    """Pictures that a style is learned on (stylebank/README.md)."""
    return sorted(PHOTOS.glob("*.jpg"))


def own_styles() -> Path:
    """The folder of the styles that a user has learned: STYLE_A_VIDEO_STYLES, or one at home."""
    named = os.environ.get("STYLE_A_VIDEO_STYLES")
    return Path(named) if named else Path.home() / ".style-a-video" / "styles"


def style_names(folders: Sequence[Path]) -> list[str]:
    """Of all learned styles in these folders, in order, each once."""
    found = []
    for folder in folders:
        if folder.is_dir():
            with told(folder):
                found += sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    return list(dict.fromkeys(found))


def find_style(name: str, folders: Sequence[Path]) -> Path:
    """The file of a learned style: by its own path, or by its name in the first folder with it.
    Where that hides one that ships it is said, once.

    Raises:
        StyleAVideoError: there is none; the message lists those that are there.
    """
    if name.endswith(SUFFIX):
        return Path(name)
    if name in style_names(folders):
        path = next(p for f in folders if (p := f / f"{name}{SUFFIX}").is_file())
        if path.parent != SHIPPED and name in style_names([SHIPPED]):
            _tell_hidden(name, path)
        return path
    raise StyleAVideoError(
        f"There is no learned style {name!r:.100}; there are: {', '.join(style_names(folders))}."
    )


@cache
def _tell_hidden(name: str, path: Path) -> None:
    logger.warning(
        f"The learned style {name} is your own, {shown(path)}: it hides the one of that name that "
        "ships."
    )


def read_style(path: Path) -> Tensor:
    """The filters of a learned style, (128,128,3,3) float32.

    Raises:
        StyleAVideoError: no such file, a pickle, another file, a style of other networks.
    """
    from ..pipelines.core.stylebank import BANK

    shapes = tensor_shapes(path)
    if shapes != {FILTERS: list(BANK)}:
        raise StyleAVideoError(
            f"{shown(path)} is no learned style: make one with style-a-video learn."
        )
    with safetensors_of(path) as file:
        network = (file.metadata() or {}).get("network")
        filters = finite(path, FILTERS, file.get_tensor(FILTERS))
    if network != network_identity():
        raise StyleAVideoError(
            f"{shown(path)} was learned for other networks than those of this version: learn it "
            "again."
        )
    return filters.float()


def about_style(path: Path) -> dict[str, str]:
    """What `write_style` was told about a style."""
    with safetensors_of(path) as file:
        return file.metadata() or {}


def write_style(path: Path, filters: Tensor, about: Mapping[str, str]) -> None:
    """A learned style as a file, which appears when it is complete.

    Args:
        about: kept beside it: the "network" it belongs to, and what it was learned from.

    Raises:
        StyleAVideoError: the system refuses.
    """
    with told(path, "be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        save_file({FILTERS: filters.detach().cpu().half().contiguous()}, part, dict(about))
        part.chmod(0o644)  # it is written for its owner alone
        os.replace(part, path)
