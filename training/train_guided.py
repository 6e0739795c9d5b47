"""Stage 5b: the weighted sum of the evaluations, on the way that its own steps take.

    python -m training.train_guided [--work DIR] [--minutes 82] [--name guided]
        [--start FOLDER] [--text FOLDER] [--hard STYLE=N ...]

Each evaluation was taught to be good alone. The sum of the preset `paper` takes differences of
them, and what two of them guess apart by chance it enlarges: blotches on a face. Here z_t comes
from steps of the sum itself, from a frame under noise on, and the picture that its next step leads
to is held against the style's pixels. Other scales of the text must lead there too, so that what
went too far, or not far enough, comes back.

Colours count once more by themselves: what a photo leaves in a drawing is small, and seen at once.
A mesh in flat places costs too (training/mesh.py).

Every third turn is the one-step picture from frame and words in its place, and the loss of stage 4,
which keeps each evaluation good alone. The autoencoder's encoder and the projection of pictures are
frozen: words that mean pictures go on meaning them. --start holds the networks, --text the text
encoder and its tokenizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from style_a_video.pipelines.core import guidance
from style_a_video.pipelines.core.measures import luma
from torch import Tensor
from torch.nn import functional as F

from . import architecture
from .loop import Crops, Run
from .mesh import mesh_loss
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
    hard_style,
    loss_of,
    pictured_text,
    predict,
    random_mask,
)

PAPER = architecture.DEFAULTS["paper"]
OTHER_SHARE = 0.5
"""Of the items that took a step already: their text scale lies between LOWEST and HIGHEST."""
LOWEST, HIGHEST = 1.0, 3.0
STEP, MOST_STEPS = 100, 4
"""In times of 1,000, twice the preset's step: half as many evaluations without a gradient. And the
most steps before the one that is learned."""
STARTS = (420, 640)
"""Times at which a way begins, the preset's being 499; all steps fit below the first."""
TURNS = 3
"""Of so many steps one is the one-step picture; of so many of those, one has its own trajectories
in the loss of stage 4."""


class Sum:
    """The preset's sum of predictions for one batch.

    Args:
        photos: latents (B,32,h,w); masks: (B,1,h,w) of 0 and 1.
        asked, nothing: hidden (B,77,D) and pooled (B,P) of what is asked for, and of no words.
        text_scale: (B,).
    """

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
        texts = [asked if name == "text" else nothing for name in images]
        self.unet, self.count = unet, len(images)
        self.batch = {"image": torch.cat([*images.values()])} | {
            key: torch.cat([text[key] for text in texts]) for key in nothing
        }
        weights = guidance.paper(
            PAPER["frame_scale"], text_scale[:, None, None, None], PAPER["attention_scale"]
        )
        self.weights = [weights[name] for name in images][1:]

    def v(self, z: Tensor, t: Tensor) -> Tensor:
        """v (B,32,h,w) at z_t (B,32,h,w) and t (B,)."""
        times = t.repeat(self.count)
        predicted = predict(self.unet, z.repeat(self.count, 1, 1, 1), times, self.batch)
        return guidance.combine(predicted.chunk(self.count), self.weights)


