"""Makes the README's moving picture: `python docs/hero.py CLIP`, whose result is docs/hero.webp.

The source, in words, and after a painting (shown small in its corner), side by side. In the README
the clip is flower.mp4 of github.com/mdn/shared-assets (CC0).
"""

from __future__ import annotations

import sys
import tempfile
from itertools import islice
from pathlib import Path

from PIL import Image
from style_a_video.pipelines.cli.main import main
from style_a_video.pipelines.media import read_frames
from style_a_video.pipelines.report.sheet import to_pil
from style_a_video.weights.paintings import painting

FOLDER = Path(__file__).parent
WORDS, PAINTING = "watercolour", painting("The Scream, Munch")
SIDE, GAP, EVERY, FRAMES = 288, 6, 3, 96  # px, px; of FRAMES frames every third is shown
INSET = 64  # px, the painting's height
QUALITY = 70


def stylized(clip: str, target: Path, *style: str) -> Path:
    part = ("--frames", str(FRAMES), "--max-side", str(SIDE), "--quality", "high")
    assert main(["stylize", clip, str(target), *part, *style]) == 0
    return target


def moving(clip: str) -> list[Image.Image]:
    with tempfile.TemporaryDirectory() as folder:
        words = stylized(clip, Path(folder, "words.mp4"), "--prompt", WORDS)
        picture = stylized(clip, Path(folder, "picture.mp4"), "--style-image", str(PAINTING.path))
        rows = [[to_pil(f.image) for f in read_frames(path)] for path in (words, picture)]
        size = rows[0][0].size
        frames = islice(read_frames(clip, size=size), len(rows[0]))
        rows = [[to_pil(f.image) for f in frames], *rows]
    small = Image.open(PAINTING.path).convert("RGB")
    small = small.resize((INSET * small.width // small.height, INSET), Image.Resampling.LANCZOS)
    return [_beside(three, small) for three in list(zip(*rows, strict=True))[::EVERY]]


def _beside(three: tuple[Image.Image, ...], small: Image.Image) -> Image.Image:
    width, height = three[0].size
    sheet = Image.new("RGB", (3 * width + 2 * GAP, height), "white")
    for i, picture in enumerate(three):
        sheet.paste(picture, (i * (width + GAP), 0))
    sheet.paste(small, (sheet.width - small.width - GAP, height - small.height - GAP))
    return sheet


if __name__ == "__main__":
    frames = moving(sys.argv[1])
    frames += frames[-2:0:-1]  # there and back again
    frames[0].save(
        FOLDER / "hero.webp",
        save_all=True,
        append_images=frames[1:],
        duration=90,  # ms
        loop=0,
        quality=QUALITY,
        method=6,
    )
