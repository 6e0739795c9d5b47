"""Engines whose frames depend on those before: the same frames however a run goes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load
from style_a_video.pipelines.engines.kinds import CarryingEngine
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Part, read_frames
from style_a_video.pipelines.refine.frames import InOrder, Refining, refine
from style_a_video.pipelines.run import shots, stylize
from style_a_video.pipelines.run.shots import Begin
from style_a_video.pipelines.run.styles import engine_of_shots
from style_a_video.pipelines.run.stylize import Kept, stylize_video

pytest.importorskip("cv2")
clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

FRAMES, SEGMENT = 19, 4  # two shots of 10 and 9 frames: segments of 4 4 2, 4 4 1
STARTS = [0, 4, 8, 10, 14, 18]
SECOND = 10  # first frame of the second shot


class RunningMean:
    """Of the frames so far, inverted: every frame shows all before it in the shot."""

    def __init__(self, weight=0.7, fail=None):
        self.weight, self.fail = weight, fail or (lambda indices: None)
        self.began, self.calls = [], []

    def carry(self, frames, frame_indices, carried):
        self.fail(list(frame_indices))
        self.calls.append(list(frame_indices))
        if carried is None:
            self.began.append(frame_indices[0])
        mean = None if carried is None else carried["mean"]
        shown = []
        for frame in frames:
            mean = frame if mean is None else torch.lerp(frame, mean, self.weight)
            shown.append(1 - mean)
        return torch.stack(shown), {"mean": mean.clone()}


class Plain:
    def __call__(self, frames, frame_indices):
        return frames


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(shots, "SEGMENT", SEGMENT)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    images = [*clips.pan(0, SECOND, 2, 64, 48), *clips.pan(1, FRAMES - SECOND, 2, 64, 48)]
    path = tmp_path_factory.mktemp("source") / "a.mkv"
    return clips.encode(path, images, codec="ffv1", pix_fmt="bgr0", audio=1.9)


def run(source, target, engine=None, chunk_size=3, **more):
    engine = engine or RunningMean()
    common = {"refining": Refining(), "chunk_size": chunk_size, "codec": "ffv1"}
    return stylize_video(source, target, engine, **common | more)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The result of a run that nothing came in the way of."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shots, "SEGMENT", SEGMENT)
        target = tmp_path_factory.mktemp("whole") / "whole.mkv"
        report = run(source, target)
    assert [shot["start"] for shot in report.shots] == [0, SECOND]
    return target.read_bytes()


def test_what_carries_is_told_from_what_does_not():
    assert isinstance(RunningMean(), CarryingEngine)
    assert not isinstance(Plain(), CarryingEngine)
    assert not isinstance(lambda frames, indices: frames, CarryingEngine)


# a run


@pytest.mark.parametrize("chunk", [1, 2, 4, 100])
def test_chunks_and_segments_of_any_size_give_the_same_bytes(chunk, source, whole, tmp_path):
    run(source, tmp_path / "out.mkv", chunk_size=chunk)
    assert (tmp_path / "out.mkv").read_bytes() == whole


@pytest.mark.parametrize("length", [1, 5, 16])
def test_segments_of_any_length_give_the_same_bytes(length, source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(shots, "SEGMENT", length)
    run(source, tmp_path / "out.mkv")
    assert (tmp_path / "out.mkv").read_bytes() == whole


def test_a_cut_starts_anew(source, tmp_path):
    engine = RunningMean()
    run(source, tmp_path / "out.mkv", engine, refining=None)
    assert engine.began == [0, SECOND]
    alone = RunningMean()
    run(source, tmp_path / "part.mkv", alone, refining=None, part=Part.of(SECOND / 10))
    made, second = (list(read_frames(tmp_path / name)) for name in ("out.mkv", "part.mkv"))
    assert len(second) == FRAMES - SECOND
    for one, other in zip(made[SECOND:], second, strict=True):
        assert torch.equal(one.image, other.image)
    flat = list(read_frames(source))
    assert not torch.equal(made[SECOND + 1].image, 1 - flat[SECOND + 1].image)  # it does carry


def test_given_shots_start_anew_and_have_their_styles(source, tmp_path):
    """Each shot by the engine of its style; the mean of one never shows in the next."""
    engines = {"slow": RunningMean(0.9), "quick": RunningMean(0.1)}
    loaded = SimpleNamespace(engine=lambda style: engines[style.text])
    begins = [Begin(0), Begin(6, Style("quick")), Begin(12)]
    engine = engine_of_shots(loaded, Style("slow"), begins)
    run(source, tmp_path / "out.mkv", engine, begins=begins, refining=None)
    assert engines["slow"].began == [0, 12] and engines["quick"].began == [6]
    told = [index for call in engines["quick"].calls for index in call]
    assert told == list(range(6, 12))


def test_too_little_memory_halves_chunks_and_changes_nothing(source, whole, tmp_path):
    def fail(indices):
        if len(indices) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    engine = RunningMean(fail=fail)
    run(source, tmp_path / "out.mkv", engine, chunk_size=4)
    assert engine.calls == [[index] for index in range(FRAMES)]
    assert (tmp_path / "out.mkv").read_bytes() == whole


def test_numbers_that_are_not_finite_are_refused(source, tmp_path):
    class Broken(RunningMean):
        def carry(self, frames, frame_indices, carried):
            frames, carried = super().carry(frames, frame_indices, carried)
            return frames / (frame_indices[0] < SECOND), carried

    with pytest.raises(StyleAVideoError, match="^The result of frames 10 to 12 is not finite"):
        run(source, tmp_path / "out.mkv", Broken())


# a job


def failing(at):
    """Raises as frame `at` comes."""

    def fail(indices):
        if at in indices:
            raise RuntimeError("failed")

    return RunningMean(fail=fail)


@pytest.mark.parametrize("at", [0, 5, 9, 10, 15, 18])
def test_a_run_that_failed_goes_on_to_the_same_bytes(at, source, whole, tmp_path):
    job = Kept(tmp_path / "job")
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mkv", failing(at), job=job)
    engine = RunningMean()
    report = run(source, tmp_path / "out.mkv", engine, job=job)
    begins = max(start for start in STARTS if start <= at)
    assert report.resumed == begins and engine.calls[0][0] == begins
    assert engine.began == [start for start in (0, SECOND) if start >= begins]
    assert (tmp_path / "out.mkv").read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


@pytest.mark.parametrize("refining", [None, Refining()])
def test_a_job_keeps_what_is_carried_while_it_is_needed_and_no_longer(refining, source, tmp_path):
    folder = tmp_path / "job"
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mkv", failing(15), job=Kept(folder), refining=refining)
    (kept,) = folder.glob("segments/*.past")
    assert kept.name == "000000010.past"  # of the segment before the one in hand
    refined = {"source", "refined"} if refining else set()
    state = load(kept.read_bytes())
    assert set(state) == {"engine.mean"} | refined
    assert state["engine.mean"].shape == (3, 48, 64)


def test_a_job_of_a_shot_that_is_done_keeps_nothing_of_it(source, tmp_path):
    folder = tmp_path / "job"
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mkv", failing(SECOND), job=Kept(folder))
    assert len([*folder.glob("segments/*.mkv")]) == 3 and not [*folder.glob("segments/*.past")]


@pytest.mark.parametrize("name", ["engine.", "source", "mean"])
def test_a_damaged_state_says_so(name, source, tmp_path):
    folder = tmp_path / "job"
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mkv", failing(15), job=Kept(folder))
    (kept,) = folder.glob("segments/*.past")
    kept.write_bytes(kept.read_bytes().replace(name.encode(), name.upper().encode()))
    with pytest.raises(StyleAVideoError, match="000000010.past is damaged: start over"):
        run(source, tmp_path / "out.mkv", job=Kept(folder))


KILLED = """
import sys
from pathlib import Path
from runpy import run_path

