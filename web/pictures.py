"""The pictures of the help pages, by what comes with the pack: `python web/pictures.py [NAME ...]`.

They are filmed off photos that scikit-image ships in its wheel (public domain or CC0) and made
anew, the same every time, in some minutes on a CPU. ComfyUI serves web/ and runs nothing here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from skimage import data
from style_a_video.pipelines.core import attention, guidance
from style_a_video.pipelines.core.flow import warp
from style_a_video.pipelines.core.noise import MODES
from style_a_video.pipelines.engines.diffusion.encoding import Text
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.engines.kinds import PICTURES as OF_PICTURES
from style_a_video.pipelines.engines.registry import KINDS, kind_named
from style_a_video.pipelines.engines.style import Style, StylePicture, read_style_picture
from style_a_video.pipelines.flow import dis
from style_a_video.pipelines.media import Frame
from style_a_video.pipelines.refine.frames import InOrder, refine_frames
from style_a_video.pipelines.report import charts, sheet
from style_a_video.pipelines.report.measures import measure
from style_a_video.weights.loading import load
from style_a_video.weights.paintings import painting
from style_a_video.weights.style_projection import picture_text
from style_a_video.weights.styles import styles
from torch import Tensor
from torch.nn import functional as F

FOLDER = Path(__file__).parent / "docs" / "images"
WIDTH, LIMIT = 640, 61440
"""px and bytes at most."""
GAP = 4
TEXT = 13
PLASMA = torch.tensor(
    [[0.05, 0.03, 0.53], [0.49, 0.01, 0.66], [0.80, 0.28, 0.47], [0.97, 0.58, 0.25],
     [0.94, 0.98, 0.13]]
)  # fmt: skip
"""The colours of nodes/attention.py, which only ComfyUI can import."""


def film(photo: str, size: tuple[int, int], count: int = 1, closest: float = 0.8) -> Tensor:
    """(T,3,H,W) in [0,1]: a slow zoom into the middle of a photo, from all of it to `closest`."""
    image = torch.from_numpy(getattr(data, photo)()[..., :3].copy()).permute(2, 0, 1)[None] / 255
    width, height = size
    full = min(image.shape[3] / width, image.shape[2] / height)
    frames = []
    for i in range(count):
        share = full * (1 - (1 - closest) * i / max(1, count - 1))
        across, down = share * width / image.shape[3], share * height / image.shape[2]
        theta = torch.tensor([[[across, 0.0, 0.0], [0.0, down, 0.0]]])
        # Twice the size and then averaged: no aliasing.
        grid = F.affine_grid(theta, [1, 3, 2 * height, 2 * width], align_corners=False)
        look = F.grid_sample(image, grid, "bicubic", "reflection", align_corners=False)
        frames.append(F.avg_pool2d(look, 2)[0].clamp(0, 1))
    return torch.stack(frames)


def tiled(tiles: Sequence[tuple[str, Tensor]], columns: int, width: int = WIDTH) -> Image.Image:
    """Pictures (3,H,W) in rows that fill the width, each with its words under it."""
    across = (width - (columns - 1) * GAP) // columns
    down = round(across * tiles[0][1].shape[1] / tiles[0][1].shape[2])
    step = down + (TEXT + 8 if any(words for words, _ in tiles) else GAP)
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (across + GAP) - GAP, rows * step), sheet.PAPER)
    for i, (words, image) in enumerate(tiles):
        at = (i % columns * (across + GAP), i // columns * step)
        page.paste(sheet.to_pil(image).resize((across, down), Image.Resampling.LANCZOS), at)
        write(page, words, at[0], at[1] + down, across)
    return page


def write(page: Image.Image, words: str, left: int, top: int, width: int) -> None:
    """Words in the middle of the line that begins at (left, top)."""
    words, pen = sheet.written(words, 0, TEXT)
    pen.write(page, (left + max(0, width - pen.width(words)) // 2, top + 2), words, sheet.INK)


def heat(frames: Tensor, received: Tensor, opacity: float) -> Tensor:
    """Frames (T,3,H,W) under attention (T,1,H,W) as colours, as Attention Overlay gives them."""
    place = received[:, 0] / received.amax((1, 2, 3))[:, None, None] * (len(PLASMA) - 1)
    low = place.floor().long().clamp(max=len(PLASMA) - 2)
    colours = torch.lerp(PLASMA[low], PLASMA[low + 1], (place - low)[..., None])
    return torch.lerp(frames, colours.movedim(-1, 1), opacity)


def builtin_model(pipeline: StyleAVideoPipeline) -> Image.Image:
    photo = film("astronaut", (208, 208))
    tiles = [("source", photo[0])]
    tiles += [(s.name, pipeline(photo, s.name).frames[0]) for s in styles()]
    return tiled(tiles, 6)


def stylize(pipeline: StyleAVideoPipeline) -> Image.Image:
    photo = film("coffee", (320, 216))
    prompts = ("watercolour", "pencil sketch", "comic book", "ink wash", "Van Gogh")
    tiles = [("source", photo[0])] + [(p, pipeline(photo, p).frames[0]) for p in prompts]
    return tiled(tiles, 3)


def load_frames(_: StyleAVideoPipeline) -> Image.Image:
    """A frame of 448x300 after max side 200, then padded or cropped to multiples of 64."""
    source = film("chelsea", (448, 300))
    scaled = F.interpolate(source, (134, 200), mode="bicubic", antialias=True).clamp(0, 1)
    padded = F.pad(scaled, (0, 256 - 200, 0, 192 - 134), "replicate")
    padded[..., 134:, :] *= 0.75
    padded[..., :134, 200:] *= 0.75
    cropped = scaled[..., 3:131, 4:196]
    steps = [("source", source), ("max side 200", scaled), ("pad", padded), ("crop", cropped)]
    scale = (WIDTH - 3 * 4 * GAP) / sum(image.shape[3] for _, image in steps)
    page = Image.new("RGB", (WIDTH, round(300 * scale) + 2 * TEXT + 12), sheet.PAPER)
    left = 0
    for words, image in steps:
        width, height = (round(scale * image.shape[i]) for i in (3, 2))
        picture = sheet.to_pil(image[0]).resize((width, height), Image.Resampling.LANCZOS)
        page.paste(picture, (left, 0))
        write(page, words, left, height, width)
        write(page, f"{image.shape[3]} x {image.shape[2]}", left, height + TEXT + 4, width)
        left += width + 4 * GAP
    return page


def text_condition(pipeline: StyleAVideoPipeline) -> Image.Image:
    """Texts between two prompts, as Text Condition blends them."""
    numbers = (24, 36, 48, 60, 72)
    frames = film("coffee", (320, 240), len(numbers))
    encode = pipeline.encode_prompt
    first, last = encode("pencil sketch"), encode("oil painting")
    assert first.pooled is not None and last.pooled is not None
    shares = torch.linspace(0, 1, len(numbers))[:, None].to(first.pooled)
    text = Text(
        torch.lerp(first.hidden, last.hidden, shares[..., None]),
        torch.lerp(first.pooled, last.pooled, shares),
    )
    pipeline.encode_prompt = lambda prompt: text if prompt[0] else encode(prompt)
    results = pipeline(frames, "blended").frames
    pipeline.encode_prompt = encode
    words = [f"frame {n}" for n in numbers]
    return tiled(list(zip(words, results, strict=True)), len(numbers))


def attention_map(pipeline: StyleAVideoPipeline) -> Image.Image:
    frame = film("astronaut", (768, 576))
    received = pipeline.attention_maps(frame)
    mask = attention.attention_mask(received).expand(-1, 3, -1, -1)
    tiles = [("frame", frame[0]), ("attention", heat(frame, received, 1.0)[0])]
    return tiled([*tiles, ("mask, threshold 1", mask[0])], 3)


def attention_overlay(pipeline: StyleAVideoPipeline) -> Image.Image:
    frames = film("chelsea", (576, 384), 4, closest=0.6)
    shown = heat(frames, pipeline.attention_maps(frames, chunk_size=1), 0.6)
    return tiled([("", image) for image in shown], 4)


def weighted_condition(pipeline: StyleAVideoPipeline) -> Image.Image:
    """base + m (condition - base) of one step, as Multi-condition Guider sums it."""
    frame = film("astronaut", (320, 256))
    base, condition = (
        pipeline(frame, prompt, output_type="latent").frames
        for prompt in ("watercolour", "pencil sketch")
    )
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(320.0), indexing="ij")
    mask = ((90 - torch.hypot(x - 135, y - 80)) / 30 + 0.5).clamp(0, 1)[None, None]
    grid = F.interpolate(mask, base.shape[-2:], mode="area").to(base)
    latents = guidance.combine([base, condition], [1.0], [grid])
    result = pipeline.decode_latents(latents, None, (256, 320)).float()
    tiles = [("frame", frame[0]), ("mask", mask[0].expand(3, -1, -1)), ("result", result[0])]
    return tiled(tiles, 3)


def clip_correction(pipeline: StyleAVideoPipeline) -> Image.Image:
    frame = film("coffee", (320, 216))
    styled = pipeline(frame, "neon lights").frames
    corrected = pipeline(frame, "neon lights", correction=0.5, correction_decoder="full").frames
    change = (CHANGE * (corrected - styled).abs()).clamp(0, 1)
    tiles = [("frame", frame), ("strength 0", styled), ("strength 0.5", corrected)]
    tiles.append((f"difference x {CHANGE}", change))
    return tiled([(words, image[0]) for words, image in tiles], 4)


CHANGE = 16
"""How much brighter a difference between two pictures is shown."""


def frame_noise(pipeline: StyleAVideoPipeline) -> Image.Image:
    """Two frames of a still camera: what differs between them is flicker."""
    frames = film("coffee", (320, 216)).expand(2, -1, -1, -1)
    tiles = []
    for mode in MODES:
        first, second = pipeline(frames, "watercolour", noise=mode).frames
        tiles = tiles or [("two equal frames, stylized", first)]
        tiles.append((mode, (CHANGE * (first - second).abs()).clamp(0, 1)))
    order = (0, 1, 3, 2)  # from no flicker to most
    return tiled([tiles[i] for i in order], 4)


def compare(pipeline: StyleAVideoPipeline) -> Image.Image:
    source = film("chelsea", (320, 216))[0]
    result = pipeline(source[None], "oil painting").frames[0]
    line = torch.ones(3, 216, 2)
    beside = torch.cat([source, line, result], 2)
    wiped = torch.cat([source[..., :159], line, result[..., 161:]], 2)
    page = Image.new("RGB", (WIDTH, 162), sheet.PAPER)
    left = 0
    for words, image in (("side by side", beside), ("wipe, position 0.5", wiped)):
        width = round(image.shape[2] * 140 / 216)
        picture = sheet.to_pil(image).resize((width, 140), Image.Resampling.LANCZOS)
        page.paste(picture, (left, 0))
        write(page, words, left, 140, width)
        left += width + 12
    return page


def filmed(pipeline: StyleAVideoPipeline) -> tuple[Tensor, Tensor, Tensor]:
    """A clip, stylized frame by frame, and that refined."""
    frames = film("chelsea", (384, 256), 9)
    stylized = pipeline(frames, "pencil sketch").frames.float()
    return frames, stylized, torch.stack(list(refine_frames(zip(frames, stylized, strict=True))))


def temporal_refiner(pipeline: StyleAVideoPipeline) -> Image.Image:
    """Below each clip what the motion of the source does not explain: mostly flicker."""
    clips = filmed(pipeline)
    flow_to_prev = dis(clips[0][-1], clips[0][-2])[None]
    rests = [(c[-1:] - warp(c[-2:-1], flow_to_prev)).abs()[0] for c in clips]
    tiles = list(zip(("source", "frame by frame", "refined"), (c[-1] for c in clips), strict=True))
    tiles += [(f"beyond the motion, x {FLICKER}", (FLICKER * r).clamp(0, 1)) for r in rests]
    return tiled(tiles, 3)


FLICKER = 4


def consistency_report(pipeline: StyleAVideoPipeline) -> Image.Image:
    """The first charts of its plot, two a row to be read at this width."""
    clips = [
        [Frame(image, Fraction(i, 12), Fraction(1, 12)) for i, image in enumerate(clip)]
        for clip in filmed(pipeline)
    ]
    measured = measure(clips[0], clips[1:], ("source", "frame by frame", "refined"))
    charts.COLUMNS, columns = 2, charts.COLUMNS
    plot = sheet.to_pil(charts.plot(measured)[0])
    charts.COLUMNS = columns
    row = charts.CELL[1] + 24
    plot = plot.crop((0, 0, plot.width, plot.height % row + 2 * row))
    return plot.resize((WIDTH, WIDTH * plot.height // plot.width), Image.Resampling.LANCZOS)


def stylize_video(pipeline: StyleAVideoPipeline) -> Image.Image:
    """A film in five segments, one frame of each: two are done, the third is in hand."""
    frames = film("chelsea", (288, 192), 5, closest=0.5)
    done = pipeline(frames, "oil painting").frames.float()
    half = torch.cat([done[2, ..., :144], frames[2, ..., 144:]], 2)
    tiles = [("done", image) for image in done[:2]]
    tiles += [("in hand", half), *(("to come", image * 0.4 + 0.6) for image in frames[3:])]
    return tiled(tiles, 5)


def in_style(name: str, engine: str, *pictures: StylePicture, **options: str) -> Tensor:
    """A photo (3,H,W) after these pictures, as Load Engine is set by default but for `options`."""
    kind, frame = kind_named(engine), film(name, (320, 256))
    loaded = kind.load(kind.options(**options), torch.device("cpu"), torch.float32)
    made = InOrder(loaded.engine(Style(pictures=pictures)), None)(frame, [0])
    return made[0]


def of_painting(name: str, mask: Tensor | None = None) -> StylePicture:
    return replace(read_style_picture(painting(name).path), mask=mask)


def cropped(image: Tensor) -> Tensor:
    """(3,H,W) in the shape of `in_style`'s photos, its middle."""
    shown = ImageOps.fit(sheet.to_pil(image), (320, 256), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1) / 255


