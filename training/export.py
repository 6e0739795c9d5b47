"""Stage 6: the trained parts → weights/embedded, an ordinary diffusers folder in float16.

python -m training.export [--work DIR] [--out weights/embedded]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from style_a_video.pipelines.style_a_video import StyleAVideoPipeline
from style_a_video.weights import styles
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from . import architecture, captions
from .painters import PAINTINGS

DEFAULTS = {
    "preset": "instruct-pix2pix",
    "num_inference_steps": 3,
    "frame_scale": 1.0,
    "text_scale": 1.0,
    "attention_scale": 0.0,
    "noise": "shared",
}


def calibrate(pipeline: StyleAVideoPipeline) -> float:
    """The cosine that best divides captions of one style from captions of none."""
    rng = np.random.default_rng(1)
    known, unknown = [], []
    for i in range(300):
        known.append(captions.single(rng, i % len(captions.STYLES)).text)
        unknown.append(captions.draw(rng, unknown=1.0).text)
    texts = known + unknown
    best = torch.tensor([styles.nearest(text, pipeline, 1)[0][1] for text in texts])
    label = torch.tensor([True] * len(known) + [False] * len(unknown))
    cuts = torch.linspace(0.2, 0.95, 76)
    right = torch.stack([((best >= cut) == label).float().mean() for cut in cuts])
    cut = float(cuts[right.argmax()])
    print(f"known from unknown at a cosine of {cut:.2f}: {right.max():.3f} of captions right")
    return round(cut, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--out", type=Path, default=styles.EMBEDDED)
    args = parser.parse_args()
    clip = args.work / "clip"
    decoder = args.work / "decoder" / "vae"
    vae = decoder if decoder.exists() else args.work / "autoencoder" / "vae"
    pipeline = StyleAVideoPipeline(
        vae=AutoencoderTiny.from_pretrained(vae),
        text_encoder=CLIPTextModelWithProjection.from_pretrained(clip / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(clip / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(args.work / "unet" / "unet"),
        scheduler=architecture.scheduler(),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(clip / "image_encoder"),
        defaults=DEFAULTS,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(args.out)
    listed = [
        {
            "name": english[0],
            "chinese": chinese[0],
            "kind": "painter" if key in PAINTINGS else "technique",
        }
        for key, (english, chinese) in captions.NAMES.items()
    ]
    known = {"known": 0.0, "styles": listed}
    target = args.out / "styles.json"
    target.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    known["known"] = calibrate(pipeline.to(dtype=torch.float32))
    target.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
