"""How much do stylized clips flicker, and what helps? Real clips in four styles, all measures.

    python benchmarks/consistency.py --data DIR [--frames 40] [--max-side 320] [--clips NAME ...]
        [--model M] [--work DIR] [--flow dis|raft] [--json FILE] [--picture FILE]

Rows: the unedited source (the floor), each frame by itself, that through the refiners, and through
what people reach for otherwise (ffmpeg's deflicker, tmix and atadenoise). Of the last frame: how
well its gradients follow the source's, and the Gram distance to what the filter that the model
learned the style from makes of it, the source's own being 1. DIR holds clips/*.mp4, which no
training saw. Stylized frames are kept in --work, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from quality import gradient_correlation
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.device import hardware
from style_a_video.pipelines.flow import FLOWS
from style_a_video.pipelines.media import Frame, probe, read_frames
from style_a_video.pipelines.refine.frames import Refining, refine_frames
from style_a_video.pipelines.report import sheet
from style_a_video.pipelines.report.measures import measure
from style_a_video.pipelines.run.stylize import fit
from style_a_video.training.captions import NAMES
from style_a_video.training.data import STYLES as FILTERS
from style_a_video.weights.fingerprint import fingerprint
from style_a_video.weights.loading import load
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor
from torch.nn import functional as F

STYLES = ("watercolour", "oil painting", "comic", "pencil sketch")
FLOOR, PLAIN = "source", "per frame"
MEASURES = ("warping", "pair", "temporal_1", "temporal_10", "agreement", "strength", "sharpness")
LOOKS = ("gradient_correlation", "gram")

Row = Callable[[list[Tensor], list[Tensor]], Iterable[Tensor]]


def refined(method: str) -> Row:
    def row(source: list[Tensor], stylized: list[Tensor]) -> Iterable[Tensor]:
        return refine_frames(zip(source, stylized, strict=True), Refining(method=method))

    return row


def ffmpeg(name: str, arguments: str, late: int = 0) -> Row:
    """A filter of PyAV's ffmpeg; `late`: how many frames behind its input the middle of its window
    lies, which are left out, and its last picture repeated.
    """

    def filtered(source: list[Tensor], stylized: list[Tensor]) -> Iterator[Tensor]:
        h, w = stylized[0].shape[-2:]
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(width=w, height=h, format="rgb24", time_base=Fraction(1, 25)),
            graph.add(name, arguments),
            graph.add("format", "pix_fmts=rgb24"),
            graph.add("buffersink"),
        ).configure()
        for i, frame in enumerate([*stylized, None]):
            if frame is None:
                graph.push(None)
            else:
                picture = av.VideoFrame.from_ndarray(to_bytes(frame), format="rgb24")
                picture.pts, picture.time_base = i, Fraction(1, 25)
                graph.push(picture)
            while True:
                try:
                    out = graph.pull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
                yield torch.from_numpy(out.to_ndarray()).permute(2, 0, 1) / 255

    def row(source: list[Tensor], stylized: list[Tensor]) -> list[Tensor]:
        frames = list(filtered(source, stylized))
        return frames[late:] + late * frames[-1:]

    return row


ROWS: dict[str, Row] = {
    FLOOR: lambda source, stylized: source,
    PLAIN: lambda source, stylized: stylized,
    "+ blend (no training)": refined("blend"),
    "+ learned refiner": refined("learned"),
    "ffmpeg deflicker": ffmpeg("deflicker", "size=5"),
    "ffmpeg tmix": ffmpeg("tmix", "frames=3", late=1),
    "ffmpeg atadenoise": ffmpeg("atadenoise", ""),
}


def as_bytes(frame: Tensor) -> Tensor:
    """As a file of 8 bits holds it, in [0,1]: the stylized frames come from one."""
    return (frame.clamp(0, 1) * 255).round() / 255


def to_bytes(frame: Tensor) -> np.ndarray:
    return np.ascontiguousarray((frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def stylized(pipeline, frames: list[Tensor], prompt: str, file: Path) -> list[Tensor]:
    """The frames one by one through the model, as 8-bit pictures like those of a video file."""
    if not file.exists():
        results = [
            to_bytes(pipeline(frame[None], prompt, frame_indices=[i]).frames[0].float())
            for i, frame in enumerate(frames)
        ]
        partial = file.with_suffix(".partial")
        with open(partial, "wb") as out:
            np.save(out, np.stack(results))
        partial.rename(file)
    return list(torch.from_numpy(np.load(file)).permute(0, 3, 1, 2) / 255)


def as_clip(frames: Iterable[Tensor]) -> Iterator[Frame]:
    for i, image in enumerate(frames):
        yield Frame(image, Fraction(i, 25), Fraction(1, 25))


def picture(source: list[Tensor], plain: list[Tensor]) -> Image.Image:
    """Of every row a frame, and its middle line over time: flicker shimmers there."""
    rows = []
    for name, row in ROWS.items():
        frames = torch.stack([as_bytes(frame) for frame in row(source, plain)])
        middle = frames[:, :, frames.shape[2] // 2].movedim(0, 1)
        rows.append((name, [frames[-1], F.interpolate(middle[None], frames.shape[2:])[0]]))
    return sheet.contact_sheet(rows)


def by_filter(frame: Tensor, prompt: str) -> Tensor:
    """What the filter that the model learned a style from makes of (3,H,W)."""
    key = next(key for key, (english, _) in NAMES.items() if prompt in english)
    return torch.from_numpy(FILTERS[key](to_bytes(frame))).permute(2, 0, 1) / 255


@torch.no_grad()
def looks(results: dict[str, Tensor], wanted: Tensor) -> dict[str, dict[str, float]]:
    """Of a frame (3,H,W) of each row."""
    encoder = load_encoder()
    goal, source = encoder(wanted[None]), results[FLOOR]
    gaps = {name: float(style_distance(encoder(x[None]), goal)) for name, x in results.items()}
    return {
        name: {
            "gradient_correlation": gradient_correlation(x, source),
            "gram": gaps[name] / gaps[FLOOR],
        }
        for name, x in results.items()
    }


def rows_of(
    source: list[Tensor], plain: list[Tensor], flow: str, prompt: str
) -> dict[str, dict[str, float]]:
    """Means by row and measure, and seconds a frame of what comes after the stylization."""
    clips, seconds = {}, {}
    for name, row in ROWS.items():
        began = time.perf_counter()
        frames = list(row(source, plain))
        seconds[name] = (time.perf_counter() - began) / len(source)
        clips[name] = [as_bytes(frame) for frame in frames]
    names = list(clips)
    results = [as_clip(frames) for frames in clips.values()]
    measured = measure(results[0], results[1:], names, flow=FLOWS[flow])
    seen = looks({k: frames[-1] for k, frames in clips.items()}, by_filter(source[-1], prompt))
    return {
        one.name: {
            **{k: one.means[k] for k in MEASURES},
            **seen[one.name],
            "seconds": seconds[one.name],
        }
        for one in measured.clips
    }


def summary(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over clips and styles; strength and sharpness as shares of the per-frame result's.

    `less_over_10`: by how much the loss over ten frames is less than per frame's, as the mean of
    the clips' own shares; `less_over_10_of_means`, from mean to mean.
    """
    table = {}
    for row in ROWS:
        means = {
            k: float(np.mean([f[row][k] for f in found])) for k in (*MEASURES, *LOOKS, "seconds")
        }
        for k in ("strength", "sharpness"):
            means[k] = float(np.mean([f[row][k] / f[PLAIN][k] for f in found]))
        means["ratio"] = means["warping"] / float(np.mean([f[FLOOR]["warping"] for f in found]))
        ten = [(f[row]["temporal_10"], f[PLAIN]["temporal_10"]) for f in found]
        means["less_over_10"] = 1 - float(np.mean([loss / plain for loss, plain in ten]))
        means["less_over_10_of_means"] = 1 - sum(t[0] for t in ten) / sum(t[1] for t in ten)
        table[row] = means
    return table