def load_engine(_: StyleAVideoPipeline) -> Image.Image:
    picture = of_painting("The Great Wave, Hokusai")
    tiles = [("frame", film("coffee", (320, 256))[0]), ("picture", cropped(picture.image))]
    names = [kind.name for kind in KINDS if kind.takes == {OF_PICTURES}]
    tiles += [(name, in_style("coffee", name, picture)) for name in names]
    tiles += [("sctnet, photo", in_style("coffee", "sctnet", picture, mode="photo"))]
    return tiled(tiles, len(tiles))


def style_picture(_: StyleAVideoPipeline) -> Image.Image:
    """Two paintings alone, mixed, and one in each half."""
    names = ("Starry Night, Van Gogh", "The Scream, Munch")
    left = ((190 - torch.arange(320.0)) / 60).clamp(0, 1).expand(1, 256, -1)
    given = [[of_painting(name)] for name in names]
    given += [[of_painting(name) for name in names]]
    given += [[of_painting(*each) for each in zip(names, (left, 1 - left), strict=True)]]
    words = ("one", "the other", "both", "one in each half")
    tiles = [("frame", film("astronaut", (320, 256))[0])]
    tiles += [
        (word, in_style("astronaut", "sctnet", *pictures))
        for word, pictures in zip(words, given, strict=True)
    ]
    return tiled(tiles, len(tiles))


