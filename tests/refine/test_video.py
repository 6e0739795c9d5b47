"""Videos that something else has stylized, refined by the command and by the function."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.cli.words import WORDS
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import probe, read_frames
from style_a_video.pipelines.refine.frames import Refining, refine_frames
from style_a_video.pipelines.refine.video import refine_video

pytest.importorskip("cv2")
clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


def flickering(images):
    """What another tool made of them: other colours, and another light in every frame."""
    light = np.random.default_rng(0).uniform(0.85, 1.0, len(images))
    return [
        ((255 - image) * share).astype(np.uint8) for image, share in zip(images, light, strict=True)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A source with sound, and it stylized without."""
    folder, images = tmp_path_factory.mktemp("refine"), clips.pan(0, 12)
    source = clips.encode(folder / "source.mp4", images, audio=1.2)
    lossless = {"codec": "ffv1", "pix_fmt": "bgr0"}
    return source, clips.encode(folder / "stylized.mkv", flickering(images), **lossless)


def pictures(path):
    return torch.stack([frame.image for frame in read_frames(path)])


def test_the_command_is_the_refiner(files, tmp_path, capsys):
    source, stylized = files
    target = tmp_path / "calm.mkv"
    assert cli.main(["refine", *map(str, (source, stylized, target)), "--codec", "ffv1"]) == 0
    assert str(target) in capsys.readouterr().out
    pairs = zip(pictures(source), pictures(stylized), strict=True)
    expected = torch.stack(list(refine_frames(pairs)))
    assert (pictures(target) - expected).abs().max() <= 0.51 / 255
    light = [pictures(path).mean((1, 2, 3)).diff().abs().mean() for path in (stylized, target)]
    assert light[1] < 0.6 * light[0]


def test_times_are_the_stylized_video_s_and_sound_comes_from_where_it_is(files, tmp_path):
    source, stylized = files
    target = tmp_path / "calm.mp4"
    refine_video(source, stylized, target, Refining())
    assert clips.times(target) == clips.times(stylized)
    assert probe(target).has_audio
    part = clips.encode(tmp_path / "part.mkv", flickering(clips.pan(0, 12)[3:9]))
    refine_video(source, part, tmp_path / "part.mp4", Refining(), start=0.3)
    assert len(pictures(tmp_path / "part.mp4")) == 6
    assert not probe(tmp_path / "part.mp4").has_audio  # the source's is of another length


def test_strength_0_gives_the_same_pictures(files, tmp_path):
    source, stylized = files
    target = tmp_path / "same.mkv"
    refine_video(source, stylized, target, Refining(0), codec="ffv1")
    assert torch.equal(pictures(target), pictures(stylized))


@pytest.mark.parametrize("lengths, short", [((12, 8), "stylized"), ((8, 12), "source")])
def test_clips_of_other_lengths_are_refused_and_nothing_is_left(tmp_path, lengths, short):
    names = ("source.mp4", "stylized.mp4")
    for name, length in zip(names, lengths, strict=True):
        clips.encode(tmp_path / name, clips.pan(0, length))
    with pytest.raises(
        StyleAVideoError, match=f"{short}.mp4 ends after 8 frames .* start whe"
    ) as told:
        refine_video(*(tmp_path / name for name in names), tmp_path / "calm.mp4", Refining())
    assert told.value.worded(WORDS).endswith(
        "say where that begins (--start 0 at its first frame)."
    )
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_neither_input_is_written_over(files):
    for path in files:
        before = path.read_bytes()
        with pytest.raises(StyleAVideoError, match="is the input itself"):
            refine_video(*files, path, Refining())
        assert path.read_bytes() == before
