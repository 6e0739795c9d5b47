"""What ends before its time goes on to the same file: errors, kill -9, full disks; refusals."""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.cli.words import WORDS
from style_a_video.pipelines.engines.diffusion.engine import Diffusion
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Part, VideoWriter
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.run import job, shots, stylize
from style_a_video.pipelines.run.job import Job, differences, digest
from style_a_video.pipelines.run.shots import Begin, Plan, Segment, Shot
from style_a_video.pipelines.run.stylize import Kept, stylize_video

pytest.importorskip("cv2")
clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

KILLS = 8  # at random moments of one job; 20 were tried
FRAMES, SEGMENT, CHUNK = 19, 4, 2  # two shots of 10 and 9 frames: segments of 4 4 2, 4 4 1
PLAN = Plan((Shot(0, 1, Fraction(0)),), (Segment(0, 1, Fraction(0), 0),))  # of another job
CALLS = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11], [12, 13], [14, 15], [16, 17], [18]]


def engine(frames, frame_indices):
    """Another look, with a light of its own for each frame, which the refiner takes out."""
    light = torch.tensor([0.7 + 0.1 * (5 * index % 4) for index in frame_indices])
    return (1 - frames.flip(1) ** 2) * light[:, None, None, None]


class Failing:
    """The engine, until its n-th call."""

    def __init__(self, at=None, error=None):
        self.calls, self.at, self.error = [], at, error or RuntimeError("failed")

    def __call__(self, frames, frame_indices):
        if len(self.calls) == self.at:
            raise self.error
        self.calls.append(list(frame_indices))
        return engine(frames, frame_indices)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(shots, "SEGMENT", SEGMENT)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    images = [*clips.pan(0, 10, 2, 64, 48), *clips.pan(1, 9, 2, 64, 48)]
    return clips.encode(tmp_path_factory.mktemp("source") / "a.mp4", images, audio=1.9)


SETTINGS = {"prompt": "oil", "seed": 0}


def run(source, target, engine=engine, job=None, settings=SETTINGS, fresh=False, **more):
    """`job`: its folder."""
    kept = None if job is None else Kept(job, settings, fresh)
    common = {"refining": Refining(), "chunk_size": CHUNK, "job": kept}
    return stylize_video(source, target, engine, **common | more)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The result of a run that nothing came in the way of."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shots, "SEGMENT", SEGMENT)
        target = tmp_path_factory.mktemp("whole") / "whole.mp4"
        report = run(source, target)
    assert [(shot["start"], shot["end"]) for shot in report.shots] == [(0, 10), (10, 19)]
    return target.read_bytes()


@pytest.fixture(scope="module")
def jobs(source, tmp_path_factory):
    """Folders of jobs that ended before their time: in the fifth segment, and as all were made."""
    folder = tmp_path_factory.mktemp("jobs")

    def fail(*_):
        raise OSError("failed")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shots, "SEGMENT", SEGMENT)
        with pytest.raises(RuntimeError, match="failed"):
            run(source, folder / "out.mp4", Failing(at=8), job=folder / "begun")
        patched.setattr(VideoWriter, "write_picture", fail)
        with pytest.raises(OSError, match="failed"):
            run(source, folder / "out.mp4", job=folder / "made")
    return folder


@pytest.fixture
def begun(source, jobs, tmp_path):
    """A job of 14 frames done, the second shot begun: (goes on with it, its folder, its target)."""
    target, folder = tmp_path / "out.mp4", tmp_path / "job"
    shutil.copytree(jobs / "begun", folder)

    def again(engine=engine, **more):
        return run(source, target, engine, **{"job": folder} | more)

    return again, folder, target


@pytest.fixture
def made(jobs, tmp_path):
    """The folder of a job of which all segments are made and nothing is written."""
    return Path(shutil.copytree(jobs / "made", tmp_path / "job"))


