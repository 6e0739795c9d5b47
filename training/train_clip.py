"""Stage 3: vocabulary, text encoder and image encoder.

    python -m training.train_clip [--work DIR] [--minutes 5] [--image-only NAME | --text-only NAME]

One direction of the shared space per meaning (an anchor) ties the two encoders: text and image are
both taught how much of each style they hold (soft cross-entropy on the cosines with the anchors).
What of an image embedding is orthogonal to the anchors is taught to tell one scene from another
whatever the style (InfoNCE between two styles of one crop; van den Oord et al. 2018), so that the
correction (Huang et al. 2023, section 3.4) has content to hold on to.

--image-only shows the finished image encoder new targets, as a run of that name. Text encoder and
anchors stay, so that a trained U-Net still fits. --text-only shows the text encoder new captions;
the U-Net must then go on with it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from . import architecture, captions, data
from .loop import Crops, Run

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
SPECIALS = ["<|startoftext|>", "<|endoftext|>"]


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Byte-pair vocabulary of architecture.VOCABULARY tokens from 60,000 captions (seed 0)."""
    rng = np.random.default_rng(0)
    corpus = [captions.draw(rng, unknown=0.15).text.lower() for _ in range(60_000)]
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=architecture.VOCABULARY,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    learned = json.loads(bpe.to_str())["model"]
    # CLIP's layout: specials, bytes, bytes that end a word, then merges.
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learned["merges"]]
    tokens = SPECIALS + alphabet + [a + "</w>" for a in alphabet]
    tokens += ["".join(m) for m in merges]
    vocab = {t: i for i, t in enumerate(dict.fromkeys(tokens))}
    merges = merges[: max(0, architecture.VOCABULARY - len(SPECIALS) - 2 * len(alphabet))]
    vocab = {t: i for t, i in vocab.items() if i < architecture.VOCABULARY}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    lines = ["#version: 0.2"] + [" ".join(m) for m in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        unk_token=SPECIALS[1],
        bos_token=SPECIALS[0],
        eos_token=SPECIALS[1],
        pad_token=SPECIALS[1],
        model_max_length=77,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


class Anchors(nn.Module):
    """One unit vector per meaning; logits are scaled cosines."""

    def __init__(self):
        super().__init__()
        self.directions = nn.Parameter(torch.randn(len(captions.MEANINGS), architecture.TEXT_DIM))
        self.scale = nn.Parameter(torch.tensor(2.5))

    def unit(self) -> Tensor:
        return F.normalize(self.directions, dim=-1)

    def forward(self, embeds: Tensor) -> Tensor:
        return self.scale.exp().clamp(max=30) * F.normalize(embeds, dim=-1) @ self.unit().T

    def without(self, embeds: Tensor) -> Tensor:
        """The part of the embeddings orthogonal to every anchor, as unit vectors."""
        basis = torch.linalg.qr(self.unit().float().T).Q
        embeds = embeds.float()
        return F.normalize(embeds - embeds @ basis @ basis.T, dim=-1)


def soft_cross_entropy(logits: Tensor, weights: Tensor) -> Tensor:
    return -(weights * F.log_softmax(logits.float(), dim=-1)).sum(-1).mean()


def styled(array: np.ndarray, top: int, left: int, side: int, weights: np.ndarray) -> Tensor:
    """(3,side,side) in [0,1]: the crop in a mixture of styles. Stage 1 keeps the photo first."""
    crop = array[:, top : top + side, left : left + side]
    out = weights[-1] * crop[0].astype(np.float32) if weights[-1] else 0.0
    for i, w in enumerate(weights[:-1]):
        if w:
            out = out + w * crop[1 + i].astype(np.float32)
    return torch.from_numpy(out / 255).permute(2, 0, 1)


def image_batch(crops: Crops, count: int) -> tuple[Tensor, Tensor]:
    """Two differently styled views of `count` crops → images (2B,3,128,128), weights (2B,M)."""
    images, weights = [], []
    for _ in range(count):
        side = int(crops.rng.choice([128, 192]))
        index, top, left = crops.sample(side, side)
        array = crops.arrays[index]
        for _ in range(2):
            w = captions.draw(crops.rng).weights
            x = styled(array, top, left, side, w)
            if side != 128:
                x = F.interpolate(x[None], 128, mode="bicubic", antialias=True)[0]
            images.append((x - MEAN) / STD)
            weights.append(torch.from_numpy(w))
    return torch.stack(images), torch.stack(weights)


def scene_loss(content: Tensor) -> Tensor:
    """InfoNCE: views 2i and 2i+1 are one scene."""
    logits = content @ content.T / 0.1
    logits.fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(content)) ^ 1)


