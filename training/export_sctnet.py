"""SCTNet as it ships: float16, a file a variant, in weights/sctnet.

    python -m training.export_sctnet --art RUN --photo RUN

RUN: the name of a run of training.train_sctnet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core.sctnet import LEVELS
from style_a_video.weights.sctnet import FOLDER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    for variant in LEVELS:
        parser.add_argument(f"--{variant}", metavar="RUN")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for variant in LEVELS:
        if run := getattr(args, variant):
            state = load_file(args.work / run / "network.safetensors")
            state = {k: v.half().contiguous() for k, v in state.items()}
            file = FOLDER / f"{variant}.safetensors"
            save_file(state, file)
            file.chmod(0o644)


if __name__ == "__main__":
    main()