def contents(folder):
    """Every file below a folder, hidden ones too, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# going on


@pytest.mark.parametrize("at", [0, 1, 3, 5, 9])
def test_a_failing_engine_costs_the_segment_in_hand(at, source, whole, tmp_path):
    target, folder = tmp_path / "out.mp4", tmp_path / "out.mp4.job"
    with pytest.raises(RuntimeError, match="failed"):
        run(source, target, Failing(at), job=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.job"]
    begins = {0: 0, 1: 0, 3: 4, 5: 10, 9: 18}[at]  # of the segment in hand
    counted = Failing()
    report = run(source, target, counted, job=folder)
    assert counted.calls == [call for call in CALLS if call[0] >= begins]
    assert report.resumed == begins and report.frames == FRAMES
    assert target.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_it_may_fail_again_and_again(source, whole, tmp_path):
    target, folder, failures, resumed = tmp_path / "out.mp4", tmp_path / "job", 0, []
    while not target.exists():
        try:
            resumed.append(run(source, target, Failing(at=2), job=folder).resumed)
        except RuntimeError:
            failures += 1
    assert failures == 5 and resumed == [18]
    assert target.read_bytes() == whole and [*tmp_path.iterdir()] == [target]


@pytest.mark.parametrize("at", [0, 7, FRAMES])
def test_a_failing_writing_costs_no_frame(at, made, source, whole, tmp_path, monkeypatch):
    target = tmp_path / "out.mp4"
    given, done = VideoWriter.write_picture, []

    def write(self, *arguments):
        done.append(1)
        if len(done) > at:
            raise OSError("failed")
        given(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(Exception, match="failed"):
        patched.setattr(VideoWriter, "write_picture", write)
        if at == FRAMES:
            patched.setattr(VideoWriter, "_finish", lambda self: write(self))
        run(source, target, job=made)
    assert [path.name for path in tmp_path.iterdir()] == ["job"]
    counted = Failing()
    report = run(source, target, counted, job=made)
    assert counted.calls == [] and report.resumed == FRAMES
    assert target.read_bytes() == whole and [*tmp_path.iterdir()] == [target]


def test_the_result_is_on_the_disk_before_the_job_goes(made, source, tmp_path, monkeypatch):
    """A power loss would take both otherwise."""
    target, synced, given = tmp_path / "out.mp4", [], os.fsync

    def fsync(handle):
        synced.append((os.fstat(handle).st_ino, made.exists()))
        given(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    run(source, target, job=made)
    assert (target.stat().st_ino, True) in synced and not made.exists()
    assert os.name != "posix" or (tmp_path.stat().st_ino, True) in synced


def test_the_past_of_the_refiner_is_kept_while_it_is_needed_and_no_longer(begun, jobs):
    _, folder, _ = begun
    assert [path.name for path in folder.glob("segments/*.past")] == ["000000010.past"]
    assert not [*(jobs / "made").glob("segments/*.past")]


def test_progress_goes_on_where_it_was(begun):
    again, _, _ = begun
    told = []
    report = again(progress=lambda *what: told.append(what))
    assert report.resumed == 14 and told[0] == ("stylize", 14, FRAMES)
    assert not [what for what in told if what[0] == "shots"]
    assert report.frames_per_second < FRAMES / report.seconds


def test_without_a_job_nothing_is_kept(source, tmp_path):
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mp4", Failing(at=5))
    assert [*tmp_path.iterdir()] == []


def test_a_job_that_never_began_leaves_nothing(source, tmp_path):
    begins = [Begin(0), Begin(99)]
    with pytest.raises(StyleAVideoError, match="shot at frame 99"):
        run(source, tmp_path / "out.mp4", job=tmp_path / "job", begins=begins)
    assert [*tmp_path.iterdir()] == []


def test_a_link_to_another_disk_may_be_a_job(source, whole, tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "job").symlink_to(tmp_path / "large" / "job")
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mp4", Failing(at=5), job=tmp_path / "job")
    assert [*(tmp_path / "large" / "job").iterdir()]
    run(source, tmp_path / "out.mp4", job=tmp_path / "job")
    assert (tmp_path / "out.mp4").read_bytes() == whole
    assert [*(tmp_path / "large").iterdir()] == []


def test_the_folder_that_one_works_in_may_be_a_job(source, whole, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mp4", Failing(at=5), job=".")
    run(source, tmp_path / "out.mp4", job=".")
    assert (tmp_path / "out.mp4").read_bytes() == whole
    assert not (tmp_path / "here").exists() or [*(tmp_path / "here").iterdir()] == []


# kill -9

NURSERY = """
import json, os, sys, traceback
from runpy import run_path

