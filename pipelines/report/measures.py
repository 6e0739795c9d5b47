"""Whole clips measured against their source, as streams: one pass, in memory that does not grow."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from ..core import measures as core
from ..core.flow import visible_before
from ..core.gram import style_distance, style_frechet
from ..errors import Remedy, StyleAVideoError
from ..flow import Flow, both_ways, dis
from ..media import WHOLE, Frame, Part, VideoInfo, probe, read_frames
from ..run.shots import Cuts
from . import words as words
from .judges import ClipNetwork, Encoder, Judges, Sifid
from .words import Words

Progress = Callable[[int, int], None]
"""(frames done, frames expected)."""

NOTHING = 1e-9  # an E_warp below this is rounding, and no measure for others
NOBODY = Judges()
ROUNDED = 8  # px: sides become even, or multiples of 8 (nodes.stream); more is another shape
UNLIKE = 0.2  # a likeness below this in every frame: of something else
SEEN = 256  # px: the longer side that the encoder of styles sees, for the cost
WINDOW = 10  # frames: the long distance of the temporal loss (Huang et al. 2023, section 4)


@dataclass
class ClipMeasures:
    """One clip: `series` by measure (`report_words.MEASURES`), a number a frame, None where there
    is none; `means` of what there is, None where there is nothing. E_warp's ratio to the source's
    is a mean only. `begin`: when its first frame is shown, on its own clock (s).
    """

    name: str
    begin: float
    series: dict[str, list[float | None]]
    means: dict[str, float | None]


@dataclass
class Measures:
    """The clips of one comparison, the unedited source first; `times` of the frames in s.

    `flow`, `clip_network` and `style_image` are names.
    """

    clips: list[ClipMeasures]
    times: list[float]
    width: int
    height: int
    flow: str
    prompt: str | None = None
    clip_network: str | None = None
    style_image: str | None = None
    notes: list[Words] = field(default_factory=list)


def measure(
    source: Iterable[Frame],
    results: Sequence[Iterable[Frame]],
    names: Sequence[str],
    *,
    flow: Flow = dis,
    judges: Judges = NOBODY,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    expected: int = 0,
) -> Measures:
    """Read source and results side by side, frame n beside frame n, and measure them all at once.

    Holds the first frame of each clip's shot and the last ten. The flow is the source's and is
    found once for all results. Frames of different shots are not compared.

    Args:
        source: of the results' size; results: one or more.
        names: of the source, then of each result.
        judges: networks to ask too.
        progress: called with (frames done, frames expected); `expected` says how many.

    Raises:
        StyleAVideoError: clips of different size or length, without a frame, or without a result.
    """
    if not results:
        raise StyleAVideoError("There is nothing to compare: give at least one result.")
    meter = _Meter(flow, judges)
    clocks: list[list[float]] = [[] for _ in names]
    broken = [0] * len(names)
    rows: list[dict[str, list[float]]] = []
    shape: tuple[int, ...] = ()
    step = 0.0
    for frames in _aligned([source, *results], names):
        images = torch.stack([frame.image for frame in frames]).to(device).float()
        rows.append({key: numbers.tolist() for key, numbers in meter(images).items()})
        for k, frame in enumerate(frames):
            clocks[k].append(float(frame.pts))
            broken[k] += not bool(images[k].isfinite().all())
        shape, step = images.shape, step or float(frames[0].duration)
        if progress is not None:
            progress(len(rows), max(expected, len(rows)))
    if not rows:
        raise _without_frames(names[0])
    clips = [_of_clip(k, name, clocks[k][0], rows) for k, name in enumerate(names)]
    floor = clips[0].means["warping"] or 0.0
    for one in clips:
        error = one.means["warping"]
        one.means["ratio"] = None if error is None or floor < NOTHING else error / floor
    clocks = [_running(clock, step) for clock in clocks]
    late = [k for k, clock in enumerate(clocks) if _out_of_step(clock, clocks[0], step)]
    return Measures(
        clips,
        clocks[0],
        width=shape[-1],
        height=shape[-2],
        flow=getattr(flow, "__name__", "given"),
        prompt=judges.prompt,
        clip_network=judges.clip_network.name if judges.clip_network else None,
        style_image=judges.style_name if judges.sifid or judges.encoder else None,
        notes=[
            *(words.broken(names[k], count) for k, count in enumerate(broken) if count),
            *(words.out_of_step(names[k]) for k in late),
            *(note for k in range(1, len(names)) for note in _doubts(clips[k], k, rows)),
            *_notes(clips[0], meter, judges),
            *judges.missing,
        ],
    )


def measure_videos(
    source: str | os.PathLike[str] | VideoInfo,
    results: Sequence[str | os.PathLike[str] | VideoInfo],
    *,
    flow: Flow = dis,
    judges: Judges = NOBODY,
    part: Part = WHOLE,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Measures:
    """`measure` on video files; the source is scaled to the results' size as it is decoded.

    Args:
        source, results: paths, or what `probe` said of them.
        part: of the source that the results were made of; its number of frames bounds the results
            too.

    Raises:
        StyleAVideoError: as `measure`, and a file that cannot be read.
    """
    if not results:
        raise StyleAVideoError("There is nothing to compare: give at least one result.")
    videos = [v if isinstance(v, VideoInfo) else probe(v) for v in (source, *results)]
    names = names_of([video.path for video in videos])
    first = videos[1]
    size = first.width, first.height
    measured = measure(
        part.read(videos[0], size),
        [read_frames(video, max_frames=part.frames) for video in videos[1:]],
        names,
        flow=flow,
        judges=judges,
        device=device,
        progress=progress,
        expected=min(first.frames, part.frames or first.frames),
    )
    measured.notes += stretched(names[0], float(videos[0].aspect), size)
    return measured


def stretched(name: str, aspect: float, size: tuple[int, int]) -> list[Words]:
    """The note on a source of another shape (width/height) than the results' `size`, if it is."""
    width, height = size
    off = min(abs(width - height * aspect), abs(height - width / aspect))
    return [words.stretched(name)] if off > ROUNDED else []


