"""Video files as streams: frames with their timestamps in, frames and the source's audio out.

Times are seconds on the clip's own clock, kept as Fractions, so that variable frame rates survive
exactly. Nothing here holds more than a few frames: memory does not grow with the clip.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from torch import Tensor

from .errors import StyleAVideoError

# Demuxers that read something from anything: text as terminal art, playlists of other files.
_NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf", "hls", "dash", "concat", "sdp", "webvtt", "srt"}
_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: the clock of such a container starts anywhere
# Titles in other encodings than UTF-8 stop PyAV 17 and 18 unless told not to; 19 takes them.
_TOLERANT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# SWS_ACCURATE_RND and SWS_FULL_CHR_H_INT, which PyAV 17 has no names for.
_RESAMPLING = int(Interpolation.BICUBIC) | 0x40000 | 0x2000


@dataclass(frozen=True)
class _Container:
    """How a suffix is written: muxer, codec, its options, audio codecs copied untouched."""

    format: str
    codec: str
    options: dict[str, str]
    audio: frozenset[str] | None  # None: any
    container_options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"


# cpu-independent: x264's AVX-512 code gives other pixels from one run to the next.
_H264 = {"crf": "16", "preset": "medium", "x264-params": "cpu-independent=1"}
_VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
_MP4_AUDIO = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac"})
_MOV_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_PCM = frozenset({"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"})
_FRONT = {"movflags": "+faststart"}
CONTAINERS = {
    ".mp4": _Container("mp4", "libx264", _H264, _MP4_AUDIO, _FRONT),
    ".m4v": _Container("mp4", "libx264", _H264, _MP4_AUDIO, _FRONT),
    ".mov": _Container("mov", "libx264", _H264, _MOV_AUDIO | _PCM, _FRONT),
    ".mkv": _Container("matroska", "libx264", _H264, None),
    ".webm": _Container("webm", "libvpx-vp9", _VP9, frozenset({"opus", "vorbis"})),
}


@dataclass(frozen=True)
class Frame:
    """One upright picture: image (3,H,W) float in [0,1], when it is shown and for how long (s)."""

    image: Tensor
    pts: Fraction
    duration: Fraction


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds. Sizes are as shown: rotation applied, square pixels.

    `start` and `end` (s) are where the first frame begins and the last one ends; `frames` is the
    number of coded pictures; `time_base` the unit of the timestamps (s); `origin` (s) the container
    time that is 0 on our clock; `rotation` the anticlockwise turn (degrees) that makes it upright.
    """

    path: Path
    width: int
    height: int
    aspect: Fraction
    frame_rate: Fraction
    time_base: Fraction
    origin: Fraction
    start: Fraction
    end: Fraction
    frames: int
    rotation: int
    bits: int
    codec: str
    audio: tuple[str, ...]

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's start to the last one's end."""
        return self.end - self.start

    @property
    def has_audio(self) -> bool:
        return bool(self.audio)


def open_input(path: Path) -> Any:
    if not path.exists():
        raise StyleAVideoError(f"{path} does not exist: check the path of the input video.")
    if path.is_dir():
        raise StyleAVideoError(f"{path} is a folder: give the path of a video file.")
    if path.stat().st_size == 0:
        raise StyleAVideoError(f"{path} is empty (0 bytes): copy or download it again.")
    try:
        container = av.open(str(path), **_TOLERANT)
    except PermissionError as error:
        raise StyleAVideoError(f"{path} cannot be read (permission denied).") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise StyleAVideoError(
            f"{path} is not a video that can be read, or is cut short: try to play it, then copy "
            "or convert it again."
        ) from error
    if set(container.format.name.split(",")) & _NOT_VIDEO:
        container.close()
        raise StyleAVideoError(f"{path} is not a video file: give an mp4, mov, mkv or webm file.")
    return container


def video_stream(container: Any, path: Path) -> Any:
    """The first real video stream; the cover picture of an audio file is not one."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover and stream.codec_context is not None:
            stream.thread_type = "AUTO"
            return stream
    what = "only audio" if container.streams.audio else "no pictures"
    raise StyleAVideoError(f"{path} holds {what}: give a file with a video stream.")


