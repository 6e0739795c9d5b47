"""What a file holds beside its pictures, handed to a muxer untouched and in step with them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av

from .formats import Kind
from .opening import codec_of, is_cover, open_input, origin_of

_OF_TRACKS = ("language", "title", "handler_name")
# Said by a muxer of itself, or true of the source's streams only.
_NOT_COPIED = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
_REFUSED = (av.ArgumentError, av.InvalidDataError, av.error.PatchWelcomeError)
_GAP = b"\0\0"  # no words, in the subtitles of an mp4
_TAGGED = ("mp4", "mov", "matroska", "webm")  # muxers that hold tags and chapters


def lost(path: Path, kind: Kind) -> list[str]:
    """What of a file's tracks cannot be kept, in words: to be said before any work."""
    if not path.is_file():
        return []
    with open_input(path) as container:
        return _sorted(container, kind)[1]


class Tracks:
    """Audio, subtitles, fonts, chapters and tags of one file, for one output.

    Made before the output's first packet. `since` (s on the file's clock) becomes 0, None keeps the
    clock; `trimmed`: the output may end before the file. What is left out is said in `notes`.
    """

    def __init__(
        self, path: Path, output: Any, kind: Kind, since: Fraction | None, trimmed: bool
    ) -> None:
        self.kind, self.since = kind, since
        self.output = output
        self.container = open_input(path)
        self.origin = origin_of(self.container)
        self.streams: dict[int, Any] = {}
        self.refused = 0
        self._add_streams()
        if kind.container.muxer in _TAGGED:
            self._copy_tags()
            self._copy_chapters(trimmed)
        if since is not None and self.streams:
            self.container.seek(int((since + self.origin) * av.time_base), backward=True)
        self.packets = self._packets()
        self.waiting: tuple[Fraction, Any] | None = None

    def _add_streams(self) -> None:
        held, self.notes = _sorted(self.container, self.kind)
        for stream in held:
            self.streams[stream.index] = self._copy(stream)
        if self.kind.container.muxer == "matroska":
            for stream in self.container.streams.attachments:
                self.output.add_stream_from_template(stream)

    def _copy(self, stream: Any) -> Any:
        copied = self.output.add_stream_from_template(stream)
        for key in _OF_TRACKS:
            if key in stream.metadata:
                copied.metadata[key] = stream.metadata[key]
        copied.disposition = stream.disposition.value  # PyAV 17 takes no flags
        return copied

    def _copy_tags(self) -> None:
        tags = self.container.metadata
        kept = {key: value for key, value in tags.items() if key.lower() not in _NOT_COPIED}
        self.output.metadata.update(kept)

    def _copy_chapters(self, trimmed: bool) -> None:
        chapters = self.container.chapters()
        if chapters and trimmed:
            self.notes.append("Chapters are not copied to a part of a clip.")
        elif chapters:
            self.output.set_chapters(self._moved(chapters))

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
            if bytes(packet) == _GAP:  # between words; the muxer makes them
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

    def mux_until(self, time: Fraction | None) -> None:
        """Hands on what begins before `time` (s, output clock; None: all that is left)."""
        while True:
            if self.waiting is None:
                self.waiting = next(self.packets, None)
            if self.waiting is None:
                self._say_refused()
                return
            if time is not None and self.waiting[0] >= time:
                return
            packet, self.waiting = self.waiting[1], None
            packet.stream = self.streams[packet.stream.index]
            try:
                self.output.mux(packet)
            except _REFUSED:  # a full disk is another error
                self.refused += 1

    def _say_refused(self) -> None:
        if self.refused:
            self.notes.append(
                f"{self.refused} packets of sound or subtitles, damaged or with times that run "
                "backwards, were left out."
            )
            self.refused = 0

    def close(self) -> None:
        self.packets.close()  # type: ignore[attr-defined]
        self.container.close()


def _sorted(container: Any, kind: Kind) -> tuple[list[Any], list[str]]:
    """The audio and subtitles that go along, and what is said of the rest."""
    allowed = {"audio": kind.container.audio, "subtitle": kind.container.subtitles}
    held: list[Any] = []
    rest: list[Any] = []
    for stream in container.streams:
        if stream.type in allowed:
            keep = _is_held(stream, kind.container.muxer, allowed[stream.type])
            (held if keep else rest).append(stream)
    where = kind.suffix or "a folder of pictures"
    advice = "" if kind.suffix == ".mkv" else "; write to .mkv to keep it"
    notes = []
    for what, word in (("audio", "audio"), ("subtitle", "subtitles")):
        if names := ", ".join(codec_of(stream) for stream in rest if stream.type == what):
            notes.append(
                f"The {word} ({names}) cannot go into {where} untouched and is left out{advice}."
            )
    pictures = sum(not is_cover(stream) for stream in container.streams.video)
    if pictures > 1:
        notes.append(
            f"There are {pictures} video tracks: the first one is stylized, the others are left "
            "out."
        )
    return held, notes


def _is_held(stream: Any, muxer: str, allowed: frozenset[str] | None) -> bool:
    """Whether the container can hold this stream: asked of the muxer, on nothing."""
    if stream.codec_context is None or (allowed is not None and codec_of(stream) not in allowed):
        return False
    try:
        with av.open(BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True