def names_of(paths: Sequence[Path]) -> list[str]:
    """File names, or whole paths where two files are called the same; nothing unprintable."""
    alone = [path.name for path in paths]
    names = alone if len(set(alone)) == len(alone) else [str(path) for path in paths]
    return [words.printable(name) for name in names]


class _Meter:
    """Measures one frame of all clips at a time; remembers the shot's first and its last ten.

    Frames of two shots have nothing to be compared by: after a cut of the source it begins anew.
    """

    def __init__(self, flow: Flow, judges: Judges) -> None:
        self.flow, self.judges = flow, judges
        network, prompt = judges.clip_network, judges.prompt
        self.text = (
            network.encode_text(prompt) if network and network.encode_text and prompt else None
        )
        self.style: tuple[Tensor, Tensor] | None = None
        self.features: dict[str, Tensor] | None = None  # of the style image
        self.cuts, self.shots = Cuts(), 1
        self.length = self.longest = 0  # of this shot so far, and of all (frames)
        self.first: Tensor | None = None
        self.last: deque[Tensor] = deque(maxlen=WINDOW)
        self.last_embeds: Tensor | None = None

    def __call__(self, frames: Tensor) -> dict[str, Tensor]:
        """Frames (K,3,H,W), the source's first → (K,) by measure; without those not defined yet."""
        if self.cuts(frames[0].cpu()):
            self.shots += 1
            self.length = 0
            self.first = self.last_embeds = None
            self.last.clear()
        self.length += 1
        self.longest = max(self.longest, self.length)
        source = frames[:1].expand_as(frames)
        row = {"strength": core.strength(frames, source), "sharpness": core.sharpness(frames)}
        row["likeness"] = core.likeness(frames, source)
        if self.first is not None:
            row |= self._along_flow(frames, self.first)
            row |= self._without_flow(frames)
        judges = self.judges
        if judges.clip_network is not None:
            row |= self._by_clip(frames, judges.clip_network)
        if judges.lpips is not None:
            row["lpips_source"] = judges.lpips(frames, source)
            if self.last:
                row["lpips_consecutive"] = judges.lpips(frames, self.last[-1])
        if judges.sifid is not None:
            row |= self._by_sifid(frames, judges.sifid)
        if judges.encoder is not None and judges.style_image is not None:
            row |= self._by_encoder(frames, judges.encoder, judges.style_image)
        if self.first is None:
            self.first = frames
        self.last.append(frames)
        return row

    def _along_flow(self, frames: Tensor, first: Tensor) -> dict[str, Tensor]:
        prev = self.last[-1]
        way = self._way(frames, prev)
        temporal_1 = core.pair_error(frames, prev, *way)
        to_first = core.pair_error(frames, first, *self._way(frames, first))
        row = {
            "warping": core.warping_error(frames, prev, *way),
            "temporal_1": temporal_1,
            "pair": to_first + temporal_1,
        }
        if len(self.last) == WINDOW:
            before = self.last[0]
            row["temporal_10"] = core.pair_error(frames, before, *self._way(frames, before))
        return row

    def _way(self, frames: Tensor, prev: Tensor) -> tuple[Tensor, Tensor]:
        """The source's flow to `prev` (K,2,H,W) and what is visible there (K,1,H,W)."""
        flow_to_prev, prev_flow_to_this = both_ways(frames[0], prev[0], self.flow)
        visible = visible_before(flow_to_prev, prev_flow_to_this)
        count = len(frames), -1, -1, -1
        return flow_to_prev.to(frames).expand(count), visible.to(frames.device).expand(count)

    def _without_flow(self, frames: Tensor) -> dict[str, Tensor]:
        prev = self.last[-1]
        four = prev[:1].expand_as(prev), frames[:1].expand_as(frames), prev, frames
        return {"agreement": core.difference_agreement(*four), "flicker": core.flicker(*four)}

    def _by_clip(self, frames: Tensor, network: ClipNetwork) -> dict[str, Tensor]:
        embeds = network.encode_image(frames)
        row = {"content": cosine_similarity(embeds, embeds[:1])}
        if self.text is not None:
            row["style"] = cosine_similarity(embeds, self.text.to(embeds))
        if self.last_embeds is not None:
            row["consecutive"] = cosine_similarity(embeds, self.last_embeds)
        self.last_embeds = embeds
        return row

    def _by_sifid(self, frames: Tensor, sifid: Sifid) -> dict[str, Tensor]:
        mean, covariance = sifid(frames)
        row = {"sifid_source": core.frechet_distance(mean, covariance, mean[:1], covariance[:1])}
        picture = self.judges.style_image
        if self.style is None and picture is not None:  # once a clip
            self.style = sifid(_no_larger(picture[None], frames))
        if self.style is not None:
            row["sifid_style"] = core.frechet_distance(mean, covariance, *self.style)
        return row

    def _by_encoder(self, frames: Tensor, encoder: Encoder, picture: Tensor) -> dict[str, Tensor]:
        h, w = frames.shape[-2:]
        if max(h, w) > SEEN:
            size = [max(1, round(side * SEEN / max(h, w))) for side in (h, w)]
            frames = interpolate(frames, size, mode="bilinear", antialias=True)
        if self.features is None:  # once a clip
            self.features = encoder(_no_larger(picture[None], frames))
        found = encoder(frames)
        return {
            "gap_gram": _share(style_distance(found, self.features)),
            "gap_frechet": _share(style_frechet(found, self.features)),
        }


