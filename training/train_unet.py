"""Stage 4: the U-Net, on cached latents, with the autoencoder and the text encoder frozen.

    python -m training.train_unet [--work DIR] [--minutes 58] [--start FOLDER] [--name unet]

Half of the items ask for their style by a picture in the place of words or mixed with them; the
projection that makes a text condition of a picture is trained beside the U-Net
(pipelines/core/style_projection.py).

Every evaluation that the guidance needs is seen (Huang et al. 2023, 3.1-3.3): frame and text, frame
alone, frame masked (c_M), text alone, nothing. Near pure noise a frame without text has the
unchanged frame as its target: that makes the text scale the strength of the style. Later z_t holds
a picture that is partly in the style already. There the frame says where that picture's edges and
details are, so that its scale sharpens the style in the place of taking it back.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from einops import rearrange
from safetensors.torch import save_file
from style_a_video.pipelines.core.attention import self_attention
from style_a_video.pipelines.core.style_projection import StyleProjection
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from . import architecture, captions
from .loop import Crops, Run
from .pictured import PROJECTION, Pictured

TRAINED = Path("autoencoder") / "vae"

# The sum of four evaluations is no better than its terms: each has its share.
CASES = {"frame_text": 0.3, "frame": 0.12, "masked_frame": 0.12, "text": 0.32, "null": 0.14}
PICTURED = 0.5
"""Of the items, the share whose style is a picture's; of these, OWN shows a filtered photo and asks
for its filter, and MIXED mixes picture and words."""
OWN, MIXED = 0.25, 0.2
SEEN_NOISE = 0.1
"""Of the spread of a picture's statistics: three thousand pictures are soon known by heart."""
MIDWAY, MIDWAY_ALONE = 0.6, 0.9
"""Of the items, the share whose z_t holds a picture on its way from the photo to the style; of
those with a frame alone. What is left there draws the photo's colours back."""
FARTHEST = 1.3
"""On that way the photo is 0 and the style 1: scales above 1 go beyond it."""
HELD = 650
"""Below this time a frame alone leads to what z_t holds, with its own edges; above, to itself."""
RECOLOURED = 0.5
"""Of those below HELD, the share that is shown the frame in the colours of some picture: edges are
to come from the frame, colours from what z_t holds."""
SOFTENED = 0.5
"""Of the items, the share whose z_t holds a picture softer than it should be, as guesses are."""
# Drawn more often: what is far from the photo, pixel for pixel, takes longest to learn.
HARD = {
    "neon": 2.4,
    "comic": 2.2,
    "oil": 1.8,
    "ukiyo_e": 1.6,
    "pixel_art": 2.2,
    "blueprint": 1.6,
    "pop_art": 1.3,
    "watercolour": 1.3,
    "van_gogh": 2.4,
    "munch": 2.2,
    "monet": 2.4,
    "kandinsky": 2.4,
    "mondrian": 2.4,
}


@torch.no_grad()
def encoded(trained: Path, arrays: Iterable[np.ndarray], made_of: Path, out: Path) -> list[Tensor]:
    """Arrays (N,H,W,3) uint8 → patched latents (N,32,H/8,W/8) float16 of each, kept in one file
    for as long as neither the autoencoder nor a file in `made_of` is newer.
    """
    weights = trained / "diffusion_pytorch_model.safetensors"
    sources = [weights, made_of, *made_of.iterdir()]  # a folder's time tells what went from it
    if out.exists() and out.stat().st_mtime > max(file.stat().st_mtime for file in sources):
        return torch.load(out, weights_only=True)
    vae = AutoencoderTiny.from_pretrained(trained).eval()
    vae = vae.to(torch.bfloat16).to(memory_format=torch.channels_last)
    latents = []
    for array in arrays:
        x = torch.from_numpy(np.array(array)).permute(0, 3, 1, 2).to(torch.bfloat16) / 127.5 - 1
        z = F.pixel_unshuffle(vae.encode(x).latents, architecture.PATCH)
        latents.append(z.to(torch.float16))
    partial = out.with_suffix(".partial")
    torch.save(latents, partial)
    partial.rename(out)
    return latents


def encode_images(work: Path) -> list[Tensor]:
    """Of stage 1: (1 + styles,32,H/8,W/8) each."""
    folder = work / "images"
    return encoded(work / TRAINED, Crops(folder).arrays, folder, work / "latents.pt")


