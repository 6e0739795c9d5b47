"""Sources that are not containers of packets: a folder of pictures, an animated WebP."""

from __future__ import annotations

import math
import os
import re
import struct
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import StyleAVideoError
from ..files import kind_of_place, opened, shown, told
from .decoded import Decoded, has_alpha, is_transparent, matrix_of
from .frames import RATE, VideoInfo
from .opening import MAX_PIXELS, check_pixels, open_input, video_stream
from .packed import check_head

PICTURES = (".png", ".jpg", ".jpeg")
STILLS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of what a single picture may be."""
_BROKEN = (
    *(OSError, EOFError, ValueError, SyntaxError, LookupError, TypeError, struct.error),
)  # what Pillow ends in at a broken picture
MAX_ANIMATED = 1 << 25  # pixels of a WebP, 8192 x 4096: its decoder holds four copies of them
LOOKED_AT = 1 << 27  # pixels of an animation decoded to see whether it is opaque
_HEADS = {b"\x89PNG": "png_pipe", b"\xff\xd8\xff": "jpeg_pipe"}


# a folder of pictures


def pictures_in(folder: Path) -> list[Path]:
    """Its PNG and JPEG pictures in natural order: frame2 before frame10."""
    with told(folder):
        inside = list(folder.iterdir())
    found = [
        path
        for path in inside
        if path.suffix.lower() in PICTURES and path.is_file() and not path.name.startswith(".")
    ]
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts]


def probe_folder(folder: Path, rate: Fraction = RATE) -> VideoInfo:
    """What a folder of pictures shows at `rate` pictures/s.

    Raises:
        StyleAVideoError: no picture, one that cannot be opened, pictures of different sizes.
    """
    paths = pictures_in(folder)
    if not paths:
        raise StyleAVideoError(
            f"{folder} is a folder without PNG or JPEG pictures: give one that has them, or a "
            "video file."
        )
    first, size = _read_picture(paths[0]), _size(paths[0])
    for path in paths:
        if (other := _size(path)) != size:
            raise StyleAVideoError(
                f"{shown(path)} is {other[0]}x{other[1]} and {shown(paths[0].name)} "
                f"{size[0]}x{size[1]}: bring "
                "the pictures to one size, or put them into different folders."
            )
    width, height = first.width, first.height
    if matrix_of(first)[1]:
        width, height = height, width
    return VideoInfo(
        path=folder,
        width=width,
        height=height,
        aspect=Fraction(width, height),
        frame_rate=rate,
        time_base=1 / rate,
        origin=Fraction(0),
        start=Fraction(0),
        end=len(paths) / rate,
        frames=len(paths),
        rotation=first.rotation % 360,
        bits=first.format.components[0].bits,
        codec=paths[0].suffix.lower().removeprefix("."),
        audio=(),
        alpha=has_alpha(first),
    )


def decode_folder(
    folder: Path, rate: Fraction = RATE, start: Fraction | None = None
) -> Iterator[Decoded]:
    """Its pictures from `start` (s) on, one read at a time."""
    skipped = 0 if start is None else max(0, math.ceil(start * rate))
    for i, path in islice(enumerate(pictures_in(folder)), skipped, None):
        yield Decoded(_read_picture(path), i / rate, 1 / rate)


def read_still(path: str | os.PathLike[str], sides: tuple[int, int], seen: int) -> Tensor:
    """One picture of any common kind, upright: (3,H,W) float in [0,1], at most `seen` px a side.

    Grey, CMYK and 16 bits become RGB, what is transparent becomes white. A strip is larger where
    its shorter side would not be `sides[0]` px otherwise.

    Args:
        sides: px, of the shortest and the longest side that are taken.

    Raises:
        StyleAVideoError: it is not there, is no picture, animated, damaged, too small or too large.
    """
    path = Path(path)
    place = kind_of_place(path)
    if place == "folder":
        raise StyleAVideoError(f"{shown(path)} is a folder: give one of the pictures in it.")
    if place != "file":
        raise StyleAVideoError(f"There is no picture {shown(path)}: give a PNG, JPEG or WebP file.")
    check_head(path)
    span = f"give a picture with sides of {sides[0]} to {sides[1]:,} px."
    with opened(path) as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(file, formats=STILLS)
        except Image.DecompressionBombError as error:
            raise StyleAVideoError(f"{shown(path)} has too many pixels: {span}") from error
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise StyleAVideoError(
                f"{shown(path)} is not a picture that can be read: give a PNG, JPEG or WebP file."
            ) from error
        width, height = image.size
        if not all(sides[0] <= side <= sides[1] for side in image.size):
            raise StyleAVideoError(f"{shown(path)} is {width}x{height}: {span}")
        check_pixels(path, width, height)
        # Cameras put a second picture, a preview or depth, behind the first: Pillow's MPO.
        try:
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise StyleAVideoError(
                    f"{shown(path)} is animated: give a picture that stands still."
                )
            image.draft("RGB", (2 * seen, 2 * seen))  # a JPEG is decoded no larger than needed
            still = _on_white(ImageOps.exif_transpose(image))
        except StyleAVideoError:
            raise
        except _BROKEN as error:
            raise StyleAVideoError(f"{shown(path)} cannot be decoded: save it again.") from error
    seen = max(seen, math.ceil(sides[0] * max(still.size) / min(still.size)))
    still.thumbnail((seen, seen), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(still)).permute(2, 0, 1) / 255


def _on_white(image: Image.Image) -> Image.Image:
    """As RGB of 8 bits."""
    if image.mode.startswith("I"):  # Pillow would cut off grey of 16 bits at 255
        values = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _size(path: Path) -> tuple[int, int]:
    """Width and height, from the head of the file alone."""
    with _opened(path) as image:
        return image.size


@contextmanager
def _opened(path: Path, most: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """PIL's image, of which nothing is decoded yet, in a size that can be worked on."""
    with opened(path) as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # see below
                image = Image.open(file, formats=("PNG", "JPEG", "WEBP"))
        except (
            UnidentifiedImageError,
            OSError,
            Image.DecompressionBombError,
            ValueError,
            SyntaxError,
        ) as error:
            raise StyleAVideoError(
                f"{shown(path)} is not a picture that can be read: save it again, or take it out "
                "of the folder."
            ) from error
        check_pixels(path, *image.size, most)
        yield image


