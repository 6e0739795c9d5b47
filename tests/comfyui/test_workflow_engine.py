"""The engine that sends frames through a workflow, with a real server."""

from __future__ import annotations

import json
import runpy
import shutil
import time
from pathlib import Path

import pytest
import torch
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.engines.comfyui import KIND, ComfyUIOptions
from style_a_video.pipelines.engines.comfyui.server import Server as Client
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import read_frames

ROOT = Path(__file__).parents[2]
clips = runpy.run_path(str(ROOT / "tests" / "clips.py"))
CPU = torch.device("cpu")
LEVEL = 1.01 / 255  # ComfyUI's Save Image cuts off what is below a level


def eighths(count=5, height=43, width=61):
    """Frames (T,3,H,W) of 8 bits with odd sides."""
    made = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))
    return made.mul(255).round() / 255


def picture_graph(out="SaveImage", **more):
    saved = {"images": ["2", 0]} | ({"filename_prefix": "mine"} if out == "SaveImage" else {})
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "anything.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": out, "inputs": saved},
        **more,
    }


def blocks_graph():
    """Ours: it was tried on a few frames at a small size, as users do."""
    tried = {"start": 0.5, "end": 1.0, "every_nth": 3, "max_frames": 4, "first_frame_only": True}
    size = {"resize": "max side", "resize.max_side": 32, "fit": "crop", "multiple": 64}
    inputs = {"file": "example clip", **tried, **size}
    return {
        "4": {"class_type": "StyleAVideoLoadFrames", "inputs": inputs},
        "5": {"class_type": "ImageInvert", "inputs": {"image": ["4", 0]}},
        "6": {
            "class_type": "StyleAVideoFramesToVideo",
            "inputs": {"images": ["5", 0], "frame_info": ["4", 3], "restore_size": True},
        },
        "7": {
            "class_type": "SaveVideo",
            "inputs": {
                "video": ["6", 0],
                "filename_prefix": "mine",
                "format": "auto",
                "codec": "auto",
            },
        },
    }


def stock_video_graph():
    return {
        "1": {"class_type": "LoadVideo", "inputs": {"file": "anything.mp4"}},
        "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
        "3": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "4": {"class_type": "CreateVideo", "inputs": {"images": ["3", 0], "fps": ["2", 2]}},
        "5": {
            "class_type": "SaveVideo",
            "inputs": {
                "video": ["4", 0],
                "filename_prefix": "x",
                "format": "auto",
                "codec": "auto",
            },
        },
    }


@pytest.fixture
def ask(server, tmp_path):
    """A workflow → what is loaded for it."""

    def load(graph, **options):
        path = tmp_path / "mine.api.json"
        path.write_text(json.dumps(graph), encoding="utf-8")
        given = ComfyUIOptions(str(path), options.pop("server", server.url), **options)
        return KIND.load(given, CPU, torch.float32)

    return load


def stylized(loaded, frames, first=0):
    return loaded.engine(Style())(frames, range(first, first + len(frames)))


@pytest.mark.parametrize(
    "graph",
    [picture_graph(), picture_graph("PreviewImage"), blocks_graph(), stock_video_graph()],
    ids=["save", "preview", "blocks", "stock video"],
)
def test_frames_come_back_as_the_workflow_makes_them(ask, graph):
    frames = eighths()
    torch.testing.assert_close(stylized(ask(graph), frames), 1 - frames, atol=LEVEL, rtol=0)


def test_the_disk_and_the_history_do_not_grow(ask, server):
    before = {path for path in server.folder.rglob("*") if path.is_file()}
    loaded, frames = ask(picture_graph()), eighths(6)
    for first in (0, 6, 12):
        stylized(loaded, frames, first)
    new = [p for p in server.folder.rglob("*") if p.is_file() and p not in before]
    held = [path for path in new if path.stat().st_size]
    assert all(path.parent.name == "temp" for path in new if path != server.log)
    assert len(held) == 2 and all(path.name.startswith("style_a_video_") for path in held)
    assert not [run for run in server.get("/history") if loaded.workflow.out in str(run)]
    assert is_idle(server)


def is_idle(server, seconds=20):
    """Whether its queue is empty before long: a prompt is told before it is over."""
    end = time.monotonic() + seconds
    while (queue := server.get("/queue")) and time.monotonic() < end:
        if not queue["queue_running"] and not queue["queue_pending"]:
            return True
        time.sleep(0.1)
    return False


def test_what_was_seen_before_comes_again(ask):
    """ComfyUI does not make it anew, and would name files that are empty by now."""
    frames = eighths(1).expand(4, -1, -1, -1)
    for loaded in (ask(picture_graph()), ask(picture_graph())):
        for _ in range(2):
            assert stylized(loaded, frames).allclose(1 - frames, atol=LEVEL)


def test_enlarged_pictures_lose_the_padding_in_proportion(ask):
    scale = {"upscale_method": "nearest-exact", "scale_by": 2.0}
    graph = picture_graph() | {
        "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], **scale}}
    }
    frames = eighths(2)
    expected = frames.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(stylized(ask(graph), frames), expected, atol=LEVEL, rtol=0)


def test_several_servers_share_the_frames(ask, server):
    """The same one under two names."""
    other = server.url.replace("127.0.0.1", "localhost")
    for graph in (picture_graph(), blocks_graph()):
        loaded = ask(graph, server=f"{server.url},{other}")
        frames = eighths(5)
        assert stylized(loaded, frames).allclose(1 - frames, atol=LEVEL)


