"""What a file holds, found by reading every packet once and decoding one frame."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ..errors import Remedy, StyleAVideoError
from ..files import kind_of_place
from .decoded import HDR, NARROWS, WIDE, has_alpha, is_transparent, matrix_of, shown_size
from .frames import RATE, VideoInfo, seconds
from .opening import (
    check_pixels,
    codec_of,
    damaged,
    decoder_of,
    open_input,
    origin_of,
    rate_of,
    sample_of,
    video_stream,
)
from .stills import is_webp, probe_folder, probe_webp


def probe(
    path: str | os.PathLike[str], rate: Fraction | float | None = None, partial: bool = False
) -> VideoInfo:
    """What the file or the folder of pictures holds.

    Args:
        rate: pictures/s of a folder (25); a file has its own.
        partial: take what is there of a file that is cut short, and pass over what cannot be
            decoded, instead of refusing it.

    Raises:
        StyleAVideoError: missing, empty, cut short, without a video stream, or not a video at all.
    """
    path = Path(path)
    if kind_of_place(path) == "folder":
        return probe_folder(path, seconds(rate) or RATE)
    if rate is not None:
        raise StyleAVideoError(
            f"{path} has a frame rate of its own: a rate is for a folder of pictures."
        )
    return probe_webp(path) if is_webp(path) else _probe_container(path, partial)


def _probe_container(path: Path, partial: bool) -> VideoInfo:
    with open_input(path) as container:
        stream = video_stream(container, path)
        picture = _first_picture(container, stream, path, partial)
        sample = sample_of(stream)
        width, height = shown_size(picture.width, picture.height, sample)
        check_pixels(path, width, height)
        aspect = Fraction(picture.width, picture.height) * sample
        if matrix_of(picture)[1]:
            width, height, aspect = height, width, 1 / aspect
        rate, origin = rate_of(stream), origin_of(container)
        scan = _scan(path, stream.index, 1 / rate)
        notes = _notes(path, picture)
        if scan.cut:
            if not partial:
                raise StyleAVideoError(
                    f"{path} {scan.cut}; copy or download it again", Remedy.TAKE_PARTIAL
                )
            notes.append(f"{path} {scan.cut}; what is there is taken.")
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            aspect=aspect,
            frame_rate=rate,
            time_base=Fraction(stream.time_base),
            origin=origin,
            start=scan.first - origin,
            end=scan.last - origin,
            frames=scan.frames,
            rotation=picture.rotation % 360,
            bits=picture.format.components[0].bits,
            codec=codec_of(stream),
            audio=tuple(codec_of(s) for s in container.streams.audio if s.codec_context),
            alpha=_shows_through(picture, codec_of(stream)),
            pixels=picture.format.name,
            partial=partial,
            notes=tuple(notes),
        )


def _first_picture(container: Any, stream: Any, path: Path, partial: bool) -> Any:
    decoder = decoder_of(stream)
    for packet in container.demux(stream):
        try:
            if pictures := decoder.decode(packet):
                return pictures[0]
        except EOFError:
            break
        except av.FFmpegError as error:
            if not partial:
                raise damaged(path, Fraction(0), error) from error
    raise StyleAVideoError(
        f"{path} holds no frame that can be decoded: it is cut short or damaged; copy or "
        "convert it again."
    )


def _shows_through(picture: Any, codec: str) -> bool:
    """Whether there is an alpha channel. GIFs and palettes have one always, and most are opaque."""
    if codec != "gif" and not picture.format.has_palette:
        return has_alpha(picture)
    return is_transparent(picture)


def _notes(path: Path, picture: Any) -> list[str]:
    """What is done to pictures that a screen does not show as they are."""
    notes = []
    wide = picture.color_trc in HDR or picture.color_primaries in WIDE
    if wide and not NARROWS:
        notes.append(
            f"{path} has HDR or wide-gamut colours, which look pale here: install PyAV 18 or later."
        )
    elif picture.color_trc in HDR:
        notes.append(
            f"{path} is HDR ({HDR[picture.color_trc]}) and becomes SDR (BT.709): what is brighter "
            "than its reference white is clipped."
        )
    elif picture.color_primaries in WIDE:
        notes.append(
            f"{path} has the colours of {WIDE[picture.color_primaries]}, which become BT.709: "
            "those outside of it are clipped."
        )
    if picture.interlaced_frame:
        notes.append(
            f"{path} is interlaced: both fields of a picture are stylized as one; deinterlace it "
            "first if edges look like combs."
        )
    return notes


_FROM_ZERO = ("matroska,webm", "nut")
"""Formats whose stated duration counts from 0, however late the first packet is."""


@dataclass
class _Scan:
    """First and last moment of the pictures (s, container clock), their number, what is wrong."""

    first: Fraction
    last: Fraction
    frames: int
    cut: str


def _scan(path: Path, index: int, step: Fraction) -> _Scan:
    """From the packets alone.

    A file cut short shows here, before any work is done: by a packet that lies beyond the end of
    the file, or by data that ends well before the length that the header states.
    """
    first: Fraction | None = None
    last = reached = Fraction(0)
    size = path.stat().st_size
    count, broken = 0, _segment_end(path) > size
    corrupt: Fraction | None = None
    with open_input(path) as container:
        for stream in container.streams:
            if entries := len(stream.index_entries):
                tail = stream.index_entries[entries - 1]
                broken |= tail.pos + tail.size > size
        try:
            for packet in container.demux():
                ours = packet.stream.index == index and packet.size
                if packet.pts is None or packet.time_base is None or packet.size == 0:
                    count += bool(ours)
                    continue
                begin = packet.pts * packet.time_base
                if packet.is_corrupt and corrupt is None:
                    corrupt = begin
                end = begin + (packet.duration or 0) * packet.time_base
                reached = max(reached, end)
                if ours and not packet.is_discard:
                    count += 1
                    first = begin if first is None else min(first, begin)
                    last = max(last, end if packet.duration else begin + step)
        except av.FFmpegError:
            broken = True
        start = Fraction(container.start_time or 0, av.time_base)
        stated = Fraction(container.duration or 0, av.time_base)
        since = Fraction(0) if container.format.name in _FROM_ZERO else start
    missing = stated - (reached - since) if reached else Fraction(0)
    cut = ""
    if broken or missing > max(Fraction(1, 2), stated / 20):
        cut = (
            f"is cut short: its end is missing, of the {float(stated):.2f} s that it says it holds"
        )
    elif corrupt is not None:
        cut = f"is damaged: data is missing near {float(corrupt - start):.2f} s"
    if first is None:  # no timestamps at all: frames follow each other at the frame rate
        return _Scan(Fraction(0), count * step, count, cut)
    return _Scan(first, last, count, cut)


def _segment_end(path: Path) -> int:
    """Where the Segment of a Matroska or WebM file says it ends (byte); 0 where nothing is said.

    RFC 9559, section 5.1: element 0x18538067, then its size as a variable-length integer.
    """
    with path.open("rb") as file:
        head = file.read(256)
    at = head.find(b"\x18\x53\x80\x67") + 4
    if not head.startswith(b"\x1a\x45\xdf\xa3") or at < 4 or not any(head[at : at + 1]):
        return 0
    length = 9 - head[at].bit_length()
    mask = (1 << 7 * length) - 1
    stated = int.from_bytes(head[at : at + length], "big") & mask
    return 0 if stated == mask else at + length + stated
