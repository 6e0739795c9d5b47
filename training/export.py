"""Stage 7: the trained parts → weights/embedded, an ordinary diffusers folder in float16.

    python -m training.export [--work DIR] [--run together] [--words words] [--share 1]
        [--beside RUN=SHARE ...]

--share takes so much of the run and the rest of the weights that weights/embedded holds, as a mean;
--beside takes a part of that rest from the U-Net of another run, such as the one of stage 4. What a
run of new aims forgot comes back, and what it learned mostly stays (Wortsman et al. 2022, arXiv
2109.01903).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.weights import styles
from style_a_video.weights.loading import load
from style_a_video.weights.style_projection import FILE
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from . import architecture, captions
from .artists import WORDS
from .painters import PAINTERS


def calibrate(
    measure: Callable[[str, StyleAVideoPipeline], float],
    pipeline: StyleAVideoPipeline,
    draw: Callable[[np.random.Generator], str],
) -> float:
    """The measure midway between captions of something known and captions of nothing."""
    rng = np.random.default_rng(1)
    texts = [draw(rng) for _ in range(400)]
    texts += [captions.draw(rng, unknown=1.0).text for _ in range(400)]
    known, unknown = torch.tensor([measure(t, pipeline) for t in texts]).chunk(2)
    cut = float(known.mean() + unknown.mean()) / 2
    right = float((known >= cut).float().mean() + (unknown < cut).float().mean()) / 2
    print(f"{measure.__name__} from {cut:.2f} on: {right:.3f} of captions right")
    return round(cut, 2)


def of_word(rng: np.random.Generator) -> str:
    word = list(WORDS.values())[int(rng.integers(len(WORDS)))]
    lang = int(rng.random() < 0.4)
    return captions.about(rng, captions.pick(rng, word[lang]), lang)


def listed(name: tuple[list[str], list[str]]) -> dict[str, str]:
    english, chinese = name
    return {"name": english[0], "chinese": chinese[0]}


@torch.no_grad()
def mean_(module: nn.Module, share: float, others: Sequence[tuple[nn.Module, float]]) -> None:
    """A module's weights → so much of them, and of the others' by their shares."""
    for p, *rest in zip(module.parameters(), *(m.parameters() for m, _ in others), strict=True):
        p.mul_(share)
        for other, (_, part) in zip(rest, others, strict=True):
            p.add_(other.to(p), alpha=part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--run", default="together", help="the run of stage 5 to ship")
    parser.add_argument("--words", default="words", help="the run of stage 6, its text encoder")
    parser.add_argument("--image", default="clip", help="the run of stage 3 with the image encoder")
    parser.add_argument("--share", type=float, default=1.0, help="of the run (%(default)g)")
    parser.add_argument("--beside", nargs="*", default=[], metavar="RUN=SHARE")
    args = parser.parse_args()
    shares = {name: float(part) for name, part in (one.split("=") for one in args.beside)}
    rest = 1 - args.share - sum(shares.values())
    if rest < -1e-9:
        parser.error("the shares are more than 1 together")
    clip, together = args.work / "clip", args.work / args.run
    pipeline = StyleAVideoPipeline(
        vae=AutoencoderTiny.from_pretrained(together / "vae"),
        text_encoder=CLIPTextModelWithProjection.from_pretrained(
            args.work / args.words / "text_encoder"
        ),
        tokenizer=CLIPTokenizer.from_pretrained(clip / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(together / "unet"),
        scheduler=architecture.scheduler(),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(
            args.work / args.image / "image_encoder"
        ),
        defaults=architecture.DEFAULTS,
    )
    if args.share < 1:
        before = load("embedded")
        mean_(pipeline.vae, args.share, [(before.vae, 1 - args.share)])
        others = [
            (UNet2DConditionModel.from_pretrained(args.work / name / "unet"), part)
            for name, part in shares.items()
        ]
        mean_(pipeline.unet, args.share, [*others, (before.unet, rest)])
    pipeline.to(dtype=torch.float16).save_pretrained(styles.EMBEDDED)
    # diffusers writes the first key and then warns that it does not know it; the second is a path
    # of the machine that trained.
    surplus = {"vae": ["block_out_channels", "_name_or_path"], "unet": ["_name_or_path"]}
    for name, keys in surplus.items():
        config = styles.EMBEDDED / name / "config.json"
        known = json.loads(config.read_text())
        for key in keys:
            known.pop(key, None)
        config.write_text(json.dumps(known, indent=2) + "\n")
    # Older transformers, and ComfyUI, read the vocabulary from these two.
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(clip / "tokenizer" / name, styles.EMBEDDED / "tokenizer" / name)
    directions = torch.load(clip / "anchors.pt", weights_only=True)
    points = F.normalize(torch.load(args.work / args.words / "points.pt", weights_only=True))
    kept = {"directions": directions, "points": points}
    save_file(
        {key: value.contiguous().to(torch.float16) for key, value in kept.items()},
        styles.EMBEDDED / "styles.safetensors",
    )
    projection = load_file(together / FILE.name)
    save_file({key: value.to(torch.float16) for key, value in projection.items()}, FILE)
    pipeline.to(dtype=torch.float32)
    facts = {
        "known": calibrate(styles.known_share, pipeline, lambda rng: captions.draw(rng).text),
        "word": calibrate(styles.word_likeness, pipeline, of_word),
        "styles": [
            listed(name) | {"kind": "painter" if key in PAINTERS else "technique"}
            for key, name in captions.NAMES.items()
        ],
        "words": [listed(word[:2]) for word in WORDS.values()],
    }
    target = styles.EMBEDDED / "styles.json"
    target.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
