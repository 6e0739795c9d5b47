"""Stage 6: words that mean pictures.

    python -m training.train_words --data DIR [--work DIR] [--run together] [--minutes 18]
        [--start FOLDER] [--name words]

The text encoder learns to give for a word of artists.py what the projection of RUN gives for the
word's pictures, so that the U-Net, which has seen pictures and not these words, follows them. For
all other captions it goes on to give what it gave, also among scenes and words of quality
(scenes.py), and for those alone what it gave for no words. Writes WORK/NAME/text_encoder and
points.pt: the pooled text of every word, (words,128).
"""

from __future__ import annotations

import argparse
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from style_a_video.pipelines.core.style_projection import StyleProjection, statistics_of
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from . import captions, pictures, scenes
from .artists import WORDS
from .loop import Run
from .painters import PAINTERS
from .pictured import PROJECTION, tensor

BATCH = 96
# What a caption asks for: what it asked for before, nothing known, a word alone, a painter or word
# whatever the medium, a word or a style and not another, a word and a style by halves, anything but
# a word.
KINDS = {
    **{"before": 0.32, "nothing": 0.18, "word": 0.26, "work": 0.1},
    **{"not": 0.08, "halves": 0.03, "never": 0.03},
}
AMONG = 0.5  # of all captions
PAGES = Path(__file__).parents[1] / "web" / "docs"


class Item(NamedTuple):
    """A caption, the one that the text encoder knew for the same, and the share of a word in it.

    What means nothing is what no words were.
    """

    text: str
    meant: str
    word: int = 0
    share: float = 0.0


@cache
def running_text(lang: int) -> list[str]:
    """The help pages in English, word by word, or in Chinese, character by character."""
    pages = sorted(PAGES.glob(f"*/{('en', 'zh')[lang]}.md"))
    text = " ".join(page.read_text("utf-8") for page in pages)
    return re.findall(("[a-zA-Z]{2,}", "[\u4e00-\u9fff]")[lang], text)


@cache
def names(lang: int) -> frozenset[str]:
    """Of all styles and words: their words in English, whole in Chinese."""
    listed = [*captions.NAMES.values(), *(word[:2] for word in WORDS.values())]
    every = [name.lower() for pair in listed for name in pair[lang]]
    return frozenset(every if lang else re.findall(r"\w+", " ".join(every)))


def anything(rng: np.random.Generator, lang: int) -> str:
    """A piece of the help pages that names no style."""
    text, length = running_text(lang), int(rng.integers(1, (5, 7)[lang]))
    while True:
        start = int(rng.integers(len(text) - length))
        piece = text[start : start + length]
        if lang and not any(name in "".join(piece) for name in names(1)):
            return "".join(piece)
        if not lang and names(0).isdisjoint(word.lower() for word in piece):
            return " ".join(piece)


def dotted(rng: np.random.Generator, name: str) -> str:
    """A Chinese name, now and then with the dot between its parts."""
    if len(name) < 4 or rng.random() < 0.7:
        return name
    at = int(rng.integers(2, len(name) - 1))
    return f"{name[:at]}·{name[at:]}"


def draw(rng: np.random.Generator) -> Item:
    lang = int(rng.random() < 0.4)
    item = _drawn(rng, str(rng.choice(list(KINDS), p=list(KINDS.values()))), lang)
    if rng.random() < AMONG:
        return item._replace(text=scenes.among(rng, item.text, lang))
    return item


def _drawn(rng: np.random.Generator, kind: str, lang: int) -> Item:
    index = int(rng.integers(len(WORDS)))
    name = captions.pick(rng, list(WORDS.values())[index][lang])
    name = dotted(rng, name) if lang else name
    style = captions.pick(rng, captions.NAMES[captions.pick(rng, captions.STYLES)][lang])
    subject = scenes.scene(rng, lang) if rng.random() < 0.5 else ""
    if kind == "before":
        text = captions.draw(rng, unknown=0.1).text
        return Item(text, text)
    if kind == "nothing":
        u = rng.random()
        text = scenes.among(rng, "", lang) if u < 0.6 else anything(rng, lang)
        return Item(text, "")
    if kind == "word":
        return Item(captions.about(rng, name, lang, subject), "", index, 1.0)
    if kind == "work":
        if rng.random() < 0.8:
            return Item(captions.work(rng, name, lang, subject), "", index, 1.0)
        name = captions.pick(rng, captions.NAMES[captions.pick(rng, list(PAINTERS))][lang])
        return Item(captions.work(rng, name, lang, subject), name)
    if kind == "halves":
        return Item(captions.halves(rng, name, style, lang), style, index, 0.5)
    if kind == "never":
        text = captions.never(rng, name, lang)
        return Item(text, text)
    if rng.random() < 0.5:
        return Item(captions.but_not(rng, style, name, lang), style)
    return Item(captions.but_not(rng, name, style, lang), "", index, 1.0)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--run", default="together")
    parser.add_argument("--name", default="words")
    parser.add_argument("--start", type=Path, help="the text encoder before, else of stage 3")
    parser.add_argument("--minutes", type=float, default=18)
    args = parser.parse_args()
    torch.manual_seed(0)
    folder = args.work / "clip"
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    start = args.start or folder / "text_encoder"
    before = CLIPTextModelWithProjection.from_pretrained(start).float().eval()
    before.requires_grad_(False)
    text = CLIPTextModelWithProjection.from_pretrained(start).float().train()
    projection = StyleProjection()
    projection.load_state_dict(load_file(args.work / args.run / PROJECTION))
    tokens, pooled = points(args.data, projection)
    run = Run(args.name, args.work, args.minutes, 1e-3, {"text": text})
    torch.save(pooled, run.folder / "points.pt")
    rng, middle = np.random.default_rng(run.step), pooled.mean(0)

    def ids(texts: list[str]) -> Tensor:
        return tokenizer(
            texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids

    for _ in run.steps():
        items = [draw(rng) for _ in range(BATCH)]
        with torch.no_grad():
            known = before(ids([item.meant for item in items]))
        word = torch.tensor([item.word for item in items])
        share = torch.tensor([item.share for item in items])[:, None]
        said = text(ids([item.text for item in items]))
        hidden = known.last_hidden_state.lerp(tokens[word][:, None], share[..., None])
        embeds = known.text_embeds.lerp(pooled[word], share)
        apart = [
            (ours - wanted).square().flatten(1).mean(1)
            for ours, wanted in ((said.last_hidden_state, hidden), (said.text_embeds, embeds))
        ]
        loss = apart[0] + apart[1]
        asked = share[:, 0]
        alone = asked == 1
        # Distances alone are content with the mean of all words.
        ours, points_of = said.text_embeds[alone] - middle, pooled - middle
        likeness = F.normalize(ours) @ F.normalize(points_of).T
        named = F.cross_entropy(likeness / 0.1, word[alone])
        # What was known may lose nothing.
        run.descend((loss * (1 + 2 * (asked == 0))).mean() + 0.5 * named)
        run.log(
            before=loss[asked == 0].mean().detach(),
            word=loss[alone].mean().detach(),
            named=named.detach(),
            right=(likeness.argmax(1) == word[alone]).float().mean(),
        )
    run.averaged("text").save_pretrained(run.folder / "text_encoder")


if __name__ == "__main__":
    main()
