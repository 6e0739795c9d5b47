"""Stage 2: the autoencoder, on photos and on every style.

    python -m training.train_autoencoder [--work DIR] [--minutes 16]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from . import architecture
from .loop import Crops, Run


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction_loss(y: Tensor, x: Tensor) -> Tensor:
    """L1, L1 of gradients, and L1 of colour at 1/8: without the last, colours wash out.

    x, y: (B,3,H,W) in [-1,1].
    """
    edges = sum((F.l1_loss(a, b) for a, b in zip(gradients(y), gradients(x), strict=True)))
    colour = F.l1_loss(F.avg_pool2d(y, 8), F.avg_pool2d(x, 8))
    return F.l1_loss(y, x) + edges + 0.5 * colour


def batch(crops: Crops, count: int, side: int) -> Tensor:
    """(B,3,side,side) in [-1,1], half of it with its colour channels shuffled: more colours."""
    images = []
    for i in range(count):
        array, top, left = crops.sample(side, side)
        style = int(crops.rng.integers(array.shape[0]))
        crop = torch.from_numpy(array[style, top : top + side, left : left + side].copy())
        if i % 2:
            crop = crop[..., torch.randperm(3)]
        images.append(crop.permute(2, 0, 1))
    return torch.stack(images).float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=16)
    args = parser.parse_args()
    torch.manual_seed(0)
    vae = architecture.autoencoder().to(memory_format=torch.channels_last)
    run = Run("autoencoder", args.work, args.minutes, 1.5e-3, {"vae": vae})
    crops = Crops(args.work / "images", seed=run.step)
    for _ in run.steps():
        x = batch(crops, 8, 112).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            z = vae.encode(x).latents
            y = vae.decode(z + 0.08 * torch.randn_like(z)).sample
        z, y = z.float(), y.float()
        loss = reconstruction_loss(y, x)
        mean, var = z.mean((0, 2, 3)), z.var((0, 2, 3))
        unit = (mean.square() + (var - 1).square()).mean()
        run.descend(loss + 0.02 * unit)
        psnr = -10 * ((y.clamp(-1, 1) - x).square().mean() / 4).log10()
        run.log(loss=loss, psnr=psnr, unit=unit)
    run.averaged("vae").save_pretrained(run.folder / "vae")


if __name__ == "__main__":
    main()
