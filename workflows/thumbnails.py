"""Makes NAME.jpg of each workflow by running it: source above, result below.

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
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import av
from build import GRAPHS
from PIL import Image, ImageOps
from run import FOLDER, Client, Failure, Prompt, read_workflow

SIZE, COLUMNS, LINE = (640, 360), 3, 2
EVERY = 13  # of the example's frames: three shots of it
SHOT = 9  # its first frames, without a cut
LESSON = 200  # steps
LIMIT = 60_000  # bytes
CHARTS = 224  # px, the height of a row of them in pipelines/report/charts.py
REPORT, ANALOGY = "StyleAVideoConsistencyReport", "StyleAVideoDeepImageAnalogy"


def simplified(prompt: Prompt) -> Prompt:
    """On a few frames, and with the built-in model where it wants checkpoints."""
    for key, node in list(prompt.items()):
        inputs = node["inputs"]
        match node["class_type"]:
            case "StyleAVideoLoadFrames" if REPORT in kinds(prompt):
                inputs["max_frames"] = SHOT
            case "StyleAVideoLoadFrames":
                inputs |= {"every_nth": EVERY, "max_frames": COLUMNS}
            case "StyleAVideoLearnStyle":
                inputs |= {"name": f"thumbnail_{os.getpid()}", "steps": LESSON}
            case "CheckpointLoaderSimple":
                prompt[key] = {"class_type": "StyleAVideoLoadBuiltIn", "inputs": {}}
                _few_steps(prompt)
            case "CLIPVisionLoader":
                prompt[key] = {"class_type": "StyleAVideoLoadBuiltIn", "inputs": {}}
                _redirect(prompt, [key, 0], [key, 3])
            case "ControlNetApplyAdvanced":  # the built-in model sees the frame itself
                kept = {name: inputs[name] for name in ("positive", "negative", "vae")}
                frames = prompt[inputs["image"][0]]["inputs"]["image"]
                prompt[key] = {
                    "class_type": "InstructPixToPixConditioning",
                    "inputs": kept | {"pixels": frames},
                }
    return {k: n for k, n in prompt.items() if n["class_type"] not in ("ControlNetLoader", "Canny")}


def kinds(prompt: Prompt) -> set[str]:
    return {node["class_type"] for node in prompt.values()}


def _few_steps(prompt: Prompt) -> None:
    """The settings that the built-in model was made for."""
    for node in prompt.values():
        given = {
            "BasicScheduler": {"steps": 1, "denoise": 1.0},
            "StyleAVideoPresetGuider": {
                "preset": "instruct-pix2pix",
                "frame_scale": 1.0,
                "text_scale": 1.0,
                "attention_scale": 0.1,
            },
            "StyleAVideoWeightedCondition": {"weight": 1.0},
        }
        node["inputs"] |= given.get(node["class_type"], {})


def _redirect(prompt: Prompt, old: list, new: list) -> None:
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if value == old:
                node["inputs"][name] = new


async def pictures(url: str, prompt: Prompt, folder: Path) -> list[Image.Image]:
    """Six cells, row by row: a saved video's frames below the source's, the last of each making
    room for a picture of the style; or else the previews; where clips are measured, some of the
    curves below a frame of each."""
    async with Client(url) as client:
        run = await client.queue(prompt)
        await client.wait(prompt, run)
        made = await client.results(run)

        async def fetched(kind: str) -> list[Path]:
            paths = []
            for key in (k for k in prompt if prompt[k]["class_type"] == kind):
                for file in made.get(key, []):
                    paths.append(folder / f"{len(paths)}-{kind}-{file['filename']}")
                    await client.download(file, paths[-1])
            return paths

        if ANALOGY in kinds(prompt):
            return await pair(fetched)
        source = frames_of(FOLDER / "example.mp4")[::EVERY][:COLUMNS]
        previews = [Image.open(path) for path in await fetched("PreviewImage")]
        saves = "SaveVideo" in kinds(prompt)
        if previews and not saves:  # three settings, one frame of each
            return source + [previews[i * len(previews) // COLUMNS + i] for i in range(COLUMNS)]
        compared = [Image.open(path) for path in await fetched("StyleAVideoCompare")]
        if REPORT in kinds(prompt):
            (report,) = await fetched(REPORT)
            return parts(compared[-1], COLUMNS) + charts(Image.open(report).convert("RGB"))
        if compared and compared[0].width > 4 * compared[0].height:  # source and two results
            return [
                cell for picture in (compared[0], compared[-1]) for cell in parts(picture, COLUMNS)
            ]
        result = frames_of((await fetched("SaveVideo"))[0])
        cells = source + (result[::EVERY][:COLUMNS] if len(result) > COLUMNS else result)
        for row, picture in enumerate(previews, 1):
            cells[row * COLUMNS - 1] = picture
        return cells


async def pair(fetched: Callable[[str], Awaitable[list[Path]]]) -> list[Image.Image]:
    """Two pictures and where they match, above; each in the other's look and the field, below."""
    a, b, a_like_b, b_like_a, field = await fetched("PreviewImage")
    (confidence,) = await fetched("MaskPreview")
    return [Image.open(path) for path in (a, b, confidence, a_like_b, b_like_a, field)]


def frames_of(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def parts(picture: Image.Image, count: int) -> list[Image.Image]:
    wide = picture.width / count
    return [
        picture.crop((round(i * wide) + LINE, 0, round((i + 1) * wide) - LINE, picture.height))
        for i in range(count)
    ]


def charts(plot: Image.Image) -> list[Image.Image]:
    """The first row of a report's plot: strength, sharpness, warping error."""
    legend = plot.height % CHARTS
    row = plot.crop((0, legend, plot.width, legend + CHARTS))
    cell = (SIZE[0] // COLUMNS, SIZE[1] // 2)
    return [ImageOps.pad(chart, cell, color="white") for chart in parts(row, COLUMNS)]


def strip(cells: list[Image.Image]) -> Image.Image:
    """Two rows of cells, a line between them."""
    rows = len(cells) // COLUMNS
    sheet = Image.new("RGB", SIZE, "white")
    wide, high = (SIZE[0] + LINE) / COLUMNS, (SIZE[1] + LINE) / rows
    for i, cell in enumerate(cells):
        row, column = divmod(i, COLUMNS)
        left, top = round(column * wide), round(row * high)
        size = (round((column + 1) * wide) - LINE - left, round((row + 1) * high) - LINE - top)
        sheet.paste(ImageOps.fit(cell.convert("RGB"), size, Image.Resampling.LANCZOS), (left, top))
    return sheet


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
            with tempfile.TemporaryDirectory() as folder:
                cells = asyncio.run(pictures(given.server, prompt, Path(folder)))
                save(strip(cells), FOLDER / f"{titles[name]}.jpg")
            print(f"{name}.jpg")
    except (Failure, aiohttp.ClientError) as error:
        sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
