"""Stage 1b: photos → each photo after pictures of styles, as MicroAST draws them.

    python -m training.pictured --data DIR --microast FOLDER [--work DIR]

After stage 1. Writes WORK/pictured/NAME.npz for every array of stage 1: `drawn` (PICTURES,H,W,3)
uint8, `seen` (PICTURES,STATISTICS) of the pictures, and `own` (1 + styles, STATISTICS) of the photo
and of its own filtered versions, so that a filtered picture can ask for its filter. Finished files
are kept while their array is.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from style_a_video.pipelines.core.style_projection import StyleProjection, statistics_of
from style_a_video.weights.perceptual_encoder import load_encoder
from torch import Tensor

from . import microast, pictures

PROJECTION = "style_projection.safetensors"
PICTURES = 6
SIDE = 288  # px of a picture's crop


class Pictured:
    """What this stage made, held in memory, in the order of stage 1's arrays.

    Attributes:
        drawn: (PICTURES,H,W,3) uint8 of each; seen (photos,PICTURES,STATISTICS); own
            (photos,1 + styles,STATISTICS).
    """

    def __init__(self, work: Path) -> None:
        names = [file.stem for file in sorted((work / "images").glob("*.npy"))]
        files = [np.load(work / "pictured" / f"{name}.npz") for name in names]
        self.drawn = [file["drawn"] for file in files]
        self.seen, self.own = (
            torch.from_numpy(np.stack([file[key] for file in files])) for key in ("seen", "own")
        )

    def projection(self, folder: Path | None) -> StyleProjection:
        """The one in a run's folder; of None untrained, but for the spread of the statistics."""
        projection = StyleProjection()
        if folder is not None:
            projection.load_state_dict(load_file(folder / PROJECTION))
            return projection.float()
        everything = torch.cat([self.seen.flatten(0, 1), self.own.flatten(0, 1)])
        deviation, mean = torch.std_mean(everything, 0)
        projection.mean.copy_(mean)
        projection.deviation.copy_(deviation + 1e-3)
        return projection


def tensor(images: np.ndarray) -> Tensor:
    """(...,H,W,3) uint8 → (...,3,H,W) in [0,1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--microast", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    args = parser.parse_args()
    folder = args.work / "pictured"
    folder.mkdir(parents=True, exist_ok=True)
    encoder, network = load_encoder(), microast.load(args.microast)
    crops = pictures.Crops(pictures.styles(args.data), seed=0, colours=0.6)
    for done, file in enumerate(sorted((args.work / "images").glob("*.npy")), 1):
        target = folder / f"{file.stem}.npz"
        if target.exists() and target.stat().st_mtime > file.stat().st_mtime:
            continue
        crops.rng = np.random.default_rng(zlib.crc32(file.name.encode()))
        images = tensor(np.load(file))
        styles = crops.batch(PICTURES, SIDE)
        drawn = [network(style[None])(images[:1])[0] for style in styles]
        drawn = (torch.stack(drawn).movedim(1, -1) * 255).round().to(torch.uint8)
        partial = target.with_suffix(".partial")
        with open(partial, "wb") as out:
            np.savez(
                out,
                drawn=drawn.numpy(),
                seen=statistics_of(styles, encoder).numpy(),
                own=torch.cat([statistics_of(x[None], encoder) for x in images]).numpy(),
            )
        partial.rename(target)
        if done % 20 == 0:
            print(f"{done} photos", flush=True)


if __name__ == "__main__":
    main()