def _read_picture(path: Path) -> av.VideoFrame:
    """By PyAV, which keeps 16 bits; and turned as a camera says."""
    _size(path)
    # By its head: the demuxer of numbered pictures would take a % in the name for others.
    demuxer = next((name for head, name in _HEADS.items() if starts_with(path, head)), None)
    with open_input(path, demuxer) as container:
        try:
            return next(container.decode(video_stream(container, path)))
        except (av.FFmpegError, StopIteration) as error:
            raise StyleAVideoError(
                f"{shown(path)} cannot be decoded: save it again, or leave it out."
            ) from error


def starts_with(path: Path, head: bytes) -> bool:
    with opened(path) as file:
        return file.read(len(head)) == head


# animated WebP, which FFmpeg reads only in its newest releases


def is_webp(path: Path) -> bool:
    """By its first bytes, whatever its name."""
    if kind_of_place(path) != "file":
        return False
    with opened(path) as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def probe_webp(path: Path) -> VideoInfo:
    """What an animated or still WebP holds.

    Most say that they have alpha, and are opaque: a few pictures are decoded to see. Where they do
    not tell, the file is believed.

    Raises:
        StyleAVideoError: it cannot be decoded, or is too large.
    """
    width, height, durations, alpha = webp_head(path)
    few = max(1, LOOKED_AT // (width * height))
    with closing(decode_webp(path)) as pictures:
        seen = any([is_transparent(given.picture) for given in islice(pictures, few)])
    times = durations or [1 / RATE]
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        aspect=Fraction(width, height),
        frame_rate=Fraction(len(times)) / sum(times),
        time_base=Fraction(1, 1000),
        origin=Fraction(0),
        start=Fraction(0),
        end=sum(times, Fraction(0)),
        frames=len(times),
        rotation=0,
        bits=8,
        codec="webp",
        audio=(),
        alpha=seen or (alpha and len(times) > few),
    )


def webp_head(path: Path) -> tuple[int, int, list[Fraction], bool]:
    """Width, height, how long each picture of an animation is shown (s), whether alpha is stated.

    The file is a RIFF, see `animations.complete_webp`. VP8X holds the size less one in 3 bytes a
    side, VP8 and VP8L in 14 bits (RFC 9649, sections 2.5 to 2.7).

    Raises:
        StyleAVideoError: it is cut short, no WebP, or larger than can be worked on.
    """
    size, durations, alpha = (0, 0), [], False
    with opened(path) as file, told(path):
        end = path.stat().st_size
        at = 12
        while len(head := _at(file, at, 8)) == 8:
            length, data = int.from_bytes(head[4:], "little"), _at(file, at + 8, 16)
            if at + 8 + length > end or len(data) < min(16, length):
                at = end + 2
                break
            if head[:4] in (b"VP8X", b"VP8 ", b"VP8L") and size == (0, 0) and len(data) >= 10:
                size, alpha = _webp_size(head[:4], data)
            if head[:4] == b"ANMF" and len(data) == 16:
                durations.append(Fraction(int.from_bytes(data[12:15], "little"), 1000) or 1 / RATE)
            at += 8 + length + length % 2
    if 0 in size or at > end + 1:
        raise StyleAVideoError(f"{shown(path)} is cut short or no WebP: copy or download it again.")
    check_pixels(path, *size, MAX_ANIMATED)
    return *size, durations, alpha


def _at(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _webp_size(kind: bytes, data: bytes) -> tuple[tuple[int, int], bool]:
    if kind == b"VP8X":
        sides = (int.from_bytes(data[k : k + 3], "little") + 1 for k in (4, 7))
        return tuple(sides), bool(data[0] & 0x10)  # type: ignore[return-value]
    if kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
    sides = (int.from_bytes(data[k : k + 2], "little") & 0x3FFF for k in (6, 8))
    return tuple(sides), False  # type: ignore[return-value]


def decode_webp(path: Path) -> Generator[Decoded]:
    """Its pictures with their own times; a still one is shown for 1/25 s."""
    webp_head(path)
    with _opened(path, MAX_ANIMATED) as image:
        time = Fraction(0)
        for i in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(i)
                values = np.array(image)
            except (OSError, EOFError, ValueError) as error:
                raise StyleAVideoError(
                    f"{shown(path)} is damaged near {float(time):.2f} s: copy or download it again."
                ) from error
            duration = Fraction(image.info.get("duration", 0), 1000) or 1 / RATE
            pixels = "rgba" if values.shape[-1] == 4 else "rgb24"
            yield Decoded(av.VideoFrame.from_ndarray(values, format=pixels), time, duration)
            time += duration
