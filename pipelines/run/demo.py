"""`make demo`: one clip in several styles, as a video and as contact sheets.

`demo.jpg` has a row of the source's frames and a row for each style. `demo.mp4` has the source and
the first styles' results moving side by side (with the source's audio): one style gives source |
stylized, three give a square. `demo-pictures.jpg` has a row for each painting that comes with the
package: the painting, and frames after it. To have the stylized clip alone there is `stylize`.

The clip, where the user brings none, is filmed off photos that scikit-image ships in its wheel
(public domain or CC0), by a slow camera: nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..engines.kinds import CarryingEngine, Engine, Loaded
from ..engines.style import Style
from ..errors import StyleAVideoError
from ..media import Frame, Part, VideoWriter, check_target, fit, probe, read_frames
from ..refine.frames import InOrder, Refining
from ..report import sheet
from .stylize import Progress, auto_chunk, stylize_video

COLUMNS = 4  # pictures a row of the sheet: one of each shot
SAMPLES = 3  # frames a row of the sheet of paintings
MOVING = 3  # styles in the video at most
CELL_SIDE = 384  # px, longer side of one picture in the video of several
RATE = 12  # frames a second of the filmed clip
SIZE = (384, 256)

# photo, then camera at the start and at the end: centre x, y and width, as shares of the photo.
SHOTS = (
    ("chelsea", (0.46, 0.50, 0.98), (0.50, 0.44, 0.74)),
    ("rocket", (0.50, 0.50, 0.98), (0.48, 0.50, 0.72)),
    ("coffee", (0.46, 0.50, 0.86), (0.52, 0.48, 0.70)),
    ("astronaut", (0.45, 0.40, 0.86), (0.42, 0.30, 0.66)),
)
SHOT_FRAMES = 9

# Looks that people name on sight (docs/figures.md).
PROMPTS = (
    "pencil sketch",
    "watercolour",
    "comic book",
    "oil painting",
    "halftone print",
    "ink wash",
    "neon lights",
    "ukiyo-e",
    "blueprint",
    "Van Gogh",
    "Monet",
    "Mondrian",
)


def film(path: Path, shots: Sequence[tuple] = SHOTS, frames: int = SHOT_FRAMES) -> Path:
    """Write the demo's own clip: slow pans and zooms over scikit-image's photos.

    Raises:
        StyleAVideoError: scikit-image, or a photo of it, is missing.
    """
    with VideoWriter(path, frame_rate=Fraction(RATE)) as writer:
        index = 0
        for name, begin, end in shots:
            photo = _photo(name)
            for i in range(frames):
                u = i / max(1, frames - 1)
                camera = [a + (b - a) * u for a, b in zip(begin, end, strict=True)]
                writer.write(Frame(_look(photo, camera), Fraction(index, RATE), Fraction(1, RATE)))
                index += 1
    return path


def _photo(name: str) -> Tensor:
    """(1,3,H,W) in [0,1]."""
    try:
        from skimage import data

        pixels = np.array(getattr(data, name)()[..., :3])
    except (ImportError, OSError) as error:
        raise StyleAVideoError(
            "The demo's own clip is filmed off the photos of scikit-image, which is not installed "
            "in full: pip install scikit-image, or give a clip with --input."
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def _look(photo: Tensor, camera: Sequence[float]) -> Tensor:
    """What the camera (centre x, y, width as shares) sees of the photo, (3,H,W) at SIZE."""
    x, y, share = camera
    wide, high = SIZE
    height, width = photo.shape[-2:]
    tall = share * width / height * high / wide  # the view's height as a share of the photo's
    theta = torch.tensor([[[share, 0, 2 * x - 1], [0, tall, 2 * y - 1]]])
    # Twice the size and then averaged: no aliasing while the camera moves by parts of a pixel.
    grid = F.affine_grid(theta, [1, 3, 2 * high, 2 * wide], align_corners=False)
    view = F.grid_sample(
        photo, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return F.avg_pool2d(view, 2)[0].clamp(0, 1)


def montage(engines: Sequence[Engine], words: Sequence[str]) -> Engine:
    """An engine that shows the source and what each engine makes of it, labelled, in a grid."""

    @cache
    def labels(height: int, width: int) -> list[Tensor]:
        strips = (sheet.label_strip(w, n, width) for n, w in enumerate(("source", *words)))
        return [strip[:, :height] for strip in strips]  # a picture may be lower than its label

    def grid(frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        cells = [frames.clone()]
        cells += [engine(frames, frame_indices).cpu().float() for engine in engines]
        for cell, label in zip(cells, labels(*frames.shape[-2:]), strict=True):
            cell[..., -label.shape[-2] :, :] = label
        columns = 2 if len(cells) in (2, 4) else 3
        while len(cells) % columns:
            cells.append(torch.zeros_like(frames))
        rows = [torch.cat(cells[i : i + columns], 3) for i in range(0, len(cells), columns)]
        return torch.cat(rows, 2)

    return grid


def run(
    loaded: Loaded,
    styles: Sequence[Style],
    output: str | os.PathLike[str],
    source: str | os.PathLike[str] | None = None,
    *,
    seconds: float = 4.0,
    refining: Refining | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Write OUTPUT.jpg and OUTPUT.mp4, and OUTPUT-source.mp4 where the clip is our own.

    Args:
        styles: rows of the sheet; the first `MOVING` are in the video.
        output: path without suffix; its folder is made.
        source: a clip of the user's own, of which the first `seconds` are shown.
        refining: of the video; the sheet's frames are too far apart.
        progress: told (stage, done, of): stage "contact sheet", then those of `stylize_video`.

    Returns:
        The paths of the video and of the sheet.
    """
    output = Path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StyleAVideoError(
            f"The output folder {output.parent} cannot be made ({error.strerror}): choose another."
        ) from error
    video, picture = (output.with_name(output.name + suffix) for suffix in (".mp4", ".jpg"))
    check_target(video)
    clip = Path(source) if source else film(output.with_name(output.name + "-source.mp4"))
    info = probe(clip)
    limit = max(1, round(seconds * info.frame_rate))
    tell = progress or (lambda stage, done, total: None)

    moving = list(styles)[:MOVING]
    size = fit(info.width, info.height, CELL_SIDE if len(moving) > 1 or not source else 512)
    columns = sheet.evenly(COLUMNS, min(limit, info.frames))
    frames = [
        frame.image
        for i, frame in enumerate(read_frames(clip, max_frames=limit, size=size))
        if i in columns
    ]
    rows: list[tuple[str, Sequence[Tensor]]] = [("source", frames)]
    for n, style in enumerate(styles, 1):
        engine = loaded.engine(style)
        shown = zip(columns, frames, strict=False)
        rows.append((style.words, [alone(engine, frame, i).cpu() for i, frame in shown]))
        tell("contact sheet", n, len(styles))
    sheet.save(sheet.contact_sheet(rows), picture)

    chunk = chunk_size or auto_chunk(*size, loaded.device, loaded.bytes_per_pixel)
    engines = [InOrder(loaded.engine(style), refining) for style in moving]
    stylize_video(
        info,
        video,
        montage(engines, [style.words for style in moving]),
        part=Part.of(frames=limit if limit < info.frames else None),
        size=size,
        chunk_size=chunk,
        progress=tell,
    )
    return video, picture