def _share(distances: Tensor) -> Tensor:
    """(K,), the source's first → as shares of the source's; NaN where that is none."""
    source = distances[:1]
    return torch.where(source > NOTHING, distances / source, math.nan)


def _no_larger(picture: Tensor, frames: Tensor) -> Tensor:
    """(1,3,h,w) with at most as many pixels as a frame: textures are compared at one scale."""
    h, w = picture.shape[-2:]
    scale = math.sqrt(frames[0, 0].numel() / (h * w))
    if scale >= 1:
        return picture
    size = max(1, round(h * scale)), max(1, round(w * scale))
    return interpolate(picture, size, mode="bilinear", antialias=True)


def _aligned(streams: Sequence[Iterable[Frame]], names: Sequence[str]) -> Iterator[list[Frame]]:
    """Frame n of every clip; refuses clips that do not fit each other."""
    for n, frames in enumerate(zip_longest(*streams)):
        ended = [name for name, frame in zip(names, frames, strict=True) if frame is None]
        if ended and n == 0:
            raise _without_frames(ended[0])
        if ended:
            longer = next(name for name in names if name not in ended)
            raise StyleAVideoError(
                f"{ended[0]} ends after {n} frames but {longer} goes on: compare clips of the same "
                "frames",
                Remedy.COMPARE_PART,
                source=names[0],
                frames=n,
            )
        sizes = [f"{f.image.shape[-1]}x{f.image.shape[-2]}" for f in frames]
        for name, size in zip(names, sizes, strict=True):
            if size != sizes[1]:
                raise StyleAVideoError(
                    f"{name} is {size} and {names[1]} is {sizes[1]}: compare clips of one size."
                )
        yield list(frames)