def encode_pictured(work: Path, pictured: Pictured) -> list[Tensor]:
    """Of stage 1b: (PICTURES,32,H/8,W/8) each."""
    return encoded(work / TRAINED, pictured.drawn, work / "pictured", work / "pictured.pt")


def hard_style(given: str) -> tuple[str, float]:
    """STYLE=N of a command line."""
    style, _, times = given.partition("=")
    if style not in captions.STYLES or not times.replace(".", "", 1).isdigit():
        raise argparse.ArgumentTypeError(
            f"{given!r} is no STYLE=N with one of {', '.join(captions.STYLES)}"
        )
    return style, float(times)


class TextPool:
    """Captions drawn once, with their frozen encodings."""

    def __init__(self, folder: Path, count: int, seed: int, hard: dict[str, float] = HARD):
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        encoder = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder")
        encoder = encoder.float().eval()
        rng = np.random.default_rng(seed)
        drawn = []
        while len(drawn) < count:
            caption = captions.draw(rng)
            emphasis = hard.get(captions.MEANINGS[int(caption.weights.argmax())], 1.0)
            if rng.random() < emphasis / max(hard.values()):
                drawn.append(caption)
        self.weights = torch.from_numpy(np.stack([c.weights for c in drawn]))
        self.hidden, self.pooled = self._encode(tokenizer, encoder, [c.text for c in drawn])
        self.null_hidden, self.null_pooled = self._encode(tokenizer, encoder, [""])

    @staticmethod
    @torch.no_grad()
    def _encode(tokenizer, encoder, texts: list[str]) -> tuple[Tensor, Tensor]:
        hidden, pooled = [], []
        for i in range(0, len(texts), 256):
            tokens = tokenizer(
                texts[i : i + 256],
                padding="max_length",
                max_length=77,
                truncation=True,
                return_tensors="pt",
            )
            out = encoder(tokens.input_ids)
            hidden.append(out.last_hidden_state.to(torch.float16))
            pooled.append(out.text_embeds)
        return torch.cat(hidden), torch.cat(pooled)


def random_mask(rng: np.random.Generator, h: int, w: int) -> Tensor:
    """(1,h,w) of 0 and 1: blobs at a random threshold, about half kept, like an attention map."""
    coarse = torch.from_numpy(
        rng.standard_normal((1, 1, *rng.integers(2, 9, 2))).astype(np.float32)
    )
    field = F.interpolate(coarse, (h, w), mode="bicubic")[0]
    return (field > float(rng.uniform(-0.5, 0.5))).float()