sys.path.insert(0, sys.argv[1])
tests = run_path(sys.argv[2])
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            tests["work"](*json.loads(line))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def work(source, target, folder, slow, die):
    """What a child does; `die`: the (stage, frames done) at which it kills itself."""
    shots.SEGMENT = SEGMENT

    def slowly(frames, frame_indices):
        time.sleep(slow)
        return engine(frames, frame_indices)

    def progress(stage, done, total):
        if [stage, done] == die:
            os.kill(os.getpid(), signal.SIGKILL)
        if stage == "write":
            time.sleep(slow / 10)

    run(source, target, slowly, job=folder, progress=progress)


class Child:
    """The same call in a process of its own."""

    def __init__(self, nursery, source, target, folder, slow=0.0, die=None):
        self.nursery = nursery
        call = json.dumps([str(source), str(target), str(folder), slow, die])
        print(call, file=nursery.stdin, flush=True)
        self.pid = int(nursery.stdout.readline())

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)  # its number is its own until `ended`

    def ended(self):
        """Its exit code, waited for."""
        print(file=self.nursery.stdin, flush=True)
        return int(self.nursery.stdout.readline())


@pytest.fixture(scope="module")
def nursery():
    """A process that has imported all that takes seconds, and forks for each call."""
    if os.name != "posix":
        pytest.skip("there is no kill -9")
    command = [sys.executable, "-c", NURSERY, str(Path(stylize.__file__).parents[3]), __file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield process
        process.stdin.close()


# What is done by then: a segment may still be on its way to the disk while the next is begun.
DYING = {
    ("shots", 9): {0},
    ("stylize", 12): {8, 10},
    ("write", 1): {FRAMES},
    ("write", FRAMES): {FRAMES},
}


@pytest.mark.parametrize("die", DYING)
def test_kill_9_at_a_known_moment(die, nursery, source, whole, tmp_path):
    target, folder = tmp_path / "out.mp4", tmp_path / "job"
    assert Child(nursery, source, target, folder, die=die).ended() == -signal.SIGKILL
    assert not target.exists()
    hidden = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(hidden) == (die[0] == "write")
    assert run(source, target, job=folder).resumed in DYING[die]
    assert target.read_bytes() == whole and [*tmp_path.iterdir()] == [target]


def test_kill_9_at_random_moments(nursery, source, whole, tmp_path):
    target, folder, kills = tmp_path / "out.mp4", tmp_path / "out.mp4.job", 0
    rng = random.Random(9)
    while kills < KILLS:
        child = Child(nursery, source, target, folder, slow=0.1)
        time.sleep(rng.uniform(0, 0.8))
        child.kill()
        code = child.ended()
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        if target.exists():
            assert target.read_bytes() == whole
            target.unlink()
    run(source, target, job=folder)
    assert target.read_bytes() == whole
    assert [*tmp_path.iterdir()] == [target]


def test_a_killed_folder_of_pictures_is_cleaned_up_too(nursery, source, tmp_path):
    target, folder = tmp_path / "pictures", tmp_path / "job"
    assert Child(nursery, source, target, folder, die=("write", 5)).ended() == -signal.SIGKILL
    assert len([*tmp_path.iterdir()]) == 2
    run(source, target, job=folder)
    assert [*tmp_path.iterdir()] == [target] and len([*target.iterdir()]) == FRAMES


def test_only_what_a_writer_made_is_cleaned_up(begun, tmp_path):
    again, folder, target = begun
    for name in ("precious.mp4", ".0123456789abcdef"):
        (tmp_path / name).write_text("precious")
        (folder / "unfinished").write_bytes(os.fsencode(tmp_path / name))
        with pytest.raises(RuntimeError):
            again(Failing(at=0))
    assert [path.name for path in tmp_path.glob("*precious*")] == ["precious.mp4"]
    assert not (tmp_path / ".0123456789abcdef").exists()


# full disks


@contextmanager
def small_disk(folder, size):
    """A file system of this size; yields what makes it larger."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True) if mount else None
    if done is None or done.returncode:
        why = done.stderr.strip() if done else "no mount here"
        pytest.skip(f"NOT TESTED, full disks: file systems cannot be mounted here ({why})")
    try:
        yield lambda size: subprocess.run(
            [mount, "-o", f"remount,size={size}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", ["24k", "160k"])
def test_a_full_disk_under_the_job(size, source, whole, tmp_path):
    target, disk = tmp_path / "out.mp4", tmp_path / "disk"
    with small_disk(disk, size) as grow:
        with pytest.raises(StyleAVideoError) as refusal:
            run(source, target, job=disk / "job")
        assert str(refusal.value) == (
            f"The job {disk}/job cannot be written (No space left on device): free space or name "
            "another folder. What is done is kept: the same call goes on."
        )
        assert [*tmp_path.iterdir()] == [disk]
        done = {path.stem for path in disk.glob("job/segments/*.json")}
        grow("16m")
        counted = Failing()
        report = run(source, target, counted, job=disk / "job")
        assert report.resumed == sum(
            n
            for n, start in zip((4, 4, 2, 4, 4, 1), (0, 4, 8, 10, 14, 18), strict=True)
            if f"{start:09d}" in done
        )
        assert bool(done) == (size == "160k")
        assert target.read_bytes() == whole and [*disk.iterdir()] == []


def test_a_disk_that_is_the_job(source, whole, tmp_path):
    target, disk = tmp_path / "out.mp4", tmp_path / "disk"
    with small_disk(disk, "160k") as grow:
        with pytest.raises(StyleAVideoError, match="No space left"):
            run(source, target, job=disk)
        grow("16m")
        run(source, target, job=disk)
        assert target.read_bytes() == whole and [*disk.iterdir()] == []


@pytest.mark.parametrize("size", ["4k", "8k", "12k"])
def test_a_full_disk_under_the_result(size, made, source, whole, tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, size) as grow:
        with pytest.raises(StyleAVideoError, match=r"out.mp4 cannot be written \(No space left"):
            run(source, disk / "out.mp4", job=made)
        assert [*disk.iterdir()] == []
        grow("16m")
        assert run(source, disk / "out.mp4", job=made).resumed == FRAMES
        assert (disk / "out.mp4").read_bytes() == whole
        assert [*tmp_path.iterdir()] == [disk] and len([*disk.iterdir()]) == 1


def test_a_disk_that_becomes_read_only(tmp_path, monkeypatch):
    """As one does that fails: what was begun cannot even be removed."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with Job(tmp_path / "job", {}) as kept, monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(StyleAVideoError, match=r"cannot be written \(Read-only file system\)"):
            kept.keep_plan(PLAN)


# what changed


def test_what_changed_is_said_in_words(begun):
    again, folder, target = begun
    before = contents(folder)
    with pytest.raises(StyleAVideoError) as refusal:
        again(settings={"prompt": "pencil", "seed": 7})
    assert str(refusal.value) == (
        f'The job {folder} was begun with other settings (settings prompt was "oil" and is '
        '"pencil"; settings seed was 0 and is 7): give the same as then, start over with '
        "fresh=True, or name another folder."
    )
    assert refusal.value.worded(WORDS).endswith(
        "7): give the same as then, start over with --fresh, or name another folder with --job."
    )
    assert contents(folder) == before and not target.exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"settings": {"seed": 0}}, 'settings prompt was "oil" and is null'),
        ({"settings": {"prompt": "oil", "seed": 0, "new": 1}}, "settings new was null and is 1"),
        ({"refining": None}, r"refine was {.* and is null"),
        ({"refining": Refining(0.5)}, "refine strength was 1.0 and is 0.5"),
        ({"refining": Refining(method="blend")}, 'refine method was "learned" and is "blend"'),
        ({"size": (32, 24)}, r"size was \[64, 48\] and is \[32, 24\]"),
        ({"part": Part.of(frames=5)}, "range was .* and is .*5"),
        ({"part": Part.of(0.5)}, 'range was .* and is .*"1/2"'),
        (
            {"begins": [Begin(0, Style("x"))]},
            r'shots was null and is {"0": {"text": "x", "pictures": \[\]}}',
        ),
        ({"codec": "prores", "target": "out.mov"}, "pixels was"),
    ],
)
def test_other_settings_are_refused(changed, words, begun, source, tmp_path):
    again, folder, target = begun
    before = contents(tmp_path)
    with pytest.raises(StyleAVideoError, match=words):
        if "target" in changed:
            changed = dict(changed)
            run(source, tmp_path / changed.pop("target"), job=folder, **changed)
        else:
            again(**changed)
    assert contents(tmp_path) == before


