"""Images made into the pixels that are encoded; nothing is lost after this."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from torch import Tensor
from torch.nn import functional as F

from .decoded import RESAMPLING


def to_picture(image: Tensor, pixels: str, alpha: Tensor | None = None) -> av.VideoFrame:
    """An image (3,H,W) in [0,1] in this pixel format: BT.709 of limited range, or full RGB.

    Where colour is subsampled, odd sides get one replicated row or column. `alpha` (h,w) in [0,1],
    of any size, is taken where the format has room for it; without one the picture is opaque.
    """
    form = av.VideoFormat(pixels)
    values = image.detach().float().cpu()
    with_alpha = any(part.is_alpha for part in form.components)
    if with_alpha:
        values = torch.cat([values, _coverage(alpha, values)])
    deep = form.components[0].bits > 8
    top, kind = (65535, np.uint16) if deep else (255, np.uint8)
    rgb = values.permute(1, 2, 0).mul(top).round_().clamp_(0, top).numpy().astype(kind)
    if not form.is_rgb and pixels not in ("yuv444p", "yuva444p10le"):
        height, width = rgb.shape[:2]
        if width % 2 or height % 2:
            rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    name = {(False, False): "rgb24", (True, False): "rgba", (False, True): "rgb48le"}
    source = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(rgb), format=name.get((with_alpha, deep), "rgba64le")
    )
    colours: dict[str, Any] = {"src_color_range": ColorRange.JPEG}
    if not form.is_rgb:
        colours |= {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
    return VideoReformatter().reformat(source, format=pixels, interpolation=RESAMPLING, **colours)


def _coverage(alpha: Tensor | None, image: Tensor) -> Tensor:
    """Alpha as (1,H,W) of the image's size."""
    height, width = image.shape[-2:]
    if alpha is None:
        return torch.ones(1, height, width)
    alpha = alpha.detach().float().cpu()
    if alpha.shape == (height, width):
        return alpha[None]
    resized = F.interpolate(
        alpha[None, None], (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0]