sys.path.insert(0, sys.argv[1])
run_path(sys.argv[2])["work"](*map(Path, sys.argv[3:]))
"""


def work(source, target, folder):
    """What a child does until it kills itself, in the second segment of the second shot."""
    shots.SEGMENT = SEGMENT

    def fail(indices):
        if 15 in indices:
            os.kill(os.getpid(), signal.SIGKILL)

    run(source, target, RunningMean(fail=fail), job=Kept(folder))


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9")
def test_kill_9_and_the_same_bytes(source, whole, tmp_path):
    root = Path(stylize.__file__).parents[3]
    call = [sys.executable, "-c", KILLED, root, __file__, source]
    done = subprocess.run([*call, tmp_path / "out.mkv", tmp_path / "job"], timeout=300)
    assert done.returncode == -signal.SIGKILL
    engine = RunningMean()
    report = run(source, tmp_path / "out.mkv", engine, job=Kept(tmp_path / "job"))
    assert report.resumed in (10, 14) and engine.began in ([10], [])
    assert (tmp_path / "out.mkv").read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


# a cluster


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="RAY IS MISSING: pip install ray")
    from style_a_video.pipelines.run.cluster import Cluster

    mean = RunningMean
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with Cluster(lambda: mean, 2) as workers:
        yield workers
    ray.shutdown()


def test_a_cluster_gives_the_same_bytes(cluster, source, whole, tmp_path):
    run(source, tmp_path / "out.mkv", cluster.runner(lambda made: made(0.7)))
    assert (tmp_path / "out.mkv").read_bytes() == whole


def test_a_cluster_goes_on_with_a_job_of_this_process(cluster, source, whole, tmp_path):
    job = Kept(tmp_path / "job")
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mkv", failing(15), job=job)
    report = run(source, tmp_path / "out.mkv", cluster.runner(lambda made: made(0.7)), job=job)
    assert report.resumed == 14 and (tmp_path / "out.mkv").read_bytes() == whole


# in order, without a job


@pytest.mark.parametrize("settings", [None, Refining()])
def test_frames_in_order_are_those_of_one_chunk(settings):
    frames = torch.stack([torch.from_numpy(i).permute(2, 0, 1) / 255 for i in clips.pan(0, 7)])
    once = InOrder(RunningMean(), settings)(frames, range(7))
    engine = InOrder(RunningMean(), settings)
    chunks = [engine(frames[i : i + 3], range(i, min(i + 3, 7))) for i in (0, 3, 6)]
    assert torch.equal(torch.cat(chunks), once)
    anew = engine(frames[2:3], [2])[0]
    assert torch.equal(anew, 1 - frames[2])  # it does not follow: a new shot


def test_frames_in_order_are_refined_after_they_are_carried():
    frames = torch.stack([torch.from_numpy(i).permute(2, 0, 1) / 255 for i in clips.pan(0, 3)])
    made, _ = RunningMean().carry(frames, range(3), None)
    past, wanted = None, []
    for x, y in zip(frames, made, strict=True):
        shown, past = refine(x, y, past, Refining())
        wanted.append(shown)
    assert torch.equal(InOrder(RunningMean(), Refining())(frames, range(3)), torch.stack(wanted))
