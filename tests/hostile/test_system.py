"""What the system refuses, what is no text, and jobs from elsewhere: a sentence each."""

import json
import os
import shutil
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines import checks
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import VideoWriter, check_target
from style_a_video.pipelines.run.job import _sha256
from style_a_video.pipelines.run.shots import read_shots
from style_a_video.pipelines.run.stylize import Kept, stylize_video

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return clips.encode(tmp_path_factory.mktemp("source") / "a.mp4", clips.pan(0, 20, 2, 64, 48))


def same(images, indices):
    return images


def interrupted(images, indices):
    if indices[0]:
        raise KeyboardInterrupt
    return images


# permissions


@pytest.fixture
def locked(tmp_path, source):
    """What may not be read: a file, a folder, what is in it; what may not be written to."""
    shutil.copy(source, tmp_path / "a.mp4")
    (tmp_path / "in").mkdir()
    shutil.copy(source, tmp_path / "in" / "a.mp4")
    (tmp_path / "shots.json").write_text('{"shots": [{"start": 0}]}')
    (tmp_path / "to").mkdir()
    modes = {"a.mp4": 0, "shots.json": 0, "in": 0, "to": 0o500}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    yield tmp_path
    for name in modes:
        (tmp_path / name).chmod(0o700)


@pytest.mark.parametrize(
    "argv",
    [
        ["shots", "a.mp4"],
        ["shots", "in"],
        ["shots", "in/a.mp4"],
        ["shots", "in/none/a.mp4"],
        ["report", "{source}", "in/a.mp4"],
        ["stylize", "{source}", "to/o.mp4", "--prompt", "oil"],
        ["stylize", "{source}", "in/o.mp4", "--prompt", "oil"],
        ["stylize", "in", "o", "--prompt", "oil"],
        ["stylize", "{source}", "o.mp4", "--prompt", "oil", "--job", "to/job"],
        ["stylize", "{source}", "o.mp4", "--prompt", "oil", "--job", "in/job"],
        ["stylize", "{source}", "o.mp4", "--prompt", "oil", "--model", "in"],
        ["stylize", "{source}", "o.mp4", "--prompt", "oil", "--model", "in/model"],
        ["stylize", "{source}", "o.mp4", "--prompt", "oil", "--shots", "shots.json"],
        ["shots", "{source}", "--json", "in/o.json"],
        ["demo", "--input", "in/a.mp4"],
        ["demo", "--input", "{source}", "--output", "in/o"],
        ["refine", "{source}", "a.mp4", "o.mp4"],
    ],
    ids=" ".join,
)
def test_permission_denied_is_a_sentence(locked, source, nursery, argv, assert_one_sentence):
    argv = [arg.format(source=source) for arg in argv]
    done = nursery.run(*argv, cwd=locked, humble=True)
    assert_one_sentence(done, 2)
    assert "permission denied" in done["err"].lower(), done


@pytest.mark.parametrize("path", ["/proc/self/mem", "/proc/kmsg", "/proc/self/environ", "/dev/tty"])
def test_files_of_the_kernel(nursery, path, assert_one_sentence):
    assert_one_sentence(nursery.run("shots", path, seconds=10), 2)


def test_an_unreadable_job_is_not_called_damaged(tmp_path, source, nursery):
    (tmp_path / "job" / "segments").mkdir(parents=True)
    (tmp_path / "job" / "job.json").write_text("{}")
    (tmp_path / "job" / "job.json").chmod(0)
    argv = ["stylize", str(source), "o.mp4", "--prompt", "oil", "--job", "job"]
    done = nursery.run(*argv, cwd=tmp_path, humble=True)
    assert done["rc"] == 2 and "ermission denied" in done["err"], done
    assert "damaged" not in done["err"] and "--fresh" not in done["err"]


