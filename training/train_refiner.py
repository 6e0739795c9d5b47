"""The temporal consistency refiner, on synthetic motion of photos.

    python -m training.train_refiner --data DIR [--work DIR] [--clips 700] [--minutes 30]
        [--start weights/refiner.safetensors] [--name refiner] [--out FILE]

First the clips: motion.py, their frames stylized one by one by the built-in model, by an engine
after a picture and by two of the filters, and the flow that DIS finds. Then the network, with what
bounds it in pipelines/core/refiner.py: it is shown DIS's flow, as it will be, and judged by the
exact one.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core import flow as motion_core
from style_a_video.pipelines.core import refiner
from style_a_video.pipelines.core.measures import DETAIL, blur, luma
from style_a_video.pipelines.engines.registry import kind_named
from style_a_video.pipelines.engines.style import Style, read_learned_style, read_style_picture
from style_a_video.pipelines.flow import dis
from style_a_video.pipelines.refine.frames import InOrder
from style_a_video.weights.refiner import FILE
from style_a_video.weights.stylebank import BASE
from torch import Tensor
from torch.nn import functional as F

from . import captions, data, motion, pictures
from .loop import Run
from .train_autoencoder import gradients
from .train_together import texture_loss

CROP = 128  # px
ENGINES = ("sctnet", "stylebank", "adain", "wct")
DRAWN = (0.4, 0.3, 0.15, 0.15)
"""How often a clip is seen as the model, an engine and the two filters have drawn it."""
MOVING = 2.0  # px a frame


# The clips


_tools: dict = {}
CPU = torch.device("cpu")


def _start(folder: Path) -> None:
    from style_a_video.weights.loading import load

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _tools["pipeline"] = load()
    _tools["pipeline"].set_progress_bar_config(disable=True)
    _tools["photos"] = data.photos(folder, "train")
    _tools["pictures"] = pictures.styles(folder)
    kinds = {name: kind_named(name) for name in ENGINES}
    _tools["engines"] = {
        name: kind.load(kind.options(), CPU, torch.float32) for name, kind in kinds.items()
    }


def _by_engine(rng: np.random.Generator, frames: Tensor) -> Tensor:
    """Frames (T,3,H,W) after a picture or a learned style, by an engine of `ENGINES`."""
    name = ENGINES[int(rng.integers(len(ENGINES)))]
    if name == "stylebank":
        style = Style(learned=(read_learned_style(BASE[int(rng.integers(len(BASE)))].name),))
    else:
        file = _tools["pictures"][int(rng.integers(len(_tools["pictures"])))]
        style = Style(pictures=(read_style_picture(file),))
    return InOrder(_tools["engines"][name].engine(style), None)(frames, range(len(frames)))


def _make(job: tuple[int, Path]) -> None:
    """Clip number `seed` → a file of its frames, their four stylizations, and flows."""
    seed, target = job
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(_tools["photos"]), int(rng.integers(1, 4)), replace=False)
    pictures = [data.fit(data.read_rgb(_tools["photos"][k]), 448) for k in chosen]
    clip = motion.clip(rng, pictures)
    source = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
    names = list(captions.NAMES)
    prompt = captions.NAMES[names[int(rng.integers(len(names)))]][0][0]
    by_model = _tools["pipeline"](source / 255, prompt).frames
    by_engine = _by_engine(rng, source / 255)
    filters = list(data.STYLES.values())
    by_filters = [
        np.stack([filters[k](frame) for frame in clip.frames])
        for k in rng.choice(len(filters), 2, replace=False)
    ]
    stylized = [
        (frames.float().clamp(0, 1) * 255).round().to(torch.uint8)
        for frames in (by_model, by_engine)
    ]
    stylized += [torch.from_numpy(y).permute(0, 3, 1, 2) for y in by_filters]
    frames = list(source / 255)
    pairs = list(zip(frames[1:], frames, strict=False))
    found = torch.stack([torch.stack([dis(a, b), dis(b, a)]) for a, b in pairs])
    exact = torch.from_numpy(np.stack([clip.flow_to_prev, clip.flow_to_first], 1))
    known = torch.from_numpy(np.stack([clip.visible_before, clip.visible_first], 1))
    partial = target.with_suffix(".partial")
    torch.save(
        {
            "source": source,
            "stylized": torch.stack(stylized),
            "found": found.half(),  # (T-1, to_prev | back, 2,H,W)
            "exact": exact.permute(0, 1, 4, 2, 3).half(),  # (T-1, prev | first, 2,H,W)
            "known": known,  # (T-1, prev | first, H,W)
        },
        partial,
    )
    partial.rename(target)


def make_clips(folder: Path, work: Path, count: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    jobs = [(seed, work / f"{seed:04}.pt") for seed in range(count)]
    jobs = [job for job in jobs if not job[1].exists()]
    context = multiprocessing.get_context("spawn")
    with context.Pool(multiprocessing.cpu_count(), _start, (folder,)) as pool:
        for done, _ in enumerate(pool.imap_unordered(_make, jobs), 1):
            if done % 20 == 0:
                print(f"{done}/{len(jobs)} clips", flush=True)


# The network


def disturb(rng: np.random.Generator, y: Tensor) -> Tensor:
    """What other processing does to frames one by one, (T,3,H,W): unsteady light, colour, grain and
    blotches, a shaking picture; sometimes nothing."""
    kind, n = rng.integers(6), len(y)
    if kind == 0:
        return y
    if kind in (1, 2):
        gain = 1 + torch.from_numpy(rng.normal(0, 0.08, (n, 3, 1, 1)) * rng.uniform()).float()
        shift = torch.from_numpy(rng.normal(0, 0.03, (n, 3, 1, 1)) * rng.uniform()).float()
        y = y * gain + shift
    if kind in (2, 3, 4):
        size = int(rng.choice([1, 2, 4, 8, 16]))
        h, w = y.shape[-2:]
        coarse = torch.from_numpy(rng.normal(0, 1, (n, 3, -(-h // size), -(-w // size)))).float()
        grain = F.interpolate(coarse, (h, w), mode="bicubic")
        y = y + grain * float(rng.uniform(0, 0.08))
    if kind == 5:
        shake = torch.from_numpy(rng.normal(0, 0.7, (n, 2, 1, 1))).float()
        y = motion_core.warp(y, shake.expand(-1, -1, *y.shape[-2:]), "bicubic")
    return y.clamp(0, 1)


class Batches:
    """Crops of clips, each with one of its stylizations, drawn from the files."""

    def __init__(self, work: Path, seed: int) -> None:
        self.clips = [
            torch.load(f, weights_only=True, mmap=True) for f in sorted(work.glob("*.pt"))
        ]
        self.rng = np.random.default_rng(seed)

    def draw(self, count: int) -> dict[str, Tensor]:
        """source, stylized, drawn (T,B,3,h,w) in [0,1]; found, exact (T-1,2,B,2,h,w); known
        (.,2,B,1,.). `drawn` is `stylized` before it was disturbed.
        """
        items: dict[str, list[Tensor]] = {}
        for _ in range(count):
            clip = self.clips[int(self.rng.integers(len(self.clips)))]
            h, w = clip["source"].shape[-2:]
            top, left = (4 * int(self.rng.integers((side - CROP) // 4 + 1)) for side in (h, w))
            window = np.s_[..., top : top + CROP, left : left + CROP]
            k = int(self.rng.choice(len(clip["stylized"]), p=DRAWN))
            drawn = clip["stylized"][k][window] / 255
            item = {
                "source": clip["source"][window] / 255,
                "drawn": drawn,
                "stylized": disturb(self.rng, drawn),
                "found": clip["found"][window].float(),
                "exact": clip["exact"][window].float(),
                "known": clip["known"][window].float()[:, :, None],
            }
            for name, value in item.items():
                items.setdefault(name, []).append(value)
        return {
            **{k: torch.stack(items[k], 1) for k in ("source", "drawn", "stylized")},
            **{k: torch.stack(items[k], 2) for k in ("found", "exact", "known")},
        }


def run_clip(network: refiner.Refiner, batch: dict[str, Tensor]) -> list[Tensor]:
    """ŷ of all frames, as pipelines.refine.frames makes them."""
    x, y = batch["source"], batch["stylized"]
    refined = [y[0]]
    for f in range(1, len(x)):
        to_prev, back = batch["found"][f - 1]
        seen = refiner.see(x[f], y[f], x[f - 1], refined[-1], to_prev, back)
        with torch.autocast("cpu", torch.bfloat16):
            refined.append(network(seen).float())
    return refined


def moved(batch: dict[str, Tensor], refined: list[Tensor], f: int, far: bool) -> Tensor:
    """M ⊙ |ŷ^f - warp(ŷ^g)|, g the frame before or, far, the first; by the exact flow. What the
    style keeps to its place on the screen is held against ŷ^g unmoved.
    """
    other = refined[0] if far else refined[f - 1]
    flow, known = batch["exact"][f - 1][int(far)], batch["known"][f - 1][int(far)]
    known = known * motion_core.inside(flow)
    past = refiner.nearer(motion_core.warp(other, flow, "bicubic"), other, batch["drawn"][f])
    gap = (refined[f] - past).abs()
    return (known * gap).sum() / (3 * known.sum()).clamp(min=1)


def sharpness_change(batch: dict[str, Tensor], refined: list[Tensor], f: int) -> Tensor:
    """By how much the energy finer than 1.5 px of ŷ^f is more or less than the drawing's where the
    scene moves, as a share of it. What is too much would grow from frame to frame.
    """
    moving = (batch["exact"][f - 1][0].norm(dim=1, keepdim=True) > MOVING).float()
    wanted, kept = (
        ((luma(x) - blur(luma(x), DETAIL)).square() * moving).sum((1, 2, 3))
        for x in (batch["drawn"][f], refined[f])
    )
    return ((wanted - kept).abs() / (wanted + 1e-6 * moving.sum((1, 2, 3)) + 1e-6)).mean()


def losses(batch: dict[str, Tensor], refined: list[Tensor]) -> dict[str, Tensor]:
    """temporal (short and long range) and what holds ŷ to y: its tones, texture, sharpness."""
    y, frames = batch["stylized"], range(1, len(refined))
    near = torch.stack([moved(batch, refined, f, far=False) for f in frames]).mean()
    far = torch.stack([moved(batch, refined, f, far=True) for f in frames]).mean()
    a, b = torch.cat(refined[1:]), torch.cat(list(y[1:]))
    tone = sum(F.l1_loss(F.avg_pool2d(a, k), F.avg_pool2d(b, k)) for k in (4, 16))
    detail = sum(F.l1_loss(p, q) for p, q in zip(gradients(a), gradients(b), strict=True))
    return {
        "near": near,
        "far": far,
        "tone": tone,
        "texture": texture_loss(a, b),
        "detail": detail,
        "plain": F.l1_loss(a, b),
        "sharpness": torch.stack([sharpness_change(batch, refined, f) for f in frames]).mean(),
    }


WEIGHTS = {
    **{"near": 10.0, "far": 4.0, "tone": 1.0, "texture": 2.0, "detail": 0.5, "plain": 0.5},
    "sharpness": 0.03,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--clips", type=int, default=700)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--name", default="refiner")
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args()
    make_clips(args.data, args.work / "clips", args.clips)
    torch.manual_seed(0)
    network = refiner.Refiner().to(memory_format=torch.channels_last)
    if args.start:
        network.load_state_dict(load_file(args.start))
    run = Run(args.name, args.work, args.minutes, 1e-3, {"refiner": network})
    batches = Batches(args.work / "clips", seed=run.step)
    for _ in run.steps():
        batch = batches.draw(6)
        terms = losses(batch, run_clip(network, batch))
        run.descend(sum(WEIGHTS[k] * v for k, v in terms.items()))
        run.log(**terms)
    weights = run.averaged("refiner").state_dict()
    save_file({k: v.half().contiguous() for k, v in weights.items()}, args.out)


if __name__ == "__main__":
    main()
