"""Frames of a file as a stream: nothing here holds more than a few."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from ..errors import StyleAVideoError
from ..files import kind_of_place
from .decoded import Decoded, to_frame
from .frames import RATE, Frame, VideoInfo, seconds
from .opening import damaged, decoder_of, open_input, origin_of, rate_of, sample_of, video_stream
from .stills import decode_folder, decode_webp, is_webp

_RUN_UPS = (Fraction(1, 2), Fraction(5), Fraction(30))  # s ahead of where frames are wanted


def read_frames(
    source: str | os.PathLike[str] | VideoInfo,
    start: Fraction | float | None = None,
    end: Fraction | float | None = None,
    max_frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> Generator[Frame]:
    """The frames shown in start ≤ t < end (s), upright, at `size` (width, height; None: as shown).

    Decodes as it is iterated: one frame is held at a time.

    Args:
        source: a path, or what `probe` said of it: the rate of a folder, and whether what cannot be
            decoded is passed over.

    Raises:
        StyleAVideoError: the file cannot be decoded any further.
    """
    start, end = seconds(start), seconds(end)
    scaler, count = VideoReformatter(), 0
    with closing(_decode(source, start)) as pictures:
        while max_frames is None or count < max_frames:
            shown = next(pictures, None)
            if shown is None or (end is not None and shown.pts >= end):
                return
            if start is not None and shown.pts < start:
                continue
            yield to_frame(shown, size, scaler)
            count += 1


def _decode(source: str | os.PathLike[str] | VideoInfo, start: Fraction | None) -> Any:
    known = source if isinstance(source, VideoInfo) else None
    path = known.path if known else Path(source)  # type: ignore[arg-type]
    if kind_of_place(path) == "folder":
        return decode_folder(path, known.frame_rate if known else RATE, start)
    if is_webp(path):
        return decode_webp(path)
    return _decode_container(path, start, known is not None and known.partial)


def _decode_container(path: Path, start: Fraction | None, partial: bool) -> Iterator[Decoded]:
    """The pictures from `start` (s) or somewhat before it.

    An index is by decoding time, which runs ahead of showing, and some files have a wrong one or
    none: where the first picture is later than `start`, it is looked for further ahead, at last
    from the beginning.
    """
    for early in _RUN_UPS:
        if start is None:
            break
        with closing(_decode_from(path, start - early, partial)) as pictures:
            first = None
            with suppress(StyleAVideoError, OSError, av.FFmpegError):
                first = next(pictures, None)
            if first is not None and first.pts <= start:
                yield first
                yield from pictures
                return
    with closing(_decode_from(path, None, partial)) as pictures:
        yield from pictures


def _decode_from(path: Path, time: Fraction | None, partial: bool) -> Generator[Decoded]:
    """The pictures from a time (s) that the file's index gives, or from the beginning."""
    with open_input(path) as container:
        stream = video_stream(container, path)
        origin, step, sample = origin_of(container), 1 / rate_of(stream), sample_of(stream)
        if time is not None and time + origin > 0:
            container.seek(int((time + origin) / stream.time_base), stream=stream, backward=True)
        at: Fraction | None = None
        for picture in _pictures(container, stream, path, partial):
            if picture.pts is not None:
                at = picture.pts * picture.time_base - origin
            else:
                at = Fraction(0) if at is None else at + step
            duration = (picture.duration or 0) * picture.time_base or step
            yield Decoded(picture, at, duration, sample)


def _pictures(container: Any, stream: Any, path: Path, partial: bool) -> Iterator[Any]:
    """What the decoder gives; with `partial`, what it cannot decode is passed over."""
    time, packets, decoder = Fraction(0), container.demux(stream), decoder_of(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            pictures = decoder.decode(packet)
        except EOFError:  # a decoder that was told of the end already
            return
        except av.FFmpegError as error:
            if partial:
                continue
            raise damaged(path, time, error) from error
        for picture in pictures:
            if partial and picture.is_corrupt:
                continue
            time = (picture.pts or 0) * picture.time_base - origin_of(container)
            yield picture
