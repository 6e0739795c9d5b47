"""The styles that the built-in model knows, and which of them a prompt is nearest to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

if TYPE_CHECKING:
    from ..pipelines.engines.diffusion.pipeline import StyleAVideoPipeline

MISSPELT = 0.85
"""Share of letters that a misspelt name has in common with the name: one of seven may be wrong."""
EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Style:
    name: str
    """English, as a prompt that works."""
    chinese: str
    kind: str
    """technique, painter, or pictures: a word that was learned from pictures alone."""


def styles() -> list[Style]:
    """What the built-in model was trained on, in the order of the model card."""
    return [Style(**style) for style in _facts()["styles"]]


def words() -> list[Style]:
    """Artists, media and movements that it knows from their pictures."""
    return [Style(**word, kind="pictures") for word in _facts()["words"]]


def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((EMBEDDED / "styles.json").read_text(encoding="utf-8"))
    return facts


def are_listed() -> bool:
    """Whether this installation has the built-in model's list."""
    return (EMBEDDED / "styles.json").is_file()


def is_named(name: str, prompt: str) -> bool:
    """Whether a prompt names that style: in English by a word of it, in Chinese by its first two
    characters; what was learned from pictures only by its whole name.
    """
    style = next(style for style in [*styles(), *words()] if style.name == name)
    whole = style.kind == "pictures"
    chinese = style.chinese if whole else style.chinese[:2]
    # ASCII: a Chinese character beside a word ends it.
    said = re.findall(r"\w+", prompt.lower(), re.ASCII if name.isascii() else 0)
    english = [word in said for word in re.findall(r"\w+", name.lower())]
    return chinese in prompt or (all if whole else any)(english)


def nearly_named(prompt: str) -> str | None:
    """The style whose English name a prompt that names none has misspelt."""
    listed = [style.name for style in [*styles(), *words()]]
    if any(is_named(name, prompt) for name in listed):
        return None
    said = re.findall(r"\w+", prompt.lower(), re.ASCII)

    def likeness(name: str) -> float:
        size = len(name.split())
        runs = [" ".join(said[i : i + size]) for i in range(len(said) - size + 1)]
        return max((SequenceMatcher(None, run, name.lower()).ratio() for run in runs), default=0.0)

    best = max(listed, key=likeness)
    return best if likeness(best) >= MISSPELT else None


def known_threshold() -> float:
    """The `known_share` below which a prompt counts as not placed (training/export.py)."""
    return float(_facts()["known"])


def word_threshold() -> float:
    """The `word_likeness` from which on a prompt counts as one of `words` (training/export.py)."""
    return float(_facts()["word"])


@torch.no_grad()
def _embed(pipeline: StyleAVideoPipeline, texts: list[str]) -> torch.Tensor:
    tokens = pipeline.tokenizer(
        texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    encoder = pipeline.text_encoder
    embeds = encoder(tokens.input_ids.to(encoder.device)).text_embeds
    return F.normalize(embeds.float().cpu(), dim=-1)


def nearest(prompt: str, pipeline: StyleAVideoPipeline, count: int = 3) -> list[tuple[str, float]]:
    """The styles nearest to a prompt, best first, with the cosine of its embedding to their names'.

    Of the English and the Chinese name, the nearer counts.
    """
    listed = [*styles(), *words()]
    names = _embed(pipeline, [s.name for s in listed] + [s.chinese for s in listed])
    similarity = (names @ _embed(pipeline, [prompt])[0]).view(2, -1).amax(0)
    best = similarity.argsort(descending=True)[:count]
    return [(listed[i].name, float(similarity[i])) for i in best.tolist()]


@cache
def _basis() -> torch.Tensor:
    directions = load_file(EMBEDDED / "styles.safetensors")["directions"].float()
    return torch.linalg.qr(directions.T).Q


def known_share(prompt: str, pipeline: StyleAVideoPipeline) -> float:
    """How much of a prompt's embedding, 0 to 1, lies where styles and their mixtures lie.

    That is the span of the directions that the text and image encoders were trained on, one a style
    (training/train_clip.py). A cosine to the names alone would not tell: words without any style
    share something with every name.
    """
    return float((_embed(pipeline, [prompt])[0] @ _basis()).norm())


@cache
def _points() -> torch.Tensor:
    return load_file(EMBEDDED / "styles.safetensors")["points"].float()


def word_likeness(prompt: str, pipeline: StyleAVideoPipeline) -> float:
    """The greatest cosine of a prompt's embedding to those of `words`' pictures."""
    return float((_points() @ _embed(pipeline, [prompt])[0]).max())


def is_known(prompt: str, pipeline: StyleAVideoPipeline) -> bool:
    """Whether the prompt asks for something the built-in model was taught."""
    known = known_share(prompt, pipeline) >= known_threshold()
    return known or word_likeness(prompt, pipeline) >= word_threshold()
