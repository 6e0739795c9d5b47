"""Frames of a VIDEO by their number, a few at a time, beside a video that is streamed."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import torch
from comfy_api.latest import Input
from torch import Tensor

from ..pipelines.errors import StyleAVideoError
from ..pipelines.run.job import digest
from ..pipelines.run.segments import Work, frames_from
from ..pipelines.run.shots import Segment
from .video import FileClip, MemoryClip, open_clip, resize_image, time_range

Size = tuple[int, int]


class NumberedFrames:
    """The frames of a clip shown in start ≤ t < end (s), counted from 0.

    Asked for in rising order, as a run does, a file is decoded once; for earlier ones it is opened
    again. No more than what is asked for is held.
    """

    def __init__(
        self, clip: FileClip | MemoryClip, start: Fraction | None, end: Fraction | None
    ) -> None:
        self.clip, self.start, self.end = clip, start, end
        first = 0 if start is None else bisect_left(clip.times, start)
        last = len(clip.times) if end is None else bisect_left(clip.times, end)
        self.first, self.times = first, clip.times[first:last]
        self._stream: Iterator[Any] = iter(())
        self._at: tuple[int, Size] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __call__(self, indices: Sequence[int], size: Size) -> Tensor:
        """The frames (T,3,H,W) in [0,1] at `size` (width, height)."""
        return torch.stack([self._frame(index, size) for index in indices])

    def identity(self) -> list[str]:
        """What decides the frames."""
        if isinstance(self.clip, FileClip):
            return [digest(self.clip.info.path), str(self.start), str(self.end)]
        held = hashlib.sha256()
        for image in self.clip.images[self.first : self.first + len(self)]:
            held.update(image.contiguous().numpy().tobytes())
        return [held.hexdigest()]

    def close(self) -> None:
        if self._at is not None:
            self._stream.close()  # type: ignore[attr-defined]
        self._at = None

    def _frame(self, index: int, size: Size) -> Tensor:
        if isinstance(self.clip, MemoryClip):
            return resize_image(self.clip.images[self.first + index].movedim(-1, 0), size)
        at = None if self._at is None else self._at[0]
        if at is None or index < at or self._at != (at, size):
            self._open(self.clip, index, size)
            at = index
        for _ in range(at, index):
            next(self._stream, None)
        frame = next(self._stream, None)
        if frame is None:
            raise StyleAVideoError(f"{self.clip.info.path} ends before its frame {index}.")
        self._at = (index + 1, size)
        return frame.image

    def _open(self, clip: FileClip, index: int, size: Size) -> None:
        self.close()
        work = Work(clip.info, size, 1, "", start=self.start)
        # Two of one time cannot be told apart by it.
        told = index == 0 or self.times[index - 1] < self.times[index]
        time = self.times[index] if told else None
        self._stream = frames_from(work, Segment(index, index + 1, time, 0))
        self._at = (index, size)


@contextmanager
def numbered(video: Input.Video) -> Iterator[NumberedFrames]:
    """A VIDEO's frames; of one that was trimmed those of its part."""
    start, end = time_range(video, 0.0, 0.0)
    with open_clip("", video) as clip:
        frames = NumberedFrames(clip, start, end)
        try:
            yield frames
        finally:
            frames.close()
