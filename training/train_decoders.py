"""The decoders of picture styles: from the encoder's features back to pictures.

    python -m training.train_decoders wct --data DIR [--minutes 10]
    python -m training.train_decoders adain --data DIR [--minutes 10]
    python -m training.train_decoders adain --data DIR --hed HED [--minutes 25]

DIR as training/pictures.py and HED as training/teachers.py describe. Needs the encoder of
training.train_perceptual. WCT's five learn to give a picture back (pixels and features); AdaIN's
goes on from the fourth of them and learns styles, at first judged by the slim encoder and then,
with --hed, by VGG-16, so that what the slim one does not see is not left in the pictures.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core.adain import adain, statistics
from style_a_video.pipelines.core.decoder import StyleDecoder
from style_a_video.pipelines.core.perceptual import LAYERS, PerceptualEncoder, reflected
from torch import Tensor, nn
from torch.nn import functional as F

from . import data, pictures, teachers
from .loop import Run
from .train_perceptual import fitted

SIDE = 192  # px of a crop
LEVELS = {2: 0.08, 3: 0.17, 4: 0.35, 5: 0.38, 1: 0.02}  # how often each is drawn
STYLE_LAYERS = LAYERS[:4]
STYLE_WEIGHT = 10.0


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
def begin(decoder: StyleDecoder, encoder: PerceptualEncoder, level: int, images: Tensor) -> None:
    name = LAYERS[level - 1]
    x = encoder(images, (name,))[name]
    goals = iter(given(encoder, images, level))
    generator = torch.Generator().manual_seed(0)
    for i, block in enumerate(decoder.blocks):
        if i:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        for convolution in block:
            goal = next(goals)
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
    run: Run, encoder: PerceptualEncoder, photos: pictures.Crops, styles: pictures.Crops
) -> None:
    rng = np.random.default_rng(run.step)
    latest = {f"{part}_{level}": math.nan for level in LEVELS for part in ("pixels", "features")}
    for _ in run.steps():
        level = int(rng.choice(list(LEVELS), p=list(LEVELS.values())))
        images = torch.cat([photos.batch(2, SIDE), styles.batch(2, SIDE)])
        layers = LAYERS[:level]
        with torch.no_grad():
            wanted = encoder(images, layers)
        result = run.modules[f"relu{level}_1"](wanted[layers[-1]])
        found = encoder(result, layers)
        pixels = F.mse_loss(result, images)
        features = sum(relative(found[k], wanted[k]) for k in layers) / level
        run.descend(10 * pixels + features)
        latest |= {f"pixels_{level}": pixels.item(), f"features_{level}": features.item()}
        run.log(every=25, **latest)


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().mean() / wanted.square().mean()


# AdaIN


def style_loss(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """Squared differences of means and deviations, summed over the layers (Huang and Belongie)."""
    loss = torch.zeros(())
    for name in STYLE_LAYERS:
        for a, b in zip(statistics(found[name]), statistics(wanted[name]), strict=True):
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
    count: int,
) -> None:
    decoder = run.modules["decoder"]
    precision = next(judge.parameters()).dtype
    for _ in run.steps():
        content, style = photos.batch(count, SIDE), styles.batch(count, SIDE)
        with torch.no_grad():
            both = encoder(torch.cat([content, style]), ("relu4_1",))["relu4_1"]
            x, s = both.chunk(2)
            target = adain(x, *statistics(s))
            style_seen = judge(style.to(precision), STYLE_LAYERS)
            if judge is not encoder:
                x = judge(content.to(precision), ("relu4_1",))["relu4_1"]
                goal = adain(x, *statistics(style_seen["relu4_1"])).float()
            else:
                goal = target
        result = decoder(target)
        found = judge(result.to(precision), STYLE_LAYERS)
        content_loss = F.mse_loss(found["relu4_1"].float(), goal)
        style_part = style_loss(found, style_seen)
        variation = total_variation(result)
        outside = (result - result.clamp(0, 1)).square().mean()
        run.descend(content_loss + STYLE_WEIGHT * style_part + variation + 10 * outside)
        run.log(every=25, content=content_loss, style=style_part, variation=variation)


def load_encoder(work: Path) -> PerceptualEncoder:
    encoder = PerceptualEncoder()
    encoder.load_state_dict(load_file(work / "perceptual" / "encoder.safetensors"))
    return encoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def save(run: Run) -> None:
    for name in run.modules:
        state = run.averaged(name).state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, run.folder / f"{name}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("which", choices=["wct", "adain"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hed", type=Path, help="AdaIN: judged by VGG-16")
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--batch", type=int, default=4, help="AdaIN: pictures a step")
    args = parser.parse_args()
    torch.manual_seed(0)
    encoder = load_encoder(args.work)
    photos = pictures.Crops(data.photos(args.data, "train"), seed=0)
    styles = pictures.Crops(pictures.styles(args.data), seed=1)
    name = args.which + ("_vgg16" if args.hed else "")
    new = not (args.work / name / "checkpoint.pt").exists()
    if args.which == "wct":
        modules: dict[str, nn.Module] = {f"relu{k}_1": StyleDecoder(k) for k in sorted(LEVELS)}
        if new:
            images = torch.cat([photos.batch(12, SIDE), styles.batch(12, SIDE)])
            for level, decoder in enumerate(modules.values(), 1):
                begin(decoder, encoder, level, images)
    else:
        modules = {"decoder": StyleDecoder(4)}
        start = "adain/decoder" if args.hed else "wct/relu4_1"
        if new:
            modules["decoder"].load_state_dict(load_file(args.work / f"{start}.safetensors"))
    modules = {k: m.to(memory_format=torch.channels_last) for k, m in modules.items()}
    run = Run(name, args.work, args.minutes, 3e-4, modules)
    photos.rng, styles.rng = (np.random.default_rng([run.step, k]) for k in (0, 1))
    if args.which == "wct":
        train_wct(run, encoder, photos, styles)
    else:
        judge = teachers.vgg16(args.hed).float() if args.hed else encoder
        train_adain(run, encoder, judge, photos, styles, args.batch)
    save(run)


if __name__ == "__main__":
    main()
