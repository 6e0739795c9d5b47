"""A part of a clip: which frames of it are meant."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction

from ..checks import check_count
from ..errors import StyleAVideoError
from .frames import Frame, VideoInfo, seconds
from .reading import read_frames


@dataclass(frozen=True)
class Part:
    """The frames shown in start ≤ t < end (s), at most `frames` of them; None sets no bound."""

    start: Fraction | None = None
    end: Fraction | None = None
    frames: int | None = None

    @classmethod
    def of(
        cls,
        start: Fraction | float | None = None,
        end: Fraction | float | None = None,
        frames: int | None = None,
    ) -> Part:
        """Times as a user gives them.

        Raises:
            StyleAVideoError: no frame is asked for.
        """
        if frames is not None:
            check_count("The number of frames", frames)
        return cls(seconds(start), seconds(end), frames)

    @property
    def is_trimmed(self) -> bool:
        """Whether it may stop before the clip does."""
        return self.end is not None or self.frames is not None

    def read(self, info: VideoInfo, size: tuple[int, int] | None = None) -> Generator[Frame]:
        """Its frames, one at a time; `size` (width, height) px, None: as shown."""
        return read_frames(info, self.start, self.end, self.frames, size)

    def expected(self, info: VideoInfo) -> int:
        """How many frames it will have, for progress: exact at a constant frame rate."""
        span = min(self.end or info.end, info.end) - max(self.start or info.start, info.start)
        share = span / info.duration if info.duration else Fraction(1)
        count = max(1, round(info.frames * share))
        return count if self.frames is None else min(count, self.frames)

    def check(self, info: VideoInfo) -> None:
        """Refuse a range of times that holds no moment of the clip."""
        start, end = self.start, self.end
        length = f"{info.path} is {float(info.end):.2f} s long"
        if start is not None and start < 0:
            raise StyleAVideoError(f"The start must be 0 s or later, not {float(start):g} s.")
        if end is not None and end <= (start or 0):
            raise StyleAVideoError(
                f"The time range from {float(start or 0):g} s to {float(end):g} s is empty: the "
                f"end must be later than the start ({length})."
            )
        if start is not None and start >= info.end:
            raise StyleAVideoError(
                f"The time range begins at {float(start):g} s, but {length}: choose an earlier "
                "start."
            )
        if end is not None and end <= info.start:
            raise StyleAVideoError(
                f"The time range ends at {float(end):g} s, before the first frame of {info.path} "
                f"at {float(info.start):.2f} s: choose a later end."
            )


WHOLE = Part()