def test_another_input_is_refused(begun, source, whole, tmp_path):
    again, folder, target = begun
    other = tmp_path / "a.mp4"
    other.write_bytes(source.read_bytes())
    changed = bytearray(source.read_bytes())
    changed[-1] ^= 1
    other.write_bytes(changed)
    with pytest.raises(StyleAVideoError, match=r'other settings \(input was "[0-9a-f.]+ and is "'):
        run(other, target, job=folder)
    other.write_bytes(source.read_bytes())  # the bytes count, not the name
    assert run(other, target, job=folder).resumed == 14 and target.read_bytes() == whole


def test_another_refiner_is_refused(begun, tmp_path, monkeypatch):
    again, _, _ = begun
    other = tmp_path / "refiner.safetensors"
    other.write_bytes(stylize.REFINER.read_bytes()[:-2] + b"00")
    monkeypatch.setattr(stylize, "REFINER", other)
    with pytest.raises(StyleAVideoError, match="refine weights was "):
        again()


def test_other_versions_are_refused(begun, monkeypatch):
    again, _, _ = begun
    found = job.versions() | {"torch": "0.0.1"}
    monkeypatch.setattr(stylize, "versions", lambda: found)
    with pytest.raises(StyleAVideoError, match='versions torch was ".*" and is "0.0.1"'):
        again()


