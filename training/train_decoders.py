"""The decoders of picture styles: from the encoder's features back to pictures.

    python -m training.train_decoders adain --data DIR [--minutes 20]
    python -m training.train_decoders adain --data DIR --hed HED [--minutes 20]
    python -m training.train_decoders export --data DIR      # → weights/perceptual, float16

DIR as training/pictures.py and HED as training/teachers.py describe. WCT's decoders of relu2_1 to
relu4_1 come from training.train_perceptual; that of relu1_1 is one convolution, found in closed
form. AdaIN's goes on from that of relu4_1 and learns styles, at first judged by the slim encoder
and then, with --hed, by VGG-16, so that what the slim one does not see is not left in the pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core.adain import adain, statistics
from style_a_video.pipelines.core.decoder import StyleDecoder
from style_a_video.pipelines.core.perceptual import LAYERS, PerceptualEncoder, reflected
from style_a_video.weights.perceptual_encoder import FOLDER
from torch import Tensor
from torch.nn import functional as F

from . import data, pictures, teachers
from .loop import Run
from .train_perceptual import DECODED, fitted

SIDE = 160  # px of a crop
STYLE_LAYERS = LAYERS[:4]
BATCH = 4
STYLE_WEIGHT = 10.0
VARIATION_WEIGHT = 1.0


# WCT


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


# AdaIN


def style_loss(found: dict[str, Tensor], wanted: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Squared differences of means and deviations, summed over the layers (Huang and Belongie)."""
    loss = torch.zeros(())
    for name in STYLE_LAYERS:
        for a, b in zip(statistics(found[name]), wanted[name], strict=True):
            loss = loss + F.mse_loss(a, b)
    return loss


def total_variation(x: Tensor) -> Tensor:
    return x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean()


def train_adain(
    run: Run,
    encoder: PerceptualEncoder,
    judge: PerceptualEncoder,
    photos: pictures.Crops,
    styles: pictures.Crops,
) -> None:
    """Each picture of a style is put onto two photos."""
    decoder = run.modules["decoder"]
    precision = next(judge.parameters()).dtype
    for _ in run.steps():
        content, style = photos.batch(BATCH, SIDE), styles.batch(BATCH // 2, SIDE)
        with torch.no_grad():
            wanted = judge(style.to(precision), STYLE_LAYERS)
            wanted = {
                k: tuple(y.repeat(2, 1, 1, 1) for y in statistics(x)) for k, x in wanted.items()
            }
            x = encoder(torch.cat([content, style]), ("relu4_1",))["relu4_1"]
            x, own = x[:BATCH], statistics(x[BATCH:])
            x = adain(x, *(y.repeat(2, 1, 1, 1) for y in own))
            goal = judge(content.to(precision), ("relu4_1",))["relu4_1"].float()
            goal = adain(goal, *wanted["relu4_1"])
        result = decoder(x)
        found = judge(result.to(precision), STYLE_LAYERS)
        kept = F.mse_loss(found["relu4_1"].float(), goal)
        like = style_loss(found, wanted)
        variation = total_variation(result)
        outside = (result - result.clamp(0, 1)).square().mean()
        run.descend(kept + STYLE_WEIGHT * like + VARIATION_WEIGHT * variation + 10 * outside)
        run.log(every=25, content=kept, style=like, variation=variation)


def load_encoder(folder: Path) -> PerceptualEncoder:
    encoder = PerceptualEncoder()
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    return encoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def export(start: Path, adain_run: Path, images: Tensor) -> None:
    encoder = load_encoder(start)
    states = {"relu1_1": first_decoder(encoder, images).state_dict()}
    for level in DECODED:
        states[f"relu{level}_1"] = load_file(start / f"decoder_{level}.safetensors")
    decoders = {f"{n}.{k}": v for n, state in states.items() for k, v in state.items()}
    adain_state = load_file(adain_run / "decoder.safetensors")
    files = {"encoder": encoder.state_dict(), "decoders": decoders, "adain": adain_state}
    for file, state in files.items():
        state = {k: v.half().contiguous() for k, v in state.items()}
        save_file(state, FOLDER / f"{file}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("which", choices=["adain", "export"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hed", type=Path, help="judged by VGG-16")
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--encoder", default="perceptual_2", help="its run")
    parser.add_argument("--minutes", type=float, default=20)
    args = parser.parse_args()
    torch.manual_seed(0)
    start = args.work / args.encoder
    encoder = load_encoder(start)
    photos = pictures.Crops(data.photos(args.data, "train"), seed=0, colours=0.4)
    styles = pictures.Crops(pictures.styles(args.data), seed=1, colours=0.4)
    runs = [args.work / "adain", args.work / "adain_vgg16"]
    if args.which == "export":
        last = runs[1] if (runs[1] / "decoder.safetensors").exists() else runs[0]
        return export(start, last, torch.cat([photos.batch(12, SIDE), styles.batch(12, SIDE)]))
    decoder = StyleDecoder(4)
    former = runs[0] / "decoder.safetensors" if args.hed else start / "decoder_4.safetensors"
    decoder.load_state_dict(load_file(former))
    decoder = decoder.to(memory_format=torch.channels_last)
    name = runs[1 if args.hed else 0].name
    run = Run(name, args.work, args.minutes, 5e-4, {"decoder": decoder})
    photos.rng, styles.rng = (np.random.default_rng([run.step, k]) for k in (0, 1))
    judge = teachers.vgg16(args.hed) if args.hed else encoder
    train_adain(run, encoder, judge, photos, styles)
    state = run.averaged("decoder").state_dict()
    state = {k: v.contiguous() for k, v in state.items()}
    save_file(state, run.folder / "decoder.safetensors")


if __name__ == "__main__":
    main()
