"""SCTNet, or AdaIN's decoder, with the contrastive coherence preserving loss or without it.

    python -m training.train_sctnet --data DIR [--variant art|photo] [--network sctnet|adain]
        [--no-links] [--loss-encoder slim|vgg16|vgg19] [--hed HED] [--no-ccpl] [--ccpl-weight 5]
        [--centres 64] [--minutes 40 | --steps N] [--rate 1e-3] [--start RUN] [--name RUN]
        [--work FOLDER]

DIR as training/pictures.py, HED as training/teachers.py describe. The decoder begins as the one
that gives pictures back. Wu et al. 2022 weigh content 1, style 10 and coherence 5; features are in
units of their mean, as those of the VGG that they use. No video is seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core.adain import adain, statistics
from style_a_video.pipelines.core.ccpl import DifferenceHeads, ccpl
from style_a_video.pipelines.core.decoder import StyleDecoder
from style_a_video.pipelines.core.perceptual import LAYERS, PerceptualEncoder
from style_a_video.pipelines.core.sctnet import LEVELS, SCTNet
from style_a_video.weights.perceptual_encoder import load_decoder, load_encoder
from torch import Tensor, nn
from torch.nn import functional as F

from . import data, pictures, teachers
from .loop import Run

SIDE = 160  # px of a crop
BATCH = 4
WEIGHTS = {"content": 1.0, "style": 10.0, "ccpl": 5.0, "identity": 200.0}
COHERENT = {"art": LAYERS[1:4], "photo": LAYERS[:3]}


class AdaINNet(nn.Module):
    """Huang and Belongie 2017: mean and deviation put on at one layer, then a decoder."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.layers = (LAYERS[LEVELS[variant] - 1],)
        self.decoder = StyleDecoder(LEVELS[variant])

    def forward(self, content: dict[str, Tensor], style: dict[str, Tensor]) -> Tensor:
        (layer,) = self.layers
        return self.decoder(adain(content[layer], *statistics(style[layer])))


NETWORKS: dict[str, Callable[[str, bool], nn.Module]] = {
    "sctnet": lambda variant, links: SCTNet(variant, links=links),
    "adain": lambda variant, links: AdaINNet(variant),
}


def read(file: Path) -> nn.Module:
    """What a run of this left."""
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    network = NETWORKS[about["network"]](about["variant"], about["links"] == "True")
    network.load_state_dict(load_file(file))
    return network.eval().requires_grad_(False)


class Losses:
    """Content, style and coherence of results, by the features of one encoder."""

    def __init__(self, encoder: PerceptualEncoder, variant: str, images: Tensor) -> None:
        self.encoder, self.layers = encoder, LAYERS[: LEVELS[variant]]
        with torch.no_grad():
            self.units = {k: x.float().mean() for k, x in encoder(images, self.layers).items()}
        self.heads = DifferenceHeads({k: encoder.widths[k] for k in COHERENT[variant]})

    def features(self, images: Tensor) -> dict[str, Tensor]:
        return self.encoder(images, self.layers)

    def __call__(
        self, result: Tensor, frame: dict[str, Tensor], wanted: dict[str, Tensor], centres: int
    ) -> dict[str, Tensor]:
        """Of pictures (T,3,H,W) beside features; coherence where there are centres."""
        found = self.features(result)
        found, frame, wanted = (self._in_units(x) for x in (found, frame, wanted))
        deepest = self.layers[-1]
        parts = {
            "content": F.mse_loss(found[deepest], frame[deepest]),
            "style": torch.stack([style_loss(found[k], wanted[k]) for k in self.layers]).sum(),
        }
        if centres:
            parts["ccpl"] = ccpl(found, frame, self.heads, centres)
        return parts

    def coherence(self, result: Tensor, photos: Tensor, centres: int = 64) -> Tensor:
        """Of results of any network with the photos that they were made from."""
        with torch.autocast("cpu", torch.bfloat16):
            found, frame = (self._in_units(self.features(x)) for x in (result, photos))
        return ccpl(found, frame, self.heads, centres)

    def _in_units(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: x.float() / self.units[k] for k, x in features.items()}


