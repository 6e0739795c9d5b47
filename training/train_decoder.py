"""Stage 5: the decoder once more, on latents that the U-Net made.

    python -m training.train_decoder [--work DIR] [--minutes 6]

The autoencoder of stage 2 never saw a predicted latent. Here half of each batch is the U-Net's
one-step prediction of a style (target: that style's pixels), half is plain reconstruction, so
that encode-decode stays what it was. Encoder and U-Net are frozen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from . import architecture, captions
from .loop import Crops, Run
from .train_autoencoder import reconstruction_loss
from .train_unet import TextPool


def pairs(crops: Crops, texts: TextPool, count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Photos and plain single-style targets (B,3,side,side) in [-1,1], and their caption index."""
    single = torch.nonzero(texts.weights[:, :-1].max(-1).values == 1)[:, 0]
    photos, targets, indices = [], [], []
    for _ in range(count):
        array, top, left = crops.sample(side, side, align=16)
        k = int(single[int(crops.rng.integers(len(single)))])
        style = int(texts.weights[k].argmax())
        window = np.s_[top : top + side, left : left + side]
        photos.append(torch.from_numpy(array[0][window].copy()))
        targets.append(torch.from_numpy(array[1 + style][window].copy()))
        indices.append(k)

    def signed(images: list[Tensor]) -> Tensor:
        x = torch.stack(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x.to(memory_format=torch.channels_last)

    return signed(photos), signed(targets), torch.tensor(indices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=6)
    args = parser.parse_args()
    torch.manual_seed(0)
    vae = AutoencoderTiny.from_pretrained(args.work / "autoencoder" / "vae")
    unet = UNet2DConditionModel.from_pretrained(args.work / "unet" / "unet").eval()
    unet = unet.to(torch.bfloat16).to(memory_format=torch.channels_last)
    vae = vae.to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    run = Run("decoder", args.work, args.minutes, 5e-4, {"decoder": vae.decoder})
    texts = TextPool(args.work / "clip", 4_000, seed=run.step)
    assert captions.MEANINGS[-1] == captions.PHOTO
    crops = Crops(args.work / "images", seed=run.step)
    for _ in run.steps():
        photos, targets, k = pairs(crops, texts, 12, 192)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            half = len(photos) // 2
            image = F.pixel_unshuffle(vae.encode(photos[:half]).latents, architecture.PATCH)
            noise = torch.randn_like(image)
            v = unet(
                torch.cat([noise, image], 1),
                999,
                texts.hidden[k[:half]].to(torch.bfloat16),
                class_labels=texts.pooled[k[:half]].to(torch.bfloat16),
            ).sample
            # At zero terminal SNR v is -x0 (Lin et al. 2024, section 3.2).
            z = F.pixel_shuffle(-v, architecture.PATCH)
            z = torch.cat([z, vae.encode(targets[half:]).latents])
        with torch.autocast("cpu", torch.bfloat16):
            y = vae.decode(z).sample
        y = y.float()
        predicted = reconstruction_loss(y[:half], targets[:half])
        plain = reconstruction_loss(y[half:], targets[half:])
        run.descend(predicted + plain)
        run.log(predicted=predicted, plain=plain)
    run.averaged("decoder")
    vae.save_pretrained(run.folder / "vae")


if __name__ == "__main__":
    main()
