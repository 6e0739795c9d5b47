"""Shots: where a clip cuts from one to the next, and the pieces that are worked on one by one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..checks import check_prompts
from ..core import refiner
from ..engines.style import Style, read_learned_style, read_style_picture
from ..errors import StyleAVideoError
from ..files import parse_json, read_bounded, shown
from ..flow import both_ways
from ..media import Frame
from ..refine.frames import is_cut
from ..refine.keyframes import Keyframes

SIDE = 128  # px: cuts show as well in small pictures, at 10 ms a frame
SEGMENT = 16  # frames: what is lost at most when a run ends before its time
LONGEST = 64  # frames of a segment between keyframes that are painted: no engine's work is lost
MOST = 513  # frames of a segment that an engine needs together (video models): 4 k + 1
SEGMENT_BYTES = 128 << 20  # of decoded frames; three segments are in memory at a time
MAX_FRAMES = 1 << 40  # of a clip; more are not meant
MAX_TIME = 10**9  # s, 30 years: muxers count in 64 bits
MAX_PICTURES = 64  # of all styles together: they are in memory
MAX_STYLES = 1000  # different ones: the built-in model is asked for each where it places it
MAX_FILE = 16 << 20  # bytes of a shots file; a film has some thousand shots
OTHER_PART = 0.5  # s between a first frame's time and that of the file: it is of another part

# What a shots file may say; `end` and `time` are for whoever reads it, but see OTHER_PART.
OF_FILE = ("shots",)
OF_SHOT = ("start", "prompt", "pictures", "styles", "end", "time")
OF_PICTURE = ("path", "weight", "mask")
OF_LEARNED = ("name", "weight", "mask")


@dataclass(frozen=True)
class Shot:
    """Frames start ≤ f < end, counted from the first that is stylized; `time` (s) of `start`."""

    start: int
    end: int
    time: Fraction


@dataclass(frozen=True)
class Begin:
    """Where a shot begins, as a user says: frame `start`; `style`: None: that of the run.

    `time` (s) of the frame, where the file says it.
    """

    start: int
    style: Style | None = None
    time: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Segment:
    """Frames start ≤ f < end of one shot, the first of them shown at `time` (s).

    None: it cannot be found by its time, since those of the clip do not grow.
    """

    start: int
    end: int
    time: Fraction | None
    shot: int

    def __len__(self) -> int:
        return self.end - self.start

    def follows(self, other: Segment) -> bool:
        """Whether it goes on where `other` ends, in the same shot."""
        return self.start == other.end and self.shot == other.shot


@dataclass(frozen=True)
class Together:
    """Frames that an engine needs at once (video models), in the place of chunks.

    Attributes:
        frames: of a segment.
        first: the first segment of a shot has so many more.
        last: where no more than these are left of a shot, the segment before takes them along.

    Raises:
        StyleAVideoError: a segment of them is longer than a job keeps.
    """

    frames: int
    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        if self.most > MOST:
            raise StyleAVideoError(
                f"A segment has at most {MOST} frames, and {self.most} are to be together: ask for "
                "fewer."
            )

    @property
    def most(self) -> int:
        return self.frames + self.first + self.last


@dataclass(frozen=True)
class Plan:
    """A clip as shots, and these as segments, in order."""

    shots: tuple[Shot, ...]
    segments: tuple[Segment, ...]

    @property
    def frames(self) -> int:
        return self.shots[-1].end if self.shots else 0

    def as_dict(self) -> dict[str, Any]:
        segments = [
            [s.start, s.end, None if s.time is None else str(s.time), s.shot] for s in self.segments
        ]
        return {"shots": [as_dict(shot) for shot in self.shots], "segments": segments}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Plan:
        """Of what `as_dict` gave; anything else is a ValueError, LookupError or TypeError."""
        shots = tuple(Shot(s["start"], s["end"], read_time(s["time"])) for s in given["shots"])
        segments = tuple(
            Segment(start, end, None if time is None else read_time(time), shot)
            for start, end, time, shot in given["segments"]
        )
        inside = all(
            shots[s.shot].start <= s.start and s.end <= shots[s.shot].end and s.shot >= 0
            for s in segments
        )
        short = all(s.end - s.start <= MOST for s in segments)
        if not inside or not short or not _whole(shots) or not _whole(segments):
            raise ValueError("not every frame is in one segment of one shot")
        return cls(shots, segments)


def _whole(pieces: Sequence[Shot] | Sequence[Segment]) -> bool:
    """Whether they cover the frames from 0 on, each once."""
    starts, ends = [p.start for p in pieces], [p.end for p in pieces]
    exact = all(type(n) is int and n <= MAX_FRAMES for n in (*starts, *ends))
    following = starts == [0, *ends[:-1]]
    return exact and following and all(a < b for a, b in zip(starts, ends, strict=True))


def read_time(text: Any) -> Fraction:
    """Of a Fraction's text. (Fraction itself takes 1e999999999, and years over it.)"""
    if not isinstance(text, str) or not re.fullmatch(r"-?[0-9]{1,30}(/[0-9]{1,30})?", text):
        raise ValueError(f"no time: {text!r:.50}")
    try:
        time = Fraction(text)
    except ZeroDivisionError as error:
        raise ValueError(f"no time: {text}") from error
    if abs(time) > MAX_TIME:
        raise ValueError(f"no time: {text}")
    return time


