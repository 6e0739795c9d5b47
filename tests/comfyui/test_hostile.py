"""Files of a stranger in the input folder, and prompts that are none: the server goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from runpy import run_path

import pytest

WITHIN = 30  # s that a refusal may take on a busy machine
HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-VERSION:3\n"
FILES = {
    "self.m3u8.mp4": HEAD + "#EXT-X-STREAM-INF:BANDWIDTH=1\nself.m3u8.mp4\n" * 50,
    "live.mp4": HEAD + "#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nnone.ts\n",
    "pipe.mp4": HEAD + "#EXTINF:1,\nfifo\n#EXT-X-ENDLIST\n",
    "concat.mp4": "ffconcat version 1.0\nfile fifo\n",
    "words.mp4": "words\n" * 100,
}


def frames_of(file: str) -> dict:
    return {
        "1": {
            "class_type": "StyleAVideoLoadFrames",
            "inputs": {
                "file": file,
                "start": 0.0,
                "end": 0.0,
                "every_nth": 1,
                "max_frames": 1,
                "first_frame_only": True,
                "resize": "max side",
                "resize.max_side": 64,
                "fit": "pad",
                "multiple": 8,
            },
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


def memory(server) -> int:
    """MiB that the server holds."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


@pytest.mark.parametrize("name", FILES)
def test_a_playlist_in_the_input_folder_blocks_nothing(server, name):
    folder = server.folder / "input"
    if not (folder / "fifo").exists():
        os.mkfifo(folder / "fifo")
    (folder / name).write_text(FILES[name])
    before, began = memory(server), time.monotonic()
    with pytest.raises(RuntimeError, match="is not a video|Value not in list"):
        server.run(frames_of(name), WITHIN)
    assert time.monotonic() - began < WITHIN
    server.run(frames_of("example clip"), 120)
    assert memory(server) - before < 600


def test_damaged_videos_and_a_valid_one_after_them(server, tmp_path):
    """By the generator of tests/hostile: each is answered, whatever the answer."""
    hostile = Path(__file__).parents[1] / "hostile"
    damaged = run_path(str(hostile / "generate.py"))["damaged"]
    whole = (Path(__file__).parents[2] / "workflows" / "example.mp4").read_bytes()[:200_000]
    import random

    for seed in range(12):
        draw = random.Random(seed)
        (server.folder / "input" / f"d{seed}.mp4").write_bytes(damaged(draw, whole))
        try:
            server.run(frames_of(f"d{seed}.mp4"), WITHIN)
        except RuntimeError as error:
            assert "took more than" not in str(error)
            assert "StyleAVideo" in str(error) or "Value not in list" in str(error), error
    server.run(frames_of("example clip"), 120)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("oil \ud800", "no text"),
        ('0: "\udcff"', "no text"),
        ("a" * 3000, "characters"),
        ("0: " * 40_000, "characters"),
        ("9" * 5000 + ': "a"', "cannot be read from"),
    ],
)
def test_prompts_that_are_no_text_are_a_sentence(server, text, told):
    prompt = {
        "1": {"class_type": "StyleAVideoLoadBuiltIn", "inputs": {}},
        "2": {
            "class_type": "StyleAVideoTextCondition",
            "inputs": {"clip": ["1", 1], "text": text, "interpolate": True, "frame_count": 1},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    with pytest.raises(RuntimeError, match=f"StyleAVideoTextCondition: .*{told}"):
        server.run(prompt, WITHIN)
    server.run(frames_of("example clip"), 120)
