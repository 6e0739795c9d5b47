"""Which style is asked for: words, pictures or learned styles with weights and regions."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import StyleAVideoError

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from torch import Tensor

MAX_MEMBERS = 16  # pictures or learned styles
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
        _check_member(f"style picture {self.name}", self)
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
        return {"picture": _sha256(self.image), **_place(self)}


@dataclass(frozen=True, eq=False)
class LearnedStyle:
    """A style as an engine has learned it.

    Attributes:
        filters: what was learned (weights/stylebank.py reads them from a file).
        weight, mask, name: as of a `StylePicture`.
    """

    filters: Tensor
    weight: float = 1.0
    mask: Tensor | None = None
    name: str = "style"

    def __post_init__(self) -> None:
        _check_member(f"learned style {self.name}", self)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the pixels, as JSON values."""
        return {"learned": _sha256(self.filters), **_place(self)}


Member = TypeVar("Member", StylePicture, LearnedStyle)


def _check_member(of: str, member: StylePicture | LearnedStyle) -> None:
    weight, mask = member.weight, member.mask
    if mask is not None and not mask.isfinite().all():
        raise StyleAVideoError(f"The mask of the {of} holds values that are no finite numbers.")
    if not math.isfinite(weight) or weight < 0:
        raise StyleAVideoError(f"The weight of the {of} must be 0 or more, not {weight:g}.")
    if weight > MAX_WEIGHT:
        raise StyleAVideoError(
            f"The weight of the {of} must be {MAX_WEIGHT:g} or less, not {weight:g}."
        )


def _place(member: StylePicture | LearnedStyle) -> dict[str, Any]:
    mask = None if member.mask is None else _sha256(member.mask)
    return {"weight": member.weight, "mask": mask}


@dataclass(frozen=True, eq=False)
class Style:
    """A style in words, in pictures or both, in learned styles, or the only one an engine has.

    Raises:
        StyleAVideoError: on making one: too many pictures or learned styles, both, weights that
            are all 0.
    """

    text: str = ""
    pictures: tuple[StylePicture, ...] = ()
    learned: tuple[LearnedStyle, ...] = ()

    def __post_init__(self) -> None:
        kind = "pictures" if self.pictures else "learned styles"
        if self.pictures and self.learned:
            raise StyleAVideoError(
                "A style is made of pictures or of learned styles, not of both: leave one out."
            )
        if len(self.members) > MAX_MEMBERS:
            raise StyleAVideoError(
                f"A style has at most {MAX_MEMBERS} {kind}, not {len(self.members)}."
            )
        if self.members and not sum(member.weight for member in self.members):
            of = "style pictures" if self.pictures else "learned styles"
            raise StyleAVideoError(f"The weights of the {of} are all 0.")

    @property
    def members(self) -> Sequence[StylePicture | LearnedStyle]:
        """What is mixed, or put into regions."""
        return self.pictures or self.learned

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.members)

    @property
    def shares(self) -> list[float]:
        """The members' weights, brought to a sum of 1."""
        total = sum(member.weight for member in self.members)
        return [member.weight / total for member in self.members]

    @property
    def words(self) -> str:
        """How it is called in messages and on sheets."""
        parts = [self.text] if self.text else []
        return " + ".join([*parts, *(_title(member.name) for member in self.members)])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the pixels, as JSON values."""
        pictures = {"pictures": [picture.identity for picture in self.pictures]}
        learned = {"learned": [one.identity for one in self.learned]} if self.learned else {}
        return {"text": self.text, **pictures, **learned}

    @property
    def told(self) -> dict[str, Any]:
        """The identity with what messages call it by, which decides nothing."""
        return {"called": self.words, **self.identity} if self.members else self.identity

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
    return StylePicture(image, weight, _region(mask), Path(path).name)


def read_learned_style(
    name: str | os.PathLike[str], weight: float = 1.0, mask: str | os.PathLike[str] | None = None
) -> LearnedStyle:
    """A style by its name, among those that ship and those that the user has learned, or by its
    file; `mask` as for a picture.

    Raises:
        StyleAVideoError: there is none, or its file cannot be used.
    """
    from ...weights.stylebank import SHIPPED, find_style, own_styles, read_style

    path = find_style(os.fspath(name), (own_styles(), SHIPPED))
    return LearnedStyle(read_style(path), weight, _region(mask), path.stem)


def _region(mask: str | os.PathLike[str] | None) -> Tensor | None:
    from ..media import read_still

    return None if mask is None else read_still(mask, SIDES, SEEN).mean(0, keepdim=True)


def _title(name: str) -> str:
    """Of a file's name, without folder and suffix."""
    return Path(name).stem.replace("_", " ")


def parse_picture(text: str, of: str = "style picture") -> tuple[Path, float]:
    """PATH or PATH:WEIGHT → both; `of`: what it is, for the message.

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
            f"The weight of the {of} {path} must be a number, not {weight!r}."
        ) from None


def read_pictures(
    given: Sequence[tuple[Path, float]], masks: Sequence[Path] = ()
) -> tuple[StylePicture, ...]:
    """These files; the masks, where there are any, one for each.

    Raises:
        StyleAVideoError: another number of masks than pictures; see `read_style_picture`.
    """
    return _each(read_style_picture, given, masks, "style pictures")


def read_learned(
    given: Sequence[tuple[Path, float]], masks: Sequence[Path] = ()
) -> tuple[LearnedStyle, ...]:
    """These names or files; the masks as for pictures.

    Raises:
        StyleAVideoError: another number of masks than styles; see `read_learned_style`.
    """
    return _each(read_learned_style, given, masks, "learned styles")


def _each(
    read: Callable[[Path, float, Path | None], Member],
    given: Sequence[tuple[Path, float]],
    masks: Sequence[Path],
    of: str,
) -> tuple[Member, ...]:
    if masks and len(masks) != len(given):
        raise StyleAVideoError(
            f"There are {len(masks)} masks for {len(given)} {of}: give one for each."
        )
    regions: Sequence[Path | None] = masks or [None] * len(given)
    return tuple(
        read(path, weight, mask) for (path, weight), mask in zip(given, regions, strict=True)
    )


def _sha256(values: Tensor) -> str:
    found = hashlib.sha256(str(tuple(values.shape)).encode())
    found.update(values.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