def _without_frames(name: str) -> StyleAVideoError:
    return StyleAVideoError(f"{name} has no frame: there is nothing to measure.")


def _running(clock: list[float], step: float) -> list[float]:
    """The times, or those of a steady rate where the clip tells none: all of them are the same."""
    if len(clock) > 1 and clock[-1] <= clock[0]:
        return [n * step for n in range(len(clock))]
    return clock


def _out_of_step(clock: Sequence[float], source: Sequence[float], step: float) -> bool:
    """Whether other frames are seen when both clips begin together: more than half a frame off."""
    offs = (abs((a - clock[0]) - (b - source[0])) for a, b in zip(clock, source, strict=True))
    return max(offs) > step / 2


def _of_clip(
    k: int, name: str, begin: float, rows: Sequence[dict[str, list[float]]]
) -> ClipMeasures:
    series: dict[str, list[float | None]] = {}
    means: dict[str, float | None] = {}
    for key in (m.key for m in words.MEASURES if m.key != "ratio"):
        numbers = [row[key][k] if key in row else math.nan for row in rows]
        defined = [x for x in numbers if math.isfinite(x)]
        series[key] = [x if math.isfinite(x) else None for x in numbers]
        means[key] = math.fsum(defined) / len(defined) if defined else None
    return ClipMeasures(name, begin, series, means)


def _doubts(result: ClipMeasures, k: int, rows: Sequence[dict[str, list[float]]]) -> list[Words]:
    """Whether clip k is no result of the source: the very same, or of something else."""
    if set(result.series["strength"]) == {0.0}:
        return [words.unedited(result.name)]
    alike = [row["likeness"][k] for row in rows if math.isfinite(row["likeness"][k])]
    return [words.unlike(result.name)] if alike and max(alike) < UNLIKE else []


def _notes(source: ClipMeasures, meter: _Meter, judges: Judges) -> list[Words]:
    notes = [words.several_shots(meter.shots)] if meter.shots > 1 else []
    if meter.longest == 1:
        notes.append(words.NO_PAIR)
    elif meter.longest <= WINDOW:
        notes.append(words.NO_TEN)
    elif source.means["temporal_10"] is None:
        notes.append(words.NOT_FOLLOWED)
    if meter.longest > 1 and source.means["flicker"] is None:
        notes.append(words.NOTHING_STILL)
    network = judges.clip_network
    if network is not None:
        notes.append(words.CENTRE)
        if network.own:
            notes.append(words.OWN_CLIP)
        if network.encode_text is None and judges.prompt:
            notes.append(words.NO_TEXT)
    return notes
