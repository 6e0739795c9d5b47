"""Sources that are not containers of packets: a folder of pictures, an animated WebP."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import StyleAVideoError
from .decoded import Decoded, has_alpha, matrix_of, to_frame
from .frames import RATE, VideoInfo
from .opening import check_pixels, open_input, video_stream

PICTURES = (".png", ".jpg", ".jpeg")
STILLS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of what a single picture may be."""


# a folder of pictures


def pictures_in(folder: Path) -> list[Path]:
    """Its PNG and JPEG pictures in natural order: frame2 before frame10."""
    found = [
        path
        for path in folder.iterdir()
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
                f"{path} is {other[0]}x{other[1]} and {paths[0].name} {size[0]}x{size[1]}: bring "
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


def read_picture(path: str | os.PathLike[str]) -> Tensor:
    """One PNG or JPEG picture, upright: (3,H,W) float in [0,1].

    Raises:
        StyleAVideoError: it is not there, is no such picture, is damaged or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise StyleAVideoError(f"There is no picture {path}: give a PNG or JPEG file.")
    if path.suffix.lower() not in PICTURES:
        raise StyleAVideoError(f"{path} is not a picture that can be read: save it as PNG or JPEG.")
    shown = Decoded(_read_picture(path), Fraction(0), RATE)
    return to_frame(shown, None, VideoReformatter()).image


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
    if not path.is_file():
        raise StyleAVideoError(f"There is no picture {path}: give a PNG, JPEG or WebP file.")
    span = f"give a picture with sides of {sides[0]} to {sides[1]:,} px."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=STILLS)
    except Image.DecompressionBombError as error:
        raise StyleAVideoError(f"{path} has too many pixels: {span}") from error
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise StyleAVideoError(
            f"{path} is not a picture that can be read: give a PNG, JPEG or WebP file."
        ) from error
    with image:
        width, height = image.size
        if not all(sides[0] <= side <= sides[1] for side in image.size):
            raise StyleAVideoError(f"{path} is {width}x{height}: {span}")
        check_pixels(path, width, height)
        # Cameras put a second picture, a preview or depth, behind the first: Pillow's MPO.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise StyleAVideoError(f"{path} is animated: give a picture that stands still.")
        try:
            shown = _on_white(ImageOps.exif_transpose(image))
        except (OSError, EOFError, ValueError, SyntaxError) as error:
            raise StyleAVideoError(f"{path} cannot be decoded: save it again.") from error
    seen = max(seen, math.ceil(sides[0] * max(shown.size) / min(shown.size)))
    shown.thumbnail((seen, seen), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1) / 255


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


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, ValueError) as error:
        raise StyleAVideoError(
            f"{path} is not a picture that can be read: save it again, or take it out of the "
            "folder."
        ) from error
    check_pixels(path, *image.size)
    return image


def _read_picture(path: Path) -> av.VideoFrame:
    """By PyAV, which keeps 16 bits; and turned as a camera says."""
    with open_input(path) as container:
        try:
            return next(container.decode(video_stream(container, path)))
        except (av.FFmpegError, StopIteration) as error:
            raise StyleAVideoError(
                f"{path} cannot be decoded: save it again, or leave it out."
            ) from error


# animated WebP, which FFmpeg reads only in its newest releases


def is_webp(path: Path) -> bool:
    """By its first bytes, whatever its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def probe_webp(path: Path) -> VideoInfo:
    """What an animated or still WebP holds.

    Raises:
        StyleAVideoError: it cannot be decoded.
    """
    times, alpha = [], False
    for shown in decode_webp(path):  # most say that they have alpha, and are opaque
        times.append((shown.pts, shown.duration))
        alpha = alpha or _shows_through(shown.picture)
    with _opened(path) as image:
        width, height = image.size
    end = times[-1][0] + times[-1][1]
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        aspect=Fraction(width, height),
        frame_rate=Fraction(len(times)) / end,
        time_base=Fraction(1, 1000),
        origin=Fraction(0),
        start=Fraction(0),
        end=end,
        frames=len(times),
        rotation=0,
        bits=8,
        codec="webp",
        audio=(),
        alpha=alpha,
    )


def _shows_through(picture: av.VideoFrame) -> bool:
    return has_alpha(picture) and bool(picture.to_ndarray()[..., 3].min() < 255)


def decode_webp(path: Path) -> Iterator[Decoded]:
    """Its pictures with their own times; a still one is shown for 1/25 s."""
    with _opened(path) as image:
        time = Fraction(0)
        for i in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(i)
                values = np.array(image)
            except (OSError, EOFError, ValueError) as error:
                raise StyleAVideoError(
                    f"{path} is damaged near {float(time):.2f} s: copy or download it again."
                ) from error
            duration = Fraction(image.info.get("duration", 0), 1000) or 1 / RATE
            pixels = "rgba" if values.shape[-1] == 4 else "rgb24"
            yield Decoded(av.VideoFrame.from_ndarray(values, format=pixels), time, duration)
            time += duration