def test_fresh_starts_over(begun, whole):
    again, folder, target = begun
    counted = Failing()
    report = again(counted, settings={"prompt": "pencil", "seed": 7}, fresh=True)
    assert counted.calls == CALLS and report.resumed == 0
    assert target.read_bytes() == whole and not folder.exists()  # this engine knows no prompt


def test_settings_may_change_while_nothing_is_done(source, whole, tmp_path):
    target, folder = tmp_path / "out.mp4", tmp_path / "job"
    with pytest.raises(RuntimeError, match="failed"):
        run(source, target, Failing(at=1), job=folder, settings={"seed": 1}, refining=None)
    run(source, target, job=folder)
    assert target.read_bytes() == whole


def test_another_chunk_size_may_go_on(begun, whole):
    again, _, target = begun
    counted = Failing()
    again(counted, chunk_size=3)
    assert counted.calls == [[14, 15, 16], [17], [18]] and target.read_bytes() == whole


def test_another_quality_may_go_on(begun, source, tmp_path):
    """It decides how the finished frames are encoded, not what they are."""
    again, _, target = begun
    counted = Failing()
    again(counted, quality="low")
    assert counted.calls and min(map(min, counted.calls)) == 14
    run(source, tmp_path / "low.mp4", quality="low")
    assert target.read_bytes() == (tmp_path / "low.mp4").read_bytes()


