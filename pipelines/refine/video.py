"""A video that anything has stylized, refined beside its source: files in, a file out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import zip_longest

from torch import Tensor

from ..errors import Remedy, StyleAVideoError
from ..media import (
    Frame,
    Part,
    VideoInfo,
    VideoWriter,
    check_not_input,
    check_target,
    probe,
    read_frames,
    seconds,
)
from .frames import Refining, refine_frames

Progress = Callable[[int, int], None]
"""(frames done, frames expected)."""


def refine_video(
    source: str | os.PathLike[str] | VideoInfo,
    stylized: str | os.PathLike[str] | VideoInfo,
    target: str | os.PathLike[str],
    settings: Refining,
    *,
    start: Fraction | float | None = None,
    codec: str | None = None,
    quality: str | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Refine frame n of `stylized` beside frame n of `source` into `target`, → what is to be said.

    The result has the stylized video's size, timestamps and tracks; where that has no sound and
    lasts as long as the source, the source's. A few frames are in memory at a time.

    Args:
        start: where in the source the stylized part begins, s; the source may then go on after it.
        codec: of the target, by its name in `media.CODECS`; None: what its suffix stands for.
        quality: of the encoded pictures, one of `media.QUALITIES`; None: normal.

    Raises:
        StyleAVideoError: a file that cannot be read or written, a source of another length. Nothing
            is then left under the target's name.
    """
    x, y = (v if isinstance(v, VideoInfo) else probe(v) for v in (source, stylized))
    target, begin = check_target(target), seconds(start)
    for info in (x, y):
        check_not_input(target, info.path)
    Part.of(start).check(x)
    as_long = begin is None and abs(x.duration - y.duration) <= 1 / y.frame_rate
    writer = VideoWriter(
        target,
        frame_rate=y.frame_rate,
        time_base=y.time_base,
        aspect=y.aspect,
        tracks_from=x.path if as_long and not y.has_audio and x.has_audio else y.path,
        codec=codec,
        quality=quality,
        alpha=y.alpha,
    )
    frames: list[Frame] = []

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for n, (of_x, of_y) in enumerate(zip_longest(read_frames(x, begin), read_frames(y))):
            if of_y is None and begin is not None:
                return
            if of_x is None or of_y is None:
                short, long = (x, y) if of_x is None else (y, x)
                raise StyleAVideoError(
                    f"{short.path} ends after {n} frames but {long.path} goes on: give the video "
                    "that it was made from",
                    Remedy.SAY_WHERE,
                )
            frames.append(of_y)
            yield of_x.image, of_y.image

    with writer:
        for n, image in enumerate(refine_frames(pairs(), settings), 1):
            writer.write(replace(frames.pop(), image=image))
            if progress is not None:
                progress(n, max(n, y.frames))
    return [*x.notes, *y.notes, *writer.notes]