def origin_of(container: Any) -> Fraction:
    if container.format.flags & _TS_DISCONT and container.start_time is not None:
        return Fraction(container.start_time, av.time_base)
    return Fraction(0)


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    """(a,b,c,d) of the display matrix: column p = a·x + c·y and row q = b·x + d·y, signs only."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _upright(image: Tensor, matrix: tuple[int, int, int, int]) -> Tensor:
    a, b, c, d = matrix
    if b:
        image = image.transpose(1, 2)
    flips = [axis for axis, sign in ((1, b or d), (2, c or a)) if sign < 0]
    return image.flip(flips) if flips else image


def _aspect_ratio(stream: Any) -> Fraction:
    sample = stream.sample_aspect_ratio
    return sample if sample else Fraction(1)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What the file holds, found by reading every packet once and decoding one frame.

    Raises StyleAVideoError for a file that is missing, empty, cut short, without a video stream, or
    not a video at all.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = video_stream(container, path)
        frame = _first_frame(container, stream, path)
        sample = _aspect_ratio(stream)
        width, height = frame.width, frame.height
        aspect = Fraction(width, height) * sample
        if sample > 1:
            width = round(width * sample)
        else:
            height = round(height / sample)
        if _matrix(frame)[1]:
            width, height, aspect = height, width, 1 / aspect
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        origin = origin_of(container)
        first, last, frames = _scan(path, stream.index, 1 / rate)
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            aspect=aspect,
            frame_rate=Fraction(rate),
            time_base=Fraction(stream.time_base),
            origin=origin,
            start=first - origin,
            end=last - origin,
            frames=frames,
            rotation=frame.rotation % 360,
            bits=frame.format.components[0].bits,
            codec=stream.codec_context.name,
            audio=tuple(s.codec_context.name for s in container.streams.audio if s.codec_context),
        )


def _first_frame(container: Any, stream: Any, path: Path) -> Any:
    try:
        frame = next(iter(container.decode(stream)), None)
    except av.FFmpegError as error:
        raise _damaged(path, Fraction(0), error) from error
    if frame is None:
        raise StyleAVideoError(
            f"{path} holds no frame that can be decoded: it is cut short or damaged; copy or "
            "convert it again."
        )
    return frame


def _scan(path: Path, index: int, step: Fraction) -> tuple[Fraction, Fraction, int]:
    """Start and end (s, container clock) of the pictures and their number, from the packets.

    A file cut short shows here, before any work is done: by a packet that lies beyond the end of
    the file, or by data that ends well before the length that the header states.
    """
    first: Fraction | None = None
    last = reached = Fraction(0)
    size = path.stat().st_size
    count, broken = 0, _segment_end(path) > size
    with open_input(path) as container:
        for stream in container.streams:
            if entries := len(stream.index_entries):
                tail = stream.index_entries[entries - 1]
                broken |= tail.pos + tail.size > size
        try:
            for packet in container.demux():
                if packet.pts is None or packet.time_base is None or packet.size == 0:
                    if packet.size and packet.stream.index == index:
                        count += 1
                    continue
                broken |= packet.is_corrupt
                begin = packet.pts * packet.time_base
                end = begin + (packet.duration or 0) * packet.time_base
                reached = max(reached, end)
                if packet.stream.index == index and not packet.is_discard:
                    count += 1
                    first = begin if first is None else min(first, begin)
                    last = max(last, end if packet.duration else begin + step)
        except av.FFmpegError:
            broken = True
        start = Fraction(container.start_time or 0, av.time_base)
        stated = Fraction(container.duration or 0, av.time_base)
        missing = stated - (reached - start) if reached else Fraction(0)
        if broken or missing > max(Fraction(1, 2), stated / 20):
            raise StyleAVideoError(
                f"{path} is cut short: its end is missing, of the {float(stated):.2f} s that it "
                "says it holds; copy or download it again."
            )
    if first is None:  # no timestamps at all: frames follow each other at the frame rate
        return Fraction(0), count * step, count
    return first, last, count


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


def _damaged(path: Path, time: Fraction, error: Exception) -> StyleAVideoError:
    reason = getattr(error, "strerror", None) or str(error)
    return StyleAVideoError(
        f"{path} is damaged near {float(time):.2f} s ({reason}): copy or convert it again."
    )


def _to_image(frame: Any, size: tuple[int, int], scaler: VideoReformatter) -> Tensor:
    """A decoded frame as (3,H,W) float in [0,1] at `size` (width, height), colours as tagged.

    Untagged pictures are BT.709 from 720 lines on and BT.601 below, as players assume. More than 8
    bits go through 16-bit RGB, so that nothing is lost to rounding.
    """
    deep = frame.format.components[0].bits > 8
    untagged = frame.colorspace == 2 and not frame.format.is_rgb
    guess = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    rgb = scaler.reformat(
        frame,
        width=size[0],
        height=size[1],
        format="rgb48le" if deep else "rgb24",
        src_colorspace=guess if untagged else None,
        dst_color_range=ColorRange.JPEG,
        interpolation=_RESAMPLING,
    ).to_ndarray()
    image = torch.from_numpy(rgb.astype(np.float32))
    return image.div_(65535 if deep else 255).permute(2, 0, 1).contiguous()


def seconds(time: Fraction | float | None) -> Fraction | None:
    """A time (s) as the fraction that was meant: 0.9 is 9/10, not the double beside it."""
    return Fraction(time).limit_denominator(1_000_000) if isinstance(time, float) else time


def read_frames(
    path: str | os.PathLike[str],
    start: Fraction | float | None = None,
    end: Fraction | float | None = None,
    max_frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[Frame]:
    """The frames shown in start ≤ t < end (s), upright, at `size` (width, height; None: as shown).

    Decodes as it is iterated: one frame is held at a time. Raises StyleAVideoError where the file
    cannot be decoded any further.
    """
    path = Path(path)
    start, end = seconds(start), seconds(end)
    with open_input(path) as container:
        stream = video_stream(container, path)
        origin = origin_of(container)
        step = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
        if start is not None:
            target = start + origin
            if target > 0:
                # Half a second early: the index is by decoding time, which runs ahead of showing.
                early = max(Fraction(0), target - Fraction(1, 2))
                container.seek(int(early / stream.time_base), stream=stream, backward=True)
        scaler = VideoReformatter()
        count, time = 0, Fraction(0)
        decoded = container.decode(stream)
        while max_frames is None or count < max_frames:
            try:
                frame = next(decoded, None)
            except av.FFmpegError as error:
                raise _damaged(path, time, error) from error
            if frame is None:
                return
            if frame.pts is not None:
                time = frame.pts * frame.time_base - origin
            elif count:
                time += step
            duration = getattr(frame, "duration", 0) * frame.time_base or step
            if start is not None and time < start:
                continue
            if end is not None and time >= end:
                return
            matrix = _matrix(frame)
            if size is None:
                sample = _aspect_ratio(stream)
                wide = max(Fraction(1), sample)
                shown = round(frame.width * wide), round(frame.height * wide / sample)
            else:
                shown = (size[1], size[0]) if matrix[1] else size
            image = _upright(_to_image(frame, shown, scaler), matrix).contiguous()
            yield Frame(image, time, duration)
            count += 1


def check_target(
    target: str | os.PathLike[str], suffixes: Collection[str] = tuple(CONTAINERS)
) -> Path:
    """The path, if a file of one of these suffixes can be written there; else StyleAVideoError."""
    target = Path(target)
    if target.suffix.lower() not in suffixes:
        raise StyleAVideoError(
            f"{target} has no suffix that can be written here: name it {', '.join(suffixes)}."
        )
    if target.is_dir():
        raise StyleAVideoError(f"{target} is a folder: give the path of a file to write.")
    folder = target.parent
    if not folder.is_dir():
        raise StyleAVideoError(f"The output folder {folder} does not exist: create it first.")
    trial = folder / f".{secrets.token_hex(8)}"
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise StyleAVideoError(
            f"The output folder {folder} cannot be written ({error.strerror}): choose another one."
        ) from error
    return target


def _pixel_shape(sample: Fraction) -> Fraction:
    """The sample aspect ratio as H.264 stores it: two numbers of 16 bits."""
    return sample.limit_denominator(int(0xFFFF / max(Fraction(1), sample)))


def _fine(ticks: int) -> int:
    """A multiple of `ticks` a second that is at least 10,000: what rounds nothing audible."""
    return ticks * -(-10_000 // ticks)


class _Audio:
    """The source's audio packets, handed to a muxer untouched and in step with the video."""

    def __init__(
        self, path: Path, output: Any, kind: _Container, suffix: str, since: Fraction | None
    ) -> None:
        self.notes: list[str] = []
        self.since = since
        self.container = open_input(path)
        self.origin = origin_of(self.container)
        self.streams: dict[int, Any] = {}
        for stream in self.container.streams.audio:
            name = stream.codec_context.name if stream.codec_context else "unknown"
            copied = None
            if kind.audio is None or name in kind.audio:
                try:
                    copied = output.add_stream_from_template(stream)
                except ValueError:
                    copied = None  # the muxer refuses what the table allows: said below
            if copied is None:
                self.notes.append(
                    f"The audio ({name}) cannot go into {suffix} untouched and was left out; write "
                    "to .mkv to keep it."
                )
                continue
            if "language" in stream.metadata:
                copied.metadata["language"] = stream.metadata["language"]
            self.streams[stream.index] = copied
        if since is not None and self.streams:
            self.container.seek(int((since + self.origin) * av.time_base), backward=True)
        self.packets = self._packets()
        self.waiting: tuple[Fraction, Any] | None = None

    def _packets(self) -> Iterator[tuple[Fraction, Any]]:
        if not self.streams:
            return
        wanted = [self.container.streams[index] for index in self.streams]
        for packet in self.container.demux(wanted):
            if packet.pts is None or packet.dts is None:
                continue
            offset = self.origin + (self.since or 0)
            if self.since is not None and packet.pts * packet.time_base < offset:
                continue
            shift = round(offset / packet.time_base)
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


