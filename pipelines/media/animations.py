"""What animated pictures need beside their encoder: a palette, and the last picture's duration."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av


class Palette:
    """Pictures (bgra) in 256 colours of their own each, by ffmpeg's palettegen and paletteuse.

    Ordered dither: unlike error diffusion it stands still where the picture does.
    """

    def __init__(self, width: int, height: int, time_base: Fraction) -> None:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=width, height=height, format=av.VideoFormat("bgra"), time_base=time_base
        )
        split, sink = graph.add("split"), graph.add("buffersink")
        make = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
        source.link_to(split)
        split.link_to(make, 0, 0)
        split.link_to(use, 1, 0)
        make.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        self._graph, self._source, self._sink = graph, source, sink

    def __call__(self, picture: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """The pictures (pal8) that are ready; None gives the last."""
        self._source.push(picture)
        while True:
            try:
                yield self._sink.pull()  # type: ignore[misc]
            except (av.BlockingIOError, av.EOFError):
                return


def complete_webp(path: Path, milliseconds: int, alpha: bool) -> None:
    """Sets an animated WebP's last duration, and says that it has alpha.

    Its encoder gives the last picture the mean duration of the others, and forgets transparency
    that it could express by smaller pictures. The file is a RIFF: chunks of a name, a length (4
    bytes, little endian), data, padded to even. VP8X begins with flags, 0x10 is alpha; ANMF is a
    picture, its duration takes 3 bytes from the 13th on.
    """
    with path.open("r+b") as file:
        at, last = 12, 0
        while len(head := _read(file, at, 8)) == 8:
            if head[:4] == b"ANMF":
                last = at + 8
            if head[:4] == b"VP8X" and alpha:
                flags = _read(file, at + 8, 1)[0]
                _write(file, at + 8, bytes([flags | 0x10]))
            length = int.from_bytes(head[4:], "little")
            at += 8 + length + length % 2
        if last:
            _write(file, last + 12, milliseconds.to_bytes(3, "little"))


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _write(file: BinaryIO, at: int, data: bytes) -> None:
    file.seek(at)
    file.write(data)
