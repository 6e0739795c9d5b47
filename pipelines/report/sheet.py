"""Contact sheets and labels: pictures side by side with words in any script beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..media import Frame

INK, PAPER = (32, 32, 32), (255, 255, 255)
GAP = 6  # px between pictures

# Where Windows, macOS and Linux keep fonts with more than Pillow's ASCII: Europe's, then Chinese.
_FONTS = (
    "C:/Windows/Fonts/arial.ttf",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/simhei.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/STHeiti Light.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
)


class Pen(Protocol):
    """Writes one line of text in one size."""

    def width(self, text: str) -> int: ...

    def write(self, image: Image.Image, at: tuple[int, int], text: str, ink: Any) -> None: ...


class _PillowPen:
    def __init__(self, font: Any) -> None:
        self.font = font

    def width(self, text: str) -> int:
        return int(self.font.getlength(text)) + 1

    def write(self, image: Image.Image, at: tuple[int, int], text: str, ink: Any) -> None:
        ImageDraw.Draw(image).text(at, text, fill=ink, font=self.font)


class _OpenCVPen:
    """OpenCV 5 carries a font with Chinese glyphs inside."""

    def __init__(self, size: int) -> None:
        import cv2

        self.cv2, self.size, self.face = cv2, size, cv2.FontFace("uni")

    def width(self, text: str) -> int:
        box = self.cv2.getTextSize((4096, 256), text, (0, 0), self.face, self.size)
        return int(box[2]) + 1

    def write(self, image: Image.Image, at: tuple[int, int], text: str, ink: Any) -> None:
        pixels = np.array(image)
        baseline = at[0], at[1] + self.size
        self.cv2.putText(pixels, text, baseline, ink, self.face, self.size)
        image.paste(Image.fromarray(pixels))


def has_glyphs(font: Any, text: str) -> bool:
    """Whether the font draws every character as itself, not as its box for what it lacks."""
    missing = bytes(font.getmask("\U0010fffd"))
    return all(char.isspace() or bytes(font.getmask(char)) != missing for char in set(text))


def pen_for(text: str, size: int, fonts: Sequence[str] = _FONTS) -> Pen | None:
    """A pen that can write this text: Pillow's own font, the system's, OpenCV's; or None.

    Args:
        size: px.
    """
    own = ImageFont.load_default(size)
    if has_glyphs(own, text):
        return _PillowPen(own)
    for path in fonts:
        if Path(path).exists():
            font = ImageFont.truetype(path, size)
            if has_glyphs(font, text):
                return _PillowPen(font)
    try:
        return _OpenCVPen(size)
    except (ImportError, AttributeError):  # no OpenCV, or one older than 5
        return None


def written(text: str, number: int, size: int) -> tuple[str, Pen]:
    """The text and a pen for it; "prompt N" where no font here can draw it."""
    pen = pen_for(text, size)
    if pen is not None:
        return text, pen
    return f"prompt {number}", _PillowPen(ImageFont.load_default(size))


def wrap(text: str, pen: Pen, width: int, lines: int) -> list[str]:
    """The text in lines of at most `width` px, broken at spaces where there are any."""
    done: list[str] = []
    line = ""
    for word in _words(text):
        if line and pen.width(line + word.rstrip()) > width:
            done.append(line.rstrip())
            line = ""
        line += word if line else word.lstrip()
        while len(line) > 1 and pen.width(line.rstrip()) > width:
            cut = max(i for i in range(1, len(line)) if i == 1 or pen.width(line[:i]) <= width)
            done.append(line[:cut])
            line = line[cut:]
    done.append(line.rstrip())
    if len(done) > lines:
        done = done[:lines]
        done[-1] = done[-1][:-1] + "…"
    return done


def _words(text: str) -> list[str]:
    """Pieces between which a line may break: before words of Latin, before any wide character."""
    pieces: list[str] = []
    for char in " ".join(text.split()):
        fresh = not pieces or pieces[-1].endswith(" ") or ord(char) > 0x2E80
        if fresh and char != " ":
            pieces.append(char)
        elif pieces:
            pieces[-1] += char
    return pieces


def to_pil(image: Tensor) -> Image.Image:
    """(3,H,W) float in [0,1] → a PIL image."""
    pixels = image.detach().permute(1, 2, 0).float().mul(255).round().clamp(0, 255)
    return Image.fromarray(pixels.to(torch.uint8).cpu().numpy())


def contact_sheet(rows: Sequence[tuple[str, Sequence[Tensor]]], width: int = 224) -> Image.Image:
    """Rows of pictures (3,H,W) in [0,1], each with its words to the left.

    A row whose words cannot be drawn shows its number, counted from 0.

    Args:
        width: px of a picture on the sheet.
    """
    first = rows[0][1][0]
    height = max(1, round(width * first.shape[-2] / first.shape[-1]))
    columns = max(len(images) for _, images in rows)
    margin, size = 176, 20
    sheet = Image.new(
        "RGB",
        (margin + columns * (width + GAP), len(rows) * (height + GAP) + GAP),
        PAPER,
    )
    for r, (text, images) in enumerate(rows):
        top = GAP + r * (height + GAP)
        text, pen = written(text, r, size)
        lines = wrap(text, pen, margin - 2 * GAP, max(1, height // (size + 6)))
        at = top + (height - len(lines) * (size + 6)) // 2
        for line in lines:
            pen.write(sheet, (GAP, at), line, INK)
            at += size + 6
        for c, image in enumerate(images):
            thumbnail = to_pil(image).resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(thumbnail, (margin + c * (width + GAP), top))
    return sheet


def fitted(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (3,H,W) in its own shape, as large as it fits into `size` (width, height), on white
    (3,height,width).
    """
    cell = Image.new("RGB", size, PAPER)
    shown = to_pil(image)
    shown.thumbnail(size, Image.Resampling.LANCZOS)
    cell.paste(shown, ((size[0] - shown.width) // 2, (size[1] - shown.height) // 2))
    return torch.from_numpy(np.array(cell)).permute(2, 0, 1) / 255


def label_strip(text: str, number: int, width: int, size: int = 18) -> Tensor:
    """White words on a dark strip, (3,size+10,width) in [0,1], to lay over a picture's foot."""
    text, pen = written(text, number, size)
    line = wrap(text, pen, width - 2 * GAP, 1)[0]
    strip = Image.new("RGB", (width, size + 10), (16, 16, 16))
    pen.write(strip, (GAP, 3), line, PAPER)
    return torch.from_numpy(np.array(strip)).permute(2, 0, 1) / 255


def evenly(count: int, total: int) -> list[int]:
    """`count` indices of 0..total-1, first and last among them; all where there are no more."""
    if total <= count:
        return list(range(total))
    return [round(i * (total - 1) / max(1, count - 1)) for i in range(count)]


class Sampled:
    """A few pairs of frames spread over a stream of unknown length; holds at most 2·count + 1."""

    def __init__(self, count: int = 5) -> None:
        self.count = count
        self._stride, self._seen = 1, 0
        self._kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, before: Frame, after: Frame) -> None:
        if self._seen % self._stride == 0:
            self._kept.append((before.image, after.image))
            if len(self._kept) > 2 * self.count:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    def rows(self, words: Sequence[str]) -> list[tuple[str, list[Tensor]]]:
        """The source's row and the stylized one, under these two words."""
        kept = [self._kept[i] for i in evenly(self.count, len(self._kept))]
        return [(word, [pair[k] for pair in kept]) for k, word in enumerate(words)]


def save(image: Image.Image, path: Path) -> None:
    """Write the picture under its name only when it is whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
        image.save(part, kind, **({"quality": 92} if kind == "JPEG" else {}))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
