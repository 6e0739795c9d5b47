"""Photos set in motion: short clips whose flow and occlusion are known exactly.

A clip is layers, one photo behind and up to two cut-outs of others before it. Each layer moves by a
pan, zoom and rotation of its own and wobbles like cloth; the light may change, the camera be noisy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray
LENGTH = 6
HEIGHT, WIDTH = 176, 240  # px, multiples of 16


@dataclass(frozen=True)
class Clip:
    """frames (T,h,w,3) uint8. Of every frame but the first, to the one before and to the first:
    flow (T-1,h,w,2) float32 px, xy order, and visible (T-1,h,w) bool: that frame shows it too."""

    frames: Array
    flow_to_prev: Array
    visible_before: Array
    flow_to_first: Array
    visible_first: Array


class Layer:
    """A picture and its way through the frames.

    Frame position p shows layer position q = u + D_f(u), u = A_f p, with an affine A_f and a small
    smooth D_f, a sum of travelling waves.
    """

    def __init__(self, image: Array, alpha: Array, poses: Array, waves: Array) -> None:
        self.image, self.alpha, self.poses, self.waves = image, alpha, poses, waves

    def to_layer(self, p: Array, f: int) -> Array:
        """(h,w,2) frame positions → layer positions."""
        u = p @ self.poses[f, :, :2].T + self.poses[f, :, 2]
        return u + self._wobble(u, f)

    def from_layer(self, q: Array, f: int) -> Array:
        """The inverse, by iteration: |∇D| < 0.3, so eight rounds leave less than 0.001 px."""
        u = q
        for _ in range(8):
            u = q - self._wobble(u, f)
        return (u - self.poses[f, :, 2]) @ np.linalg.inv(self.poses[f, :, :2]).T

    def shown(self, p: Array, f: int) -> tuple[Array, Array]:
        """Colour (h,w,3) and alpha (h,w) in [0,1] at frame positions."""
        q = self.to_layer(p, f).astype(np.float32)
        colour = cv2.remap(self.image, q, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        return colour, self.covers(q)

    def covers(self, q: Array) -> Array:
        q = q.astype(np.float32)
        border = cv2.BORDER_REPLICATE if self.alpha.min() == 1 else cv2.BORDER_CONSTANT
        return cv2.remap(self.alpha, q, None, cv2.INTER_LINEAR, borderMode=border)

    def _wobble(self, u: Array, f: int) -> Array:
        moved = np.zeros_like(u)
        for dx, dy, kx, ky, phase, speed in self.waves:
            wave = np.sin(u[..., 0] * kx + u[..., 1] * ky + phase + speed * f)
            moved += wave[..., None] * np.array([dx, dy])
        return moved


def clip(rng: np.random.Generator, photos: Sequence[Array], length: int = LENGTH) -> Clip:
    """A clip from a background photo and, behind it in the list, one for each object."""
    layers = [_background(rng, photos[0], length)]
    layers += [_object(rng, photo, length) for photo in photos[1:]]
    p = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).astype(np.float64)
    frames, tops = zip(*(_composed(layers, p, f) for f in range(length)), strict=True)
    steps = [(f, f - 1) for f in range(1, length)]
    jumps = [(f, 0) for f in range(1, length)]
    flows, visible = zip(*(_followed(layers, tops, p, f, g) for f, g in steps + jumps), strict=True)
    n = length - 1
    return Clip(
        _as_filmed(rng, np.stack(frames)),
        np.stack(flows[:n]).astype(np.float32),
        np.stack(visible[:n]),
        np.stack(flows[n:]).astype(np.float32),
        np.stack(visible[n:]),
    )


def _composed(layers: list[Layer], p: Array, f: int) -> tuple[Array, Array]:
    """The frame (h,w,3) and the number of the layer on top (h,w), -1 where two mix."""
    frame, top = layers[0].shown(p, f)[0], np.zeros(p.shape[:2], np.int8)
    for number, layer in enumerate(layers[1:], 1):
        colour, alpha = layer.shown(p, f)
        frame = frame + (colour - frame) * alpha[..., None]
        top = np.where(alpha > 0.98, number, np.where(alpha > 0.02, -1, top)).astype(np.int8)
    return frame, top


def _followed(
    layers: list[Layer], tops: Sequence[Array], p: Array, f: int, g: int
) -> tuple[Array, Array]:
    """Flow from frame f to frame g on f's grid, and where g shows the same point."""
    flow, visible = np.zeros_like(p), np.zeros(p.shape[:2], bool)
    for number, layer in enumerate(layers):
        here = (tops[f] == number) | ((tops[f] == -1) & (number == 0))
        there = layer.from_layer(layer.to_layer(p, f), g)
        flow[here] = (there - p)[here]
        x, y = there[..., 0], there[..., 1]
        seen = (x >= 0) & (x <= WIDTH - 1) & (y >= 0) & (y <= HEIGHT - 1)
        column, row = (there[..., i].round().astype(int).clip(0, m) for i, m in _LIMITS)
        seen &= (tops[g][row, column] == number) & (tops[f] == number)
        visible[here] = seen[here]
    return flow, visible