def test_words_no_encoding_has_are_kept(tmp_path):
    """An argument of the command line may be bytes that are no text."""
    strange = {"prompt": "oil \udcff 水彩画"}
    with Job(tmp_path / "job", strange) as kept:
        kept.keep_plan(PLAN)
    assert "水彩画" in (tmp_path / "job" / "job.json").read_text(encoding="utf-8")
    with Job(tmp_path / "job", strange) as kept:
        assert kept.plan() == PLAN  # the same job: another one's plan is thrown away


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ({}, {}, []),
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ({"a": 1}, {"a": True, "b": 2}, ["b was null and is 2"]),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a b c was 1 and is 2"]),
        ({"a": {"b": 1}}, {"a": None}, ['a was {"b": 1} and is null']),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["a 1 b was 1 and is 2"]),
        ({"a": {"called": "x", "b": 1}}, {"a": {"called": "y", "b": 1}}, []),
        (
            {"a": {"called": "x", "b": 1, "c": 2}},
            {"a": {"called": "y", "b": 2, "c": 3}},
            ['a was "x" and is "y"'],
        ),
        ({"a": {"called": "x", "b": 1}}, {"a": {"called": "x", "b": 2}}, ["a b was 1 and is 2"]),
        ({"a": "x" * 99}, {"a": "画"}, [f'a was "{"x" * 56}... and is "画"']),
    ],
)
def test_differences_in_words(then, now, words):
    assert differences(then, now) == words


def test_at_most_five_differences_are_named():
    then = {str(i): i for i in range(9)}
    assert len(differences(then, dict.fromkeys(then))) == 5


# another process, other files


def test_another_run_at_work_is_refused(begun, whole):
    again, folder, target = begun
    identity = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with Job(folder, identity):
        before = contents(folder)
        for fresh in (False, True):
            with pytest.raises(StyleAVideoError, match="Another run is at work on the job .*/job:"):
                again(fresh=fresh)
        assert contents(folder) == before
    again()
    assert target.read_bytes() == whole


def test_a_run_in_another_process_is_refused_until_it_is_gone(nursery, source, whole, tmp_path):
    target, folder = tmp_path / "out.mp4", tmp_path / "job"
    child = Child(nursery, source, target, folder, slow=5)
    while not (folder / "plan.json").exists():
        time.sleep(0.01)
    with pytest.raises(StyleAVideoError, match="Another run is at work"):
        run(source, target, job=folder)
    child.kill()
    child.ended()
    run(source, target, job=folder)
    assert target.read_bytes() == whole


FOREIGN = ["notes.txt", "a.mp4.part", ".hidden", "segments/a.wav", "segments/000000000.mkv"]


@pytest.mark.parametrize("name", [*FOREIGN, "plan.json", "segments/deep/a"])
def test_a_folder_with_other_files_is_left_alone(name, source, tmp_path):
    folder = tmp_path / "job"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("precious")
    for fresh in (False, True):
        with pytest.raises(StyleAVideoError) as refusal:
            run(source, tmp_path / "out.mp4", job=folder, fresh=fresh)
        found = name.removesuffix("/a")
        assert str(refusal.value) == (
            f"{folder} holds {found}, which is no part of a job: name another folder."
        )
        assert contents(tmp_path) == {f"job/{name}": b"precious"}


@pytest.mark.parametrize("name", [name for name in FOREIGN if not name.endswith("mkv")])
def test_other_files_in_a_job_stay_too(name, begun):
    again, folder, _ = begun
    (folder / name).write_text("precious")
    before = contents(folder)
    for fresh in (False, True):
        with pytest.raises(StyleAVideoError, match="is no part of a job"):
            again(fresh=fresh)
        assert contents(folder) == before


def test_a_file_is_no_folder(source, tmp_path):
    (tmp_path / "job").write_text("precious")
    with pytest.raises(StyleAVideoError, match="job cannot be written .*Not a directory"):
        run(source, tmp_path / "out.mp4", job=tmp_path / "job")
    assert contents(tmp_path) == {"job": b"precious"}


def test_an_empty_folder_may_be_a_job(source, whole, tmp_path):
    (tmp_path / "job").mkdir()
    run(source, tmp_path / "out.mp4", job=tmp_path / "job")
    assert contents(tmp_path) == {"out.mp4": whole}


# damage


GARBAGE = [b"", b"{", b"\xff\xfe", b"[" * 99_999, b"null", b"7", b'"x"', b"[]", b"9" * 5000]


