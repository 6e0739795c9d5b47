"""Stage 1: photos → each photo in every style, as arrays on disk.

    python -m training.data --data DIR [--work DIR]

DIR holds photos/ and photos.csv (file, licence group, split).
Writes WORK/images/NAME.npy, (1 + styles, H, W, 3) uint8 with the photo first. Finished files are
kept, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import zlib
from pathlib import Path

import cv2
import numpy as np

from .painters import PAINTERS
from .techniques import TECHNIQUES

STYLES = TECHNIQUES | PAINTERS
EXCLUDED_LICENCES = {"ccbysa"}
# The default demo shows these (scikit-image's samples): a demo must not show what was learned.
DEMO_PHOTOS = ("cc0_astronaut", "cc0_chelsea", "cc0_coffee", "cc0_rocket")
LONG_SIDES = (448, 320)


def read_rgb(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def fit(image: np.ndarray, long_side: int) -> np.ndarray:
    """Resize to a long side, cut to multiples of 16 px."""
    k = long_side / max(image.shape[:2])
    image = cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
    h, w = image.shape[:2]
    return np.ascontiguousarray(image[: h // 16 * 16, : w // 16 * 16])


def photos(data: Path, split: str) -> list[Path]:
    """The photos of a split that may be used. Clothes on a floor are thinned to one in three."""
    with open(data / "photos.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == split]
    rows = [r for r in rows if r["group"] not in EXCLUDED_LICENCES]
    rows = [r for r in rows if not Path(r["file"]).stem.endswith(DEMO_PHOTOS)]
    clothing = [r for r in rows if r["group"] == "cc0-clothing"]
    rows = [r for r in rows if r["group"] != "cc0-clothing"] + clothing[::3]
    return [data / "photos" / r["file"] for r in rows]


def _variant(path: Path, index: int) -> np.ndarray:
    """0: the photo. 1: smaller, mirrored, its light and colour changed by a seed from its name."""
    image = fit(read_rgb(path), LONG_SIDES[index])
    if index == 0:
        return image
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    x = (image[:, ::-1].astype(np.float32) / 255) ** rng.uniform(0.6, 1.6)
    grey = x.mean(-1, keepdims=True)
    x = (grey + (x - grey) * rng.uniform(0.4, 1.5)) * rng.uniform(0.88, 1.12, 3)
    return np.ascontiguousarray((x.clip(0, 1) * 255).astype(np.uint8))


def stylize(image: np.ndarray) -> np.ndarray:
    """The image in every style: (styles, H, W, 3), in the order of STYLES."""
    return np.stack([f(image) for f in STYLES.values()])


def _make(job: tuple[Path, int, Path]) -> None:
    cv2.setNumThreads(1)
    path, index, target = job
    image = _variant(path, index)
    partial = target.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.save(file, np.concatenate([image[None], stylize(image)]))
    partial.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args()
    folder = args.work / "images"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (path, index, folder / f"{path.stem}_{index}.npy")
        for index in range(len(LONG_SIDES))
        for path in photos(args.data, "train")
    ]
    jobs = [job for job in jobs if not job[2].exists()]
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(_make, jobs), 1):
            if done % 20 == 0:
                print(f"{done}/{len(jobs)} photos", flush=True)


if __name__ == "__main__":
    main()