@pytest.mark.parametrize("length", [256, 300, 5000])
def test_names_that_are_too_long(tmp_path, source, nursery, length, assert_one_sentence):
    for argv in (
        ["stylize", str(source), "n" * length + ".mp4", "--prompt", "oil"],
        ["stylize", str(source), "水" * (length // 3) + ".mp4", "--prompt", "oil"],
        ["stylize", str(source), "o.mp4", "--prompt", "oil", "--job", "j" * length],
        ["shots", str(source), "--json", "n" * length + ".json"],
        ["shots", "n" * length],
        ["stylize", str(source), "o.mp4", "--prompt", "oil", "--model", "./" + "m" * length],
    ):
        assert_one_sentence(nursery.run(*argv, cwd=tmp_path), 2)
    assert [*tmp_path.iterdir()] == []


# text


@pytest.mark.parametrize("option", ["--prompt", "--negative"])
def test_bytes_that_are_no_text(tmp_path, source, nursery, option, assert_one_sentence):
    argv = ["stylize", str(source), "o.mp4", "--prompt", "oil", option, b"\xff\xfe oil"]
    done = nursery.run(*argv, cwd=tmp_path)
    assert_one_sentence(done, 2)
    assert "no text" in done["err"]


@pytest.mark.parametrize("what", ["prompt", "negative_prompt"])
def test_lone_surrogates(what):
    with pytest.raises(StyleAVideoError, match="no text"):
        checks.check_prompts(what, "oil \ud800", 1)


@pytest.mark.parametrize(
    "data",
    [
        b'{"shots": [{"start": 0, "prompt": "\\ud800"}]}',
        b'{"shots": [{"start": 0, "prompt": "\xff"}]}',
        b"\xff\xfe\x00",
        b'{"shots": [{"start": ' + b"9" * 100_000 + b"}]}",
        b"[" * 1_000_000,
    ],
)
def test_shots_that_are_no_text(tmp_path, data):
    (tmp_path / "s.json").write_bytes(data)
    with pytest.raises(StyleAVideoError, match="no text|is not a shots file|must start at frame 0"):
        read_shots(tmp_path / "s.json")


def test_names_that_are_no_text(tmp_path, source, nursery, assert_one_sentence):
    """They are names like others, and are said without what moves a terminal's cursor."""
    shutil.copy(source, bytes(tmp_path) + b"/\xff\xfe.mp4")
    shutil.copy(source, tmp_path / "new\nline \x1b[31m.mp4")
    assert nursery.run("shots", b"\xff\xfe.mp4", cwd=tmp_path)["rc"] == 0
    done = nursery.run("stylize", b"\xff\xfe.mp4", b"\xfe.mkv", "--prompt", "oil", cwd=tmp_path)
    assert done["rc"] == 0 and done["out"] == "\\udcfe.mkv\n", done
    done = nursery.run(
        "stylize", "none\nline \x1b[31m.mp4", "o.mp4", "--prompt", "oil", cwd=tmp_path
    )
    assert_one_sentence(done, 2)
    assert "\x1b" not in done["err"]


# jobs


def test_a_job_from_elsewhere_deletes_only_beside_out(tmp_path, source):
    precious = tmp_path / "precious" / ".0123456789abcdef"
    precious.parent.mkdir()
    precious.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(KeyboardInterrupt):
        stylize_video(source, out / "o.mp4", interrupted, job=Kept(tmp_path / "job"), chunk_size=2)
    for name in (precious, "../precious/.0123456789abcdef", "/etc/.0123456789abcdef", "\0", "."):
        (tmp_path / "job" / "unfinished").write_bytes(os.fsencode(name))
        with pytest.raises(KeyboardInterrupt):
            stylize_video(
                source, out / "o.mp4", interrupted, job=Kept(tmp_path / "job"), chunk_size=2
            )
    assert precious.read_text() == "precious"


FORGED = [
    lambda listed: listed["times"][0].__setitem__(0, "9" * 30),
    lambda listed: listed["times"][0].__setitem__(1, "-1"),
    lambda listed: listed["times"][0].__setitem__(0, "1/" + "9" * 30),
    lambda listed: listed["times"].__setitem__(slice(None), [["7", "1/10"]] * 2),
    lambda listed: listed["times"].reverse(),
]


@pytest.mark.parametrize("forge", FORGED)
@pytest.mark.parametrize("out", ["o.mp4", "o.mkv", "o.gif", "o.webp"])
def test_forged_times_are_a_sentence(tmp_path, source, forge, out):
    def stylize(engine):
        return stylize_video(
            source, tmp_path / out, engine, job=Kept(tmp_path / "job"), chunk_size=2
        )

    def failing(images, indices):
        if indices[0] >= 18:
            raise KeyboardInterrupt
        return images

    with pytest.raises(KeyboardInterrupt):
        stylize(failing)
    path = min((tmp_path / "job" / "segments").glob("*.json"))
    listed = json.loads(path.read_text())
    forge(listed)
    path.write_text(json.dumps(listed))
    try:
        stylize(same)
    except StyleAVideoError:
        assert not (tmp_path / out).exists()


def test_another_video_in_the_place_of_a_segment(tmp_path, source):
    """With its hash: a playlist, another container, another size."""

    def stylize(engine):
        return stylize_video(
            source, tmp_path / "o.mp4", engine, job=Kept(tmp_path / "job"), chunk_size=2
        )

    def failing(images, indices):
        if indices[0] >= 18:
            raise KeyboardInterrupt
        return images

    with pytest.raises(KeyboardInterrupt):
        stylize(failing)
    path = min((tmp_path / "job" / "segments").glob("*.mkv"))
    clips.encode(tmp_path / "other.mkv", clips.pan(0, 16, 2, 32, 24))
    for data in (
        b"#EXTM3U\n/dev/zero\n",
        Path(source).read_bytes(),
        (tmp_path / "other.mkv").read_bytes(),
    ):
        path.write_bytes(data)
        listed = json.loads(path.with_suffix(".json").read_text())
        listed["sha256"]["mkv"] = _sha256(data)
        path.with_suffix(".json").write_text(json.dumps(listed))
        with pytest.raises(StyleAVideoError, match="is damaged"):
            stylize(same)


# targets


def test_a_kill_in_the_check_of_a_target_leaves_nothing(tmp_path, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    for name in ("remove", "unlink"):
        monkeypatch.setattr(os, name, killed)
    check_target(tmp_path / "o.mp4")
    assert [*tmp_path.iterdir()] == []


def test_a_folder_made_at_out_is_not_replaced(tmp_path):
    from fractions import Fraction

    from style_a_video.pipelines.media import Frame

    target = tmp_path / "o.mp4"
    with pytest.raises(StyleAVideoError, match="cannot be written"):
        with VideoWriter(target, frame_rate=Fraction(10)) as writer:
            writer.write(Frame(torch.zeros(3, 16, 16), Fraction(0), Fraction(1, 10)))
            target.mkdir()
    assert target.is_dir() and [*tmp_path.iterdir()] == [target]


def test_outs_folder_is_gone(tmp_path, source):
    (tmp_path / "out").mkdir()

    def removing(images, indices):
        if indices[0] >= 16:
            shutil.rmtree(tmp_path / "out")
        return images

    with pytest.raises(StyleAVideoError) as caught:
        stylize_video(
            source, tmp_path / "out/o.mp4", removing, job=Kept(tmp_path / "out/o.mp4.job")
        )
    assert "is gone with it" in str(caught.value) and "is kept" not in str(caught.value)


def test_a_hundred_thousand_prompts(tmp_path, source, nursery, assert_one_sentence):
    listed = [{"start": k, "prompt": f"oil {k}"} for k in range(100_000)]
    (tmp_path / "s.json").write_text(json.dumps({"shots": listed}))
    argv = ["stylize", str(source), "o.mp4", "--shots", "s.json"]
    done = nursery.run(*argv, cwd=tmp_path, seconds=20)
    assert_one_sentence(done, 2)
    assert "different styles" in done["err"]