def pictures_sheet(
    loaded: Loaded,
    styles: Sequence[Style],
    clip: str | os.PathLike[str],
    target: Path,
    *,
    seconds: float = 4.0,
    progress: Progress | None = None,
) -> Path:
    """Write a sheet: a row for each style, its picture first and then frames after it."""
    info = probe(clip)
    limit = max(1, round(seconds * info.frame_rate))
    size = fit(info.width, info.height, CELL_SIDE)
    columns = sheet.evenly(SAMPLES, min(limit, info.frames))
    shown = enumerate(read_frames(clip, max_frames=limit, size=size))
    frames = [frame.image for i, frame in shown if i in columns]
    rows = [("", [torch.ones_like(frames[0]), *frames])]
    for n, style in enumerate(styles, 1):
        engine = loaded.engine(style)
        picture = sheet.fitted(style.pictures[0].image, size)
        results = [alone(engine, x, i).cpu() for i, x in zip(columns, frames, strict=False)]
        rows.append((style.words, [picture, *results]))
        if progress is not None:
            progress("pictures", n, len(styles))
    sheet.save(sheet.contact_sheet(rows), target)
    return target


def alone(engine: Engine | CarryingEngine, frame: Tensor, index: int) -> Tensor:
    """One frame (3,H,W), as the first of a shot."""
    if isinstance(engine, CarryingEngine):
        return engine.carry(frame[None], [index], None)[0][0]
    return engine(frame[None], [index])[0]
