"""Painters' hands: a small style-transfer network (MicroAST) teaches six public-domain works.

Wang et al. 2023, "MicroAST: Towards Super-Fast Ultra-Resolution Arbitrary Style Transfer" (AAAI).
The weights (MIT licence) are read from a folder; the network is that of the
paper's figures 3-4.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    layer = nn.Sequential()
    layer.add_module("reflection_pad", nn.ReflectionPad2d(kernel // 2))
    layer.add_module("conv_layer", nn.Conv2d(cin, cout, kernel, stride, groups=groups))
    return layer


class _Residual(nn.Module):
    def __init__(self, channels: int = 64):
        super().__init__()
        self.conv1 = _conv(channels, channels, 3)
        self.conv2 = _conv(channels, channels, 3)

    def forward(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None):
        if weight is None:
            return x + self.conv2(F.relu(self.conv1(x)))
        h = F.relu(weight * self.conv1(x) + bias * x)
        return x + weight * self.conv2(h) + bias * h


class _Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc1 = nn.Sequential(
            _conv(3, 16, 9), nn.ReLU(),
            _conv(16, 32, 3, 2, groups=16), nn.ReLU(), _conv(32, 32, 1), nn.ReLU(),
            _conv(32, 64, 3, 2, groups=32), nn.ReLU(), _conv(64, 64, 1), nn.ReLU(),
            _Residual(),
        )  # fmt: skip
        self.enc2 = nn.Sequential(_Residual())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shallow = self.enc1(x)
        return shallow, self.enc2(shallow)


class _Modulator(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("weight1", "bias1", "weight2", "bias2"):
            pooled = nn.Sequential(_conv(64, 64, 3, groups=64), nn.AdaptiveAvgPool2d(1))
            self.add_module(name, pooled)

    def forward(self, s: tuple[Tensor, Tensor]):
        return (self.weight1(s[0]), self.weight2(s[1])), (self.bias1(s[0]), self.bias2(s[1]))


class _Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.dec1, self.dec2 = _Residual(), _Residual()
        up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.dec3 = nn.Sequential(
            up, _conv(64, 32, 3, groups=32), nn.ReLU(), _conv(32, 32, 1), nn.ReLU(),
            up, _conv(32, 16, 3, groups=16), nn.ReLU(), _conv(16, 16, 1), nn.ReLU(),
            _conv(16, 3, 9),
        )  # fmt: skip

    def forward(self, c, s, weight, bias) -> Tensor:
        x = self.dec1(_adain(c[1], s[1]), weight[1], bias[1])
        return self.dec3(self.dec2(_adain(x, s[0]), weight[0], bias[0]))


def _adain(content: Tensor, style: Tensor) -> Tensor:
    """Huang & Belongie 2017, equation 8."""

    def stats(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()

    (mc, sc), (ms, ss) = stats(content), stats(style)
    return (content - mc) / sc * ss + ms


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


# Mean and covariance of 8-bit Lab colour over the training photos. Fixed, not the image's own: a
# colour map that is the same for every frame can be learned from a crop and does not flicker.
PHOTO_MEAN = np.array([130.0, 132.0, 133.0])
PHOTO_COVARIANCE = np.array([[4460.0, -137.0, 108.0], [-137.0, 252.0, 75.0], [108.0, 75.0, 333.0]])


def _root(m: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(m)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _recolour(image: np.ndarray, painting: np.ndarray) -> np.ndarray:
    """Move the colours of photos in general to the painting's (linear Monge-Kantorovich map;
    Pitie & Kokaram 2007, section 3.3)."""
    target = cv2.cvtColor(painting, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
    root = _root(PHOTO_COVARIANCE)
    inverse = np.linalg.inv(root)
    transfer = inverse @ _root(root @ np.cov(target.T) @ root) @ inverse
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)
    moved = (lab - PHOTO_MEAN) @ transfer + target.mean(0)
    return cv2.cvtColor(moved.clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


class Painter:
    """One painting's hand; `weights` is the folder with the four MicroAST files."""

    def __init__(self, weights: Path, painting: np.ndarray):
        parts = {"content_encoder": _Encoder(), "style_encoder": _Encoder(),
                 "modulator": _Modulator(), "decoder": _Decoder()}  # fmt: skip
        for name, part in parts.items():
            file = weights / f"{name}_iter_160000.pth.tar"
            part.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
            part.eval()
        self.encoder, self.decoder = parts["content_encoder"], parts["decoder"]
        self.painting = painting
        with torch.no_grad():
            self.style = parts["style_encoder"](_to_tensor(painting))
            self.modulation = parts["modulator"](self.style)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """RGB (H,W,3) uint8, sides in multiples of 4 → the same in the painter's hand."""
        prepared = _recolour(image, self.painting)
        y = self.decoder(self.encoder(_to_tensor(prepared)), self.style, *self.modulation)
        return (y[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(np.uint8)


PAINTINGS = {
    "van_gogh": "starry_night_vangogh_1889.jpg",
    "munch": "scream_munch_1893.jpg",
    "monet": "water_lilies_monet_1919.jpg",
    "kandinsky": "composition_vii_kandinsky_1913.jpg",
    "hoitsu": "flowers_sakai_hoitsu.jpg",
    "mondrian": "mondrian.jpg",
}