def split(z: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """x0 and ε of z_t and v, all (B,32,h,w), at ᾱ_t (Salimans & Ho 2022, appendix D)."""
    return a.sqrt() * z - (1 - a).sqrt() * v, a.sqrt() * v + (1 - a).sqrt() * z


def step_of_the_sum(guided: Sum, held: Tensor, start: int, steps: int, alphas: Tensor) -> Tensor:
    """x0 (B,32,h,w) to which the sum leads after so many DDIM steps from `held` under noise."""
    t = torch.full((len(held),), start)
    a = alphas[start]
    z = a.sqrt() * held + (1 - a).sqrt() * torch.randn_like(held)
    with torch.no_grad():
        for _ in range(steps):
            x0, noise = split(z, guided.v(z, t), a)
            t = t - STEP
            a = alphas[t[0]]
            z = a.sqrt() * x0 + (1 - a).sqrt() * noise
    return split(z, guided.v(z, t), a)[0]


def guided_x0(
    unet: UNet2DConditionModel,
    photos: Tensor,
    asked: dict[str, Tensor],
    texts: TextPool,
    rng: np.random.Generator,
    alphas: Tensor,
) -> Tensor:
    """Of a way of random length, (B,32,h,w)."""
    count, steps = len(photos), int(rng.integers(MOST_STEPS + 1))
    scale = torch.full((count,), PAPER["text_scale"])
    if steps:
        other = LOWEST + torch.rand(count) * (HIGHEST - LOWEST)
        scale = torch.where(torch.rand(count) < OTHER_SHARE, other, scale)
    nothing = {
        "hidden": texts.null_hidden.float().expand(count, -1, -1),
        "pooled": texts.null_pooled.expand(count, -1),
    }
    masks = torch.stack([random_mask(rng, *photos.shape[2:]) for _ in range(count)])
    guided = Sum(unet, photos, masks, asked, nothing, scale)
    return step_of_the_sum(guided, photos, int(rng.integers(*STARTS)), steps, alphas)


def losses_of(y: Tensor, drawn: Pairs) -> dict[str, Tensor]:
    """Of pictures y (B,3,H,W) in [-1,1]: predicted, colours, mesh, and texture after words.

    After pictures MicroAST, which drew the targets, has a mesh of its own that is not to be
    learned: texture does not count there, and the mesh is held against the photo's.
    """
    by_words = drawn.asked.share == 0
    allowed = torch.where(by_words[:, None, None, None], drawn.targets, drawn.photos)
    parts = {
        "predicted": reconstruction_loss(y, drawn.targets),
        "colours": F.l1_loss(y - luma(y), drawn.targets - luma(drawn.targets)),
        "mesh": mesh_loss(y, allowed, drawn.photos),
    }
    if by_words.any():
        parts["texture"] = texture_loss(y[by_words], drawn.targets[by_words])
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=82)
    parser.add_argument("--name", default="guided")
    parser.add_argument("--start", type=Path, default=Path("weights/embedded"))
    parser.add_argument("--text", type=Path, default=Path("weights/embedded"))
    parser.add_argument("--hard", nargs="*", default=[], type=hard_style, metavar="STYLE=N")
    args = parser.parse_args()
    torch.manual_seed(0)
    pictured = Pictured(args.work)
    latents, after = encode_images(args.work), encode_pictured(args.work, pictured)
    vae = AutoencoderTiny.from_pretrained(args.start / "vae").float()
    vae = vae.to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained(args.start / "unet").float().train()
    unet = unet.to(memory_format=torch.channels_last)
    projection = pictured.projection(args.start).requires_grad_(False)
    run = Run(args.name, args.work, args.minutes, 3e-4, {"unet": unet, "decoder": vae.decoder})
    texts = TextPool(args.text, 12_000, seed=run.step, hard=HARD | dict(args.hard))
    batches = Batches(latents, after, pictured, texts, seed=run.step)
    crops = Crops(args.work / "images", seed=run.step)
    alphas = architecture.scheduler().alphas_cumprod
    attended = Attended(unet)
    rng = batches.rng
    for _ in run.steps():
        by_sum = run.step % TURNS != 0
        count = 4 if by_sum else 6
        drawn = pairs(crops, texts, pictured, count, 160, 224)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(torch.cat([drawn.photos, drawn.targets[:2]])).latents.float()
        photos = F.pixel_unshuffle(encoded[:count], architecture.PATCH)
        asked = pictured_text(drawn.asked._asdict(), projection)
        if by_sum:
            x0 = guided_x0(unet, photos, asked, texts, rng, alphas)
        else:
            t = torch.full((count,), 999)
            x0 = step_to_x0(unet, photos, t, alphas, asked | {"image": photos})
        with torch.autocast("cpu", torch.bfloat16):
            x0 = F.pixel_shuffle(x0, architecture.PATCH)
            y = vae.decode(torch.cat([x0, encoded[count:]])).sample
        y = y.float()
        parts = losses_of(y[:count], drawn)
        parts["plain"] = reconstruction_loss(y[count:], drawn.targets[:2])
        loss = parts["predicted"] + 0.5 * parts.get("texture", 0) + 0.3 * parts["plain"]
        loss = loss + parts["colours"] + 0.5 * parts["mesh"]
        if not by_sum:
            own = run.step % (3 * TURNS) == 0
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
