"""Which style is asked for: words, pictures with weights and regions, or both."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StyleAVideoError

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from torch import Tensor

MAX_PICTURES = 16
MAX_WEIGHT = 1e6
SIDES = (16, 16384)  # px of a picture of a style
SEEN = 1024  # px: the longer side that engines are shown; larger pictures are scaled down


@dataclass(frozen=True, eq=False)
class StylePicture:
    """A picture of a style.

    Attributes:
        image: (3,H,W) float in [0,1].
        weight: its share beside the other pictures', 0 to 1e6.
        mask: (1,h,w) in [0,1], where in the frame it counts, stretched over it; None: everywhere.
        name: for messages.
    """

    image: Tensor
    weight: float = 1.0
    mask: Tensor | None = None
    name: str = "picture"

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or self.weight < 0:
            raise StyleAVideoError(
                f"The weight of the style picture {self.name} must be 0 or more, not "
                f"{self.weight:g}."
            )
        if self.weight > MAX_WEIGHT:
            raise StyleAVideoError(
                f"The weight of the style picture {self.name} must be {MAX_WEIGHT:g} or less, not "
                f"{self.weight:g}."
            )
        if self.image.ndim != 3 or self.image.shape[0] != 3:
            raise StyleAVideoError(
                f"The style picture {self.name} must have the shape (3,H,W), not "
                f"{tuple(self.image.shape)}."
            )
        height, width = self.image.shape[-2:]
        if not all(SIDES[0] <= side <= SIDES[1] for side in (width, height)):
            raise StyleAVideoError(
                f"The style picture {self.name} is {width}x{height}: give one with sides of "
                f"{SIDES[0]} to {SIDES[1]:,} px."
            )

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the pixels, as JSON values."""
        mask = None if self.mask is None else _sha256(self.mask)
        return {"picture": _sha256(self.image), "weight": self.weight, "mask": mask}


@dataclass(frozen=True, eq=False)
class Style:
    """A style in words, in pictures, in both, or the only one that an engine has.

    Raises:
        StyleAVideoError: on making one: too many pictures, weights that are all 0.
    """

    text: str = ""
    pictures: tuple[StylePicture, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pictures) > MAX_PICTURES:
            raise StyleAVideoError(
                f"A style has at most {MAX_PICTURES} pictures, not {len(self.pictures)}."
            )
        if self.pictures and not sum(picture.weight for picture in self.pictures):
            raise StyleAVideoError("The weights of the style pictures are all 0.")

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.pictures)

    @property
    def shares(self) -> list[float]:
        """The pictures' weights, brought to a sum of 1."""
        total = sum(picture.weight for picture in self.pictures)
        return [picture.weight / total for picture in self.pictures]

    @property
    def words(self) -> str:
        """How it is called in messages and on sheets."""
        return self.text or " + ".join(_title(picture.name) for picture in self.pictures)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the pixels, as JSON values."""
        return {"text": self.text, "pictures": [picture.identity for picture in self.pictures]}

    @cached_property
    def key(self) -> str:
        """Equal for equal styles."""
        return json.dumps(self.identity, sort_keys=True)


def read_style_picture(
    path: str | os.PathLike[str], weight: float = 1.0, mask: str | os.PathLike[str] | None = None
) -> StylePicture:
    """A picture file, and where `mask` is given a second one: white where the picture counts.

    Larger pictures are scaled to a longer side of `SEEN` px; transparent parts become white.

    Raises:
        StyleAVideoError: a file that is not there, no picture, animated, damaged, too small or too
            large.
    """
    from ..media import read_still

    image = read_still(path, SIDES, SEEN)
    region = None if mask is None else read_still(mask, SIDES, SEEN).mean(0, keepdim=True)
    return StylePicture(image, weight, region, Path(path).name)


def _title(name: str) -> str:
    """Of a file's name, without folder and suffix."""
    return Path(name).stem.replace("_", " ")


def parse_picture(text: str) -> tuple[Path, float]:
    """PATH or PATH:WEIGHT → both.

    Raises:
        StyleAVideoError: a weight that is no number.
    """
    path, colon, weight = text.rpartition(":")
    if not colon or os.path.exists(text) or os.sep in weight or len(path) == 1:
        return Path(text), 1.0
    try:
        return Path(path), float(weight)
    except ValueError:
        if Path(weight).suffix:
            return Path(text), 1.0
        raise StyleAVideoError(
            f"The weight of the style picture {path} must be a number, not {weight!r}."
        ) from None


def read_pictures(
    given: Sequence[tuple[Path, float]], masks: Sequence[Path] = ()
) -> tuple[StylePicture, ...]:
    """These files; the masks, where there are any, one for each.

    Raises:
        StyleAVideoError: another number of masks than pictures; see `read_style_picture`.
    """
    if masks and len(masks) != len(given):
        raise StyleAVideoError(
            f"There are {len(masks)} masks for {len(given)} style pictures: give one for each."
        )
    return tuple(
        read_style_picture(path, weight, masks[k] if masks else None)
        for k, (path, weight) in enumerate(given)
    )


def _sha256(values: Tensor) -> str:
    found = hashlib.sha256(str(tuple(values.shape)).encode())
    found.update(values.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
