"""What keyframes save and what they cost: clips stylized at every frame, and at one frame in N.

    python benchmarks/keyframes.py --clips DIR [--names NAME ...] [--frames 24] [--max-side 256]
        [--every 8 16] [--prompt "an oil painting" | --style NAME] [--json FILE] [--sheets DIR]
    python benchmarks/keyframes.py --reckon FILE.json --engine-seconds S

Each way with the refiner and without. Seconds are the processor's, so that what else runs on the
machine does not count. --reckon puts the cost of another engine's frame in the place of this one's
in what was measured before, such as that of `benchmarks/speed.py --size sd15`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from style_a_video.pipelines.core import measures
from style_a_video.pipelines.core.flow import visible_before
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.core.perceptual import PerceptualEncoder
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.engines.registry import default_for
from style_a_video.pipelines.engines.style import Style, read_learned
from style_a_video.pipelines.flow import both_ways
from style_a_video.pipelines.media import fit, probe, read_frames
from style_a_video.pipelines.refine.frames import Refining, refine_frames
from style_a_video.pipelines.refine.keyframes import Keyframes, keyframed
from style_a_video.pipelines.report import sheet
from style_a_video.pipelines.run.shots import segment_length
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
MOST = 5  # clips that are measured where no names are given
SHOWN = 6  # frames on a sheet

Clip = list[Tensor]


def faster(frames: int, keyframes: int, engine: float, carrying: float) -> float:
    """Times that keyframes are faster: seconds of the engine for one, and to carry one frame."""
    return frames * engine / (keyframes * engine + frames * carrying)


def reckoned(report: dict, engine: float) -> dict[str, float]:
    """The same over all clips of a report, for an engine of so many seconds a frame."""
    found = {}
    for name in report["summary"]:
        rows = [clip[name] for clip in report["clips"].values()]
        if name != "every frame":
            frames, keys = report["frames"] * len(rows), sum(row["keyframes"] for row in rows)
            carrying = float(np.mean([row["carrying_seconds_per_frame"] for row in rows]))
            found[name] = round(faster(frames, keys, engine, carrying), 2)
    return found


def every_frame(engine, source: Clip) -> tuple[Clip, float]:
    """The frames one by one, and the engine's seconds for one of them."""
    began = time.process_time()
    made = [engine(x[None], [i])[0].float().cpu() for i, x in enumerate(source)]
    return made, (time.process_time() - began) / len(source)


def by_keyframes(every: Clip, source: Clip, settings: Keyframes) -> tuple[Clip, list[int], float]:
    """What a run makes, the keyframes out of `every`; which they are; seconds for all the rest."""
    length = segment_length(source[0].shape[-1], source[0].shape[-2], settings)
    made, keys, then = [], [], None
    began = time.process_time()
    for start in range(0, len(source), length):
        some = source[start : start + length]

        def paint(positions: Sequence[int], carried, start=start):
            keys.extend(start + p for p in positions)
            return torch.stack([every[start + p] for p in positions]), carried

        indices = range(start, start + len(some))
        stylized, then = keyframed(torch.stack(some), indices, paint, then, settings)
        made += list(stylized)
    return made, keys, time.process_time() - began


class Judge:
    """Measures of a stylized clip beside its source and beside the engine's own frames."""

    def __init__(self, source: Clip, every: Clip, encoder: PerceptualEncoder) -> None:
        self.source, self.every, self.encoder = source, every, encoder
        flows = [both_ways(b, a) for a, b in zip(source, source[1:], strict=False)]
        self.flows = [(flow, visible_before(flow, back)) for flow, back in flows]

    def warping(self, clip: Clip) -> float:
        """E_warp, mean over the pairs."""
        pairs = zip(clip[1:], clip, self.flows, strict=False)
        errors = [measures.warping_error(b[None], a[None], *flow) for b, a, flow in pairs]
        return float(torch.cat(errors).nanmean())

    def of(self, clip: Clip, keys: Sequence[int] = ()) -> dict[str, float]:
        """psnr, style, sharpness and likeness over the frames that are no keyframes."""
        between = [i for i in range(len(clip)) if i not in keys]
        made, own, x = (
            torch.stack([c[i] for i in between]) for c in (clip, self.every, self.source)
        )
        with torch.no_grad():
            some = slice(None, None, 4)
            features = [self.encoder(y[some], LAYERS) for y in (made, own)]
        error = (made - own).square().mean((1, 2, 3)).clamp(min=1e-10)
        return {
            "warping": self.warping(clip),
            "psnr": float((-10 * error.log10()).mean()),
            "style": float(style_distance(*features).mean()),
            "sharpness": float(measures.sharpness(made).mean() / measures.sharpness(own).mean()),
            "likeness": float(measures.likeness(made, x).nanmean()),
            "likeness_every": float(measures.likeness(own, x).nanmean()),
        }


