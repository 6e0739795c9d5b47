"""What PNG pictures hold packed beside their pixels: a megabyte of it can unpack to thousands."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import StyleAVideoError
from ..files import opened, shown

CODECS = ("png", "apng")
MOST = 16 << 20  # bytes that a picture's texts and profiles may unpack to; a profile has 4 MB
HEAD = 8 << 20  # bytes of a file that FFmpeg may decode of as it opens it


def check_head(path: Path) -> None:
    """Refuse a file whose first pictures are such PNGs, of which decoders unpack all.

    Raises:
        StyleAVideoError: see above.
    """
    with opened(path) as file:
        if file.read(4) == b"\x89PNG":  # one picture: what follows its pixels is unpacked too
            check_packed(path, b"".join(_chunks(file)))
            return
        file.seek(0)
        data = file.read(HEAD)
    if b"IHDR" in data:
        check_packed(path, data)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Those of a PNG that are packed, `HEAD` bytes in all."""
    at, room = 8, HEAD
    while True:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8:
            return
        if head[4:] in (b"zTXt", b"iCCP"):
            body = file.read(min(length, room))
            room -= len(body)
            yield head + body
        at += 12 + length


def check_packed(path: Path, data: bytes) -> None:
    """Refuse PNG data with texts and profiles that unpack to more than `MOST` bytes.

    A chunk is its length (4 bytes, big endian), name, data; in these two a keyword, a zero, the
    method, and zlib's stream (PNG, third edition, section 11.3).
    """
    room = MOST
    for found in re.finditer(rb"zTXt|iCCP", data):
        length = int.from_bytes(data[max(0, found.start() - 4) : found.start()], "big")
        body = data[found.end() : found.end() + length]
        try:
            unpacked = zlib.decompressobj().decompress(body[body.find(b"\0") + 2 :], room + 1)
        except zlib.error:
            continue
        room -= len(unpacked)
        if room < 0:
            raise StyleAVideoError(
                f"{shown(path)} holds a text or a colour profile that unpacks to more than "
                f"{MOST:,} bytes: save the picture again without it."
            )
