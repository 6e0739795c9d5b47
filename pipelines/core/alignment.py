"""How much an edited frame is shifted and zoomed against its source, and the way back.

Phase correlation (Kuglin and Hines 1975) of gradient fields (Argyriou and Vlachos 2003), in which
edges of another colour look alike: over the whole frame for each of some scales, then window by
window, whose shifts a shift and a scale are fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 384  # px, the longer side that is looked at
COARSE = 192  # px, the same where scales are tried
SCALES = tuple(1.02**k for k in range(-11, 12))  # 0.8 to 1.24
WINDOW = 64  # px, at SIDE
ROUNDS = 3
BLUR = 1.5  # px, the width of a peak
STILL = 0.25
"""px: what moves no pixel further stays as it is. Estimates are that exact, and each way back
softens a frame."""
CONFIDENT = 10.0
"""Of `Motion.confidence`: frames that have nothing in common stayed below 9, others above 15."""


@dataclass(frozen=True)
class Motion:
    """Where an edited frame shows what the source shows at p: centre + scale (p - centre) + shift.

    Attributes:
        scale: above 1 it is zoomed in.
        shift: (dx, dy), px of the edited frame; right and down.
        confidence: the peak of the phase correlation over its surroundings, in deviations.
    """

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    confidence: float = 0.0

    @property
    def is_known(self) -> bool:
        return self.confidence >= CONFIDENT


def find(source: Tensor, edited: Tensor) -> Motion:
    """The motion of an edited frame (3,H,W) against its source (3,H',W'), both in [0,1].

    Sources of another size are brought to that of the edited frame.
    """
    h, w = edited.shape[-2:]
    factor = min(1.0, SIDE / max(h, w))
    size = [max(16, round(side * factor)) for side in (h, w)]
    x, y = (_resized(_grey(frame), size) for frame in (source, edited))
    scale, shift, confidence = _coarse(x, y)
    for _ in range(ROUNDS):
        zoom, moved = _residual(x, _warped(y, scale, shift))
        # p → zoom p + moved, then → scale p + shift
        shift, scale = scale * moved + shift, scale * zoom
    to_px = (w / size[1], h / size[0])
    dx, dy = (float(v) * to_px[i] for i, v in enumerate(shift))
    return Motion(float(scale), (dx, dy), confidence)


def undo(edited: Tensor, motion: Motion) -> Tensor:
    """An edited frame (C,H,W) as it would be without its motion; what it does not show is made of
    the pixels at its border. Where it hardly moved it is given back itself."""
    at_corner = abs(motion.scale - 1) * max(edited.shape[-2:]) / 2
    if at_corner + max(map(abs, motion.shift)) < STILL:
        return edited
    moved = _warped(edited[None].float(), motion.scale, torch.tensor(motion.shift), "bicubic")
    return moved[0].clamp(0, 1).to(edited)


def in_place(sources: Tensor, edited: Tensor) -> Tensor:
    """Edited frames (T,3,H,W), each without its own motion against its source (T,3,H',W'); those
    whose motion is not known as they are."""
    motions = [find(x, y) for x, y in zip(sources.cpu(), edited.cpu(), strict=True)]
    frames = [undo(y, m) if m.is_known else y for y, m in zip(edited, motions, strict=True)]
    return torch.stack(frames)


def of_shot(motions: Sequence[Motion]) -> Motion:
    """One motion for all frames of a shot: the median of those that are known."""
    known = [m for m in motions if m.is_known]
    if not known:
        return Motion()
    values = torch.tensor([[m.scale, *m.shift, m.confidence] for m in known])
    scale, dx, dy, confidence = values.quantile(0.5, dim=0).tolist()
    return Motion(scale, (dx, dy), confidence)


def _grey(frame: Tensor) -> Tensor:
    return frame[None].float().mean(1, keepdim=True)


def _resized(image: Tensor, size: Sequence[int]) -> Tensor:
    if list(image.shape[-2:]) == list(size):
        return image
    return F.interpolate(image, list(size), mode="bilinear", antialias=True)


def _warped(image: Tensor, scale: float, shift: Tensor, mode: str = "bilinear") -> Tensor:
    """image (1,C,H,W) read at centre + scale (p - centre) + shift (dx, dy)."""
    h, w = image.shape[-2:]
    rows = scale * torch.linspace(-1 + 1 / h, 1 - 1 / h, h) + 2 * shift[1] / h
    columns = scale * torch.linspace(-1 + 1 / w, 1 - 1 / w, w) + 2 * shift[0] / w
    grid = torch.stack(torch.broadcast_tensors(columns[None], rows[:, None]), -1)
    return F.grid_sample(image, grid[None].to(image), mode, "border", align_corners=False)


def _gradients(grey: Tensor) -> Tensor:
    """(1,1,H,W) → complex (H,W): the direction of each edge, as long as it is clear."""
    padded = F.pad(grey, (1, 1, 1, 1), "replicate")[0, 0]
    right = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    field = torch.complex(right, down)
    length = field.abs()
    return field / (length + length.mean() + 1e-6)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Complex (...,H,W) → phase correlation: its peak lies at the shift of b against a."""
    h, w = a.shape[-2:]
    window = torch.hann_window(h)[:, None] * torch.hann_window(w)
    cross = torch.fft.fft2(a * window).conj() * torch.fft.fft2(b * window)
    cross = cross / (cross.abs() + 1e-9)
    u, v = torch.fft.fftfreq(h)[:, None], torch.fft.fftfreq(w)
    return torch.fft.ifft2(cross * torch.exp(-2 * (torch.pi * BLUR) ** 2 * (u**2 + v**2))).real


