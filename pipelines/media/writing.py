"""Frames into a file that appears under its name only when everything went well."""

from __future__ import annotations

import os
import secrets
import shutil
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container.core import Flags
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from torch import Tensor

from ..errors import StyleAVideoError
from .animations import Palette, complete_webp
from .encoded import to_picture
from .formats import FOLDER, Kind, check_target, kind_of
from .frames import Frame, VideoInfo
from .tracks import Tracks, lost

_STORED_SHAPE = ("mp4", "mov")  # muxers that store the shape of pixels for any codec


def _pixel_shape(sample: Fraction) -> Fraction:
    """The sample aspect ratio as H.264 stores it: two numbers of 16 bits."""
    return sample.limit_denominator(int(0xFFFF / max(Fraction(1), sample)))


def _fine(ticks: int) -> int:
    """A multiple of `ticks` a second that is at least 10,000: what rounds nothing audible."""
    return ticks * -(-10_000 // ticks)


def foreseen(
    info: VideoInfo, target: str | os.PathLike[str], codec: str | None = None
) -> list[str]:
    """What a user should know before any work: what is done to the source, what is not kept.

    The writer's notes say it again, of what was written.
    """
    kind = kind_of(Path(target), codec, info.alpha)
    return [*info.notes, *_without_alpha(kind, info.alpha), *lost(info.path, kind)]


def _without_alpha(kind: Kind, alpha: bool) -> list[str]:
    if kind.codec.alpha or not alpha:
        return []
    return [
        f"Transparency cannot go into {kind.suffix} as {kind.name} and is left out; write to .mov "
        "as prores, .mkv as ffv1, .webm as vp9, .webp, .gif or a folder of PNG pictures to keep it."
    ]


class VideoWriter:
    """Writes frames with their own timestamps, and what another file holds beside its pictures.

    The suffix of `target` decides the form (`formats.CONTAINERS`), `codec` another codec than its
    first, `quality` is one of `formats.QUALITIES`. Pictures are BT.709. `aspect` is the shape of
    the picture as shown: the pixel shape is set so that it is kept exactly whatever the frame size.
    `alpha`: frames come with transparency, which is kept where the form has room for it.
    `tracks_from` names a file whose audio, subtitles, chapters and tags are copied untouched;
    `since` (s on that file's clock) becomes 0, None keeps the clock; `trimmed` ends them with the
    last frame. What could not be kept is said in `notes`.

    Raises:
        StyleAVideoError: the target cannot be written, the codec does not go with it.
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
        codec: str | None = None,
        quality: str | None = None,
        alpha: bool = False,
    ) -> None:
        self.target = check_target(target)
        self.kind = kind_of(self.target, codec, alpha, quality)
        self.frame_rate = Fraction(frame_rate)
        self.time_base = self.kind.container.clock or time_base or 1 / self.frame_rate
        self.aspect = aspect
        self.tracks_from = Path(tracks_from) if tracks_from is not None else None
        self.since = since
        self.trimmed = trimmed
        self.alpha = alpha
        self.notes = _without_alpha(self.kind, alpha)
        self.frames = 0
        self._dropped = 0
        self.part = self.target.with_name(f".{secrets.token_hex(8)}{self.kind.suffix}")
        self._output: Any = None
        self._stream: Any = None
        self._tracks: Tracks | None = None
        self._palette: Palette | None = None
        self._scaler = VideoReformatter()
        self._durations: dict[int, int] = {}
        self._pts: int | None = None
        self._end = Fraction(0)

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: Frame) -> None:
        """Encodes one frame, image (3,H,W) in [0,1]; times must increase."""
        self.write_picture(self.picture(frame.image, frame.alpha), frame.pts, frame.duration)

    def picture(self, image: Tensor, alpha: Tensor | None = None) -> av.VideoFrame:
        """An image (3,H,W) and its alpha (h,w) in [0,1] in the pixels that are encoded."""
        return to_picture(image, self.kind.pixels, alpha)

    def write_picture(self, picture: av.VideoFrame, pts: Fraction, duration: Fraction) -> None:
        """Encodes what `picture` gave, shown at `pts` for `duration` (s, the source's clock)."""
        try:
            self._write(picture, pts, duration)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _write(self, picture: av.VideoFrame, pts: Fraction, duration: Fraction) -> None:
        if self._output is None:
            self._open(picture)
        time = pts - (self.since or 0)
        self._end = time + duration
        self.frames += 1
        ticks = round(time / self.time_base)
        if self._pts is not None and ticks < self._pts + self.kind.container.gap:
            if self.kind.container.gap > 1:
                self._dropped += 1
                return
            # Two frames at one time (broken sources have them) would stop the muxer.
            ticks = self._pts + 1
        self._pts = ticks
        picture.pts, picture.time_base = ticks, self.time_base
        # For the encoder to choose: in a job every frame is a keyframe, and decoded it says so.
        picture.pict_type = PictureType.NONE
        if not picture.format.is_rgb:  # what was packed in between has lost them
            picture.colorspace = picture.color_primaries = picture.color_trc = 1  # BT.709
            picture.color_range = 1  # limited
        self._durations[ticks] = max(self.kind.container.gap, round(duration / self.time_base))
        self._encode(picture)
        if self._tracks is not None:
            self._tracks.mux_until(time)

    def _encode(self, picture: av.VideoFrame | None) -> None:
        if self._palette is not None:
            for painted in self._palette(picture):
                self._mux(self._stream.encode(painted))
        elif picture is not None:
            self._mux(self._stream.encode(self._encoded(picture)))
        if picture is None:
            self._mux(self._stream.encode(None))

    def _encoded(self, picture: av.VideoFrame) -> av.VideoFrame:
        """In another form of the same values, where the encoder wants one."""
        if picture.format.name == self._stream.pix_fmt:
            return picture
        return self._scaler.reformat(picture, format=self._stream.pix_fmt)

    def _open(self, picture: av.VideoFrame) -> None:
        container, codec = self.kind.container, self.kind.codec
        options = dict(container.options)
        if options:  # the clock of a late first frame, milliseconds by default
            options["movie_timescale"] = str(_fine(self.time_base.denominator))
        self._output = av.open(self._path(), "w", format=container.muxer, options=options)
        self._output.flags |= Flags.bitexact.value  # no random identifiers
        stream = self._output.add_stream(
            codec.encoder, rate=self.frame_rate, options=dict(self.kind.options)
        )
        stream.width, stream.height = picture.width, picture.height
        stream.pix_fmt = codec.encoded or picture.format.name
        if codec.encoded == "rgb24" and picture.format.name == "bgra":
            stream.pix_fmt = "rgba"
        context = stream.codec_context
        context.time_base = self.time_base
        if codec.tag and container.muxer in ("mp4", "mov"):
            context.codec_tag = codec.tag
        if not picture.format.is_rgb:
            context.color_range, context.colorspace = 1, 1
            context.color_primaries, context.color_trc = 1, 1
        if codec.encoded == "pal8":
            self._palette = Palette(picture.width, picture.height, self.time_base)
        self._stream = stream
        self._set_shape(picture)
        if self.tracks_from is not None and self.tracks_from.is_file():
            self._tracks = Tracks(
                self.tracks_from, self._output, self.kind, self.since, self.trimmed
            )

    def _path(self) -> str:
        if self.kind.suffix != FOLDER:
            return str(self.part)
        self.part.mkdir()
        return str(self.part).replace("%", "%%") + "/%06d.png"

    def _set_shape(self, picture: av.VideoFrame) -> None:
        if self.aspect is None:
            return
        sample = _pixel_shape(self.aspect * picture.height / picture.width)
        self._stream.codec_context.sample_aspect_ratio = sample
        # PyAV hands a codec its pixel shape, but has no way to tell the Matroska muxer.
        stored = self.kind.codec.shape or self.kind.container.muxer in _STORED_SHAPE
        if not stored and abs(sample - 1) > Fraction(1, 100):
            what = f"A {self.kind.suffix} file" if self.kind.suffix else "A folder of pictures"
            self.notes.append(
                f"{what} has square pixels as {self.kind.name} here, so the picture is shown as "
                f"{picture.width}x{picture.height} and not in its shape {float(self.aspect):.3f}:1;"
                " write to .mp4 to keep it."
            )

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._output.mux(packet)

    def _failed(self, error: Exception) -> StyleAVideoError:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.ArgumentError | av.InvalidDataError):
            return StyleAVideoError(
                f"{self.target} cannot hold what is to be written ({reason}): write to .mkv, or at "
                "another size."
            )
        return StyleAVideoError(
            f"{self.target} cannot be written ({reason}): free space or choose another place."
        )

    def _finish(self) -> None:
        self._encode(None)
        if self._tracks is not None:
            self._tracks.mux_until(self._end if self.trimmed else None)
            self.notes += self._tracks.notes
        self._output.close()
        if self.kind.name == "webp":
            last = Fraction(self._pts or 0) * self.time_base
            complete_webp(self.part, max(1, round((self._end - last) * 1000)), self.alpha)
        if self._dropped:
            self.notes.append(
                f"Viewers show a GIF at 50 pictures/s at most: {self._dropped} pictures were left "
                "out, the others keep their times."
            )
        if self.kind.suffix == FOLDER and self.target.is_dir():
            self.target.rmdir()  # empty; Windows replaces no folder
        os.replace(self.part, self.target)

    def _discard(self) -> None:
        try:
            if self._output is not None:
                self._output.close()
        except (av.FFmpegError, OSError):
            pass  # the file is thrown away in any case, and the first error is the one to tell
        if self.kind.suffix == FOLDER:
            shutil.rmtree(self.part, ignore_errors=True)
        else:
            self.part.unlink(missing_ok=True)

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
            if self._tracks is not None:
                self._tracks.close()


def check_not_input(target: Path, source: Path) -> None:
    """Refuse to write over what is read."""
    if target.exists() and target.samefile(source):
        raise StyleAVideoError(f"{target} is the input itself: write to another file.")
