"""What can be written: suffixes, their codecs, what else they hold.

A codec or a suffix is one entry in its table. Options are chosen to look like the source at a size
people accept, and so that the same frames give the same bytes on any machine: whatever an encoder
lets depend on the number of cores or on the processor is fixed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from ..errors import StyleAVideoError
from ..files import MAX_NAME, kind_of_place, shown, told

ROOM = 12  # bytes of a name for what stands beside it until it is done, such as .NAME.job.done
FOLDER = ""  # the suffix of a folder of pictures: none
QUALITIES = ("high", "normal", "low")
NORMAL = "normal"


@dataclass(frozen=True)
class Codec:
    """How pictures are encoded.

    `pixels` are those that a picture is made in, one that FFV1 can hold; `alpha` those with
    transparency, "" where it cannot be held; `encoded` what the encoder is given where that is
    another form of the same; `tag` the name in an mp4 or mov; `shape`: pixels need not be square,
    wherever the stream is put; `levels` what the option `level` is for each of `QUALITIES`, none
    where there is nothing to choose.
    """

    encoder: str
    pixels: str
    alpha: str = ""
    encoded: str = ""
    options: dict[str, str] = field(default_factory=dict)
    alpha_options: dict[str, str] = field(default_factory=dict)
    tag: str = ""
    shape: bool = True
    levels: tuple[str, ...] = ()
    level: str = "crf"


@dataclass(frozen=True)
class Container:
    """What a suffix can hold: `codecs`, the first one by default; audio and subtitles that are
    copied untouched (None: any); the unit of its timestamps where it has its own (s), and how many
    of them a picture is shown at least."""

    muxer: str
    codecs: tuple[str, ...]
    audio: frozenset[str] | None = frozenset()
    subtitles: frozenset[str] | None = frozenset()
    options: dict[str, str] = field(default_factory=dict)
    clock: Fraction | None = None
    gap: int = 1


@dataclass(frozen=True)
class Kind:
    """A suffix and a codec: how one target is written. `pixels` are those of `to_picture`."""

    suffix: str
    name: str
    codec: Codec
    container: Container
    pixels: str
    options: dict[str, str]


CODECS = {
    # cpu-independent: x264's AVX-512 code gives other pixels from one run to the next. Its threads
    # and x265's frame threads decide the pixels too, and would be the machine's. No B-frames: they
    # are stored out of order, and at a variable rate MP4 would give the last one a wrong duration.
    "h264": Codec(
        "libx264",
        "yuv420p",
        options={
            "preset": "medium",
            "threads": "6",
            "x264-params": "cpu-independent=1:bframes=0",
        },
        levels=("16", "20", "26"),
    ),
    "hevc": Codec(
        "libx265",
        "yuv420p10le",
        options={"preset": "medium", "x265-params": "log-level=error:frame-threads=3:bframes=0"},
        tag="hvc1",  # what Apple's players know it by
        levels=("18", "24", "30"),
    ),
    "av1": Codec(
        "libsvtav1",
        "yuv420p10le",
        options={"preset": "8"},
        shape=False,
        levels=("22", "32", "42"),
    ),
    "vp9": Codec(
        "libvpx-vp9",
        "yuv420p",
        alpha="yuva420p",
        options={
            "b": "0",
            "deadline": "good",
            "cpu-used": "4",
            "row-mt": "1",
            "threads": "4",
        },
        alpha_options={"auto-alt-ref": "0"},
        shape=False,
        levels=("24", "32", "42"),
    ),
    "prores": Codec("prores_ks", "yuv422p10le", alpha="yuva444p10le", options={"vendor": "apl0"}),
    "ffv1": Codec(
        "ffv1",
        "bgr0",
        alpha="bgra",
        options={"level": "3", "slices": "4", "slicecrc": "1", "g": "1"},
    ),
    "gif": Codec("gif", "bgra", alpha="bgra", encoded="pal8", shape=False),
    "webp": Codec(
        "libwebp_anim",
        "bgra",
        alpha="bgra",
        options={"loop": "0"},
        shape=False,
        levels=("95", "90", "70"),
        level="quality",
    ),
    "png": Codec("png", "bgr0", alpha="bgra", encoded="rgb24", shape=False),
}

_MP4_AUDIO = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac"})
_MOV_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_PCM = frozenset({"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"})
_TEXT = frozenset({"mov_text"})
_FRONT = {"movflags": "+faststart"}
_MP4 = Container("mp4", ("h264", "hevc", "av1"), _MP4_AUDIO, _TEXT, _FRONT)
CONTAINERS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": Container("mov", ("h264", "hevc", "prores"), _MOV_AUDIO | _PCM, _TEXT, _FRONT),
    ".mkv": Container("matroska", ("h264", "hevc", "av1", "vp9", "ffv1"), None, None),
    ".webm": Container(
        "webm", ("vp9", "av1"), frozenset({"opus", "vorbis"}), frozenset({"webvtt"})
    ),
    # Viewers show a picture of less than 2/100 s for 10/100.
    ".gif": Container("gif", ("gif",), clock=Fraction(1, 100), gap=2),
    ".webp": Container("webp", ("webp",), clock=Fraction(1, 1000)),
    FOLDER: Container("image2", ("png",)),
}
SUFFIXES = tuple(suffix for suffix in CONTAINERS if suffix != FOLDER)


def kind_of(
    target: Path, codec: str | None = None, alpha: bool = False, quality: str | None = None
) -> Kind:
    """How `target` is written: by its suffix's first codec, or by the one that is named.

    Raises:
        StyleAVideoError: an unknown suffix or codec, one that does not go with the other, one that
            this machine's PyAV was built without; a quality where there is none to choose.
    """
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise _unknown_suffix(target)
    container = CONTAINERS[suffix]
    name = codec or container.codecs[0]
    if name not in CODECS:
        raise StyleAVideoError(f"There is no codec {name!r}; choose one of: {', '.join(CODECS)}.")
    if name not in container.codecs:
        others = [s for s in SUFFIXES if name in CONTAINERS[s].codecs]
        where = f"{', '.join(others)} file" if others else "folder, a name without a suffix"
        what = f"A {suffix} file" if suffix else "A folder of pictures"
        raise StyleAVideoError(
            f"{what} holds {' or '.join(container.codecs)}, not {name}: choose another codec, or "
            f"write to a {where}."
        )
    chosen = CODECS[name]
    if chosen.encoder not in av.codecs_available:
        raise StyleAVideoError(
            f"The PyAV of this machine was built without {chosen.encoder}: choose another codec, "
            "or install PyAV from PyPI."
        )
    options = chosen.options | _level(name, chosen, quality)
    if alpha and chosen.alpha:
        options |= chosen.alpha_options
        return Kind(suffix, name, chosen, container, chosen.alpha, options)
    return Kind(suffix, name, chosen, container, chosen.pixels, options)


def _level(name: str, codec: Codec, quality: str | None) -> dict[str, str]:
    """The encoder's option for a quality, `NORMAL` where none is named."""
    if quality is not None and quality not in QUALITIES:
        raise StyleAVideoError(
            f"There is no quality {quality!r}; choose one of: {', '.join(QUALITIES)}."
        )
    if codec.levels:
        return {codec.level: codec.levels[QUALITIES.index(quality or NORMAL)]}
    if quality is not None:
        others = ", ".join(other for other, one in CODECS.items() if one.levels)
        raise StyleAVideoError(
            f"With {name} there is no quality to choose: leave the quality out, or choose one of "
            f"the codecs {others}."
        )
    return {}


