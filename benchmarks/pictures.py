"""How near does each engine come to a picture's style, what is left of the frame, and how fast?

    python benchmarks/pictures.py --data DIR [--frames 12] [--max-side 512] [--engines NAME ...]
        [--pictures NAME ...] [--clips NAME ...] [--microast FOLDER] [--network NAME=FILE ...]
        [--json FILE] [--picture FILE]
    python benchmarks/pictures.py --data DIR --speed [--json FILE]

DIR holds clips/*.mp4 and paintings/*.jpg, of which no training saw these; stylebank learned its
paintings, and has most of them (weights.stylebank.BASE). An engine with one of its options is
NAME:OPTION=VALUE, such as sctnet:mode=art. `--network` adds a row: what
training.train_sctnet left, each frame by itself. MicroAST is training/microast.py.
`--speed` measures the engines at 512x288, without the refiner and with it, beside the diffusion
engine in one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import gradient_correlation
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.device import hardware, pick_dtype
from style_a_video.pipelines.engines.kinds import LEARNED, PICTURES, Loaded
from style_a_video.pipelines.engines.options import kind_of
from style_a_video.pipelines.engines.registry import KINDS, kind_named
from style_a_video.pipelines.engines.style import (
    Style,
    StylePicture,
    read_learned_style,
    read_style_picture,
)
from style_a_video.pipelines.engines.transfer import GRID, at_size
from style_a_video.pipelines.media import Frame, Part, fit, probe
from style_a_video.pipelines.refine.frames import InOrder, Refining, refine_frames
from style_a_video.pipelines.report import sheet
from style_a_video.pipelines.report.measures import measure
from style_a_video.pipelines.run.stylize import stylize_video
from style_a_video.training import microast, train_sctnet
from style_a_video.weights.perceptual_encoder import load_encoder
from style_a_video.weights.stylebank import BASE
from torch import Tensor
from torch.nn.functional import normalize, pad, unfold

CLIPS = (
    "face_woman_pexels",
    "flower_timelapse_mdn",
    "driving_curve_udacity",
    "chaplin_bw_moviepy",
    "tos_actors_c",
    "asl_again_intel",
)
PAINTINGS = (
    "starry_night_vangogh_1889",
    "scream_munch_1893",
    "wave_hokusai_1831",
    "composition_vii_kandinsky_1913",
    "udnie_picabia_1913",
    "woman_hat_matisse_1905",
    "mondrian",
    "water_lilies_monet_1919",
)
LEARNED_AS = {Path(style.source).stem: style.name for style in BASE}
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
PATCH = 32  # px
CPU = torch.device("cpu")


Stylize = Callable[[list[Tensor]], list[Tensor]]
"""Frames (3,H,W) of a clip → frames."""


def load(name: str) -> Loaded:
    """NAME or NAME:OPTION=VALUE."""
    name, _, option = name.partition(":")
    key, _, value = option.partition("=")
    kind = kind_named(name)
    types = {one.name: kind_of(kind.options, one) for one in fields(kind.options)}
    options = kind.options(**({key: types[key](value)} if key else {}))
    return kind.load(options, CPU, pick_dtype("auto", CPU))


def style_of(name: str, picture: StylePicture) -> Style:
    """A painting as an engine takes it: the picture, what was learned of it, or a word."""
    takes = kind_named(name.partition(":")[0]).takes
    if LEARNED in takes:
        if Path(picture.name).stem not in LEARNED_AS:
            raise SystemExit(f"{name} has not learned {picture.name}: leave it out of --pictures.")
        return Style(learned=(read_learned_style(LEARNED_AS[Path(picture.name).stem]),))
    return Style(pictures=(picture,)) if PICTURES in takes else Style("watercolour")


def by_engine(name: str) -> Callable[[StylePicture], Stylize]:
    loaded = load(name)

    def of(picture: StylePicture) -> Stylize:
        engine = InOrder(loaded.engine(style_of(name, picture)), None)
        return lambda frames: [engine(f[None], [i])[0].float() for i, f in enumerate(frames)]

    return of


def by_microast(folder: Path) -> Callable[[StylePicture], Stylize]:
    network = microast.load(folder)

    def of(picture: StylePicture) -> Stylize:
        stylize = network(at_size(picture.image[None], 512))
        return lambda frames: [stylize(f[None])[0] for f in frames]

    return of


def by_network(file: Path) -> Callable[[StylePicture], Stylize]:
    network, encoder = train_sctnet.read(file), load_encoder()

    def of(picture: StylePicture) -> Stylize:
        style = encoder(at_size(picture.image[None], 512), network.layers)

        @torch.no_grad()
        def one(frame: Tensor) -> Tensor:
            height, width = frame.shape[1:]
            border = (0, -width % GRID, 0, -height % GRID)
            seen = encoder(pad(frame[None], border, mode="replicate"), network.layers)
            return network(seen, style)[0, :, :height, :width].clamp(0, 1)

        return lambda frames: [one(frame) for frame in frames]

    return of


def contenders(args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    found = {name: partial(by_engine, name) for name in args.engines}
    if args.microast:
        found["MicroAST"] = partial(by_microast, args.microast)
    for given in args.network:
        name, _, file = given.partition("=")
        found[name] = partial(by_network, Path(file))
    return found


def as_clip(frames: list[Tensor]) -> list[Frame]:
    return [Frame(image, Fraction(i, 25), Fraction(1, 25)) for i, image in enumerate(frames)]


def as_patches(features: dict[str, Tensor], step: int) -> Tensor:
    """(1,C,h,w) by layer → (N,D), a row a patch, one each `step` px.

    The squared distance of two rows is the mean over the layers of what LPIPS sums of each: squared
    differences of unit features, averaged over the positions; without its weights of the channels.
    """
    rows = []
    for layer, x in features.items():
        side = PATCH >> LAYERS.index(layer)
        patches = unfold(normalize(x, dim=1), side, stride=step * side // PATCH)[0].t()
        rows.append(patches / (side * len(features) ** 0.5))
    return torch.cat(rows, 1)


class Judge:
    """Distances to a picture, each as a share of the source frame's own: of Gram matrices, and of
    each patch to the picture's nearest.
    """

    def __init__(self) -> None:
        self.encoder = load_encoder()

    def features(self, image: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.encoder(image[None].float(), LAYERS)

    def share(self, result: Tensor, source: Tensor, picture: Tensor) -> float:
        wanted = self.features(at_size(picture[None], 512)[0])
        found, floor = (style_distance(self.features(x), wanted) for x in (result, source))
        return float(found / floor)

    def patches_share(self, result: Tensor, source: Tensor, picture: Tensor) -> float:
        wanted = as_patches(self.features(at_size(picture[None], 512)[0]), PATCH // 2)
        both = (as_patches(self.features(x), PATCH) for x in (result, source))
        found, floor = (torch.cdist(x, wanted).square().amin(1).mean() for x in both)
        return float(found / floor)


def row(judge: Judge, source: list[Tensor], plain: list[Tensor], picture: Tensor) -> dict:
    refined = list(refine_frames(zip(source, plain, strict=True), Refining()))
    names = ["source", "plain", "refined"]
    clips = [as_clip(frames) for frames in (source, plain, refined)]
    floor, unrefined, calm = measure(clips[0], clips[1:], names).clips
    last = -1
    return {
        "gram": judge.share(refined[last], source[last], picture),
        "gram_unrefined": judge.share(plain[last], source[last], picture),
        "patches_unrefined": judge.patches_share(plain[last], source[last], picture),
        "gradient_correlation": gradient_correlation(plain[last], source[last]),
        **{f"{k}_unrefined": unrefined.means[k] for k in ("temporal_1", "temporal_10")},
        **{k: calm.means[k] for k in ("temporal_1", "temporal_10")},
        "strength_unrefined": unrefined.means["strength"],
        "warping": calm.means["warping"] / floor.means["warping"],
        "warping_unrefined": unrefined.means["warping"] / floor.means["warping"],
        "strength_kept": calm.means["strength"] / unrefined.means["strength"],
        "sharpness_kept": calm.means["sharpness"] / unrefined.means["sharpness"],
    }


def mean(values: list[float | None]) -> float:
    """Of those there are: a shot shorter than eleven frames has no temporal loss over ten."""
    return float(np.mean([v for v in values if v is not None] or [np.nan]))


def quality(args: argparse.Namespace) -> dict:
    judge, found, shown = Judge(), {}, []
    pictures = {n: read_style_picture(args.data / f"paintings/{n}.jpg") for n in args.pictures}
    for engine, picture in product(args.engines, pictures.values()):
        style_of(engine, picture)  # before anything is drawn
    for engine, loading in contenders(args).items():
        stylizer_of, rows = loading(), {}
        for clip in args.clips:
            info = probe(args.data / f"clips/{clip}.mp4")
            size = fit(info.width, info.height, args.max_side)
            source = [f.image for f in Part.of(frames=args.frames).read(info, size)]
            began, results = time.perf_counter(), []
            for name, picture in pictures.items():
                plain = stylizer_of(picture)(source)
                rows[f"{clip}, {name}"] = row(judge, source, plain, picture.image)
                results.append(plain[-1])
            shown.append((engine, [source[-1], *results]))
            seconds = time.perf_counter() - began
            print(f"{engine}, {clip}: {seconds:.0f} s", file=sys.stderr, flush=True)
        means = {k: mean([r[k] for r in rows.values()]) for k in next(iter(rows.values()))}
        found[engine] = {"mean": means, "rows": rows}
        print(engine, json.dumps({k: round(v, 3) for k, v in means.items()}), flush=True)
    if args.picture:
        sheet.save(sheet.contact_sheet(shown, 320), args.picture)
    return found


def speed(args: argparse.Namespace) -> dict:
    """Frames/s of a whole run, file to file, at 512x288, the shots' pass and encoding included."""
    info = probe(args.data / "clips/tos_actors_c.mp4")
    picture = read_style_picture(args.data / f"paintings/{PAINTINGS[0]}.jpg")
    found: dict[str, dict[str, float]] = {}
    for name in ("diffusion", *args.engines):
        loaded = load(name)
        style = style_of(name, picture)
        found[name] = {}
        for key, refining in {"unrefined": None, "refined": Refining()}.items():
            with tempfile.TemporaryDirectory() as folder:
                report = stylize_video(
                    info,
                    Path(folder) / "out.mp4",
                    loaded.engine(style),
                    part=Part.of(frames=args.frames),
                    size=(512, 288),
                    refining=refining,
                    chunk_size=4,
                )
            found[name][f"frames_per_second_{key}"] = report.frames_per_second
        found[name]["engine_seconds_a_frame"] = report.engine_seconds / report.frames
        print(name, json.dumps(found[name]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    engines = [kind.name for kind in KINDS if kind.takes == {PICTURES}]
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--max-side", type=int, default=512)
    parser.add_argument("--engines", nargs="*", default=engines)
    parser.add_argument("--microast", type=Path, metavar="FOLDER")
    parser.add_argument("--network", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--clips", nargs="*", default=CLIPS)
    parser.add_argument("--pictures", nargs="*", default=PAINTINGS)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="contact sheet of all results")
    args = parser.parse_args()
    found = speed(args) if args.speed else quality(args)
    if args.json:
        size = {"size": [512, 288]} if args.speed else {"max_side": args.max_side}
        report = {"frames": args.frames, **size, "hardware": hardware(CPU)}
        args.json.write_text(json.dumps(report | {"engines": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
