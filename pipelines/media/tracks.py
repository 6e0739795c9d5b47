"""What a file holds beside its pictures, handed to a muxer untouched and in step with them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from av import time_base as MICROSECONDS

from .formats import Kind
from .opening import is_cover, open_input, origin_of

_OF_TRACKS = ("language", "title", "handler_name")
# Said by a muxer of itself, or true of the source's streams only.
_NOT_COPIED = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
_TAGGED = ("mp4", "mov", "matroska", "webm")  # muxers that hold tags and chapters


class Tracks:
    """Audio, subtitles, fonts, chapters and tags of one file, for one output.

    Made before the output's first packet. `since` (s on the file's clock) becomes 0, None keeps the
    clock; `trimmed`: the output may end before the file. What is left out is said in `notes`.
    """

    def __init__(
        self, path: Path, output: Any, kind: Kind, since: Fraction | None, trimmed: bool
    ) -> None:
        self.notes: list[str] = []
        self.kind, self.since = kind, since
        self.container = open_input(path)
        self.origin = origin_of(self.container)
        self.streams: dict[int, Any] = {}
        self._add_streams(output)
        if kind.container.muxer in _TAGGED:
            self._copy_tags(output)
            self._copy_chapters(output, trimmed)
        if since is not None and self.streams:
            self.container.seek(int((since + self.origin) * MICROSECONDS), backward=True)
        self.packets = self._packets()
        self.waiting: tuple[Fraction, Any] | None = None

    def _add_streams(self, output: Any) -> None:
        allowed = {"audio": self.kind.container.audio, "subtitle": self.kind.container.subtitles}
        left_out: dict[str, list[str]] = {"audio": [], "subtitle": []}
        pictures = 0
        for stream in self.container.streams:
            if stream.type == "attachment" and self.kind.container.muxer == "matroska":
                output.add_stream_from_template(stream)
            pictures += stream.type == "video" and not is_cover(stream)
            if stream.type not in allowed:
                continue
            copied = _copied(stream, output, allowed[stream.type])
            if copied is None:
                left_out[stream.type].append(_codec_of(stream))
            else:
                self.streams[stream.index] = copied
        self._say(left_out, pictures)

    def _say(self, left_out: dict[str, list[str]], pictures: int) -> None:
        where = f"into {self.kind.suffix}" if self.kind.suffix else "into a folder of pictures"
        for what, word in (("audio", "audio"), ("subtitle", "subtitles")):
            if names := ", ".join(left_out[what]):
                self.notes.append(
                    f"The {word} ({names}) cannot go {where} untouched and was left out; write to "
                    ".mkv to keep it."
                )
        if pictures > 1:
            self.notes.append(
                f"There are {pictures} video tracks: the first one is stylized, the others are "
                "left out."
            )

    def _copy_tags(self, output: Any) -> None:
        tags = self.container.metadata
        output.metadata.update({k: v for k, v in tags.items() if k.lower() not in _NOT_COPIED})

    def _copy_chapters(self, output: Any, trimmed: bool) -> None:
        chapters = self.container.chapters()
        if chapters and trimmed:
            self.notes.append("Chapters are not copied to a part of a clip.")
        elif chapters:
            output.set_chapters(self._moved(chapters))

    def _moved(self, chapters: list[Any]) -> list[Any]:
        """The chapters that the output shows, on its clock."""
        moved = []
        for chapter in chapters:
            shift = round((self.since or 0) / chapter["time_base"])
            if chapter["end"] > shift:
                start = max(0, chapter["start"] - shift)
                moved.append({**chapter, "start": start, "end": chapter["end"] - shift})
        return moved

    def _packets(self) -> Iterator[tuple[Fraction, Any]]:
        if not self.streams:
            return
        wanted = [self.container.streams[index] for index in self.streams]
        offset = self.origin + (self.since or 0)
        for packet in self.container.demux(wanted):
            if packet.size == 0 or (packet.pts is None and packet.dts is None):
                continue
            # Neither is reordered, so that one time tells the other.
            packet.pts = packet.dts if packet.pts is None else packet.pts
            packet.dts = packet.pts if packet.dts is None else packet.dts
            shift = round(offset / packet.time_base)
            if self.since is not None and packet.pts < shift:
                late = shift - packet.pts
                if packet.stream.type != "subtitle" or (packet.duration or 0) <= late:
                    continue
                packet.pts = packet.dts = shift  # words that are still shown
                packet.duration -= late
            packet.pts -= shift
            packet.dts -= shift
            yield packet.pts * packet.time_base, packet

    def until(self, time: Fraction | None) -> Iterator[Any]:
        """The packets that begin before `time` (s, output clock; None: all that are left)."""
        while True:
            if self.waiting is None:
                self.waiting = next(self.packets, None)
            if self.waiting is None or (time is not None and self.waiting[0] >= time):
                return
            packet, self.waiting = self.waiting[1], None
            packet.stream = self.streams[packet.stream.index]
            yield packet

    def close(self) -> None:
        self.packets.close()  # type: ignore[attr-defined]
        self.container.close()


def _codec_of(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context else "unknown"


def _copied(stream: Any, output: Any, allowed: frozenset[str] | None) -> Any:
    """The same stream in the output; None where the container cannot hold it."""
    if stream.codec_context is None or (allowed is not None and _codec_of(stream) not in allowed):
        return None
    try:
        copied = output.add_stream_from_template(stream)
    except ValueError:  # the muxer refuses what the table allows
        return None
    for key in _OF_TRACKS:
        if key in stream.metadata:
            copied.metadata[key] = stream.metadata[key]
    copied.disposition = stream.disposition
    return copied
