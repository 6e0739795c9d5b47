"""Stage 5b: the weighted sum of the evaluations, on the way that its own steps take.

    python -m training.train_guided [--work DIR] [--minutes 60] [--name guided]
        [--start FOLDER] [--text FOLDER] [--hard STYLE=N ...]

Each evaluation was taught to be good alone. The sum of the preset `paper` takes differences of
them, and what two of them guess apart by chance it enlarges: blotches on a face. Here z_t comes
from steps of the sum itself, from a frame under noise on, and the picture that its next step leads
to is held against the style's pixels. A scale of the text above 1 must lead there too, so that
what went too far comes back.

By turns with that goes the one-step picture from frame and words, and the loss of stage 4, which
keeps each evaluation good alone. The encoder and the projection are frozen: words that mean
pictures go on meaning them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from style_a_video.pipelines.core import guidance
from torch import Tensor
from torch.nn import functional as F

from . import architecture, captions
from .loop import Crops, Run
from .pictured import PROJECTION, Pictured
from .train_autoencoder import reconstruction_loss
from .train_together import Pairs, pairs, step_to_x0, texture_loss
from .train_unet import (
    HARD,
    Attended,
    Batches,
    TextPool,
    draw_times,
    encode_images,
    encode_pictured,
    loss_of,
    pictured_text,
    predict,
    random_mask,
)

FRAME_SCALE, TEXT_SCALE, ATTENTION_SCALE = 1.5, 1.0, 0.3
"""Of the preset `paper`."""
HIGHEST_TEXT_SCALE, HIGHER = 3.0, 0.35
"""Of the items that took a step already, the share whose text scale lies between 1 and this."""
STARTS = (420, 640)
"""Times at which a way begins; the preset begins at 499."""
STEP, MOST_STEPS = 100, 4


class Sum:
    """The guided prediction for photos (B,32,h,w) and what is asked for, as `predict` takes it."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        photos: Tensor,
        masks: Tensor,
        asked: dict[str, Tensor],
        nothing: dict[str, Tensor],
        text_scale: Tensor,
    ):
        blank = torch.zeros_like(photos)
        images = {"null": blank, "frame": photos, "text": blank, "attention": photos * masks}
        texts = {name: asked if name == "text" else nothing for name in images}
        self.unet, self.count = unet, len(images)
        self.batch = {"image": torch.cat([*images.values()])} | {
            key: torch.cat([texts[name][key] for name in images]) for key in nothing
        }
        paper = guidance.paper(FRAME_SCALE, text_scale[:, None, None, None], ATTENTION_SCALE)
        self.weights = [paper[name] for name in images]

    def v(self, z: Tensor, t: Tensor) -> Tensor:
        v = predict(
            self.unet, z.repeat(self.count, 1, 1, 1), t.repeat(self.count), self.batch
        ).chunk(self.count)
        return sum(w * x for w, x in zip(self.weights, v, strict=True))


def x0_and_noise(z: Tensor, v: Tensor, t: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor]:
    a = alphas[t][:, None, None, None]
    return a.sqrt() * z - (1 - a).sqrt() * v, a.sqrt() * v + (1 - a).sqrt() * z


def step_of_the_sum(guided: Sum, held: Tensor, start: int, steps: int, alphas: Tensor) -> Tensor:
    """Where the sum leads after so many steps of its own (DDIM), (B,32,h,w)."""
    t = torch.full((len(held),), start)
    a = alphas[t][:, None, None, None]
    z = a.sqrt() * held + (1 - a).sqrt() * torch.randn_like(held)
    with torch.no_grad():
        for _ in range(steps):
            x0, noise = x0_and_noise(z, guided.v(z, t), t, alphas)
            t = t - STEP
            a = alphas[t][:, None, None, None]
            z = a.sqrt() * x0 + (1 - a).sqrt() * noise
    return x0_and_noise(z, guided.v(z, t), t, alphas)[0]


