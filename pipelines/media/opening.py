"""A video file opened, and refused in one sentence where it is none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ..errors import Remedy, StyleAVideoError
from ..files import kind_of_place, shown, told
from .boxes import check_samples
from .frames import RATE

MAX_PIXELS = 1 << 26  # of a picture, 8192 x 8192: twice those of 8K video
SECONDS = 30.0  # to open a file, and to read a packet: more than a slow disk takes

# The demuxers that are tried, by FFmpeg's names. None of them opens another file, as playlists do,
# or shows anything as text art; those of sound are here to be told that they hold no pictures.
_CONTAINERS = (
    *("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "nut", "mxf"),
    *("gxf", "dv", "ivf", "wtv", "rm", "nsv", "yuv4mpegpipe", "gif", "apng", "mjpeg", "jpeg_pipe"),
    *(
        "webp",
        "webp_pipe",
        "png_pipe",
        "h261",
        "h263",
        "h264",
        "hevc",
        "vvc",
        "av1",
        "obu",
        "m4v",
        "mpegvideo",
        "vc1",
    ),
    *("dirac", "cavsvideo", "avs2", "avs3", "dnxhd", "mp3", "wav", "flac", "aac", "ac3", "aiff"),
)
_CAREFUL = {
    "format_whitelist": ",".join(_CONTAINERS),
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_PIXELS),
}
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: the clock of such a container starts anywhere
# Titles in other encodings than UTF-8 stop PyAV 17 and 18 unless told not to; 19 takes them.
_TOLERANT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)


def open_input(path: Path, demuxer: str | None = None, **options: str) -> Any:
    """The file as a PyAV container.

    Args:
        demuxer: the one to use, instead of what the file's head tells.
        options: FFmpeg's, beside those that every file is opened with.

    Raises:
        StyleAVideoError: missing, a folder, a pipe or a device, empty, not permitted, cut off in
            its head, no media, or it takes too long.
    """
    kind = kind_of_place(path)
    if not kind:
        raise StyleAVideoError(f"{shown(path)} does not exist: check the path.")
    if kind == "folder":
        raise StyleAVideoError(f"{shown(path)} is a folder: give the path of a video file.")
    if kind != "file":
        raise StyleAVideoError(f"{shown(path)} is {kind}: give the path of a video file.")
    with told(path):
        if path.stat().st_size == 0:
            raise StyleAVideoError(f"{shown(path)} is empty (0 bytes): copy or download it again.")
    check_samples(path)
    try:
        # An absolute path: a name such as "a:b.mp4" would be taken for a protocol.
        return av.open(
            str(path.absolute()),
            format=demuxer,
            options=_CAREFUL | options,
            timeout=SECONDS,
            **_TOLERANT,
        )
    except PermissionError as error:
        raise StyleAVideoError(f"{shown(path)} cannot be read (permission denied).") from error
    except av.error.ExitError as error:
        raise StyleAVideoError(
            f"{shown(path)} could not be opened in {SECONDS:g} s: copy it to a faster disk, or "
            "convert it again."
        ) from error
    except UnicodeEncodeError as error:
        raise StyleAVideoError(
            f"{shown(path)} has a name that is no text, which the decoder cannot open: rename it."
        ) from error
    except av.ArgumentError as error:  # what is said of a demuxer that is not listed
        raise StyleAVideoError(
            f"{shown(path)} is not a video file: give an mp4, mov, mkv or webm file."
        ) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise StyleAVideoError(
            f"{shown(path)} is not a video that can be read, or is cut short: try to play it, then "
            "copy or convert it again."
        ) from error


def is_cover(stream: Any) -> bool:
    """Whether it is no video but the cover picture of a file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def video_stream(container: Any, path: Path) -> Any:
    """The first real video stream; the cover picture of an audio file is not one."""
    for stream in container.streams.video:
        if not is_cover(stream) and stream.codec_context is not None:
            _check_stated(path, stream)
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # sizes may change
            stream.thread_type = "AUTO"
            return stream
    what = "only audio" if container.streams.audio else "no pictures"
    raise StyleAVideoError(f"{path} holds {what}: give a file with a video stream.")


def _check_stated(path: Path, stream: Any) -> None:
    """Refuse by the size in the header. FFmpeg forgets one that is too large for its decoders."""
    context = stream.codec_context
    check_pixels(path, context.width, context.height)
    if not context.width:
        with open_input(path, codec_whitelist="none") as undecoded:
            again = undecoded.streams[stream.index].codec_context
            if again is not None:
                check_pixels(path, again.width, again.height)


def decoder_of(stream: Any) -> Any:
    """What decodes the stream's packets: FFmpeg's own decoders pass over the alpha of a WebM."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    name = _WITH_ALPHA.get(codec_of(stream), "")
    if tags.get("alpha_mode") != "1" or name not in av.codecs_available:
        return stream.codec_context
    decoder = av.CodecContext.create(name, "r")
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder


def check_pixels(path: Path, width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Refuse pictures that would not fit into memory."""
    if width * height > most:
        raise StyleAVideoError(
            f"{shown(path)} states pictures of {width}x{height}; at most {most:,} pixels can be "
            "worked on, so convert it to a smaller size if it is not damaged."
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