def _peaks(surface: Tensor) -> tuple[Tensor, Tensor]:
    """(B,H,W) → shifts (B,2) as (dx, dy) with parts of a pixel, and heights in deviations (B)."""
    count, h, w = surface.shape
    at = surface.flatten(1).argmax(1)
    rows, columns, every = at // w, at % w, torch.arange(count)

    def value(dy: int, dx: int) -> Tensor:
        return surface[every, (rows + dy) % h, (columns + dx) % w].clamp(min=1e-9).log()

    def part(before: Tensor, after: Tensor) -> Tensor:  # of a Gaussian's top
        curve = before - 2 * value(0, 0) + after
        return torch.where(curve < 0, (before - after) / (2 * curve), 0.0).clamp(-0.5, 0.5)

    dx = (columns + w // 2) % w - w // 2 + part(value(0, -1), value(0, 1))
    dy = (rows + h // 2) % h - h // 2 + part(value(-1, 0), value(1, 0))
    heights = surface[every, rows, columns] / (surface.flatten(1).std(1) + 1e-9)
    return torch.stack([dx, dy], 1), heights


def _coarse(x: Tensor, y: Tensor) -> tuple[float, Tensor, float]:
    """The scale of those tried whose phase correlation is highest, its shift (px) and height."""
    h, w = x.shape[-2:]
    factor = min(1.0, COARSE / max(h, w))
    size = [max(16, round(side * factor)) for side in (h, w)]
    small, other = _resized(x, size), _resized(y, size)
    seen = _gradients(small)
    zoomed = torch.stack([_gradients(_warped(other, s, torch.zeros(2))) for s in SCALES])
    shifts, heights = _peaks(_correlation(seen, zoomed))
    best = int(heights.argmax())
    back = torch.tensor([w / size[1], h / size[0]])
    return SCALES[best], SCALES[best] * shifts[best] * back, float(heights[best])


def _residual(x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Scale and shift (px) of y against x, both (1,1,H,W), where little is left of them."""
    h, w = x.shape[-2:]
    side = min(WINDOW, h, w)
    fields = [_gradients(image) for image in (x, y)]
    tiles = [f.unfold(0, side, side // 2).unfold(1, side, side // 2) for f in fields]
    rows, columns = tiles[0].shape[:2]
    shifts, heights = _peaks(_correlation(*(t.reshape(-1, side, side) for t in tiles)))
    centres = torch.stack(
        torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), -1
    ).reshape(-1, 2)
    places = centres * (side // 2) + side / 2 - torch.tensor([w / 2, h / 2])
    weights = (heights - 6).clamp(min=0)
    return _fitted(places, shifts, weights)


def _fitted(places: Tensor, shifts: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """zoom, moved with (zoom - 1) place + moved ≈ shift; outliers weigh little."""
    zoom, moved, trust = 0.0, torch.zeros(2), weights
    for _ in range(5):
        total = trust.sum()
        if total <= 0:
            return 1.0, torch.zeros(2)
        mean_place, mean_shift = ((trust[:, None] * v).sum(0) / total for v in (places, shifts))
        p, s = places - mean_place, shifts - mean_shift
        spread = float((trust[:, None] * p * p).sum())
        zoom = float((trust[:, None] * p * s).sum()) / spread if spread else 0.0
        moved = mean_shift - zoom * mean_place
        error = (shifts - zoom * places - moved).norm(dim=1)
        trust = weights / (1 + (error / 0.5) ** 4)
    return 1 + zoom, moved