@pytest.mark.parametrize("name", ["job.json", "plan.json", "segments/000000004.json"])
def test_damaged_lists_say_so(name, begun, whole):
    again, folder, target = begun
    for data in GARBAGE:
        (folder / name).write_bytes(data)
        refused_as_damaged(again, folder / name)
        assert (folder / name).read_bytes() == data and not target.exists()
    again(fresh=True)
    assert target.read_bytes() == whole


def refused_as_damaged(again, path):
    with pytest.raises(StyleAVideoError) as refusal:
        again()
    assert str(refusal.value) == (
        f"{path} is damaged: start over with fresh=True, or name another folder."
    )


def changed(value, *path):
    """What puts `value` somewhere into a JSON value."""

    def change(found):
        *way, last = path
        for key in way:
            found = found[key]
        found[last] = value

    return change


def without(*path):
    def change(found):
        *way, last = path
        for key in way:
            found = found[key]
        del found[last]

    return change


HOSTILE = [None, "4", 4.0, True, -4, 10**30, [], {}, [4], {"start": 4}, float("nan"), 3]
TIMES = ["", "x", "1/0", "1e999999999", "nan", "inf", "1_0", 7, 0.4, True, [], "9" * 5000, "٣"]

PLANS = [
    *(changed(value, "shots", 1, key) for value in HOSTILE for key in ("start", "end")),
    *(changed(value, "segments", 1, key) for value in HOSTILE for key in (0, 1)),
    *(changed(value, "segments", 1, 3) for value in [None, "0", True, 0.0, -2, 1, 2, 10**30, []]),
    *(changed(value, "shots", 1, "time") for value in [None, *TIMES]),
    *(changed(value, "segments", 1, 2) for value in TIMES),
    *(
        changed(value, key)
        for value in [None, 7, "x", {}, [], [7], [[]]]
        for key in ("shots", "segments")
    ),
    *(changed(value, key, 0) for value in [None, 7, "x", {}, []] for key in ("shots", "segments")),
    *(without(*path) for path in [("shots",), ("segments",), ("shots", 0), ("segments", 2)]),
    *(without("shots", 0, key) for key in ("start", "end", "time")),
    *(without("segments", 0, key) for key in range(4)),
    lambda found: found["segments"].reverse(),
    lambda found: found["segments"].append(found["segments"][-1]),
]


def accepted(changes, path, read):
    """Which of the changes to a JSON file are not refused as damage of this or a like file."""
    whole, found = path.read_text(), []
    for i, change in enumerate(changes):
        listed = json.loads(whole)
        change(listed)
        path.write_text(json.dumps(listed))
        try:
            read()
        except StyleAVideoError as error:
            assert re.search(rf"{path.stem}\.(json|mkv) is damaged: start over", str(error)), i
        else:
            found.append(i)
    return found


def opened(folder):
    return Job(folder, json.loads((folder / "job.json").read_text()))


def test_hostile_plans_are_damaged_ones(made):
    with opened(made) as kept:
        kept.plan()
        assert accepted(PLANS, made / "plan.json", kept.plan) == []


SEGMENTS = [
    *(changed(value, "times") for value in [None, 7, "x", {}, [], [7], [[]], [["0"]], [["0"] * 3]]),
    *(changed(value, "times", 1, i) for value in [None, *TIMES] for i in (0, 1)),
    *(changed(value, "sha256") for value in [None, 7, "", [], {}]),
    *(changed(value, "sha256", "mkv") for value in [None, 7, "", [], {}]),
    without("times"),
    without("sha256"),
    without("times", 0),
    lambda found: found["times"].append(["9", "1"]),
]


def test_hostile_segments_are_damaged_ones(made):
    with opened(made) as kept:
        segment = kept.plan().segments[1]
        path = made / "segments" / "000000004.json"
        assert len([*kept.pictures(segment)]) == 4
        assert accepted(SEGMENTS, path, lambda: [*kept.pictures(segment)]) == []


def test_hostile_identities(begun):
    again, folder, _ = begun
    path = folder / "job.json"
    known = json.loads(path.read_text())
    for key, value in [("settings", 7), ("size", None), ("range", {}), ("versions", [[]])]:
        path.write_text(json.dumps(known | {key: value}))
        with pytest.raises(StyleAVideoError, match=f"other settings .({key} )?"):
            again()


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


