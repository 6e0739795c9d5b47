"""How many pictures an mp4 or mov states, before a demuxer makes room for them.

Boxes are a length (4 bytes, big endian; 1: 8 more follow), a name, data (ISO/IEC 14496-12, section
4.2). A few bytes can state four thousand million samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import StyleAVideoError
from ..files import opened, shown, told

SOME = 1 << 20  # samples that any file may state, however short
_INSIDE = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_MAX_BOXES = 1_000_000


def check_samples(path: Path) -> None:
    """Refuse an mp4 or mov that states more samples of pictures than it has bytes.

    Raises:
        StyleAVideoError: it does, or its header is compressed, which hides what it states.
    """
    with opened(path) as file, told(path):
        if _at(file, 4, 4) not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return
        size = path.stat().st_size
        stated, sound = 0, False
        for count, (name, at) in enumerate(_boxes(file, 0, size)):
            if name == b"hdlr":
                sound = _at(file, at + 8, 4) == b"soun"  # counted by blocks, not samples
            elif name == b"stsz" and not sound and any(_at(file, at + 4, 4)):
                stated += int.from_bytes(_at(file, at + 8, 4), "big")
            elif name == b"trun":
                stated += int.from_bytes(_at(file, at + 4, 4), "big")
            if stated > size + SOME or name == b"cmov" or count > _MAX_BOXES:
                raise StyleAVideoError(
                    f"{shown(path)} states {stated:,} pictures in {size:,} bytes, or has a "
                    "compressed header: convert it again."
                )


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Names, and where their data begin, of the boxes that lead to samples, in order."""
    while at + 8 <= end:
        head = _at(file, at, 16)
        length, name, begin = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if length == 1:
            length, begin = int.from_bytes(head[8:], "big"), at + 16
        stop = end if length == 0 else at + length
        if stop < begin:
            return
        yield name, begin
        if name in _INSIDE:
            yield from _boxes(file, begin, min(stop, end))
        at = stop


def _at(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