def softened(latent: Tensor, share: float) -> Tensor:
    """(32,h,w) → a mean with what 3x3 averages of its pixels leave of it."""
    z = F.pixel_shuffle(latent[None], architecture.PATCH)
    soft = F.avg_pool2d(F.pad(z, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return latent.lerp(F.pixel_unshuffle(soft, architecture.PATCH)[0], share)


class Wish(NamedTuple):
    """The style of an item: caption k, a picture's share beside it and its statistics
    (STATISTICS,), and the photo's latent (32,h,w) so drawn.
    """

    k: int
    share: float
    seen: Tensor
    drawn: Tensor


class Batches:
    """Items from stage 1's latents and those of stage 1b (`after`), photo by photo."""

    def __init__(
        self,
        latents: list[Tensor],
        after: list[Tensor],
        pictured: Pictured,
        texts: TextPool,
        seed: int,
    ):
        self.latents, self.after, self.pictured, self.texts = latents, after, pictured, texts
        self.rng = np.random.default_rng(seed)

    def draw(self, t: Tensor, height: int, width: int) -> dict[str, Tensor]:
        """Items for the times t (B,).

        target, held and image (B,32,h,w), hidden (B,77,128), pooled (B,128), seen (B,STATISTICS),
        share (B,): of the picture beside the words; whole and led (B,): whether a whole frame is
        shown, and words or a picture beside it.

        held: the picture that z_t is made of. In the guidance all evaluations see one z_t, which is
        neither the photo nor the style: words lead from there to the style.
        """
        items = [self._item(int(time), height, width) for time in t]
        return {key: torch.stack([item[key] for item in items]).float() for key in items[0]}

    def _item(self, time: int, height: int, width: int) -> dict[str, Tensor]:
        rng, texts = self.rng, self.texts
        index, window = self._crop(height, width)
        photo = self.latents[index][window][0].float()
        case = str(rng.choice(list(CASES), p=list(CASES.values())))
        wish = self._wish(index, window)
        target, held = self._held(case, time, photo, wish.drawn)
        asked = case in ("frame_text", "text")
        return {
            "target": target,
            "held": held,
            "image": self._shown(case, time, index, window),
            "hidden": texts.hidden[wish.k] if asked else texts.null_hidden[0],
            "pooled": texts.pooled[wish.k] if asked else texts.null_pooled[0],
            "seen": wish.seen,
            "share": torch.tensor(wish.share if asked else 0.0),
            "whole": torch.tensor(case in ("frame_text", "frame")),
            "led": torch.tensor(case == "frame_text"),
        }

    def _wish(self, index: int, window: Any) -> Wish:
        rng, pictured = self.rng, self.pictured
        z = self.latents[index][window].float()
        k = int(rng.integers(len(self.texts.weights)))
        # Stage 1 keeps the photo first, captions keep it last.
        by_words = torch.einsum("s,schw->chw", self.texts.weights[k].roll(1), z)
        if rng.random() >= PICTURED:
            return Wish(k, 0.0, pictured.seen[0, 0], by_words)
        if rng.random() < OWN:
            style = 1 + int(rng.integers(len(z) - 1))
            other = int(rng.integers(len(pictured.own)))
            return Wish(k, 1.0, pictured.own[other, style], z[style])
        n = int(rng.integers(pictured.seen.shape[1]))
        share = float(rng.random()) if rng.random() < MIXED else 1.0
        by_picture = self.after[index][window][n].float()
        return Wish(k, share, pictured.seen[index, n], by_words.lerp(by_picture, share))

    def _held(self, case: str, time: int, photo: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """What the item leads to, and what z_t holds."""
        rng = self.rng
        alone = case in ("frame", "masked_frame")
        target = held = photo if alone else drawn
        midway = MIDWAY_ALONE if alone else MIDWAY
        if rng.random() < midway and not (alone and time >= HELD):
            held = photo + float(rng.uniform(0, FARTHEST)) * (drawn - photo)
        if alone or case == "null":
            target = held
        if case != "null" and rng.random() < SOFTENED:
            held = softened(held, float(rng.random()))
        return target, held

    def _shown(self, case: str, time: int, index: int, window: Any) -> Tensor:
        """The frame, as this case sees it."""
        rng = self.rng
        photo = self.latents[index][window][0].float()
        if case in ("text", "null"):
            return torch.zeros_like(photo)
        if case == "frame_text":
            return photo
        if time < HELD and rng.random() < RECOLOURED:
            after = self.after[index][window]
            photo = after[int(rng.integers(len(after)))].float()
        return photo * random_mask(rng, *photo.shape[1:]) if case == "masked_frame" else photo

    def _crop(self, height: int, width: int) -> tuple[int, Any]:
        """A photo, and a window of its latents aligned to 16 px, the lattice of dots and blocks."""
        while True:
            index = int(self.rng.integers(len(self.latents)))
            h, w = self.latents[index].shape[-2:]
            if h >= height and w >= width:
                top = 2 * int(self.rng.integers((h - height) // 2 + 1))
                left = 2 * int(self.rng.integers((w - width) // 2 + 1))
                return index, np.s_[..., top : top + height, left : left + width]


def pictured_text(batch: dict[str, Tensor], projection: StyleProjection) -> dict[str, Tensor]:
    """The batch, its words by `share` in the place of a picture's own token and pooled text."""
    seen = batch["seen"] + SEEN_NOISE * projection.deviation * torch.randn_like(batch["seen"])
    token, pooled = projection(seen)
    share = batch["share"][:, None]
    return batch | {
        "hidden": batch["hidden"].lerp(token[:, None], share[..., None]),
        "pooled": batch["pooled"].lerp(pooled, share),
    }


def draw_times(rng: np.random.Generator, count: int, pure: float, own: bool) -> Tensor:
    """A share at pure noise, where sampling begins; the rest as U^0.8, a little towards noise.

    own: the middle alone, where a second step would be.
    """
    if own:
        return torch.from_numpy(rng.integers(300, 900, count))
    t = 999 * rng.random(count) ** 0.8
    t[rng.random(count) < pure] = 999
    return torch.from_numpy(t).long()


def predict(unet: UNet2DConditionModel, z: Tensor, t: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """v (B,32,h,w) float32."""
    inputs = torch.cat([z, batch["image"]], 1).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = unet(inputs, t, batch["hidden"], class_labels=batch["pooled"]).sample
    return out.float()


def loss_of(
    unet: UNet2DConditionModel, batch: dict[str, Tensor], t: Tensor, alphas: Tensor, own: bool
) -> Tensor:
    """Huber loss of v = sqrt(a) eps - sqrt(1-a) x0 (Salimans & Ho 2022, appendix D), (B,).

    own: where frame and words are shown, z_t is made from the U-Net's own one-step guess, as it is
    in sampling, and v still leads to the true x0. Without it the second step trusts what the first
    one only guessed. Without both there is no one x0 to lead to.
    """
    a = alphas[t][:, None, None, None]
    x0, eps = batch["target"], torch.randn_like(batch["target"])
    held = batch["held"]
    if own:
        with torch.no_grad():
            guess = -predict(unet, eps, torch.full_like(t, 999), batch)
        held = torch.where(batch["led"][:, None, None, None] > 0, guess, held)
    z = a.sqrt() * held + (1 - a).sqrt() * eps
    v = (a.sqrt() * z - x0) / (1 - a).sqrt()
    return F.smooth_l1_loss(predict(unet, z, t, batch), v, beta=0.5, reduction="none").mean(
        (1, 2, 3)
    )


def detail_of(latents: Tensor, height: int, width: int) -> Tensor:
    """Where a photo has more detail than elsewhere: (B,32,h,w) → (B,height*width) of mean 1."""
    z = F.pixel_shuffle(latents, architecture.PATCH)
    rough = F.pad(z.diff(dim=-1).abs(), (0, 1)) + F.pad(z.diff(dim=-2).abs(), (0, 0, 0, 1))
    energy = F.adaptive_avg_pool2d(rough.mean(1, keepdim=True), (height, width)).flatten(1)
    return energy / energy.mean(1, keepdim=True)


class Attended:
    """Teaches the middle layer to attend where the frame has detail: a map of that is c_M's mask.

    Left alone, a U-Net of this size drops its attention on a few positions of no meaning.
    """

    def __init__(self, unet: UNet2DConditionModel):
        self.module: nn.Module = self_attention(unet, "mid")
        self.seen: Tensor | None = None
        self.module.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.seen = args[0] if args else kwargs["hidden_states"]

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of the attention received and the detail, of items with a whole frame."""
        whole = batch["whole"] > 0
        if self.seen is None or not whole.any():
            return torch.zeros(())
        query, key = (
            rearrange(to(self.seen[whole].float()), "b n (h d) -> b h n d", h=self.module.heads)
            for to in (self.module.to_q, self.module.to_k)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        received = scores.softmax(-1).mean((1, 2))
        height, width = (-(-side // 4) for side in batch["image"].shape[-2:])
        wanted = detail_of(batch["image"][whole], height, width)
        return -(wanted * (received * received.shape[1]).log()).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=58)
    parser.add_argument(
        "--start",
        type=Path,
        help="a U-Net folder, with the projection beside it, in the place of random weights",
    )
    parser.add_argument("--name", default="unet")
    args = parser.parse_args()
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(args.start) if args.start else architecture.unet()
    unet = unet.to(memory_format=torch.channels_last).train()
    pictured = Pictured(args.work)
    beside = args.start.parent if args.start else None
    if beside and not (beside / PROJECTION).exists():
        beside = None  # of weights that knew no pictures
    modules = {"unet": unet, "projection": pictured.projection(beside)}
    run = Run(args.name, args.work, args.minutes, 1e-3 if not args.start else 5e-4, modules)
    latents, after = encode_images(args.work), encode_pictured(args.work, pictured)
    texts = TextPool(args.work / "clip", 12_000, seed=run.step)
    batches = Batches(latents, after, pictured, texts, seed=run.step)
    alphas = architecture.scheduler().alphas_cumprod
    attended = Attended(unet)
    for _ in run.steps():
        # Small crops for variety; then wide ones, so that the normalisation meets whole frames.
        shape = (32, 24, 24) if run.progress < 0.75 else (16, 26, 44)
        own = run.step % 6 == 5
        t = draw_times(batches.rng, shape[0], pure=0.15, own=own)
        batch = pictured_text(batches.draw(t, *shape[1:]), modules["projection"])
        losses = loss_of(unet, batch, t, alphas, own)
        attention = attended.loss(batch)
        run.descend(losses.mean() + 0.05 * attention)
        first = losses[t == 999].detach()
        run.log(
            loss=losses.mean(),
            pure_noise=first.mean() if len(first) else losses.mean(),
            attention=attention,
        )
    run.averaged("unet").save_pretrained(run.folder / "unet")
    save_file(run.averaged("projection").state_dict(), run.folder / PROJECTION)


if __name__ == "__main__":
    main()
