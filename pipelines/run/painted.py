"""Keyframes that a user painted, in the place of an engine: pictures by their frames' numbers."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..engines.style import Style
from ..errors import StyleAVideoError
from ..files import shown
from ..media import Part, VideoInfo
from ..media.sizes import MAX_SIDE
from ..media.stills import pictures_in, read_still
from ..refine.keyframes import Keyframes
from .job import digest
from .shots import Plan

SIDES = (1, 8192)  # px


@dataclass(frozen=True)
class Painted:
    """Painted frames, from files or in memory. Implements `kinds.Loaded` and is its own engine.

    Attributes:
        pictures: by frame index, rising: a file each, or (3,H,W) in [0,1].
        digest: SHA-256 of them.
    """

    pictures: Mapping[int, str | Tensor]
    digest: str

    device, dtype = torch.device("cpu"), torch.float32
    side = MAX_SIDE  # px
    bytes_per_pixel = 64

    @property
    def keyframes(self) -> Keyframes:
        return Keyframes(painted=tuple(self.pictures))

    def identity(self) -> dict[str, Any]:
        return {"painted": self.digest}

    def remarks(self, style: Style) -> list[str]:
        return []

    def engine(self, style: Style) -> Painted:
        return self

    def __call__(self, frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        size = frames.shape[-2:]
        return torch.stack([_at_size(_read(self.pictures[i]), size) for i in frame_indices])


def read_painted(folder: str | os.PathLike[str], info: VideoInfo, part: Part) -> Painted:
    """The pictures of a folder, named by the numbers of their frames: 0040.png, frame_40.jpg.

    Frames are counted from 0, the first of the part. Where the source is a folder of pictures, each
    has the name of the one that was painted over.

    Raises:
        StyleAVideoError: no such folder, no picture in it, one that cannot be read, of another
            shape than the frames, without a number or a name of the source's, two of one frame.
    """
    folder = Path(folder)
    files: dict[int, str] = {}
    for path in pictures_in(folder):
        index = _named(path, info, part) if info.path.is_dir() else _numbered(path)
        if index in files:
            raise StyleAVideoError(
                f"{shown(files[index])} and {shown(path.name)} are both of frame {index}: take one "
                "out."
            )
        _check_shape(shown(path), _read(path), (info.width, info.height))
        files[index] = str(path)
    if not files:
        raise StyleAVideoError(
            f"{shown(folder)} holds no PNG or JPEG picture: put painted frames there, named by "
            "their numbers, such as 0040.png."
        )
    return Painted({i: name for i, name in sorted(files.items()) if i >= 0}, digest(folder))


def painted_pictures(pictures: Sequence[Tensor], numbers: Sequence[int]) -> Painted:
    """Pictures (3,H,W) in [0,1] of the frames with these numbers, counted from 0.

    Raises:
        StyleAVideoError: not a number for each picture, one below 0 or twice.
    """
    if len(pictures) != len(numbers):
        raise StyleAVideoError(
            f"There are {len(pictures)} painted pictures and {len(numbers)} numbers of frames: "
            "give the number of its frame for every picture."
        )
    for number in numbers:
        if number < 0 or numbers.count(number) > 1:
            raise StyleAVideoError(
                f"Frame {number} cannot be painted"
                f"{' twice' if number >= 0 else ''}: frames are counted from 0, and each has one "
                "picture."
            )
    held = hashlib.sha256()
    by_number = dict(sorted(zip(numbers, pictures, strict=True), key=lambda one: one[0]))
    for number, picture in by_number.items():
        held.update(f"{number} {tuple(picture.shape)}".encode())
        held.update(picture.contiguous().numpy().tobytes())
    return Painted(by_number, held.hexdigest())


def check_shapes(painted: Painted, size: tuple[int, int]) -> None:
    """Refuse pictures of another shape than frames of this size (width, height)."""
    for number, picture in painted.pictures.items():
        _check_shape(f"The painted picture of frame {number}", _read(picture), size)


def _check_shape(name: str, picture: Tensor, size: tuple[int, int]) -> None:
    (height, width), (wide, high) = picture.shape[-2:], size
    if abs(width * high - height * wide) > max(width, height, wide):
        raise StyleAVideoError(
            f"{name} is {width}x{height}, and the frames are {wide}x{high}: paint on pictures of "
            "that size, or of that shape."
        )


def _numbered(path: Path) -> int:
    number = re.search(r"[0-9]{1,12}$", path.stem)
    if number is None:
        raise StyleAVideoError(
            f"{shown(path)} is not named by the number of a frame: call it such as 0040.png."
        )
    return int(number[0])


def _named(path: Path, info: VideoInfo, part: Part) -> int:
    """By the picture of the source; below 0 before the part."""
    names = [one.stem for one in pictures_in(info.path)]
    if path.stem not in names:
        raise StyleAVideoError(
            f"{shown(path)} has the name of no picture in {shown(info.path)}: call it as the one "
            "that it was painted on."
        )
    return names.index(path.stem) - max(0, math.ceil((part.start or 0) * info.frame_rate))


def check_painted(painted: Sequence[int], plan: Plan, part: Part) -> None:
    """Refuse keyframes by which not every frame can be made; those behind a part are passed over.

    Raises:
        StyleAVideoError: a keyframe beyond the last frame, a shot without one, one that comes too
            late in its shot.
    """
    if max(painted, default=0) >= plan.frames and not part.is_trimmed:
        raise StyleAVideoError(
            f"Frame {max(painted)} is painted, and there are frames 0 to {plan.frames - 1}: name "
            "the picture by its own frame's number."
        )
    for number, shot in enumerate(plan.shots):
        first = next(s for s in plan.segments if s.shot == number)
        if not any(shot.start <= index < shot.end for index in painted):
            raise StyleAVideoError(
                f"The shot of frames {shot.start} to {shot.end - 1} has no painted keyframe: paint "
                f"one of them, such as {shot.start:04d}.png."
            )
        if not any(first.start <= index < first.end for index in painted):
            raise StyleAVideoError(
                f"The first painted keyframe of the shot that begins with frame {shot.start} comes "
                f"too late: paint one of the frames {first.start} to {first.end - 1} too."
            )


def _read(picture: str | os.PathLike[str] | Tensor) -> Tensor:
    return picture if isinstance(picture, Tensor) else read_still(picture, SIDES, SIDES[1])


def _at_size(picture: Tensor, size: Sequence[int]) -> Tensor:
    """(3,H,W) → of this size (H,W); as it is where it has that already."""
    if picture.shape[-2:] == tuple(size):
        return picture
    scaled = interpolate(picture[None], tuple(size), mode="bicubic", antialias=True)[0]
    return scaled.clamp(0, 1)