def as_text(table: dict[str, dict[str, float]]) -> str:
    lines = [
        "| | E_warp x1000 | of the source's | E_warp (DVP) | temporal loss, 1 frame | 10 frames "
        "| agreement | less, a clip | less, of means | strength | sharpness | gradient correlation "
        "| Gram | ms a frame |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row, m in table.items():
        lines.append(
            f"| {row} | {1000 * m['warping']:.2f} | {m['ratio']:.2f} | {m['pair']:.4f} "
            f"| {m['temporal_1']:.4f} | {m['temporal_10']:.4f} | {m['agreement']:.2f} "
            f"| {m['less_over_10']:.0%} | {m['less_over_10_of_means']:.0%} | {m['strength']:.2f} "
            f"| {m['sharpness']:.2f} | {m['gradient_correlation']:.2f} | {m['gram']:.2f} "
            f"| {1000 * m['seconds']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--max-side", type=int, default=320)
    parser.add_argument("--clips", nargs="*", help="names without suffix; all where left out")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--flow", choices=FLOWS, default="dis", help="of the measures")
    parser.add_argument("--work", type=Path, default=Path(".cache/consistency"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="of the first clip in its first style")
    args = parser.parse_args()
    if args.frames <= 10:
        parser.error("the loss over ten frames needs at least --frames 11")
    pipeline = load(args.model)
    # Other weights or settings, other frames.
    said = json.dumps([pipeline.config.defaults, dict(pipeline.scheduler.config)], default=str)
    settings = hashlib.sha256(said.encode()).hexdigest()[:8]
    work = args.work / f"{fingerprint(pipeline.components)[:12]}-{settings}"
    work.mkdir(parents=True, exist_ok=True)
    pipeline.set_progress_bar_config(disable=True)
    found: dict[str, dict] = {}
    for path in sorted((args.data / "clips").glob("*.mp4")):
        if args.clips and path.stem not in args.clips:
            continue
        info = probe(path)
        size = fit(info.width, info.height, args.max_side)
        stream = read_frames(path, max_frames=args.frames, size=size)
        source = [frame.image for frame in stream]
        for prompt in STYLES:
            file = work / f"{path.stem}-{prompt.replace(' ', '_')}-{size[0]}-{args.frames}.npy"
            plain = stylized(pipeline, source, prompt, file)
            if args.picture and not found:
                sheet.save(picture(source, plain), args.picture)
            rows = rows_of(source, plain, args.flow, prompt)
            found[f"{path.stem}, {prompt}"] = rows
        print(f"{path.stem}: {len(source)} frames", file=sys.stderr, flush=True)
    table = summary(list(found.values()))
    print(as_text(table))
    if args.json:
        report = {
            "summary": table,
            "clips": found,
            "frames": args.frames,
            "max_side": args.max_side,
            "flow": args.flow,
            "hardware": hardware(torch.device("cpu")),
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