def to_picture(image: Tensor, pixels: str) -> av.VideoFrame:
    """An image (3,H,W) in [0,1] in this pixel format, as it is encoded."""
    height, width = image.shape[-2:]
    values = image.detach().permute(1, 2, 0).float().mul(255).round_().clamp_(0, 255)
    rgb = values.to(torch.uint8).cpu().numpy()
    if width % 2 or height % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"),
        format=pixels,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_RESAMPLING,
    )


class VideoWriter:
    """Writes frames to a file that appears under its name only when everything went well.

    H.264 (VP9 in .webm), 4:2:0, BT.709, the frames' own timestamps. Odd sizes get one replicated
    row or column, which 4:2:0 needs. `aspect` is the shape of the picture as shown: the pixel shape
    is set so that it is kept exactly whatever the frame size. `tracks_from` names a file whose audio
    is copied untouched; `since` (s on that file's clock) becomes 0, None keeps the clock; `trimmed`
    ends the audio with the last frame. What could not be kept is said in `notes`.

    Raises StyleAVideoError where the target cannot be written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        frame_rate: Fraction,
        time_base: Fraction | None = None,
        aspect: Fraction | None = None,
        tracks_from: str | os.PathLike[str] | None = None,
        since: Fraction | None = None,
        trimmed: bool = False,
    ) -> None:
        self.target = check_target(target)
        self.kind = CONTAINERS[self.target.suffix.lower()]
        self.frame_rate = Fraction(frame_rate)
        self.time_base = time_base or 1 / self.frame_rate
        self.aspect = aspect
        self.tracks_from = Path(tracks_from) if tracks_from is not None else None
        self.since = since
        self.trimmed = trimmed
        self.notes: list[str] = []
        self.frames = 0
        self._part = self.target.with_name(f".{secrets.token_hex(8)}{self.target.suffix}")
        self._output: Any = None
        self._stream: Any = None
        self._audio: _Audio | None = None
        self._durations: dict[int, int] = {}
        self._pts = -(2**62)
        self._end = Fraction(0)

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: Frame) -> None:
        """Encodes one frame, image (3,H,W) in [0,1]; times must increase."""
        self.write_picture(self.picture(frame.image), frame.pts, frame.duration)

    def picture(self, image: Tensor) -> av.VideoFrame:
        """An image (3,H,W) in [0,1] in the pixels that are encoded: nothing is lost after this."""
        return to_picture(image, self.kind.pixels)

    def write_picture(self, picture: av.VideoFrame, pts: Fraction, duration: Fraction) -> None:
        """Encodes what `picture` gave, shown at `pts` for `duration` (s, the source's clock)."""
        try:
            self._write(picture, pts, duration)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _write(self, picture: av.VideoFrame, pts: Fraction, duration: Fraction) -> None:
        if self._output is None:
            self._open(picture.width, picture.height)
        time = pts - (self.since or 0)
        # Two frames at one time (broken sources have them) would stop the muxer: one tick apart.
        self._pts = max(round(time / self.time_base), self._pts + 1)
        picture.pts, picture.time_base = self._pts, self.time_base
        self._durations[self._pts] = max(1, round(duration / self.time_base))
        self._end = time + duration
        self._mux(self._stream.encode(picture))
        if self._audio is not None:
            for packet in self._audio.until(time):
                self._output.mux(packet)
        self.frames += 1

    def _open(self, width: int, height: int) -> None:
        options = dict(self.kind.container_options)
        if options:  # the clock of a late first frame, milliseconds by default
            options["movie_timescale"] = str(_fine(self.time_base.denominator))
        self._output = av.open(str(self._part), "w", format=self.kind.format, options=options)
        stream = self._output.add_stream(
            self.kind.codec, rate=self.frame_rate, options=dict(self.kind.options)
        )
        stream.width, stream.height = width, height
        stream.pix_fmt = self.kind.pixels
        context = stream.codec_context
        context.time_base = self.time_base
        context.color_range, context.colorspace = 1, 1
        context.color_primaries, context.color_trc = 1, 1
        if self.aspect is not None:
            sample = _pixel_shape(self.aspect * height / width)
            context.sample_aspect_ratio = sample
            # PyAV hands H.264 its pixel shape, but has no way to tell the WebM muxer.
            if self.kind.format == "webm" and abs(sample - 1) > Fraction(1, 100):
                self.notes.append(
                    f"A .webm file has square pixels here, so the picture is shown as {width}x"
                    f"{height} and not in its shape {float(self.aspect):.3f}:1; write to .mp4, or "
                    "leave out --size."
                )
        self._stream = stream
        if self.tracks_from is not None:
            suffix = self.target.suffix.lower()
            self._audio = _Audio(self.tracks_from, self._output, self.kind, suffix, self.since)
            self.notes += self._audio.notes

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._output.mux(packet)

    def _failed(self, error: Exception) -> StyleAVideoError:
        reason = getattr(error, "strerror", None) or str(error)
        return StyleAVideoError(
            f"{self.target} cannot be written ({reason}): free space or choose another place."
        )

    def _finish(self) -> None:
        self._mux(self._stream.encode(None))
        if self._audio is not None:
            for packet in self._audio.until(self._end if self.trimmed else None):
                self._output.mux(packet)
        self._output.close()
        os.replace(self._part, self.target)

    def _discard(self) -> None:
        try:
            if self._output is not None:
                self._output.close()
        except (av.FFmpegError, OSError):
            pass  # the file is thrown away in any case, and the first error is the one to tell
        self._part.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.frames:
                try:
                    self._finish()
                except (av.FFmpegError, OSError) as failure:
                    raise self._failed(failure) from failure
            elif kind is None:
                raise StyleAVideoError(f"{self.target} was not written: there was no frame.")
        except BaseException:
            self._discard()
            raise
        else:
            if kind is not None:
                self._discard()
        finally:
            if self._audio is not None:
                self._audio.close()
