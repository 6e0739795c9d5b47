"""A frame of a clip, and what a file holds.

Times are seconds on the clip's own clock, kept as Fractions, so that variable frame rates survive
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from torch import Tensor

RATE = Fraction(25)  # pictures/s of what states no rate


@dataclass(frozen=True)
class Frame:
    """One upright picture: image (3,H,W) float in [0,1], when it is shown and for how long (s).

    `alpha` (H,W) in [0,1] is its coverage where the source has such a channel; colours are not
    multiplied by it.
    """

    image: Tensor
    pts: Fraction
    duration: Fraction
    alpha: Tensor | None = None


@dataclass(frozen=True)
class VideoInfo:
    """What a file, or a folder of pictures, holds. Sizes are as shown: upright, square pixels.

    `start` and `end` (s) are where the first frame begins and the last one ends; `frames` is the
    number of coded pictures; `time_base` the unit of the timestamps (s); `origin` (s) the container
    time that is 0 on our clock; `rotation` the anticlockwise turn (degrees) that makes it upright;
    `pixels` is FFmpeg's name of the pixel format in the file; `partial` says that what cannot be
    decoded is passed over; `notes` what a user should know.
    """

    path: Path
    width: int
    height: int
    aspect: Fraction
    frame_rate: Fraction
    time_base: Fraction
    origin: Fraction
    start: Fraction
    end: Fraction
    frames: int
    rotation: int
    bits: int
    codec: str
    audio: tuple[str, ...]
    alpha: bool = False
    pixels: str = ""
    partial: bool = False
    notes: tuple[str, ...] = ()

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's start to the last one's end."""
        return self.end - self.start

    @property
    def has_audio(self) -> bool:
        return bool(self.audio)


def seconds(time: Fraction | float | None) -> Fraction | None:
    """A time (s) as the fraction that was meant: 0.9 is 9/10, not the double beside it."""
    if isinstance(time, float):
        return Fraction(time).limit_denominator(1_000_000)
    return None if time is None else Fraction(time)
