"""What train_stylebank left → weights/stylebank: networks, a file a style, photos to learn on.

python -m training.export_stylebank --data DIR [--run stylebank] [--work DIR]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
from safetensors.torch import load_file, save_file
from style_a_video.weights.stylebank import (
    BASE,
    FOLDER,
    PHOTOS,
    SHIPPED,
    SUFFIX,
    network_identity,
    write_style,
)

from . import data

SOURCE = "BuddiesOfBudgie/budgie-backgrounds"
COUNT = 24  # photos
SIDE = 192  # px of a photo
QUALITY = 85  # of its JPEG


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", default="stylebank")
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    args = parser.parse_args()
    run = args.work / args.run
    FOLDER.mkdir(exist_ok=True)
    network = load_file(run / f"network{SUFFIX}")
    save_file({k: v.half() for k, v in network.items()}, FOLDER / f"network{SUFFIX}")
    (FOLDER / f"network{SUFFIX}").chmod(0o644)
    banks = load_file(run / f"banks{SUFFIX}")
    for style in BASE:
        about = {"network": network_identity()}
        write_style(SHIPPED / f"{style.name}{SUFFIX}", banks[f"banks.{style.name}"], about)
    write_photos(args.data)


def write_photos(folder: Path) -> None:
    """Middles of photos of the training split from SOURCE, whose pictures are all CC0."""
    with open(folder / "photos.csv", newline="", encoding="utf-8") as file:
        free = {row["file"] for row in csv.DictReader(file) if row["repo"] == SOURCE}
    files = [path for path in data.photos(folder, "train") if path.name in free]
    PHOTOS.mkdir(exist_ok=True)
    for path in files[:COUNT]:
        image = data.read_rgb(path)
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        middle = cv2.resize(
            image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA
        )
        target = PHOTOS / f"{path.stem}.jpg"
        cv2.imwrite(
            str(target),
            cv2.cvtColor(middle, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, QUALITY],
        )


if __name__ == "__main__":
    main()
