"""The encoder and decoders of picture styles, as they ship: float16, in weights/perceptual.

    python -m training.export_perceptual --data DIR

DIR as training/pictures.py describes. The encoder and the decoders of relu2_1 to relu4_1 come from
training.train_perceptual; the decoder of relu1_1 is one convolution, found in closed form.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core.decoder import StyleDecoder
from style_a_video.pipelines.core.perceptual import PerceptualEncoder, reflected
from style_a_video.weights.perceptual_encoder import FOLDER
from torch import Tensor
from torch.nn import functional as F

from . import data, pictures
from .train_perceptual import DECODED, fitted

SIDE = 160  # px of a crop


@torch.no_grad()
def first_decoder(encoder: PerceptualEncoder, images: Tensor) -> StyleDecoder:
    """Of relu1_1, by least squares."""
    decoder = StyleDecoder(1)
    features = encoder(images, ("relu1_1",))["relu1_1"]
    patches = F.unfold(reflected(features), 3).transpose(1, 2).flatten(0, 1)
    some = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:40_000]
    pixels = images.permute(0, 2, 3, 1).flatten(0, 2)
    weight, bias = fitted(patches[some], pixels[some])
    convolution = decoder.blocks[0][0]
    convolution.weight.copy_(weight.view_as(convolution.weight))
    convolution.bias.copy_(bias)
    return decoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--encoder", default="perceptual_2", help="its run")
    args = parser.parse_args()
    start = args.work / args.encoder
    encoder = PerceptualEncoder()
    encoder.load_state_dict(load_file(start / "encoder.safetensors"))
    photos = pictures.Crops(data.photos(args.data, "train"), seed=0, colours=0.4)
    styles = pictures.Crops(pictures.styles(args.data), seed=1, colours=0.4)
    images = torch.cat([photos.batch(12, SIDE), styles.batch(12, SIDE)])
    states = {"relu1_1": first_decoder(encoder, images).state_dict()}
    for level in DECODED:
        states[f"relu{level}_1"] = load_file(start / f"decoder_{level}.safetensors")
    decoders = {f"{n}.{k}": v for n, state in states.items() for k, v in state.items()}
    for file, state in {"encoder": encoder.state_dict(), "decoders": decoders}.items():
        state = {k: v.half().contiguous() for k, v in state.items()}
        save_file(state, FOLDER / f"{file}.safetensors")


if __name__ == "__main__":
    main()
