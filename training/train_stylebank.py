"""StyleBank: encoder, decoder, and a filter bank for each of some pictures (Chen et al. 2017).

    python -m training.train_stylebank --data DIR [--loss-encoder slim|vgg16|vgg19] [--hed HED]
        [--minutes 60] [--rate 1e-3] [--content 0.6] [--start RUN] [--name RUN] [--work FOLDER]

DIR as training/pictures.py, HED as training/teachers.py describe. Two steps for the styles
(encoder, bank, decoder) are followed by one that gives photos back (encoder, decoder), whose
gradient is brought to the length of the former's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core.gram import gram
from style_a_video.pipelines.core.perceptual import PerceptualEncoder
from style_a_video.pipelines.core.stylebank import (
    CONTENT,
    LOOKS,
    WEIGHTS,
    StyleBank,
    losses,
    through_bank,
    unchanged,
)
from style_a_video.weights.stylebank import BASE
from torch import Tensor, nn
from torch.nn import functional as F

from . import data, pictures
from .loop import Run
from .train_sctnet import encoder_named

SIDE = 160  # px of a crop
BATCH = 4
STYLE_STEPS = 2  # before each that gives photos back


class Banks(nn.Module):
    """A bank a style, each a parameter of its own: those that a step does not use stay."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        start = unchanged()
        self.banks = nn.ParameterDict(
            {name: nn.Parameter(start + 0.01 * torch.randn_like(start)) for name in names}
        )


class Looks:
    """What a style's picture is made of: the Gram matrices of its features."""

    def __init__(self, encoder: PerceptualEncoder, files: dict[str, Path]) -> None:
        self.encoder = encoder
        self.grams = {name: self._grams(pictures.read(file)) for name, file in files.items()}

    @torch.no_grad()
    def _grams(self, picture: np.ndarray) -> dict[str, Tensor]:
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        return {k: gram(f.float()) for k, f in self.encoder(x, LOOKS).items()}

    def losses(self, results: Tensor, photos: Tensor, names: list[str]) -> dict[str, Tensor]:
        """Means over a batch; each is about 1 where nothing of what is wanted is there."""
        with torch.autocast("cpu", torch.bfloat16):
            found = self.encoder(results, LOOKS)
            with torch.no_grad():
                wanted = self.encoder(photos, (CONTENT,))[CONTENT].float()
        goals = {k: torch.cat([self.grams[name][k] for name in names]) for k in LOOKS}
        return losses(results, found, wanted, goals)


def train(run: Run, looks: Looks, photos: pictures.Crops, weights: dict[str, float]) -> None:
    network, banks = run.modules["network"], run.modules["banks"].banks
    names = list(banks)
    shared = list(network.parameters())
    length, identity = 1.0, torch.tensor(1.0)
    for step in run.steps():
        images = photos.batch(BATCH, SIDE).contiguous(memory_format=torch.channels_last)
        if step % (STYLE_STEPS + 1) == STYLE_STEPS:
            with torch.autocast("cpu", torch.bfloat16):
                back = network.decode(network.encode(images))
            identity = F.mse_loss(back.float(), images)
            run.descend(identity, shared, length)
            continue
        chosen = [names[int(k)] for k in photos.rng.choice(len(names), BATCH, replace=False)]
        with torch.autocast("cpu", torch.bfloat16):
            seen = network.encode(images).split(1)
            put = [through_bank(x, banks[name]) for x, name in zip(seen, chosen, strict=True)]
            results = network.decode(torch.cat(put)).float()
        parts = looks.losses(results, images, chosen)
        loss = sum(weights[name] * part for name, part in parts.items())
        length = run.descend(loss, shared)
        run.log(every=60, **parts, identity=identity)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--loss-encoder", choices=("slim", "vgg16", "vgg19"), default="slim")
    parser.add_argument("--hed", type=Path)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--name", default="stylebank", help="of the run")
    parser.add_argument("--start", help="a run to go on from")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning, at its highest")
    parser.add_argument(
        "--content", type=float, default=WEIGHTS["content"], help="weight of the content's loss"
    )
    args = parser.parse_args()
    torch.manual_seed(0)
    files = {style.name: args.data / style.source for style in BASE}
    looks = Looks(encoder_named(args.loss_encoder, args.hed), files)
    modules = {"network": StyleBank(), "banks": Banks(list(files))}
    if args.start:
        for name, module in modules.items():
            module.load_state_dict(load_file(args.work / args.start / f"{name}.safetensors"))
    modules["network"].to(memory_format=torch.channels_last)
    photos = pictures.Crops(data.photos(args.data, "train"), seed=0, colours=0.4)
    run = Run(args.name, args.work, args.minutes, args.rate, modules)
    photos.rng = np.random.default_rng(run.step)
    train(run, looks, photos, {**WEIGHTS, "content": args.content})
    for name in modules:
        state = {k: v.contiguous() for k, v in run.averaged(name).state_dict().items()}
        save_file(state, run.folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
