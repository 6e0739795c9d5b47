"""Stage 6: words that mean pictures.

    python -m training.train_words --data DIR [--work DIR] [--run together] [--minutes 8]

The text encoder learns to give for a word of artists.py what the projection of RUN gives for the
word's pictures, so that the U-Net, which has seen pictures and not these words, follows them. For
all other captions it goes on to give what it gave. Writes WORK/words/text_encoder and points.pt:
the pooled text of every word, (words,128).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from style_a_video.pipelines.core.style_projection import StyleProjection, statistics_of
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from . import captions, pictures
from .artists import WORDS
from .loop import Run
from .pictured import tensor

OLD, NEW = 48, 48
"""Captions of each kind in a step."""
UNKNOWN = 0.3
"""Of the old ones, those that ask for nothing known: they must not drift towards new words."""


@torch.no_grad()
def points(data: Path, projection: StyleProjection) -> tuple[Tensor, Tensor]:
    """Token and pooled text (words,128) each: the mean of a word's pictures."""
    encoder = load_encoder()
    found = []
    for word in WORDS.values():
        files = [f for f in pictures.styles(data) if f.name.startswith(tuple(word.pictures))]
        seen = torch.cat([statistics_of(tensor(pictures.read(f))[None], encoder) for f in files])
        found.append([x.mean(0) for x in projection(seen)])
    tokens, pooled = zip(*found, strict=True)
    return torch.stack(tokens), torch.stack(pooled)


def caption(rng: np.random.Generator) -> tuple[str, int]:
    """A caption of one new word, and the word's index."""
    index, lang = int(rng.integers(len(WORDS))), int(rng.random() < 0.4)
    word = list(WORDS.values())[index]
    name = captions.pick(rng, word[lang])
    return captions.about(rng, name, lang), index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--run", default="together")
    parser.add_argument("--name", default="words")
    parser.add_argument("--minutes", type=float, default=8)
    args = parser.parse_args()
    torch.manual_seed(0)
    folder = args.work / "clip"
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    before = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").eval()
    before.requires_grad_(False)
    text = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").float().train()
    projection = StyleProjection()
    projection.load_state_dict(load_file(args.work / args.run / "projection.safetensors"))
    tokens, pooled = points(args.data, projection)
    run = Run(args.name, args.work, args.minutes, 1e-3, {"text": text})
    torch.save(pooled, run.folder / "points.pt")
    rng = np.random.default_rng(run.step)

    def ids(texts: list[str]) -> Tensor:
        return tokenizer(
            texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids

    for _ in run.steps():
        old = ids([captions.draw(rng, unknown=UNKNOWN).text for _ in range(OLD)])
        drawn, wanted = zip(*(caption(rng) for _ in range(NEW)), strict=True)
        index = torch.tensor(wanted)
        with torch.no_grad():
            known = before(old)
        said = text(torch.cat([old, ids(list(drawn))]))
        hidden, embeds = said.last_hidden_state.split([OLD, NEW]), said.text_embeds.split([OLD, NEW])
        kept = F.mse_loss(hidden[0], known.last_hidden_state) + F.mse_loss(
            embeds[0], known.text_embeds
        )
        new = F.mse_loss(hidden[1], tokens[index][:, None].expand_as(hidden[1]))
        new = new + F.mse_loss(embeds[1], pooled[index])
        run.descend(4 * kept + new)
        near = torch.cdist(embeds[1], pooled).argmin(1) == index
        run.log(kept=kept, new=new, right=near.float().mean())
    run.averaged("text").save_pretrained(run.folder / "text_encoder")


if __name__ == "__main__":
    main()