def style_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared errors of mean and deviation."""
    pairs = zip(statistics(found), statistics(wanted), strict=True)
    return torch.stack([F.mse_loss(a, b) for a, b in pairs]).sum()


def encoder_named(name: str, hed: Path | None) -> PerceptualEncoder:
    if name == "vgg16":
        if hed is None:
            raise SystemExit("--loss-encoder vgg16 needs --hed.")
        return teachers.vgg16(hed).float()  # bfloat16 is slower here where gradients pass
    return load_encoder(name)


def train(
    run: Run,
    losses: Losses,
    photos: pictures.Crops,
    styles: pictures.Crops,
    weights: dict[str, float],
    centres: int,
) -> None:
    """`weights` of the losses by name; `centres` 0: without coherence."""
    network, own = run.modules["network"], load_encoder()
    content = None
    for step in run.steps():
        if content is None or step % BATCH == 0:
            content, style = (
                crops.batch(BATCH, SIDE).contiguous(memory_format=torch.channels_last)
                for crops in (photos, styles)
            )
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                frame, wanted = (losses.features(x) for x in (content, style))
                seen, look = (own(x, network.layers) for x in (content, style))
        else:  # each photo with each style of the batch: only the results are new
            look, wanted = ({k: x.roll(1, 0) for k, x in f.items()} for f in (look, wanted))
        with torch.autocast("cpu", torch.bfloat16):
            result = network(seen, look).float()
            half = {k: x[: BATCH // 2] for k, x in seen.items()}
            in_own_style = network(half, half).float()
        parts = losses(result, frame, wanted, centres)
        parts["identity"] = F.mse_loss(in_own_style, content[: BATCH // 2])
        run.descend(sum(weights[name] * part for name, part in parts.items()))
        run.log(**{k: v.item() for k, v in parts.items()})


def build(network: str, variant: str, links: bool, start: Path | None) -> nn.Module:
    """From a run's weights, or with the decoder that gives pictures back."""
    built = NETWORKS[network](variant, links)
    if start is None:
        built.decoder.load_state_dict(load_decoder(LEVELS[variant]).state_dict())
    else:
        built.load_state_dict(load_file(start / "network.safetensors"))
    return built.to(memory_format=torch.channels_last)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--variant", choices=LEVELS, default="art")
    parser.add_argument("--network", choices=NETWORKS, default="sctnet")
    parser.add_argument("--loss-encoder", choices=("slim", "vgg16", "vgg19"), default="slim")
    parser.add_argument("--hed", type=Path)
    parser.add_argument("--no-ccpl", action="store_true")
    parser.add_argument("--ccpl-weight", type=float, default=WEIGHTS["ccpl"])
    parser.add_argument(
        "--links", action=argparse.BooleanOptionalAction, default=True, help="of SCTNet's decoder"
    )
    parser.add_argument("--centres", type=int, default=64, help="N of the loss, a layer")
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--name", default="sctnet", help="of the run")
    parser.add_argument("--start", help="a run to go on from")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--steps", type=int, help="in place of minutes")
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning, at its highest")
    return parser.parse_args(argv)


def main() -> None:
    args = parse()
    torch.manual_seed(0)
    photos = pictures.Crops(data.photos(args.data, "train"), seed=0, colours=0.4)
    styles = pictures.Crops(pictures.styles(args.data), seed=1)
    encoder = encoder_named(args.loss_encoder, args.hed)
    images = torch.cat([photos.batch(8, SIDE), styles.batch(8, SIDE)])
    losses = Losses(encoder, args.variant, images)
    start = args.work / args.start if args.start else None
    modules = {"network": build(args.network, args.variant, args.links, start)}
    if not args.no_ccpl:
        modules["heads"] = losses.heads
    run = Run(args.name, args.work, args.minutes, args.rate, modules, args.steps)
    photos.rng, styles.rng = (np.random.default_rng([run.step, k]) for k in (0, 1))
    weights = {**WEIGHTS, "ccpl": args.ccpl_weight}
    train(run, losses, photos, styles, weights, 0 if args.no_ccpl else args.centres)
    state = {k: v.contiguous() for k, v in run.averaged("network").state_dict().items()}
    about = {k: str(getattr(args, k)) for k in ("network", "variant", "links")}
    save_file(state, run.folder / "network.safetensors", about)


if __name__ == "__main__":
    main()