def held_against(y: Tensor, drawn: Pairs) -> dict[str, Tensor]:
    """Pictures y (B,3,H,W) and their targets. After pictures, whose painter weaves a mesh of his
    own, the texture is free.
    """
    by_words = drawn.asked.share == 0
    parts = {"predicted": reconstruction_loss(y, drawn.targets)}
    if by_words.any():
        parts["texture"] = texture_loss(y[by_words], drawn.targets[by_words])
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--name", default="guided")
    parser.add_argument("--start", type=Path, default=Path("weights/embedded"))
    parser.add_argument("--text", type=Path, default=Path("weights/embedded"))
    parser.add_argument("--hard", nargs="*", default=[], metavar="STYLE=N")
    args = parser.parse_args()
    torch.manual_seed(0)
    hard = {k: float(v) for k, v in (item.split("=") for item in args.hard)}
    if unknown := hard.keys() - captions.STYLES:
        parser.error(f"--hard: {', '.join(unknown)}: not among {', '.join(captions.STYLES)}.")
    pictured = Pictured(args.work)
    latents, after = encode_images(args.work), encode_pictured(args.work, pictured)
    vae = AutoencoderTiny.from_pretrained(args.start / "vae").float()
    vae = vae.to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained(args.start / "unet").float().train()
    unet = unet.to(memory_format=torch.channels_last)
    projection = pictured.projection(args.start).requires_grad_(False)
    run = Run(args.name, args.work, args.minutes, 3e-4, {"unet": unet, "decoder": vae.decoder})
    texts = TextPool(args.text, 12_000, seed=run.step, hard=HARD | hard)
    batches = Batches(latents, after, pictured, texts, seed=run.step)
    crops = Crops(args.work / "images", seed=run.step)
    alphas = architecture.scheduler().alphas_cumprod
    attended = Attended(unet)
    rng = batches.rng

    def decode(x0: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return vae.decode(F.pixel_shuffle(x0, architecture.PATCH)).sample.float()

    for _ in run.steps():
        by_sum = run.step % 2 == 0
        drawn = pairs(crops, texts, pictured, 4 if by_sum else 6, 160, 224)
        count = len(drawn.photos)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(torch.cat([drawn.photos, drawn.targets[:2]])).latents.float()
        encoded = F.pixel_unshuffle(encoded, architecture.PATCH)
        photos = encoded[:count]
        asked = pictured_text(drawn.asked._asdict(), projection)
        if by_sum:
            steps = int(rng.integers(MOST_STEPS + 1))
            scale = torch.full((count,), TEXT_SCALE)
            if steps:
                higher = torch.rand(count) < HIGHER
                scale = scale + higher * torch.rand(count) * (HIGHEST_TEXT_SCALE - TEXT_SCALE)
            nothing = {
                "hidden": texts.null_hidden.float().expand(count, -1, -1),
                "pooled": texts.null_pooled.expand(count, -1),
            }
            masks = torch.stack([random_mask(rng, *photos.shape[2:]) for _ in range(count)])
            guided = Sum(unet, photos, masks, asked, nothing, scale)
            start = max(int(rng.integers(*STARTS)), steps * STEP + 20)
            x0 = step_of_the_sum(guided, photos, start, steps, alphas)
        else:
            t = torch.full((count,), 999)
            x0 = step_to_x0(unet, photos, t, alphas, asked | {"image": photos})
        y = decode(torch.cat([x0, encoded[count:]]))
        parts = held_against(y[:count], drawn)
        parts["plain"] = reconstruction_loss(y[count:], drawn.targets[:2])
        loss = parts["predicted"] + 0.5 * parts.get("texture", 0) + 0.3 * parts["plain"]
        if not by_sum:
            own = run.step % 6 == 5
            t = draw_times(rng, 16, pure=0.15, own=own)
            items = pictured_text(batches.draw(t, 24, 24), projection)
            parts["latents"] = loss_of(unet, items, t, alphas, own).mean()
            parts["attention"] = attended.loss(items)
            loss = loss + 2 * parts["latents"] + 0.1 * parts["attention"]
        run.descend(loss)
        run.log(every=25, **parts)  # of each turn by turns
    run.averaged("unet").save_pretrained(run.folder / "unet")
    save_file(projection.state_dict(), run.folder / PROJECTION)
    run.averaged("decoder")
    vae.save_pretrained(run.folder / "vae")


if __name__ == "__main__":
    main()
