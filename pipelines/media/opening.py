"""A video file opened, and refused in one sentence where it is none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ..errors import Remedy, StyleAVideoError
from .frames import RATE

MAX_PIXELS = 1 << 27  # of a picture, 16384 x 8192: what states more is broken, or means harm

# Demuxers that read something from anything: text as terminal art, playlists of other files.
_NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf", "hls", "dash", "concat", "sdp", "webvtt", "srt"}
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: the clock of such a container starts anywhere
# Titles in other encodings than UTF-8 stop PyAV 17 and 18 unless told not to; 19 takes them.
_TOLERANT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)


def open_input(path: Path) -> Any:
    """The file as a PyAV container.

    Raises:
        StyleAVideoError: missing, a folder, empty, not permitted, cut off in its head, no media.
    """
    if not path.exists():
        raise StyleAVideoError(f"{path} does not exist: check the path.")
    if path.is_dir():
        raise StyleAVideoError(f"{path} is a folder: give the path of a video file.")
    if path.stat().st_size == 0:
        raise StyleAVideoError(f"{path} is empty (0 bytes): copy or download it again.")
    try:
        # An absolute path: a name such as "a:b.mp4" would be taken for a protocol.
        container = av.open(str(path.absolute()), **_TOLERANT)
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


def is_cover(stream: Any) -> bool:
    """Whether it is no video but the cover picture of a file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def video_stream(container: Any, path: Path) -> Any:
    """The first real video stream; the cover picture of an audio file is not one."""
    for stream in container.streams.video:
        if not is_cover(stream) and stream.codec_context is not None:
            check_pixels(path, stream.codec_context.width, stream.codec_context.height)
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # sizes may change
            stream.thread_type = "AUTO"
            return stream
    what = "only audio" if container.streams.audio else "no pictures"
    raise StyleAVideoError(f"{path} holds {what}: give a file with a video stream.")


def decoder_of(stream: Any) -> Any:
    """What decodes the stream's packets: FFmpeg's own decoders pass over the alpha of a WebM."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    name = _WITH_ALPHA.get(codec_of(stream), "")
    if tags.get("alpha_mode") != "1" or name not in av.codecs_available:
        return stream.codec_context
    decoder = av.CodecContext.create(name, "r")
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder


def check_pixels(path: Path, width: int, height: int) -> None:
    """Refuse pictures that would not fit into memory."""
    if width * height > MAX_PIXELS:
        raise StyleAVideoError(
            f"{path} states pictures of {width}x{height}, more than can be worked on: is it "
            "damaged? Convert it to a smaller size."
        )


def origin_of(container: Any) -> Fraction:
    """The container time (s) that is 0 on our clock."""
    if container.format.flags & _TS_DISCONT and container.start_time is not None:
        return Fraction(container.start_time, av.time_base)
    return Fraction(0)


def codec_of(stream: Any) -> str:
    """The codec's own name: a decoder may be called otherwise, as mp3float or libdav1d."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def rate_of(stream: Any) -> Fraction:
    """Frames/s on average."""
    return Fraction(stream.average_rate or stream.guessed_rate or RATE)


def sample_of(stream: Any) -> Fraction:
    """Width of a pixel over its height, as shown."""
    sample = stream.sample_aspect_ratio
    return Fraction(sample) if sample else Fraction(1)


def damaged(path: Path, time: Fraction, error: Exception) -> StyleAVideoError:
    """What is said of a file whose pictures (from `time` on, s) cannot be decoded."""
    reason = getattr(error, "strerror", None) or str(error)
    return StyleAVideoError(
        f"{path} is damaged near {float(time):.2f} s ({reason}): copy or convert it again",
        Remedy.TAKE_PARTIAL,
    )
