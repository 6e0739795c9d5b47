"""Sheets of the built-in model for a judge, a person or an image model, who does not know the key.

    python benchmarks/judged.py pairs OUT --data DIR --other FOLDER [--seed 0] [--model FOLDER]
    python benchmarks/judged.py names OUT --data DIR [--preset paper] [--model FOLDER]
    python benchmarks/judged.py faces OUT --data DIR [--preset paper] [--model FOLDER]
    python benchmarks/judged.py words OUT --data DIR [--preset paper] [--model FOLDER]
    python benchmarks/judged.py score OUT ANSWERS.json

DIR holds clips/*.mp4, and for `words` paintings/*.jpg and styles/*.jpg. The sheets are
OUT/pictures/00.jpg and so on, whose names tell nothing; OUT/key.json holds what they are. Without
--model they are by the built-in model; names, faces and words without --preset by its default.

- pairs: source | left | right. Which is nearer to the style that OUT/asked.json asks for? One is
  the default (one step) of the model in FOLDER, such as an older weights/embedded, the other the
  preset `paper` of --model.
- names: a style a sheet, each once. Which style is it?
- faces: source | autoencoder alone | style. Is the face kept, and what did the autoencoder lose?
- words: source | result | four pictures, 1 to 4, for each prompt of new_words.json. Which of the
  four is the result in the style of?

`score` counts the answers to pairs, {"0": "left", ...}, and words, {"0": 3, ...}, and lists what
was lost: a pair where the preset was not chosen, a word not found. Those to names and faces are
read by hand.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from style_a_video.pipelines.engines.diffusion.pipeline import StyleAVideoPipeline
from style_a_video.pipelines.media import fit, probe, read_frames
from style_a_video.pipelines.report.sheet import INK, PAPER, to_pil
from style_a_video.training import pictures
from style_a_video.training.artists import WORDS
from style_a_video.weights import styles
from style_a_video.weights.loading import load
from torch import Tensor

PROMPTS = Path(__file__).with_name("new_words.json")
PAIR_CLIPS = (
    *("face_woman_pexels", "crystal_camera_mdn", "driving_highway_udacity", "tos_actors_c"),
    *("flower_timelapse_mdn", "figurine_turntable_mdn"),
)
PAIR_STYLES = (
    *("oil painting", "Van Gogh", "Munch", "Monet", "watercolour", "pencil sketch", "Kandinsky"),
    *("ink wash", "ukiyo-e", "comic book", "Sakai Hoitsu", "pop art", "blueprint", "neon lights"),
    "halftone print",
)
NAME_CLIPS = (
    *("flower_timelapse_mdn", "figurine_turntable_mdn", "face_woman_pexels"),
    *("driving_curve_udacity", "crystal_camera_mdn", "asl_walk_intel"),
)
FACES = (
    ("face_man_pexels", "oil painting"),
    ("face_woman_pexels", "watercolour"),
    ("face_redhair_pexels", "Van Gogh"),
    ("asl_walk_intel", "comic book"),
    ("asl_again_intel", "pencil sketch"),
    ("gif_two_faces_intel", "Monet"),
    ("friday_bw_mdn", "ink wash"),
    ("tos_actors_c", "Munch"),
    ("chaplin_bw_moviepy", "ukiyo-e"),
    ("face_man_pexels", "Kandinsky"),
    ("face_woman_pexels", "pop art"),
    ("face_redhair_pexels", "Sakai Hoitsu"),
)
WORD_CLIPS = (*PAIR_CLIPS, "asl_again_intel", "bottles_static_intel", "traffic_static_intel_car")
GAP = 10  # px between pictures

Sheet = tuple[Image.Image, dict[str, Any]]
"""What the judge sees, and its entry in the key."""


def model(name: str) -> StyleAVideoPipeline:
    pipeline = load(name, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def frame_of(data: Path, clip: str, max_side: int, at: float = 1.0) -> Tensor:
    """The frame (1,3,H,W) of a clip at this second."""
    info = probe(data / f"clips/{clip}.mp4")
    size = [s // 16 * 16 for s in fit(info.width, info.height, max_side)]
    return next(iter(read_frames(info, start=at, size=tuple(size)))).image[None]


def headed(picture: Image.Image, words: str) -> Image.Image:
    """A picture below its words."""
    size = 20
    whole = ImageOps.expand(picture, (0, size + GAP, 0, 0), PAPER)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(whole).text((picture.width // 2, 2), words, fill=INK, font=font, anchor="ma")
    return whole


def side_by_side(row: Sequence[Image.Image]) -> Image.Image:
    width = sum(p.width + GAP for p in row) - GAP
    sheet, left = Image.new("RGB", (width, max(p.height for p in row)), PAPER), 0
    for picture in row:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def pair_sheets(args: argparse.Namespace) -> Iterator[Sheet]:
    """Each style on two clips, in random order, the preset on a random side."""
    rng, old, new = random.Random(args.seed), model(args.other), model(args.model)
    n = len(PAIR_CLIPS)
    pairs = [(s, PAIR_CLIPS[(i + k) % n]) for i, s in enumerate(PAIR_STYLES) for k in (0, n // 2)]
    rng.shuffle(pairs)
    for style, clip in pairs:
        frame = frame_of(args.data, clip, 384)
        results = {
            "default": old(frame, style).frames[0],
            "paper": new(frame, style, preset="paper").frames[0],
        }
        order = rng.sample(list(results), 2)
        row = [to_pil(x) for x in (frame[0], *(results[k] for k in order))]
        side = ("left", "right")[order.index("paper")]
        yield side_by_side(row), {"style": style, "clip": clip, "paper": side}


def name_sheets(args: argparse.Namespace) -> Iterator[Sheet]:
    pipeline = model(args.model)
    names = [s.name for s in styles.styles()]
    random.Random(8).shuffle(names)
    for i, name in enumerate(names):
        clip = NAME_CLIPS[i % len(NAME_CLIPS)]
        result = pipeline(frame_of(args.data, clip, 448), name, preset=args.preset).frames[0]
        yield to_pil(result), {"style": name, "clip": clip}


def face_sheets(args: argparse.Namespace) -> Iterator[Sheet]:
    pipeline = model(args.model)
    for clip, style in FACES:
        frame = frame_of(args.data, clip, 512, at=1.2)
        latents = pipeline.encode_latents(frame)
        alone = pipeline.decode_latents(latents, size=tuple(frame.shape[-2:]))
        result = pipeline(frame, style, preset=args.preset).frames
        row = [to_pil(x[0]) for x in (frame, alone, result)]
        yield side_by_side(row), {"style": style, "clip": clip}


def word_sheets(args: argparse.Namespace) -> Iterator[Sheet]:
    """One picture of what the prompt means among those of three other words."""
    rng, pipeline = random.Random(3), model(args.model)
    known = pictures.styles(args.data)
    files = {
        word.english[0]: [f for f in known if f.name.startswith(tuple(word.pictures))]
        for word in WORDS.values()
    }
    prompts = json.loads(PROMPTS.read_text(encoding="utf-8"))["prompts"]
    for i, (prompt, word) in enumerate(prompts.items()):
        frame = frame_of(args.data, WORD_CLIPS[i % len(WORD_CLIPS)], 384)
        result = pipeline(frame, prompt, preset=args.preset).frames[0]
        shown = {"source": to_pil(frame[0]), "result": to_pil(result)}
        row = [headed(ImageOps.contain(p, (380, 300)), words) for words, p in shown.items()]
        names = [word, *rng.sample([name for name in files if name != word], 3)]
        rng.shuffle(names)
        for number, name in enumerate(names, 1):
            picture = Image.open(rng.choice(files[name])).convert("RGB")
            row.append(headed(ImageOps.contain(picture, (300, 300)), str(number)))
        right = names.index(word) + 1
        yield side_by_side(row), {"prompt": prompt, "word": word, "right": right, "four": names}


SHEETS = {"pairs": pair_sheets, "names": name_sheets, "faces": face_sheets, "words": word_sheets}


class Question(NamedTuple):
    """What `score` counts: the field of the key that an answer is to equal, what names a sheet, the
    answers there are, and what a right one is called.
    """

    field: str
    name: str
    choices: tuple[str | int, ...]
    right: str


COUNTED = {
    "pairs": Question("paper", "style", ("left", "right"), "chose paper"),
    "words": Question("right", "word", (1, 2, 3, 4), "right"),
}


def write(out: Path, kind: str, sheets: Iterable[Sheet]) -> None:
    """The sheets, and the key of those that there are so far, should it be interrupted."""
    (out / "pictures").mkdir(parents=True)
    key = {}
    for i, (picture, entry) in enumerate(sheets):
        picture.save(out / f"pictures/{i:02d}.jpg", quality=93)
        key[i] = entry
        told = json.dumps({"kind": kind, "sheets": key}, ensure_ascii=False, indent=1)
        (out / "key.json").write_text(told, "utf-8")
        if kind == "pairs":
            asked = {k: one["style"] for k, one in key.items()}
            (out / "asked.json").write_text(json.dumps(asked, indent=1), "utf-8")


def score(out: Path, answers: Path) -> None:
    """Prints how many answers are right, of pairs how many chose the preset, and what was lost."""
    told = json.loads((out / "key.json").read_text("utf-8"))
    if told["kind"] not in COUNTED:
        raise SystemExit(f"Answers to {told['kind']} are read by hand.")
    key, question = told["sheets"], COUNTED[told["kind"]]
    given = {str(int(k)): v for k, v in json.loads(answers.read_text("utf-8")).items()}
    for number, answer in given.items():
        if number not in key or answer not in question.choices:
            raise SystemExit(f"{number}: {answer!r} is none of {question.choices}, or no sheet.")
    wrong = [k for k, v in given.items() if v != key[k][question.field]]
    lost = ", ".join(f"{key[k][question.name]} ({int(k):02d})" for k in wrong)
    print(f"{len(given) - len(wrong)} of {len(given)} {question.right}; {len(key)} sheets")
    print(f"lost: {lost or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in (*SHEETS, "score"):
        command = commands.add_parser(name)
        command.add_argument("out", type=Path)
        if name == "score":
            command.add_argument("answers", type=Path)
            continue
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--model", default="embedded", metavar="FOLDER")
        if name == "pairs":
            command.add_argument("--other", required=True, metavar="FOLDER")
            command.add_argument("--seed", type=int, default=0)
        else:
            command.add_argument("--preset", choices=["paper"])
    args = parser.parse_args()
    if args.command == "score":
        return score(args.out, args.answers)
    if (args.out / "pictures").exists():
        parser.error(f"{args.out} already holds sheets")
    torch.set_grad_enabled(False)
    write(args.out, args.command, SHEETS[args.command](args))


if __name__ == "__main__":
    main()