_LIMITS = ((0, WIDTH - 1), (1, HEIGHT - 1))


def _background(rng: np.random.Generator, photo: Array, length: int) -> Layer:
    h, w = photo.shape[:2]
    centre = rng.uniform(0.35, 0.65, 2) * (w, h)
    poses = _path(rng, centre, length, still=0.25)
    waves = _waves(rng) if rng.random() < 0.3 else np.zeros((0, 6))
    return Layer(_float(photo), np.ones((h, w), np.float32), poses, waves)


def _object(rng: np.random.Generator, photo: Array, length: int) -> Layer:
    """A blob cut out of a photo, anywhere in the frame."""
    h, w = photo.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    centre, radius = np.array([w / 2, h / 2]), rng.uniform(25, 60)
    angle = np.arctan2(y - centre[1], x - centre[0])
    edge = radius * (1 + sum(a * np.sin(k * angle + b) for k, a, b in _lobes(rng)))
    alpha = np.clip(edge - np.hypot(x - centre[0], y - centre[1]) + 0.5, 0, 1)
    poses = _path(rng, centre, length, still=0.1)
    poses[:, :, 2] -= rng.uniform(-0.4, 0.4, 2) * (WIDTH, HEIGHT)
    waves = _waves(rng) if rng.random() < 0.5 else np.zeros((0, 6))
    return Layer(_float(photo), alpha.astype(np.float32), poses, waves)


def _lobes(rng: np.random.Generator) -> list[tuple[int, float, float]]:
    return [(k, rng.uniform(0, 0.5) / k, rng.uniform(0, 6.3)) for k in range(1, 6)]


def _path(rng: np.random.Generator, centre: Array, length: int, still: float) -> Array:
    """A_f (T,2,3), frame → layer: even pan, zoom and turn about the frame's middle, and a shake."""
    moving = rng.random() >= still
    speed = rng.normal(0, 1, 2) * rng.choice([0.5, 2, 5]) * moving
    zoom, turn = rng.normal(0, (0.012, 0.010)) * moving
    shake = rng.normal(0, rng.choice([0.0, 0.6]), (length, 2)) * moving
    base, angle0 = rng.uniform(0.8, 1.3), rng.uniform(-0.3, 0.3)
    poses = np.zeros((length, 2, 3))
    for f in range(length):
        scale, angle = base * (1 + zoom) ** f, angle0 + turn * f
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        poses[f, :, :2] = [[c, -s], [s, c]]
        middle = np.array([WIDTH / 2, HEIGHT / 2])
        poses[f, :, 2] = centre + speed * f + shake[f] - poses[f, :, :2] @ middle
    return poses


def _waves(rng: np.random.Generator) -> Array:
    """(N,6): displacement dx, dy px; wave vector kx, ky; phase; its change a frame. |∇D| < 0.3."""
    waves = []
    for _ in range(2):
        wavelength = rng.uniform(40, 160)
        k = 2 * np.pi / wavelength
        angle, size = rng.uniform(0, 6.3), rng.uniform(0.02, 0.13) / k
        toward = rng.uniform(0, 6.3)
        waves.append([
            size * np.cos(toward), size * np.sin(toward), k * np.cos(angle), k * np.sin(angle),
            rng.uniform(0, 6.3), rng.uniform(-0.9, 0.9),
        ])  # fmt: skip
    return np.array(waves)


def _as_filmed(rng: np.random.Generator, frames: Array) -> Array:
    """Changing light in one clip of three, a camera's noise in one of two."""
    t = np.arange(len(frames))[:, None, None, None]
    if rng.random() < 0.33:
        frames = frames * (1 + rng.uniform(-0.02, 0.02) * t) * rng.uniform(0.9, 1.1, 3)
    if rng.random() < 0.5:
        frames = frames + rng.normal(0, rng.uniform(0.5, 2.5) / 255, frames.shape)
    return (frames.clip(0, 1) * 255).round().astype(np.uint8)


def _float(photo: Array) -> Array:
    return photo.astype(np.float32) / 255
