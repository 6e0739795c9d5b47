"""What each part of the paper's guidance does on the built-in model: sheets and figures.

    python benchmarks/guidance.py CLIP... [--styles STYLE ...] [--sweeps NAME ...]
        [--json FILE] [--sheets FOLDER]

One frame a clip, by one step and by the preset `paper`. Around the model's own values of the preset
each scale is moved alone, then the number of steps; the four evaluations are drawn alone. --sweeps
takes some of these (s_T, s_I, s_M, steps, alone) or none. A sheet a clip and style shows them; the
figures, and their means over clips and styles:

- gap: Gram distance (our encoder) to the training filter's own result on that frame, the plain
  frame's being 1;
- structure: correlation of the gradients with the frame's; detail: of what is finer than 4 px,
  where the attention map is 1;
- blotches: low-frequency variance in the frame's flat places.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from quality import gradient_correlation
from style_a_video.pipelines.core.attention import attention_mask
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.engines.diffusion.settings import Settings
from style_a_video.pipelines.media import fit, probe, read_frames
from style_a_video.pipelines.report.sheet import contact_sheet
from style_a_video.training.captions import NAMES
from style_a_video.training.data import STYLES as FILTERS
from style_a_video.training.mesh import fine
from style_a_video.weights import styles as listed
from style_a_video.weights.loading import load
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor

TEXT_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
FRAME_SCALES = (0.0, 0.5, 1.0, 2.0, 3.0)
ATTENTION_SCALES = (0.0, 0.5, 1.0, 2.0)
STEPS = (1, 4, 10, 30)
STYLES = ("pencil sketch", "oil painting", "Van Gogh")
ALONE = {
    "text": {"frame_scale": 0.0, "attention_scale": 0.0, "text_scale": 1.0},
    "frame": {"frame_scale": 1.0, "attention_scale": 0.0, "text_scale": 0.0},
    "attention": {"frame_scale": 0.0, "attention_scale": 1.0, "text_scale": 0.0},
    "null": {"frame_scale": 0.0, "attention_scale": 0.0, "text_scale": 0.0},
}
SWEEPS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "s_T": [(f"{k:g}", {"text_scale": k}) for k in TEXT_SCALES],
    "s_I": [(f"{k:g}", {"frame_scale": k}) for k in FRAME_SCALES],
    "s_M": [(f"{k:g}", {"attention_scale": k}) for k in ATTENTION_SCALES],
    "steps": [(f"{n}", {"num_inference_steps": n}) for n in STEPS],
    "alone": [(name, dict(given, start_level=1.0)) for name, given in ALONE.items()],
}
"""Rows of the sheet: what is moved, and the settings by the words for them."""


def targets(frame: Tensor) -> dict[str, Tensor]:
    """What the filters that the model learned from make of a frame (1,3,H,W), by English name."""
    pixels = (frame[0].permute(1, 2, 0) * 255).round().byte().numpy()
    drawn = {NAMES[key][0][0]: FILTERS[key](pixels) for key in FILTERS}
    return {k: torch.from_numpy(x).permute(2, 0, 1)[None] / 255 for k, x in drawn.items()}


def detail(result: Tensor, frame: Tensor, mask: Tensor) -> float:
    """Correlation of the tones finer than 4 px where the mask is 1, of (1,3,H,W) and (1,1,H,W)."""
    inside = torch.stack([fine(x)[mask > 0] for x in (result, frame)])
    return float(inside.corrcoef()[0, 1])


def blotches(result: Tensor, frame: Tensor) -> float:
    """Variance of the colours of 16 px squares where those of the frame hardly differ."""
    low, flat = (F.avg_pool2d(x, 16) for x in (result, frame))

    def roughness(x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return (x - F.avg_pool2d(padded, 3, 1)).square().mean(1)

    around = roughness(flat)
    return float(roughness(low)[around <= around.median()].mean())


class Case:
    """One frame in one style, and how results of it measure."""

    def __init__(self, frame: Tensor, wanted: Tensor, mask: Tensor, encoder: Any) -> None:
        self.frame, self.mask, self.encoder = frame, mask, encoder
        self.wanted, self.plain = encoder(wanted), encoder(frame)

    def figures(self, result: Tensor) -> dict[str, float]:
        found = self.encoder(result)
        gap = style_distance(found, self.wanted) / style_distance(self.plain, self.wanted)
        return {
            "gap": round(float(gap), 3),
            "structure": round(gradient_correlation(result[0], self.frame[0]), 3),
            "detail": round(detail(result, self.frame, self.mask), 3),
            "blotches": blotches(result, self.frame),
        }


def row_of(
    pipeline: StyleAVideoPipeline, case: Case, style: str, row: Sequence[tuple[str, Mapping]]
) -> tuple[list[Tensor], dict[str, dict[str, float]]]:
    pictures, figures = [], {}
    for words, given in row:
        result = pipeline(case.frame, style, preset="paper", **given).frames
        pictures.append(result[0])
        figures[words] = case.figures(result)
    return pictures, figures


def means(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of every figure of "one step", "paper" and "s_T 0.5" over clips and styles."""
    flat: dict[str, list[Mapping[str, float]]] = {}
    for found in results:
        for name, figures in found.items():
            if name in ("one step", "paper"):
                flat.setdefault(name, []).append(figures)
            elif name in SWEEPS:
                for words, one in figures.items():
                    flat.setdefault(f"{name} {words}", []).append(one)
    return {
        name: {key: float(f"{mean(one[key] for one in rows):.3g}") for key in rows[0]}
        for name, rows in flat.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--at", type=float, default=1.0, help="of the frame, in seconds")
    parser.add_argument("--styles", nargs="+", default=STYLES)
    parser.add_argument("--sweeps", nargs="*", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--max-side", type=int, default=256)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheets", type=Path, help="a folder for the sheets")
    args = parser.parse_args()
    if unknown := set(args.styles) - {s.name for s in listed.styles()}:
        parser.error(f"no style of the built-in model: {', '.join(sorted(unknown))}")
    torch.set_grad_enabled(False)
    pipeline, encoder = load(args.model), load_encoder()
    pipeline.set_progress_bar_config(disable=True)
    own = Settings.resolve(pipeline.config.defaults, preset="paper")
    print(f"{hardware(torch.device('cpu'))}; paper: {own}")
    results = []
    for clip in args.clips:
        info = probe(clip)
        size = [s // 16 * 16 for s in fit(info.width, info.height, args.max_side)]
        frame = next(iter(read_frames(info, start=args.at, size=tuple(size)))).image[None]
        filtered = targets(frame)
        mask = attention_mask(pipeline.attention_maps(frame))
        for style in args.styles:
            case = Case(frame, filtered[style], mask, encoder)
            fast, paper = (pipeline(frame, style, preset=p).frames for p in (None, "paper"))
            first = [frame, fast, paper, filtered[style], mask.expand(-1, 3, -1, -1)]
            rows = [("source, one step, paper, filter, M", [x[0] for x in first])]
            found: dict[str, Any] = {"clip": clip.stem, "style": style}
            found |= {"one step": case.figures(fast), "paper": case.figures(paper)}
            for name in args.sweeps:
                row = SWEEPS[name]
                pictures, found[name] = row_of(pipeline, case, style, row)
                words = ", ".join(w for w, _ in row)
                rows.append((f"{name}: {words}", pictures))
            print(json.dumps(found), flush=True)
            results.append(found)
            if args.sheets:
                args.sheets.mkdir(parents=True, exist_ok=True)
                name = f"{clip.stem}_{style.replace(' ', '_')}.jpg"
                contact_sheet(rows, 256).save(args.sheets / name, quality=90)
    for name, figures in means(results).items():
        print(name, figures)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