def suffix_of(codec: str | None) -> str:
    """The first suffix that this codec goes into; .mp4 where none, or an unknown one, is named."""
    return next((s for s in SUFFIXES if codec in CONTAINERS[s].codecs), SUFFIXES[0])


def _unknown_suffix(target: Path) -> StyleAVideoError:
    return StyleAVideoError(
        f"{target} has no suffix that can be written here: name it {', '.join(SUFFIXES)}, or "
        "without a suffix for a folder of PNG pictures."
    )


def check_target(target: str | os.PathLike[str], suffixes: Collection[str] | None = None) -> Path:
    """The path, if a file of one of these suffixes can be written there.

    By default those of videos; a name without a suffix is then a folder of pictures, which must not
    hold anything yet.

    Raises:
        StyleAVideoError: another suffix, a folder that is missing or cannot be written.
    """
    target = Path(target)
    if suffixes is None and target.suffix.lower() not in CONTAINERS:
        raise _unknown_suffix(target)
    if suffixes is not None and target.suffix.lower() not in suffixes:
        raise StyleAVideoError(
            f"{target} has no suffix that can be written here: name it {', '.join(suffixes)}."
        )
    _check_name(target)
    kind = kind_of_place(target)
    if target.suffix == FOLDER:
        _check_folder(target, kind)
    elif kind == "folder":
        raise StyleAVideoError(f"{shown(target)} is a folder: give the path of a file to write.")
    elif kind not in ("", "file"):
        raise StyleAVideoError(f"{shown(target)} is {kind}: give the path of a file to write.")
    folder = target.absolute().parent
    if kind_of_place(folder) != "folder":
        raise StyleAVideoError(
            f"The output folder {shown(folder)} does not exist: create it first."
        )
    try:
        with tempfile.TemporaryFile(dir=folder):  # without a name: a kill leaves nothing
            pass
    except OSError as error:
        raise StyleAVideoError(
            f"The output folder {shown(folder)} cannot be written ({error.strerror}): choose "
            "another one."
        ) from error
    return target


def _check_name(target: Path) -> None:
    """Refuse names that no file system takes."""
    most = MAX_NAME - ROOM
    if len(os.fsencode(target.name)) > most:
        raise StyleAVideoError(
            f"The name {shown(target.name)} is too long: {most} bytes are held at most."
        )


def _check_folder(target: Path, kind: str) -> None:
    """A folder of pictures is never mixed with another, nor put in place of one."""
    if kind not in ("", "folder"):
        raise StyleAVideoError(
            f"{shown(target)} is a file without a suffix, which would be a folder of PNG pictures: "
            f"choose another name, or one with {', '.join(SUFFIXES)}."
        )
    with told(target):
        if kind and any(target.iterdir()):
            raise StyleAVideoError(
                f"{shown(target)} is a folder that is not empty: name a new one for the PNG "
                "pictures."
            )