class Cuts:
    """Told frame after frame, says whether a new shot begins with this one."""

    def __init__(self) -> None:
        self._last: Tensor | None = None

    def __call__(self, image: Tensor) -> bool:
        """image (3,H,W) in [0,1], all of one size."""
        h, w = image.shape[-2:]
        if max(h, w) > SIDE:
            size = [max(16, side * SIDE // max(h, w)) for side in (h, w)]
            image = F.interpolate(image[None], size, mode="area")[0]
        last, self._last = self._last, image
        if last is None:
            return False
        x, before = image[None], last[None]
        return is_cut(refiner.see(x, x, before, before, *both_ways(image, last)))


def plan(
    frames: Iterable[Frame],
    length: int = SEGMENT,
    begins: Sequence[Begin] | None = None,
    told: Callable[[int], None] = lambda done: None,
    trimmed: bool = False,
    ends: Collection[int] = (),
    together: Together | None = None,
) -> Plan:
    """One pass over small frames (see SIDE) → shots and segments of at most `length` frames.

    Args:
        begins: shots that are known already (`read_shots`), instead of looking for cuts.
        told: called with the number of frames seen.
        trimmed: the frames may end before the clip does: shots beyond them are left out.
        ends: frames with which a segment ends.
        together: decides the length instead.

    Raises:
        StyleAVideoError: a shot of `begins` lies beyond the last frame of the clip; they were
            written for another part of it; no OpenCV here.
    """
    cuts = Cuts()
    wanted = None if begins is None else {shot.start for shot in begins}
    starts: list[tuple[int, Fraction]] = []
    segments: list[tuple[int, Fraction | None, int]] = []
    index, last, in_order = 0, None, True
    for index, frame in enumerate(frames):
        if index == 0 and begins:
            _check_part(begins[0], frame.pts)
        cut = cuts(frame.image) if wanted is None else index in wanted
        if cut or not starts:
            starts.append((index, frame.pts))
        begins_shot = bool(segments) and segments[-1][0] == starts[-1][0]
        most = length if together is None else together.frames + together.first * begins_shot
        full = not segments or index - segments[-1][0] >= most or index - 1 in ends
        if cut or full:
            segments.append((index, None if frame.pts == last else frame.pts, len(starts) - 1))
        in_order = in_order and (last is None or frame.pts >= last)
        last = frame.pts
        told(index + 1)
    if not starts:
        return Plan((), ())
    count = index + 1
    if begins is not None and len(starts) < len(begins) and not trimmed:
        raise StyleAVideoError(
            f"The shots file has a shot at frame {begins[len(starts)].start}, and there are "
            f"{count} frames: take out what lies beyond them."
        )
    ends = [*(start for start, _ in starts[1:]), count]
    shots = (Shot(start, end, time) for (start, time), end in zip(starts, ends, strict=True))
    if together is not None:
        segments = _joined(segments, count, together.last)
    stops = [*(start for start, _, _ in segments[1:]), count]
    pieces = (
        Segment(start, stop, time if in_order else None, shot)
        for (start, time, shot), stop in zip(segments, stops, strict=True)
    )
    return Plan(tuple(shots), tuple(pieces))


def _joined(
    segments: list[tuple[int, Fraction | None, int]], count: int, last: int
) -> list[tuple[int, Fraction | None, int]]:
    """Without those that end a shot with at most `last` frames, unless they are all of it."""
    ends = [*(start for start, _, _ in segments[1:]), count]
    shots = [None, *(shot for _, _, shot in segments), None]
    return [
        (start, time, shot)
        for (start, time, shot), end, before, after in zip(
            segments, ends, shots, shots[2:], strict=False
        )
        if end - start > last or shot == after or shot != before
    ]


def _check_part(first: Begin, time: Fraction) -> None:
    """Frames are counted from the first that is stylized: another one, and all styles are late."""
    if first.time is not None and abs(first.time - time) > OTHER_PART:
        raise StyleAVideoError(
            f"The shots file begins at {first.time:g} s of the clip, and these frames at "
            f"{float(time):g} s: write it anew for the part that is meant."
        )


def segment_length(width: int, height: int, keyframes: Keyframes | None = None) -> int:
    """Frames of this size in a segment; with keyframes, so many that it ends with one of them."""
    affordable = SEGMENT_BYTES // (12 * width * height)
    if keyframes is None:
        return max(1, min(SEGMENT, affordable))
    if keyframes.painted is not None:
        return max(1, min(LONGEST, 2 * affordable))
    return keyframes.every * max(1, min(SEGMENT, affordable) // keyframes.every)


def as_dict(shot: Shot) -> dict[str, Any]:
    return {"start": shot.start, "end": shot.end, "time": str(shot.time)}


def as_text(shots: Iterable[Shot]) -> str:
    """What `read_shots` reads, to write prompts into."""
    listed = [{**as_dict(s), "time": f"{float(s.time):.3f}", "prompt": None} for s in shots]
    return json.dumps({"shots": listed}, indent=2, ensure_ascii=False) + "\n"


HINT = 'write {"shots": [{"start": 0, "prompt": "watercolour"}, ...]}'


def read_shots(path: str | os.PathLike[str]) -> list[Begin]:
    """A file {"shots": [{"start": FRAME, "prompt": TEXT or null, "pictures": [...]}, ...]}.

    A picture is {"path": FILE, "weight": 1, "mask": FILE}, its files beside the shots file where
    their paths are not absolute; weight and mask may be left out. In the place of pictures there
    may be learned "styles", {"name": NAME, "weight": 1, "mask": FILE}. "end" and "time", which
    `as_text` writes, are for the reader.

    Raises:
        StyleAVideoError: no such file, other content or keys, starts that do not begin at 0 or do
            not grow, a style that cannot be used.
    """
    path = Path(path)
    try:
        content = parse_json(read_bounded(path, MAX_FILE))
        listed = content["shots"]
        starts = [shot["start"] for shot in listed]
        times = [_time_of(shot) for shot in listed]
        given = [
            (shot.get("prompt"), shot.get("pictures") or [], shot.get("styles") or [])
            for shot in listed
        ]
    except StyleAVideoError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StyleAVideoError(f"{shown(path)} is not a shots file: {HINT}.") from error
    whole = all(type(s) is int for s in starts)
    growing = whole and all(a < b for a, b in zip(starts, starts[1:], strict=False))
    if not starts or not growing or starts[0] != 0:
        raise StyleAVideoError(
            f"The shots of {shown(path)} must start at frame 0 and each after the one before: "
            f"{HINT}."
        )
    _check_keys(shown(path), content, OF_FILE)
    for start, shot in zip(starts, listed, strict=True):
        _check_keys(f"The shot at frame {start} of {shown(path)}", shot, OF_SHOT)
    keys = [json.dumps(style, sort_keys=True) for style in given]
    different = {
        key: (start, *style) for key, start, style in zip(keys, starts, given, strict=True)
    }
    if len(different) > MAX_STYLES:
        raise StyleAVideoError(
            f"{shown(path)} has {len(different):,} different styles, and {MAX_STYLES:,} at most "
            "are taken: use some of them for several shots."
        )
    pictures = sum(
        len(listed)
        for *_, pictures, learned in different.values()
        for listed in (pictures, learned)
        if isinstance(listed, list)
    )
    if pictures > MAX_PICTURES:
        raise StyleAVideoError(
            f"{shown(path)} has {pictures:,} pictures in different styles, and {MAX_PICTURES:,} at "
            "most are taken: use some styles for several shots."
        )
    styles = {key: _style(path.parent, *style) for key, style in different.items()}
    return [
        Begin(start, styles[key], time)
        for start, key, time in zip(starts, keys, times, strict=True)
    ]


def _time_of(shot: dict[str, Any]) -> float | None:
    """Of the frame where it begins; anything but a number is a ValueError or TypeError."""
    time = None if shot.get("time") is None else float(shot["time"])
    if time is not None and not abs(time) <= MAX_TIME:
        raise ValueError(f"no time: {time}")
    return time


def _check_keys(what: str, given: dict[str, Any], known: Sequence[str]) -> None:
    """A key that is not known is a typing error, and what it says would be lost."""
    if unknown := [key for key in given if key not in known]:
        raise StyleAVideoError(
            f"{what} has {unknown[0]!r:.60}, which means nothing here; known are "
            f"{', '.join(known)}."
        )


def _style(folder: Path, start: int, prompt: Any, pictures: Any, learned: Any) -> Style | None:
    if prompt is not None:
        check_prompts(f"The prompt of the shot at frame {start}", [prompt], 1)
    shot = f"of the shot at frame {start}"
    listed = _members(
        folder,
        pictures,
        OF_PICTURE,
        f"A picture {shot}",
        f'The pictures {shot} cannot be read: write [{{"path": "painting.jpg", "weight": 1}}].',
    )
    named = _members(
        folder,
        learned,
        OF_LEARNED,
        f"A style {shot}",
        f'The styles {shot} cannot be read: write [{{"name": "scream", "weight": 1}}].',
    )
    read = tuple(read_style_picture(folder / path, w, mask) for path, w, mask in listed)
    known = tuple(read_learned_style(name, w, mask) for name, w, mask in named)
    return Style(prompt or "", read, known) if prompt or read or known else None


def _members(
    folder: Path, given: Any, keys: Sequence[str], one_of_them: str, refusal: str
) -> list[tuple[str, float, Path | None]]:
    """The pictures or learned styles of a shot: which (the first of `keys`), weight, mask."""
    which = keys[0]
    try:
        if not isinstance(given, list) or not all(isinstance(one[which], str) for one in given):
            raise TypeError(f"no list with {which}")
        masks = [one.get("mask") for one in given]
        members = [
            (one[which], float(one.get("weight", 1)), None if mask is None else folder / mask)
            for one, mask in zip(given, masks, strict=True)
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StyleAVideoError(refusal) from error
    for one in given:
        _check_keys(one_of_them, one, keys)
    return members
