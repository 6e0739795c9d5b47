"""Makes TITLE.jpg of each workflow by running it: a square, the source beside the result.

python workflows/thumbnails.py --server http://127.0.0.1:8188 [NAME ...]

All run on example.mp4, the clip of `style-a-video demo` (photos of scikit-image, public domain or
CC0). Where a workflow wants checkpoints, the built-in model takes their place.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import av
from build import GRAPHS
from PIL import Image, ImageDraw, ImageOps
from run import FOLDER, Client, Failure, Prompt, file_name, read_workflow

SIDE, LINE = 480, 4  # px
SLANT = 36  # px, from the middle of a line to its ends
INSET = 150  # px, the longer side of a picture of the style
RATE = 12  # of the example, a second
CAT, ROCKET, CUP = 0, 13, 26  # frames of it
EVERY, COUNT = 13, 3
SHOT = 9  # its first frames, without a cut
LESSON = 200  # steps
LIMIT = 60_000  # bytes
CHARTS = 224  # px, the height of a row of them in pipelines/report/charts.py
REPORT = "StyleAVideoConsistencyReport"
LOADED = ("UNETLoader", "CLIPLoader", "VAELoader")
"""What Load Built-in Model gives in the place of each, in its order."""
PICTURE = "StyleAVideoStylePicture"


def simplified(prompt: Prompt) -> Prompt:
    """With the built-in model where it wants checkpoints, and a short lesson."""
    for key, node in list(prompt.items()):
        inputs = node["inputs"]
        match node["class_type"]:
            case "StyleAVideoLearnStyle":
                inputs |= {"name": f"thumbnail_{os.getpid()}", "steps": LESSON}
            case "CheckpointLoaderSimple":
                prompt[key] = {"class_type": "StyleAVideoLoadBuiltIn", "inputs": {}}
                _few_steps(prompt)
            case "UNETLoader" | "CLIPLoader" | "VAELoader" as kind:
                prompt[key] = {"class_type": "StyleAVideoLoadBuiltIn", "inputs": {}}
                _redirect(prompt, [key, 0], [key, LOADED.index(kind)])
            case "ModelSamplingSD3":
                _redirect(prompt, [key, 0], inputs["model"])
                del prompt[key]
            case "BerniniConditioning":
                seen = {name: inputs[name] for name in ("positive", "negative", "vae")}
                prompt[key] = {
                    "class_type": "InstructPixToPixConditioning",
                    "inputs": seen | {"pixels": inputs["source_video"]},
                }
                for name, text in (("positive", "oil painting"), ("negative", "")):
                    prompt[inputs[name][0]]["inputs"]["text"] = text
                _few_steps(prompt)
                _of_words_alone(prompt)
            case "ControlNetApplyAdvanced":  # the built-in model sees the frame itself
                kept = {name: inputs[name] for name in ("positive", "negative", "vae")}
                frames = prompt[inputs["image"][0]]["inputs"]["image"]
                prompt[key] = {
                    "class_type": "InstructPixToPixConditioning",
                    "inputs": kept | {"pixels": frames},
                }
    return {k: n for k, n in prompt.items() if n["class_type"] not in ("ControlNetLoader", "Canny")}


def of_few_frames(prompt: Prompt, name: str) -> Prompt:
    """Of the frame that is shown; or of as many as the form needs."""
    frame = SHOWN.get(name, CAT)
    part = {"start": max(0, frame - 0.5) / RATE, "end": (frame + 0.5) / RATE}
    form = FORMS.get(name)
    if form is over_time:
        part = {"every_nth": EVERY, "max_frames": COUNT}
    elif form is measured:
        part = {"max_frames": SHOT}
    for node in prompt.values():
        if node["class_type"] == "StyleAVideoLoadFrames":
            node["inputs"] |= part
    return prompt


def _few_steps(prompt: Prompt) -> None:
    """The settings that the built-in model was made for."""
    for node in prompt.values():
        given = {
            "BasicScheduler": {"steps": 1, "denoise": 1.0},
            "StyleAVideoWeightedCondition": {"weight": 1.0},
        }
        node["inputs"] |= given.get(node["class_type"], {})


def _of_words_alone(prompt: Prompt) -> None:
    """Guiders whose words have the frame in them."""
    for node in prompt.values():
        if node["class_type"] == "StyleAVideoPresetGuider":
            node["inputs"] |= {"preset": "paper", "frame_scale": 0.0, "text_scale": 1.0}
            node["inputs"] |= {"attention_scale": 0.0, "eta": 1.0, "norm_threshold": 0.0}


def _redirect(prompt: Prompt, old: list, new: list) -> None:
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if value == old:
                node["inputs"][name] = new


@dataclass
class Made:
    """What a run gave."""

    source: list[Image.Image]  # all frames of the example
    result: list[Image.Image]  # of a saved video
    by_kind: dict[str, list[Image.Image]]  # all other pictures, by the node that shows them
    frame: int = CAT  # which of the source's is shown


async def made(url: str, prompt: Prompt, name: str, folder: Path) -> Made:
    result: list[Image.Image] = []
    by_kind: dict[str, list[Image.Image]] = {}
    async with Client(url) as client:
        run = await client.queue(prompt)
        await client.wait(prompt, run)
        files = await client.results(run)
        for key, kind in ((key, node["class_type"]) for key, node in prompt.items()):
            for i, file in enumerate(files.get(key, [])):
                path = folder / f"{key}-{i}-{file_name(file)}"
                await client.download(file, path)
                if kind == "SaveVideo":
                    result = frames_of(path)
                else:
                    by_kind.setdefault(kind, []).append(Image.open(path).convert("RGB"))
    source = frames_of(FOLDER / "example.mp4")
    return Made(source, result, by_kind, SHOWN.get(name, CAT))


def frames_of(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


# The forms


def split(*pictures: Image.Image) -> Image.Image:
    """Parts of the same place side by side, slanting lines between them."""
    sheet = fit(pictures[0], SIDE, SIDE)
    for i, picture in enumerate(pictures[1:], 1):
        x = SIDE * i / len(pictures)
        line = [(x + SLANT, 0), (x - SLANT, SIDE)]
        right = Image.new("L", sheet.size)
        ImageDraw.Draw(right).polygon([*line, (SIDE, SIDE), (SIDE, 0)], fill=255)
        sheet.paste(fit(picture, SIDE, SIDE), mask=right)
        ImageDraw.Draw(sheet).line(line, fill="white", width=LINE)
    return sheet


def grid(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Whole pictures, row by row."""
    rows = len(pictures) // columns
    sheet = Image.new("RGB", (SIDE, SIDE), "white")
    for i, picture in enumerate(pictures):
        (row, column), (wide, high) = divmod(i, columns), (SIDE // columns, SIDE // rows)
        cell = fit(picture, wide - LINE * (columns > 1), high - LINE * (rows > 1))
        sheet.paste(cell, (column * wide + LINE // 2, row * high + LINE // 2))
    return sheet


def with_insets(sheet: Image.Image, pictures: list[Image.Image], top: int) -> Image.Image:
    """The pictures of the style, framed, from `top` on: in the left corner, in the right one."""
    for i, picture in enumerate(pictures):
        framed = ImageOps.expand(ImageOps.contain(picture, (INSET, INSET)), LINE, "white")
        left = (SIDE - framed.width - 2 * LINE) if i else 2 * LINE
        sheet.paste(framed, (left, top - framed.height - 2 * LINE))
    return sheet


def fit(picture: Image.Image, wide: int, high: int) -> Image.Image:
    return ImageOps.fit(picture, (wide, high), Image.Resampling.LANCZOS)


def before_and_after(made: Made) -> Image.Image:
    pictures = made.by_kind.get(PICTURE, [])
    return with_insets(split(made.source[made.frame], made.result[0]), pictures, SIDE)


def over_time(made: Made) -> Image.Image:
    """A row a frame."""
    few = made.result if len(made.result) <= COUNT else made.result[::EVERY]
    pairs = zip(made.source[::EVERY], few, strict=True)
    return grid([picture for pair in pairs for picture in pair], 2)


def above_and_below(made: Made) -> Image.Image:
    """For styles that stand side by side."""
    sheet = grid([made.source[made.frame], made.result[0]], 1)
    return with_insets(sheet, made.by_kind.get(PICTURE, []), SIDE // 2)


def off_and_on(made: Made) -> Image.Image:
    """Source, without, with: the three that Compare Videos shows side by side."""
    return split(*parts(made.by_kind["StyleAVideoCompare"][0], 3))


def looks(made: Made) -> Image.Image:
    """The frame, and how each of three settings sees it."""
    return grid([made.source[made.frame], *made.by_kind["PreviewImage"]], 2)


def swapped(made: Made) -> Image.Image:
    """Two pictures; each in the other's look."""
    return grid([*made.by_kind[PICTURE], *made.by_kind["PreviewImage"][:2]], 2)


def measured(made: Made) -> Image.Image:
    """Source, frame by frame, refined; below, the curves of the warping error."""
    sheet = split(*parts(made.by_kind["StyleAVideoCompare"][-1], 3))
    plot = made.by_kind[REPORT][0]
    legend = plot.height % CHARTS
    error = parts(plot.crop((0, legend, plot.width, legend + CHARTS)), 3)[-1]
    below = ImageOps.pad(error, (SIDE, SIDE // 2), color="white")
    sheet.paste(below, (0, SIDE // 2))
    return sheet


def parts(picture: Image.Image, count: int) -> list[Image.Image]:
    wide = picture.width / count
    return [
        picture.crop((round(i * wide) + LINE, 0, round((i + 1) * wide) - LINE, picture.height))
        for i in range(count)
    ]


FORMS: dict[str, Callable[[Made], Image.Image]] = {
    "words_that_change_over_time": over_time,
    "fade_from_one_style_to_another": over_time,
    "two_styles_in_two_regions": above_and_below,
    "two_pictures_in_two_regions": above_and_below,
    "clip_correction_off_and_on": off_and_on,
    "see_where_the_model_looks": looks,
    "two_pictures_swap_their_looks": swapped,
    "less_flicker_and_how_much_less": measured,
}
"""Of all others `before_and_after`."""

SHOWN = {
    "take_the_colours_of_a_picture": CUP,
    "learn_a_style_of_your_own": ROCKET,
    "stable_diffusion_with_controlnet": CUP,
}
"""Of all others the cat."""


def save(sheet: Image.Image, path: Path) -> None:
    """The best JPEG within LIMIT."""
    for quality in range(92, 30, -4):
        sheet.save(path, quality=quality, optimize=True, progressive=True)
        if path.stat().st_size <= LIMIT:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL")
    given = parser.parse_args()
    titles = {describe.__name__: title for title, describe in GRAPHS.items()}
    try:
        for name in given.names or titles:
            prompt = simplified(read_workflow(FOLDER / "api" / f"{name}.api.json"))
            prompt = of_few_frames(prompt, name)
            with tempfile.TemporaryDirectory() as folder:
                run = asyncio.run(made(given.server, prompt, name, Path(folder)))
                save(FORMS.get(name, before_and_after)(run), FOLDER / f"{titles[name]}.jpg")
            print(f"{titles[name]}.jpg")
    except (Failure, aiohttp.ClientError) as error:
        sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
