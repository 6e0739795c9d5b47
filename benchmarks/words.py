"""Does the built-in model take prompts for what they mean?

    python benchmarks/words.py [--model FOLDER] [--prompts FILE] [--json FILE]

Each prompt of words.json, or of FILE such as new_words.json (artists, media and movements) or
long_words.json (a style among a scene and words of quality): the style that its text lies nearest
to, or none where the model says that it cannot place it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from style_a_video.weights import styles
from style_a_video.weights.loading import load

PROMPTS = Path(__file__).with_name("words.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    pipeline = load(args.model)
    prompts = json.loads(args.prompts.read_text(encoding="utf-8"))["prompts"]
    taken = {}
    for prompt, wanted in prompts.items():
        name, _ = styles.nearest(prompt, pipeline)[0]
        share = styles.known_share(prompt, pipeline)
        taken[prompt] = name if styles.is_known(prompt, pipeline) else None
        if taken[prompt] != wanted:
            print(f"{prompt!r}: {taken[prompt]} ({name}, share {share:.2f}), not {wanted}")
    right = sum(taken[prompt] == wanted for prompt, wanted in prompts.items())
    print(f"{right} of {len(prompts)} right")
    if args.json:
        args.json.write_text(json.dumps({"right": right, "taken": taken}, ensure_ascii=False))


if __name__ == "__main__":
    main()
