"""Measures for people: a table of text, numbers for programs, a page to look at and share."""

from __future__ import annotations

import base64
import math
import os
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from ..errors import StyleAVideoError
from ..media import VideoInfo, VideoWriter, check_target, read_frames
from . import charts
from . import words as report_words
from .measures import Measures
from .verdict import verdicts
from .words import MEASURES, Words

EMBEDDED_MAX = 40_000_000  # bytes: what browsers and mail take as one page without trouble
PLAYED = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
CODECS = {"h264", "vp8", "vp9", "av1"}
PIXELS = {"yuv420p", "yuvj420p", "yuva420p"}  # not every browser shows 4:4:4 or 10 bits
WIDEST = 8  # columns of a number in the table
NAME = 24  # columns of a name in the table
BLOCKS = (  # what stands together in the table, each no wider than a terminal
    ("strength", "sharpness", "warping", "ratio", "pair", "temporal_1"),
    ("temporal_10", "agreement", "flicker", "content", "style", "consecutive"),
    ("lpips_consecutive", "lpips_source", "sifid_source", "sifid_style"),
    ("gap_gram", "gap_frechet"),
)


def number(x: float | None, power: int = 0) -> str:
    """Three digits, in units of a power of ten; a dash where nothing is defined or measured."""
    if x is None:
        return "–"
    text = f"{x / 10.0**power:.3g}"
    return text if len(text) <= WIDEST else f"{x / 10.0**power:.2g}"


def table(measures: Measures) -> str:
    """Means as text, a row a clip, the unedited source first; in blocks of 80 columns."""
    by_key = {m.key: m for m in MEASURES}
    blocks = []
    for keys in BLOCKS:
        shown = [by_key[k] for k in keys if any(c.means[k] is not None for c in measures.clips)]
        if not shown:
            continue
        width = 1 + max(WIDEST, *(len(m.short) for m in shown))
        lines = [" " * NAME + "".join(f"{m.short:>{width}}" for m in shown)]
        for clip in measures.clips:
            numbers = "".join(f"{number(clip.means[m.key]):>{width}}" for m in shown)
            lines.append(_fixed(clip.name, NAME) + numbers)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def notes(measures: Measures) -> str:
    """What is to be said beside the table, a line a note and language."""
    return "\n".join(words for note in measures.notes for words in note)


def said(measures: Measures) -> list[str]:
    """How each result did, in plain words, a line a result."""
    return [
        f"{one.name}: {' '.join(words.en for words in one.sentences)}" for one in verdicts(measures)
    ]


def as_dict(measures: Measures) -> dict[str, Any]:
    """Everything measured, for JSON: means and series by measure, None where undefined."""
    return asdict(measures) | {
        "notes": [note.en for note in measures.notes],
        "verdicts": said(measures),
    }


def write_page(
    measures: Measures, videos: Sequence[VideoInfo], target: str | os.PathLike[str]
) -> None:
    """Write an HTML page: how each result did, the clips side by side, the table, the curves.

    It needs no network. Clips of together less than 40 MB are part of it; larger ones are copied
    into a folder beside it, and a note says so. Clips that browsers may not play are converted.

    Args:
        videos: what `probe` said of the files, in the order of `measures.clips`.

    Raises:
        StyleAVideoError: no matplotlib or Jinja2 here, a file that cannot be read, a target that
            cannot be written.
    """
    target = check_target(target, (".html", ".htm"))
    template = _template()
    with TemporaryDirectory() as folder:
        files, notes = _playable(videos, measures, Path(folder))
        if sum(file.stat().st_size for file in files) <= EMBEDDED_MAX:
            links = [_inline(file) for file in files]
        else:
            beside = target.with_name(f"{target.stem}_files")
            links = _copy(files, beside)
            notes.append(report_words.copied(beside.name))
    begin, end = charts.span(measures.times)
    lines = (f"{charts.dash(k)} {charts.colour(k)}" for k in range(len(links)))
    shown = [m for m in MEASURES if any(c.means[m.key] is not None for c in measures.clips)]
    page = template.render(
        words=report_words.PAGE,
        better=report_words.BETTER,
        measures=measures,
        columns=[(m, _power(measures, m.key)) for m in shown],
        curves=[(m, _data(charts.svg(measures, m.key))) for m in charts.drawn(measures)],
        clips=list(zip(measures.clips, links, lines, strict=True)),
        verdicts=verdicts(measures),
        notes=[*measures.notes, *notes],
        number=number,
        axes=charts.AXES,
        begin=begin,
        end=end,
        finish=end + (end - begin) / max(1, len(measures.times) - 1),
    )
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def check_page() -> None:
    """Raises StyleAVideoError where a package for `write_page` is missing, before anything long."""
    _template()
    charts.check_matplotlib()


def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise StyleAVideoError(
            "The page needs Jinja2, which is not installed: pip install jinja2"
        ) from None
    # File names and prompts come from strangers: everything is escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    return environment.from_string(text)


def _power(measures: Measures, key: str) -> int:
    """Of ten: the unit of a column of small numbers, so that they are easily compared."""
    top = max(abs(clip.means[key] or 0) for clip in measures.clips)
    return math.floor(math.log10(top)) if 0 < top < 0.01 else 0


def _playable(
    infos: Sequence[VideoInfo], measures: Measures, folder: Path
) -> tuple[list[Path], list[Words]]:
    """Files that browsers play: the clips themselves, or converted copies in `folder`."""
    files, converted = [], []
    for k, info in enumerate(infos):
        format_known = info.path.suffix.lower() in PLAYED and info.codec in CODECS
        known = format_known and info.pixels in PIXELS and not info.partial
        files.append(info.path if known else _convert(info, folder / f"{k}.mp4"))
        if not known:
            converted.append(measures.clips[k].name)
    return files, [report_words.converted(", ".join(converted))] if converted else []


def _convert(info: VideoInfo, target: Path) -> Path:
    with VideoWriter(target, frame_rate=info.frame_rate, time_base=info.time_base) as writer:
        for frame in read_frames(info):
            writer.write(frame)
    return target


def _inline(file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return f"data:{PLAYED[file.suffix.lower()]};base64,{data}"


def _data(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def _copy(files: Sequence[Path], beside: Path) -> list[str]:
    """Copies under names of ours; links to them as the page writes them."""
    try:
        beside.mkdir(exist_ok=True)
        names = [f"{k}{file.suffix.lower()}" for k, file in enumerate(files)]
        for file, name in zip(files, names, strict=True):
            shutil.copyfile(file, beside / name)
    except OSError as error:
        raise StyleAVideoError(
            f"The clips cannot be copied to {beside} ({error.strerror}): free space or choose "
            "another place."
        ) from error
    return [f"{quote(beside.name)}/{name}" for name in names]


def _fixed(text: str, columns: int) -> str:
    """The text cut in its middle or filled to a width; Chinese takes two columns a character."""
    kept = len(text)
    whole = text
    while _width(text) > columns:  # results of one clip differ at the end
        kept -= 1
        text = whole[: kept // 3] + "…" + whole[len(whole) - (kept - kept // 3) :]
    return text + " " * (columns - _width(text))


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(char) in ("W", "F") for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