DAMAGE = {
    "garbage": lambda data: b"garbage" * 999,
    "cut short": lambda data: data[: len(data) // 2],
    "one bit": flipped,
    "empty": lambda data: b"",
    "gone": lambda data: None,
}


@pytest.mark.parametrize("name", ["000000004.mkv", "000000010.past"])
def test_a_damaged_segment_says_so(name, begun):
    again, folder, target = begun
    path = folder / "segments" / name
    whole = path.read_bytes()
    for damage in DAMAGE.values():
        data = damage(whole)
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        refused_as_damaged(again, path)
        assert not target.exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_be_decoded_says_so_whatever_the_checksum(damage, made):
    path = made / "segments" / "000000004.mkv"
    data = DAMAGE[damage](path.read_bytes()) or b""
    path.write_bytes(data)
    listed = json.loads(path.with_suffix(".json").read_text())
    listed["sha256"]["mkv"] = hashlib.sha256(data).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(listed))
    with opened(made) as kept:
        try:
            pictures = list(kept.pictures(kept.plan().segments[1]))
        except StyleAVideoError as error:
            assert "000000004.mkv is damaged" in str(error)
        else:
            assert damage == "one bit" and len(pictures) == 4


# what is hashed


def test_a_digest_is_of_the_bytes_or_of_all_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"one")
    assert digest(tmp_path / "a.png") == hashlib.sha256(b"one").hexdigest()
    found = {digest(tmp_path)}
    for name, data in (("b.png", b"two"), ("a.png", b"onetwo"), ("b.png", b"")):
        (tmp_path / name).write_bytes(data)
        found.add(digest(tmp_path))
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    found.add(digest(tmp_path))
    assert len(found) == 5
    (tmp_path / ".0123456789abcdef.mp4").write_bytes(b"what a killed run left there")
    assert digest(tmp_path) in found


def test_versions_name_what_draws_the_pixels():
    found = job.versions()
    assert {"style-a-video", "torch", "diffusers", "av"} <= set(found) and all(found.values())


@pytest.fixture
def no_weights(monkeypatch, tiny_pipeline):
    monkeypatch.setattr(Diffusion, "_load", lambda self: tiny_pipeline)
    monkeypatch.setattr(Diffusion, "remarks", lambda self, style: [])
    monkeypatch.setattr(f"{Diffusion.__module__}.refuse_without_style", lambda *_: None)


def test_a_job_of_the_version_before_is_refused_in_one_line(
    begun, source, capsys, no_weights, tmp_path
):
    """It knew no engines: its settings named a prompt, and shots had prompts too."""
    _, folder, target = begun
    path = folder / "job.json"
    old = json.loads(path.read_text())
    old["settings"] = {
        **{"prompt": "ink", "negative": "", "model": "embedded", "weights": "0" * 64},
        **{"seed": 0, "scheduler": "DDIMScheduler", "device": "cpu", "dtype": "float32"},
    }
    old["shots"] = [[0, "ink"]]
    path.write_text(json.dumps(old))
    before = contents(tmp_path)
    command = ["stylize", str(source), str(target), "--prompt", "ink", "--job", str(folder)]
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert err.startswith(f"style-a-video: error: The job {folder} was begun with other settings (")
    assert 'settings prompt was "ink" and is null' in err
    assert err.endswith("start over with --fresh, or name another folder with --job.\n")
    assert contents(tmp_path) == before and "engine" not in old["settings"]
    assert cli.main([*command, "--fresh", "--device", "cpu", "--steps", "1"]) == 0
    assert target.exists() and not folder.exists()


def test_a_refusal_through_the_command_line_is_one_line(begun, source, capsys, no_weights):
    _, folder, target = begun
    code = cli.main(["stylize", str(source), str(target), "--prompt", "ink", "--job", str(folder)])
    err = capsys.readouterr().err
    assert code == 2 and err.splitlines()[-1].startswith("style-a-video: error: The job ")
    assert "begun with other settings" in err and "Traceback" not in err
    assert err.endswith("start over with --fresh, or name another folder with --job.\n")