def test_places_are_named_where_there_are_several(ask, server, tmp_path):
    from PIL import Image

    for name, grey in (("style.png", 40), ("other.png", 50)):
        Image.new("RGB", (64, 48), (grey,) * 3).save(tmp_path / name)
        server.add_input(tmp_path / name)
    blend = {"image1": ["1", 0], "image2": ["9", 0], "blend_factor": 0.0, "blend_mode": "normal"}
    more = {
        "2": {"class_type": "ImageBlend", "inputs": blend},
        "9": {"class_type": "LoadImage", "inputs": {"image": "style.png"}},
        "10": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
    }
    graph = picture_graph(**more)
    with pytest.raises(StyleAVideoError, match=r"2 outputs of pictures \(3.images \(SaveIm"):
        ask(graph)
    with pytest.raises(StyleAVideoError, match=r"go in at 2 places .*\(1.image \(LoadImage"):
        ask(graph, out="3")
    frames, loaded = eighths(2, 48, 64), ask(graph, out="3", in_="1.image")
    assert stylized(loaded, frames).allclose(frames, atol=LEVEL)
    # The other picture is a part of what decides the result: by its content.
    assert list(loaded.identity()["pictures"]) == ["style.png"]
    assert len(loaded.identity()["pictures"]["style.png"]) == 64
    shutil.copy(tmp_path / "other.png", server.folder / "input" / "style.png")
    again = ask(graph, out="3", in_="1")
    assert again.identity() != loaded.identity()
    assert again.identity() | {"pictures": 0} == loaded.identity() | {"pictures": 0}


def node(kind, image="1", **inputs):
    return {"class_type": kind, "inputs": {"image": [image, 0], **inputs}}


def repeated(amount):
    return node("RepeatImageBatch", amount=amount)


COMPARE = {"source": ["8", 0], "stylized": ["9", 0], "mode": "side by side", "position": 0.5}
FAILS = {"2": {"class_type": "StyleAVideoCompare", "inputs": COMPARE}} | {
    "8": repeated(3),
    "9": repeated(2),
}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"2": node("Swirl")}, r"^ComfyUI refused the workflow: .*Swirl.*\.$"),
        (
            {"2": node("ImageScaleBy", upscale_method="magic", scale_by=1.0)},
            r"^ComfyUI refused the workflow: 2 ImageScaleBy: Value not in list .*'magic'.*\.$",
        ),
        (
            {"2": repeated(3)},
            r"^The workflow gives 3 pictures for 1 frame: .* as many\.$",
        ),
        (FAILS, r"^The node 2 StyleAVideoCompare of the workflow failed: .*\.$"),
    ],
    ids=["class", "value", "count", "fails"],
)
def test_what_the_server_says_is_a_sentence(ask, server, more, told):
    with pytest.raises(StyleAVideoError, match=told) as refusal:
        stylized(ask(picture_graph() | more), eighths(4))
    assert "\n" not in str(refusal.value)
    assert is_idle(server)


def test_a_template_of_ours_makes_frames(server):
    path = ROOT / "workflows" / "api" / "style_a_video_by_words.api.json"
    loaded = KIND.load(ComfyUIOptions(str(path), server.url), CPU, torch.float32)
    frames = eighths(3, 64, 96)
    made = stylized(loaded, frames)
    assert made.shape == frames.shape and (made - frames).abs().mean() > 0.02


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def test_a_clip_goes_on_where_it_was_stopped(server, tmp_path, capsys, monkeypatch):
    cut = [*clips["ramp"](6), *(255 - image for image in clips["ramp"](6))]
    clip = clips["encode"](tmp_path / "in.mp4", cut, audio=1.2)
    (tmp_path / "mine.api.json").write_text(json.dumps(picture_graph()), encoding="utf-8")
    given = ("--engine", "comfyui", "--workflow", tmp_path / "mine.api.json")
    given = (*given, "--server", server.url, "--chunk", 2, "--no-refine", "--quality", "high")
    wait, calls = Client.wait, []

    def stopped(self, run, stop):
        calls.append(run)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return wait(self, run, stop)

    monkeypatch.setattr("style_a_video.pipelines.run.shots.SEGMENT", 2)
    monkeypatch.setattr(Client, "wait", stopped)
    assert run("stylize", clip, tmp_path / "out.mp4", *given) == 130
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(Client, "wait", wait)
    report = tmp_path / "report.json"
    assert run("stylize", clip, tmp_path / "out.mp4", *given, "--report", report) == 0
    assert "8 frames were done by a former run" in capsys.readouterr().err
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["frames"] == 12 and len(told["shots"]) == 2
    assert told["settings"]["engine"] == "comfyui" and len(told["settings"]["workflow"]) == 64
    for before, after in zip(read_frames(clip), read_frames(tmp_path / "out.mp4"), strict=True):
        means = 1 - before.image.mean((1, 2)), after.image.mean((1, 2))
        torch.testing.assert_close(*means, atol=0.05, rtol=0)
    packets = clips["audio_packets"]
    assert packets(tmp_path / "out.mp4") == packets(clip)


def test_a_clip_is_refined_after_it(server, tmp_path, capsys):
    clip = clips["encode"](tmp_path / "in.mp4", clips["ramp"](8))
    (tmp_path / "mine.api.json").write_text(json.dumps(blocks_graph()), encoding="utf-8")
    given = ("--engine", "comfyui", "--workflow", tmp_path / "mine.api.json", "--chunk", 3)
    report = tmp_path / "report.json"
    given = (*given, "--server", server.url, "--in", "4.file", "--out", "6", "--report", report)
    assert run("stylize", clip, tmp_path / "out.mp4", *given) == 0
    assert json.loads(report.read_text(encoding="utf-8"))["settings"]["refine"] == 1.0
    for before, after in zip(read_frames(clip), read_frames(tmp_path / "out.mp4"), strict=True):
        means = 1 - before.image.mean((1, 2)), after.image.mean((1, 2))
        torch.testing.assert_close(*means, atol=0.05, rtol=0)