def rows_of(engine, source: Clip, all_settings: dict[str, Keyframes], encoder, sheet_file) -> dict:
    every, seconds = every_frame(engine, source)
    judge = Judge(source, every, encoder)
    calm = list(refine_frames(zip(source, every, strict=True), Refining()))
    found = {
        "every frame": {
            "keyframes": len(source),
            "engine_seconds_per_frame": seconds,
            "warping": judge.warping(every),
            "warping_refined": judge.warping(calm),
        }
    }
    shown = [("source", source), ("every frame", every)]
    for name, settings in all_settings.items():
        made, keys, carrying = by_keyframes(every, source, settings)
        refined = list(refine_frames(zip(source, made, strict=True), Refining()))
        found[name] = {
            "keyframes": len(keys),
            "at": keys,
            "fewer": len(source) / len(keys),
            "carrying_seconds_per_frame": carrying / len(source),
            "faster": faster(len(source), len(keys), seconds, carrying / len(source)),
            **judge.of(made, keys),
            "warping_refined": judge.warping(refined),
        }
        shown += [(name, made), (f"{name}, refined", refined)]
    if sheet_file:
        at = np.linspace(2, len(source) - 5, SHOWN).round().astype(int)
        rows = [(name, [clip[i].clamp(0, 1) for i in at]) for name, clip in shown]
        sheet.save(sheet.contact_sheet(rows, source[0].shape[-1]), sheet_file)
    return found


def summary(found: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Means over the clips; E_warp as a share of every frame's."""
    table: dict[str, dict[str, float]] = {}
    for name in next(iter(found.values())):
        rows = [clip[name] for clip in found.values()]
        table[name] = {k: float(np.mean([r[k] for r in rows])) for k in rows[0] if k != "at"}
        for key in ("warping", "warping_refined"):
            shares = [clip[name][key] / clip["every frame"][key] for clip in found.values()]
            table[name][f"{key}_share"] = float(np.mean(shares))
    return table


def as_text(table: dict[str, dict[str, float]]) -> str:
    lines = [
        "| | keyframes | E_warp x1000 | of every frame's | refined | PSNR | style | sharpness "
        "| faster |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, m in table.items():
        rest = [f"{m[k]:.3f}" if k in m else "" for k in ("psnr", "style", "sharpness", "faster")]
        lines.append(
            f"| {name} | {m['keyframes']:.1f} | {1000 * m['warping']:.2f} "
            f"| {m['warping_share']:.2f} | {m['warping_refined_share']:.2f} | {' | '.join(rest)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, metavar="DIR", help="of .mp4 files")
    parser.add_argument("--names", nargs="*", help="of clips, without suffix; the first five")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--max-side", type=int, default=256)
    parser.add_argument("--every", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--prompt", default="an oil painting")
    parser.add_argument("--style", help="a learned style, in the place of the prompt")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheets", type=Path, metavar="DIR")
    parser.add_argument("--reckon", type=Path, metavar="FILE", help="a report of --json")
    parser.add_argument(
        "--engine-seconds", type=float, metavar="S", help="of a frame, for --reckon"
    )
    args = parser.parse_args()
    if args.reckon and args.engine_seconds:
        print(json.dumps(reckoned(json.loads(args.reckon.read_text()), args.engine_seconds)))
        return
    if not args.clips:
        parser.error("give --clips, or --reckon with --engine-seconds")
    learned = read_learned([(Path(args.style), 1.0)], []) if args.style else ()
    style = Style("" if learned else args.prompt, learned=learned)
    kind = default_for(style)
    cpu = torch.device("cpu")
    engine = kind.load(kind.options(), cpu, torch.float32).engine(style)
    encoder, found = load_encoder(), {}
    names = args.names or sorted(p.stem for p in args.clips.glob("*.mp4"))[:MOST]
    for name in names:
        info = probe(args.clips / f"{name}.mp4")
        size = fit(info.width, info.height, args.max_side)
        source = [f.image for f in read_frames(info, max_frames=args.frames, size=size)]
        settings = {f"1 in {n}": Keyframes(n) for n in args.every}
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
        file = args.sheets / f"{name}.jpg" if args.sheets else None
        found[name] = rows_of(engine, source, settings, encoder, file)
        print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    table = summary(found)
    print(as_text(table))
    if args.json:
        report = {
            "summary": table,
            "clips": found,
            "engine": kind.name,
            "style": args.style or args.prompt,
            "frames": args.frames,
            "max_side": args.max_side,
            "hardware": hardware(cpu),
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
