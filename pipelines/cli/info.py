"""style-a-video info: engines, models, styles, device and precision."""

from __future__ import annotations

import argparse
from dataclasses import fields
from importlib import import_module
from typing import Any

from ..engines.registry import KINDS
from . import doctor, options


def add(commands: Any) -> None:
    to = commands.add_parser("info", help="engines, models, styles, device and precision")
    options.devices(to)
    to.add_argument(
        "--check",
        action="store_true",
        help="look for problems instead: versions, speed, codecs, room, every engine; for an issue",
    )


def run(args: argparse.Namespace) -> None:
    if args.check:
        for line in doctor.check(args.device):
            print(line, flush=True)
        doctor.leave()
        return
    import torch

    from ...weights import styles
    from ...weights.registry import MODELS
    from ...weights.stylebank import SHIPPED, own_styles, style_names
    from ..device import hardware, pick_device, pick_dtype

    version = import_module("...", __package__).__version__
    device = pick_device(args.device)
    dtype = str(pick_dtype(args.dtype, device)).removeprefix("torch.")
    print(f"style-a-video {version}, torch {torch.__version__}")
    print(f"device: {device} ({hardware(device)}), {dtype}")
    print("\nengines (--engine):")
    for kind in KINDS:
        print(f"  {kind.name}  ({' or '.join(sorted(kind.takes)) or 'nothing'})")
        print(f"      {kind.what}\n      speed: {kind.speed}\n      licence: {kind.licence}")
    built_in = ("model", MODELS[0].name)
    listed = {k.name: [(f.name, f.default) for f in fields(k.options)] for k in KINDS}
    names = [name for name, defaults in listed.items() if built_in in defaults]
    print(f"\nmodels of the engine {' and '.join(names)} (--model):")
    for model in MODELS:
        there = model.name != "embedded" or (styles.EMBEDDED / "model_index.json").is_file()
        print(f"  {model.name}{'' if there else '  [not in this installation]'}")
        print(f"      {model.what}\n      licence: {model.licence}\n      {model.how}")
    print("\nlearned styles (--style; your own by style-a-video learn):")
    print(f"  {', '.join(style_names((own_styles(), SHIPPED)))}")
    if styles.are_listed():
        print("\nstyles of the built-in model (in your own words, in English or Chinese):")
        for style in styles.styles():
            print(f"  {style.name}  {style.chinese}  ({style.kind})")
        print("\nartists, media and movements that it knows from pictures of them:")
        print(f"  {', '.join(f'{word.name} {word.chinese}' for word in styles.words())}")
