"""--keyframes and --painted: what is said, and what is refused."""

import json
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
from PIL import Image
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.media import read_frames

pytest.importorskip("cv2")
clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


@pytest.fixture
def clip(tmp_path):
    return clips.encode(tmp_path / "in.mkv", clips.pan(0, 9, 1, 64, 48), codec="ffv1")


@pytest.fixture
def painted(tmp_path):
    folder = tmp_path / "painted"
    folder.mkdir()
    Image.new("RGB", (64, 48), "red").save(folder / "0004.png")
    return folder


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def test_one_frame_in_so_many_goes_through_the_engine(clip, tmp_path, capsys):
    report = tmp_path / "report.json"
    options = ("--style", "scream", "--keyframes", 4, "--device", "cpu", "--report", report)
    assert run("stylize", clip, tmp_path / "out.mp4", *options) == 0, capsys.readouterr().err
    assert "3 of 9 frames were keyframes." in capsys.readouterr().err
    told = json.loads(report.read_text())
    assert (told["made"], told["frames"]) == (3, 9)


def test_painted_keyframes_need_no_engine_and_no_style(clip, painted, tmp_path, capsys):
    report, target = tmp_path / "report.json", tmp_path / "out.mkv"
    options = ("--painted", painted, "--codec", "ffv1", "--report", report)
    assert run("stylize", clip, target, *options) == 0, capsys.readouterr().err
    assert "1 of 9 frames were keyframes." in capsys.readouterr().err
    for frame in read_frames(target):
        assert clips.near((255 * frame.image.mean((1, 2))).tolist(), (255, 0, 0), 3)
    assert json.loads(report.read_text())["settings"]["engine"] == "painted"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--style", "scream", "--keyframes", "many"),
            "--keyframes must be auto or a whole number",
        ),
        (("--style", "scream", "--keyframes", 17), "from 1 to 16, not '17'."),
        (("--painted", "{painted}", "--style", "scream"), "takes the place of an engine and its"),
        (("--painted", "{painted}", "--engine", "wct"), "takes the place of an engine and its"),
        (("--painted", "{painted}", "--keyframes", 8), "says which frames are keyframes: leave"),
        (
            ("--painted", "{painted}", "--seed", 8),
            "--seed is no option of the engine painted but of ",
        ),
        (("--painted", "{painted}/nowhere"), "nowhere cannot be read (no such file or directory)"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    options, said, clip, painted, tmp_path, capsys
):
    given = [str(option).format(painted=painted) for option in options]
    assert run("stylize", clip, tmp_path / "out.mp4", *given) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "out.mp4").exists()


def test_painted_frames_are_of_one_video(clip, painted, tmp_path, capsys):
    assert run("stylize", clip.parent, tmp_path / "out", "--painted", painted) == 2
    assert "--painted is for one video" in capsys.readouterr().err