def image_losses(image: nn.Module, anchors: Anchors, crops: Crops) -> tuple[Tensor, Tensor]:
    """Styles and scenes of 32 drawn images."""
    images, weights = image_batch(crops, 16)
    embeds = image(images).image_embeds
    return soft_cross_entropy(anchors(embeds), weights), scene_loss(anchors.without(embeds))


def text_losses(
    text: nn.Module, anchors: Anchors, tokenizer: CLIPTokenizer, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The loss of 256 drawn captions; the share whose style is the nearest."""
    drawn = [captions.draw(rng, unknown=0.15) for _ in range(256)]
    tokens = tokenizer([c.text for c in drawn], padding=True, truncation=True, return_tensors="pt")
    wanted = torch.from_numpy(np.stack([c.weights for c in drawn]))
    logits = anchors(text(tokens.input_ids).text_embeds)
    plain = wanted.max(-1).values > 0.7
    hit = (logits.argmax(-1) == wanted.argmax(-1))[plain].float().mean()
    return soft_cross_entropy(logits, wanted), hit


def train(work: Path, minutes: float) -> None:
    tokenizer = build_tokenizer(work / "clip" / "tokenizer")
    text, image, anchors = architecture.text_encoder(), architecture.image_encoder(), Anchors()
    run = Run("clip", work, minutes, 1e-3, {"text": text, "image": image, "anchors": anchors})
    crops = Crops(work / "images", seed=run.step)
    for _ in run.steps():
        text_loss, hit = text_losses(text, anchors, tokenizer, crops.rng)
        image_loss, scenes = image_losses(image, anchors, crops)
        run.descend(text_loss + image_loss + 0.5 * scenes)
        run.log(text=text_loss, image=image_loss, scenes=scenes, text_hit=hit)
    run.averaged("text").save_pretrained(run.folder / "text_encoder")
    run.averaged("image").save_pretrained(run.folder / "image_encoder")
    torch.save(run.averaged("anchors").unit().detach(), run.folder / "anchors.pt")


def _fixed_anchors(folder: Path) -> Anchors:
    anchors = Anchors()
    anchors.directions.data = torch.load(folder / "anchors.pt", weights_only=True)
    anchors.directions.requires_grad_(False)
    return anchors


def train_text_only(work: Path, minutes: float, name: str) -> None:
    folder = work / "clip"
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").float().train()
    anchors = _fixed_anchors(folder)
    run = Run(name, work, minutes, 4e-4, {"text": text, "anchors": anchors})
    rng = np.random.default_rng(run.step)
    for _ in run.steps():
        loss, hit = text_losses(text, anchors, tokenizer, rng)
        run.descend(loss)
        run.log(text=loss, text_hit=hit)
    run.averaged("text").save_pretrained(run.folder / "text_encoder")


def train_image_only(work: Path, minutes: float, name: str) -> None:
    folder = work / "clip"
    image = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").float().train()
    anchors = _fixed_anchors(folder)
    run = Run(name, work, minutes, 3e-4, {"image": image, "anchors": anchors})
    crops = Crops(work / "images", seed=run.step)
    for _ in run.steps():
        image_loss, scenes = image_losses(image, anchors, crops)
        run.descend(image_loss + 0.5 * scenes)
        run.log(image=image_loss, scenes=scenes)
    run.averaged("image").save_pretrained(run.folder / "image_encoder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--image-only", metavar="NAME")
    parser.add_argument("--text-only", metavar="NAME")
    args = parser.parse_args()
    assert captions.STYLES == list(data.STYLES)
    torch.manual_seed(0)
    if args.image_only:
        train_image_only(args.work, args.minutes, args.image_only)
    elif args.text_only:
        train_text_only(args.work, args.minutes, args.text_only)
    else:
        train(args.work, args.minutes)


if __name__ == "__main__":
    main()