def picture_condition(pipeline: StyleAVideoPipeline) -> Image.Image:
    """A picture in the place of words, and beside them by three shares."""
    words, frame = "pencil sketch", film("astronaut", (320, 256))
    picture = of_painting("The Scream, Munch")
    said, seen = pipeline.encode_prompt(words), Text(*picture_text([picture.image], [1.0]))
    tiles = [("frame", frame[0]), ("picture", cropped(picture.image))]
    for share in (0.0, 0.5, 1.0):
        mixed = said.lerp(seen.to(said.hidden), share)
        tiles.append((f"picture_share {share:g}", pipeline(frame, mixed).frames[0]))
    return tiled(tiles, len(tiles))


PICTURES: tuple[Callable[[StyleAVideoPipeline], Image.Image], ...] = (
    builtin_model,
    stylize,
    stylize_video,
    load_frames,
    text_condition,
    picture_condition,
    attention_map,
    attention_overlay,
    weighted_condition,
    clip_correction,
    frame_noise,
    compare,
    temporal_refiner,
    consistency_report,
    load_engine,
    style_picture,
)


def main() -> None:
    pipeline = load("embedded")
    pipeline.set_progress_bar_config(disable=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    for make in PICTURES:
        if wanted and make.__name__ not in wanted:
            continue
        path = FOLDER / f"{make.__name__}.jpg"
        picture = make(pipeline)
        for quality in (85, 75, 65, 60, 55):
            picture.save(path, quality=quality, optimize=True)
            if path.stat().st_size <= LIMIT:
                break
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
