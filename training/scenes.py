"""What people write around a style, which changes nothing: scenes and words of quality.

The lists are in scenes.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .captions import pick

_LISTS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
"""Lists of words, each in English and in Chinese."""


def scene(rng: np.random.Generator, lang: int) -> str:
    """Something in a picture; lang: 0 English, 1 Chinese."""
    like, thing, where, other = (
        pick(rng, _LISTS[of][lang]) for of in ("like", "thing", "where", "thing")
    )
    if lang:
        forms = ["{t}", "{l}{t}", "{w}{l}{t}", "{w}的{t}", "{t}和{o}", "{l}{t},{w}"]
    else:
        forms = ["a {t}", "{l} {t}", "a {l} {t} {w}", "{t} {w}", "{t} and {o}", "{t} with {l} {o}"]
    return pick(rng, forms).format(l=like, t=thing, w=where, o=other)


def quality(rng: np.random.Generator, lang: int) -> str:
    return pick(rng, _LISTS["quality"][lang])


def among(rng: np.random.Generator, text: str, lang: int) -> str:
    """A caption among up to two scenes and up to four words of quality, in any order; itself where
    none was drawn. Where it is empty they stand alone, one at least.
    """
    parts = [text] if text else []
    parts += [scene(rng, lang) for _ in range(int(rng.choice(3, p=[0.35, 0.5, 0.15])))]
    parts += [quality(rng, lang) for _ in range(int(rng.integers(5)))]
    parts = [parts[i] for i in rng.permutation(len(parts))] or [quality(rng, lang)]
    return pick(rng, ([", ", ", ", ",", " ", ". "], ["，", ",", ", ", " ", "。"])[lang]).join(parts)
