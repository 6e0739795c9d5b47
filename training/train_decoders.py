"""The decoders of picture styles: from the encoder's features back to pictures.

    python -m training.train_decoders wct --data DIR [--minutes 10]
    python -m training.train_decoders adain --data DIR [--minutes 10]
    python -m training.train_decoders adain --data DIR --hed HED [--minutes 25]
    python -m training.train_decoders export      # → weights/perceptual, float16

DIR as training/pictures.py and HED as training/teachers.py describe. Needs the encoder of
training.train_perceptual. WCT's five learn to give a picture back (pixels and features); AdaIN's
goes on from the fourth of them and learns styles, at first judged by the slim encoder and then,
with --hed, by VGG-16, so that what the slim one does not see is not left in the pictures.
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
from .train_perceptual import fitted

SIDE = 192  # px of a crop
LEVELS = {1: 0.04, 2: 0.16, 3: 0.3, 4: 0.5}  # and their parts of the minutes
SIDE_WCT = 128
STYLE_LAYERS = LAYERS[:4]
BATCH = 4
STYLE_WEIGHT = 10.0
VARIATION_WEIGHT = 1.0


# The start: each convolution fitted to what the mirrored one of the encoder was given


@torch.no_grad()
def given(encoder: PerceptualEncoder, images: Tensor, level: int) -> list[Tensor]:
    """What the convolutions up to relu{level}_1 were given, the last one first."""
    x, inputs = images, []
    for i, block in enumerate(encoder.blocks[:level]):
        x = F.max_pool2d(x, 2) if i else x
        for convolution in block[:1] if i == level - 1 else block:
            inputs.append(x)
            x = F.relu(convolution(reflected(x if len(inputs) > 1 else 2 * x - 1)))
    return inputs[::-1]


@torch.no_grad()
def begin(
    decoder: StyleDecoder,
    encoder: PerceptualEncoder,
    level: int,
    images: Tensor,
    trained: StyleDecoder | None,
) -> None:
    """The last convolutions are those of the trained decoder of the level before."""
    name = LAYERS[level - 1]
    x = encoder(images, (name,))[name]
    goals = iter(given(encoder, images, level))
    known = [] if trained is None else [c for block in trained.blocks for c in block]
    fresh = sum(len(block) for block in decoder.blocks) - len(known)
    generator = torch.Generator().manual_seed(0)
    for i, block in enumerate(decoder.blocks):
        if i:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        for convolution in block:
            goal = next(goals)
            if not fresh:
                convolution.load_state_dict(known.pop(0).state_dict())
                x = convolution(reflected(x))
                x = F.relu(x) if known else x
                continue
            fresh -= 1
            patches = F.unfold(reflected(x), 3).transpose(1, 2).flatten(0, 1)
            some = torch.randperm(len(patches), generator=generator)[:40_000]
            outputs = goal.permute(0, 2, 3, 1).flatten(0, 2)[some]
            weight, bias = fitted(patches[some], outputs)
            convolution.weight.copy_(weight.view_as(convolution.weight))
            convolution.bias.copy_(bias)
            x = convolution(reflected(x))
            if goal is not images:
                x = F.relu(x)
    print(f"start {name}: error of a pixel {(x - images).square().mean().sqrt():.4f}", flush=True)


# WCT


def train_wct(
    work: Path,
    minutes: float,
    encoder: PerceptualEncoder,
    photos: pictures.Crops,
    styles: pictures.Crops,
) -> None:
    """Level after level, each going on from what the one before has learned."""
    trained: StyleDecoder | None = None
    for level, part in LEVELS.items():
        decoder = StyleDecoder(level).to(memory_format=torch.channels_last)
        if not (work / f"wct_{level}" / "checkpoint.pt").exists():
            images = torch.cat([photos.batch(12, SIDE), styles.batch(12, SIDE)])
            begin(decoder, encoder, level, images, trained)
        run = Run(f"wct_{level}", work, part * minutes, 1e-3, {"decoder": decoder})
        layers = LAYERS[:level]
        for _ in run.steps():
            images = torch.cat([photos.batch(2, SIDE_WCT), styles.batch(2, SIDE_WCT)])
            with torch.no_grad():
                wanted = encoder(images, layers)
            result = decoder(wanted[layers[-1]])
            found = encoder(result, layers)
            pixels = F.mse_loss(result, images)
            features = sum(relative(found[k], wanted[k]) for k in layers) / level
            run.descend(20 * pixels + features)
            run.log(pixels=pixels.detach(), features=features.detach())
        save(run)
        trained = decoder


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().mean() / wanted.square().mean()


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


def load_encoder(work: Path) -> PerceptualEncoder:
    encoder = PerceptualEncoder()
    encoder.load_state_dict(load_file(work / "perceptual" / "encoder.safetensors"))
    return encoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def save(run: Run) -> None:
    for name in run.modules:
        state = run.averaged(name).state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, run.folder / f"{name}.safetensors")


def export(work: Path) -> None:
    encoder = load_file(work / "perceptual" / "encoder.safetensors")
    decoders = {}
    names = {f"relu{k}_1": work / f"wct_{k}" / "decoder.safetensors" for k in LEVELS}
    for name, file in (names | {"adain": work / "adain_vgg16" / "decoder.safetensors"}).items():
        decoders |= {f"{name}.{k}": v for k, v in load_file(file).items()}
    for file, state in (("encoder", encoder), ("decoders", decoders)):
        save_file({k: v.half() for k, v in state.items()}, FOLDER / f"{file}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("which", choices=["wct", "adain", "export"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--hed", type=Path, help="AdaIN: judged by VGG-16")
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    if args.which == "export":
        return export(args.work)
    torch.manual_seed(0)
    encoder = load_encoder(args.work)
    photos = pictures.Crops(data.photos(args.data, "train"), seed=0, colours=0.4)
    styles = pictures.Crops(pictures.styles(args.data), seed=1, colours=0.4)
    if args.which == "wct":
        return train_wct(args.work, args.minutes, encoder, photos, styles)
    decoder = StyleDecoder(4)
    name = "adain_vgg16" if args.hed else "adain"
    if not (args.work / name / "checkpoint.pt").exists():
        start = args.work / ("adain" if args.hed else "wct_4") / "decoder.safetensors"
        decoder.load_state_dict(load_file(start))
    decoder = decoder.to(memory_format=torch.channels_last)
    run = Run(name, args.work, args.minutes, 5e-4, {"decoder": decoder})
    photos.rng, styles.rng = (np.random.default_rng([run.step, k]) for k in (0, 1))
    judge = teachers.vgg16(args.hed) if args.hed else encoder
    train_adain(run, encoder, judge, photos, styles)
    save(run)


if __name__ == "__main__":
    main()
