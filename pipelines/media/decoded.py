"""Pictures as a decoder gives them, made upright images in the colours of a screen (BT.709)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from torch import Tensor

from .frames import Frame

# SWS_ACCURATE_RND and SWS_FULL_CHR_H_INT, which PyAV 17 has no names for.
RESAMPLING = int(Interpolation.BICUBIC) | 0x40000 | 0x2000
HDR = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
WIDE = {
    ColorPrimaries.BT2020: "BT.2020",
    ColorPrimaries.SMPTE431: "DCI-P3",
    ColorPrimaries.SMPTE432: "Display P3",
}
NARROWS = int(av.__version__.split(".")[0]) >= 18  # PyAV 17 only tags what it is asked to convert
UNNAMED = 40  # of the kinds of side data that FFmpeg numbers; 8.1 has 32
_UNSAID = {0, 2, 3}  # reserved or unspecified

Matrix = tuple[int, int, int, int]


@dataclass(frozen=True)
class Decoded:
    """An av.VideoFrame, when it is shown and for how long (s), and the shape of its pixels."""

    picture: Any
    pts: Fraction
    duration: Fraction
    sample: Fraction = Fraction(1)


def shown_size(width: int, height: int, sample: Fraction) -> tuple[int, int]:
    """The size of a picture in square pixels, neither side smaller than it was."""
    return (round(width * sample), height) if sample > 1 else (width, round(height / sample))


def matrix_of(picture: Any) -> Matrix:
    """(a,b,c,d) of the display matrix: column p = a·x + c·y and row q = b·x + d·y, signs only."""
    try:
        data = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:
        data = _without_unnamed(picture).side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _without_unnamed(picture: Any) -> Any:
    """The picture less the side data that PyAV has no name for: one such, and it gives none.

    PyAV 17 and 18 do not know the EXIF of the FFmpeg 8.1 that they hold: no photo could be shown.
    """
    graph = Graph()
    width, height, step = picture.width, picture.height, picture.time_base or Fraction(1)
    begin = graph.add_buffer(width=width, height=height, format=picture.format.name, time_base=step)
    unnamed = range(len(SideData), UNNAMED)
    filters = [graph.add("sidedata", f"mode=delete:type={number}") for number in unnamed]
    graph.link_nodes(begin, *filters, graph.add("buffersink")).configure()
    graph.push(picture)
    return graph.pull()


def has_alpha(picture: Any) -> bool:
    """Whether its format has room for transparency, a palette's included."""
    parts = picture.format.components
    return picture.format.has_palette or any(part.is_alpha for part in parts)


def is_transparent(picture: Any) -> bool:
    """Whether a pixel of it shows what is behind, for pictures of bytes and palettes."""
    if picture.format.has_palette:
        used = np.zeros(256, bool)
        for row in _bytes(picture, 0, 1):
            used[row] = True
        palette = np.frombuffer(bytes(picture.planes[1])[:1024], np.uint32)
        return bool((palette[used] >> 24 < 255).any())  # A, R, G, B of a number each
    alpha = [part for part in picture.format.components if part.is_alpha]
    if not alpha:
        return False
    if picture.format.name not in ("bgra", "rgba"):
        picture = picture.reformat(format="rgba")
    return bool(_bytes(picture, 0, 4)[..., 3].min() < 255)


def _bytes(picture: Any, plane: int, channels: int) -> Any:
    """A plane of bytes (H,W,C), or (H,W) of one channel, where it lies: no copy."""
    line = picture.planes[plane].line_size
    rows = np.frombuffer(picture.planes[plane], np.uint8).reshape(-1, line)
    rows = rows[: picture.height, : picture.width * channels]
    return rows if channels == 1 else rows.reshape(picture.height, picture.width, channels)


def to_frame(decoded: Decoded, size: tuple[int, int] | None, scaler: VideoReformatter) -> Frame:
    """The upright frame at `size` (width, height; None: as shown)."""
    picture, matrix = decoded.picture, matrix_of(decoded.picture)
    if size is None:
        size = shown_size(picture.width, picture.height, decoded.sample)
    elif matrix[1]:
        size = (size[1], size[0])
    image = _upright(_to_image(picture, size, scaler), matrix)
    alpha = image[3] if len(image) > 3 else None
    return Frame(image[:3].contiguous(), decoded.pts, decoded.duration, alpha)


def _upright(image: Tensor, matrix: Matrix) -> Tensor:
    a, b, c, d = matrix
    if b:
        image = image.transpose(1, 2)
    flips = [axis for axis, sign in ((1, b or d), (2, c or a)) if sign < 0]
    return image.flip(flips) if flips else image


def _to_image(picture: Any, size: tuple[int, int], scaler: VideoReformatter) -> Tensor:
    """(3,H,W), or (4,H,W) with alpha, float in [0,1] at `size`, colours as tagged.

    Untagged pictures are BT.709 from 720 lines on and BT.601 below, as players assume. More than 8
    bits go through 16-bit RGB, so that nothing is lost to rounding. HDR and wide gamuts become
    BT.709 (from PyAV 18 on): brighter than SDR white and outside the gamut is clipped.
    """
    deep = picture.format.components[0].bits > 8
    untagged = picture.colorspace == 2 and not picture.format.is_rgb
    guess = Colorspace.ITU709 if picture.height >= 720 else Colorspace.ITU601
    formats = ("rgba64le", "rgba") if has_alpha(picture) else ("rgb48le", "rgb24")
    narrow: dict[str, Any] = {}
    if NARROWS and (picture.color_trc in HDR or picture.color_primaries in WIDE):
        narrow = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
        if picture.color_trc in _UNSAID:
            picture.color_trc = ColorTrc.BT709
    values = scaler.reformat(
        picture,
        width=size[0],
        height=size[1],
        format=formats[0] if deep else formats[1],
        src_colorspace=guess if untagged else None,
        dst_color_range=ColorRange.JPEG,
        interpolation=RESAMPLING,
        **narrow,
    ).to_ndarray()
    image = torch.from_numpy(values.astype(np.float32))
    return image.div_(65535 if deep else 255).permute(2, 0, 1).contiguous()
