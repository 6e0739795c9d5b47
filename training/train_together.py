"""Stage 5: U-Net and decoder together, on pixels.

    python -m training.train_together [--work DIR] [--minutes 24] [--name together]
        [--start NAME] [--hard STYLE=N ...] [--steps N] [--decoder FOLDER] [--decoder-alone]
        [--ccpl WEIGHT]

Latents hide what the eye sees: a line that is a little too soft costs them next to nothing. Here
the picture itself is held against the style's pixels, through the decoder, which until now never
saw a predicted latent. By turns it is the one-step picture from frame and words, the step that
words alone take from a frame under noise, and the step that the frame alone takes from a picture on
its way to the style. Beside it go plain reconstruction, so that encode-decode stays what it was,
and the loss of stage 4 at every noise level. The encoder is frozen.

--start goes on from an earlier run of this stage, or of stage 4, under a new name; --hard draws a
style so many times as often: what that run was still weak at. --decoder is an autoencoder whose
decoder to go on from; --decoder-alone holds the U-Net as it is. --ccpl adds the contrastive
coherence of the one-step picture with its photo (pipelines/core/ccpl.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor
from torch.nn import functional as F

from . import architecture
from .loop import Crops, Run
from .pictured import PROJECTION, Pictured
from .train_autoencoder import batch, gradients, reconstruction_loss
from .train_sctnet import Losses
from .train_unet import (
    FARTHEST,
    HARD,
    OWN,
    PICTURED,
    RECOLOURED,
    TRAINED,
    Attended,
    Batches,
    TextPool,
    draw_times,
    encode_images,
    encode_pictured,
    hard_style,
    loss_of,
    pictured_text,
    predict,
    softened,
)

UNDER_NOISE = (60, 600)
"""Times at which a frame can still be seen, so that words have something to paint."""
TURNS = 3


def texture_loss(y: Tensor, x: Tensor) -> Tensor:
    """L1 of the local strength of gradients (root mean square over 8 px), at three scales.

    A blurred line is a cheap answer to L1; here it costs what it lost. x, y: (B,3,H,W).
    """
    loss = y.new_zeros(())
    for _ in range(3):
        for a, b in zip(gradients(y), gradients(x), strict=True):
            strength_a, strength_b = ((F.avg_pool2d(g**2, 8) + 1e-4).sqrt() for g in (a, b))
            loss = loss + F.l1_loss(strength_a, strength_b)
        y, x = F.avg_pool2d(y, 2), F.avg_pool2d(x, 2)
    return loss


class Asked(NamedTuple):
    """What a batch asks for: hidden (B,77,128), pooled (B,128), seen (B,STATISTICS), share (B,) as
    `Batches.draw` gives them.
    """

    hidden: Tensor
    pooled: Tensor
    seen: Tensor
    share: Tensor


class Pairs(NamedTuple):
    """Photos, targets in one style each, of words or of a picture, and the photos in the colours of
    another picture or in their own, (B,3,H,W) in [-1,1]; and what is asked for.
    """

    photos: Tensor
    targets: Tensor
    recoloured: Tensor
    asked: Asked


def pairs(
    crops: Crops, texts: TextPool, pictured: Pictured, count: int, height: int, width: int
) -> Pairs:
    single = torch.nonzero(texts.weights[:, :-1].max(-1).values == 1)[:, 0]
    rng = crops.rng
    photos, targets, recoloured, asked = [], [], [], []
    for _ in range(count):
        index, top, left = crops.sample(height, width, align=16)
        array = crops.arrays[index]
        k = int(single[int(rng.integers(len(single)))])
        style = 1 + int(texts.weights[k].argmax())
        window = np.s_[top : top + height, left : left + width]
        n = int(rng.integers(pictured.seen.shape[1]))
        share, seen, target = 0.0, pictured.seen[index, n], array[style]
        if rng.random() < PICTURED:
            share = 1.0
            if rng.random() < OWN:
                seen = pictured.own[int(rng.integers(len(pictured.own))), style]
            else:
                target = pictured.drawn[index][n]
        others = pictured.drawn[index]
        other = others[int(rng.integers(len(others)))] if rng.random() < RECOLOURED else array[0]
        for images, image in ((photos, array[0]), (targets, target), (recoloured, other)):
            images.append(torch.from_numpy(image[window].copy()))
        asked.append((texts.hidden[k], texts.pooled[k], seen, torch.tensor(share)))

    def signed(images: list[Tensor]) -> Tensor:
        x = torch.stack(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x.to(memory_format=torch.channels_last)

    return Pairs(
        signed(photos),
        signed(targets),
        signed(recoloured),
        Asked(*(torch.stack(x).float() for x in zip(*asked, strict=True))),
    )


def step_to_x0(
    unet: UNet2DConditionModel, held: Tensor, t: Tensor, alphas: Tensor, batch: dict[str, Tensor]
) -> Tensor:
    """The clean latent that the U-Net sees in `held` under noise, (B,32,h,w)."""
    a = alphas[t][:, None, None, None]
    z = a.sqrt() * held + (1 - a).sqrt() * torch.randn_like(held)
    return a.sqrt() * z - (1 - a).sqrt() * predict(unet, z, t, batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=24)
    parser.add_argument("--name", default="together")
    parser.add_argument("--start")
    parser.add_argument("--hard", nargs="*", default=[], type=hard_style, metavar="STYLE=N")
    parser.add_argument("--steps", type=int, help="in place of minutes")
    parser.add_argument("--decoder", type=Path, metavar="FOLDER")
    parser.add_argument("--decoder-alone", action="store_true")
    parser.add_argument("--ccpl", type=float, default=0.0, metavar="WEIGHT")
    args = parser.parse_args()
    torch.manual_seed(0)
    before = args.work / args.start if args.start else None
    trained = args.work / TRAINED
    pictured = Pictured(args.work)
    latents, after = encode_images(args.work), encode_pictured(args.work, pictured)
    finished = before is not None and (before / "vae").exists()
    decoder = args.decoder or (before / "vae" if finished else trained)
    vae = AutoencoderTiny.from_pretrained(decoder).float()
    vae = vae.to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained((before or args.work / "unet") / "unet").train()
    unet = unet.to(memory_format=torch.channels_last)
    projection = pictured.projection(before or args.work / "unet")
    for trained_beside in (unet, projection):
        trained_beside.requires_grad_(not args.decoder_alone)
    modules = {"unet": unet, "projection": projection, "decoder": vae.decoder}
    losses = None
    if args.ccpl:
        losses = Losses(
            load_encoder(), "art", batch(Crops(args.work / "images"), 16, 160) / 2 + 0.5
        )
        modules["heads"] = losses.heads
    run = Run(args.name, args.work, args.minutes, 3e-4, modules, args.steps)
    texts = TextPool(args.work / "clip", 12_000, seed=run.step, hard=HARD | dict(args.hard))
    batches = Batches(latents, after, pictured, texts, seed=run.step)
    crops = Crops(args.work / "images", seed=run.step)
    alphas = architecture.scheduler().alphas_cumprod
    attended = Attended(unet)
    for _ in run.steps():
        photos, targets, recoloured, asked = pairs(crops, texts, pictured, 6, 160, 224)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(torch.cat([photos, targets, recoloured])).latents.float()
        photo, wanted, shown = F.pixel_unshuffle(encoded, architecture.PATCH).chunk(3)
        words_alone, frame_alone = (run.step % TURNS == turn for turn in (1, 2))
        given = pictured_text(asked._asdict(), projection)
        given["image"] = torch.zeros_like(photo) if words_alone else photo
        if frame_alone:
            given["image"] = shown
            given["hidden"] = texts.null_hidden.float().expand(len(photo), -1, -1)
            given["pooled"] = texts.null_pooled.expand(len(photo), -1)
        way = torch.rand(len(photo), 1, 1, 1)
        wished = photos.lerp(targets, way) if frame_alone else targets
        held = photo + way * (1 if frame_alone else FARTHEST) * (wanted - photo)
        held = torch.stack([softened(z, float(torch.rand(()))) for z in held])
        t = torch.full((len(photo),), 999)
        if words_alone or frame_alone:
            t = torch.randint(*UNDER_NOISE, (len(photo),))
        x0 = F.pixel_shuffle(step_to_x0(unet, held, t, alphas, given), architecture.PATCH)
        with torch.autocast("cpu", torch.bfloat16):
            y = vae.decode(torch.cat([x0, encoded[len(photos) : len(photos) + 2]])).sample
        y = y.float()
        predicted, texture = (
            f(y[: len(photos)], wished) for f in (reconstruction_loss, texture_loss)
        )
        plain = reconstruction_loss(y[len(photos) :], targets[:2])
        loss = predicted + 0.5 * texture + 0.3 * plain
        parts = {"predicted": predicted, "texture": texture, "plain": plain}
        if losses is not None:
            parts["ccpl"] = losses.coherence(y[: len(photos)] / 2 + 0.5, photos / 2 + 0.5)
            loss = loss + args.ccpl * parts["ccpl"]
        if not args.decoder_alone:
            own = run.step % 3 == 2
            t = draw_times(batches.rng, 12, pure=0.15, own=own)
            items = pictured_text(batches.draw(t, 24, 24), projection)
            parts["latents"] = loss_of(unet, items, t, alphas, own).mean()
            parts["attention"] = attended.loss(items)
            loss = loss + 2 * parts["latents"] + 0.1 * parts["attention"]
        run.descend(loss)
        run.log(every=50, **parts)  # of each turn by turns
    run.averaged("unet").save_pretrained(run.folder / "unet")
    save_file(run.averaged("projection").state_dict(), run.folder / PROJECTION)
    run.averaged("decoder")
    vae.save_pretrained(run.folder / "vae")


if __name__ == "__main__":
    main()
