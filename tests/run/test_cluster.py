"""Segments on real Ray workers: the same pixels as without, and what a dead worker costs."""

import os
import signal
import time
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.cli.words import WORDS
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import read_frames
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.run import shots
from style_a_video.pipelines.run.stylize import Kept, stylize_video

ray = pytest.importorskip("ray", reason="RAY IS MISSING: pip install ray")
from style_a_video.pipelines.run.cluster import Cluster  # noqa: E402

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))
FRAMES = 24


@pytest.fixture(scope="module")
def ray_here():
    """Ray with more CPUs than there may be: the tests are small."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def cluster(ray_here):
    """Two workers for all tests: each takes seconds to start."""
    loaded = make()
    with Cluster(lambda: (os.getpid(), loaded), 2) as workers:
        yield workers


def runner(cluster, log):
    return cluster.runner(lambda made: made[1](log))


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """Two shots of moving noise, in segments of four frames."""
    monkeypatch.setattr(shots, "SEGMENT", 4)
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (2, 12, 30, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    pictures = [wide[i // 14, :, i % 14 : i % 14 + 64] for i in range(FRAMES)]
    return clips.encode(tmp_path / "in.mp4", pictures, audio=2.4)


def make():
    """An engine that notes in a file which frames it was given, slowly enough to be killed."""

    def engine_of(log):
        def engine(frames, indices):
            with open(log, "a") as file:
                file.write(f"{indices[0]}\n")
            time.sleep(0.15)
            return (1 - frames).roll(list(indices)[0] % 3, 1)

        return engine

    return engine_of


def run(source, target, log, on=None, **more):
    common = {"refining": Refining(), "chunk_size": 4}
    return stylize_video(source, target, on or make()(log), **common, **more)


def given(log):
    return sorted(map(int, Path(log).read_text().split()))


def test_the_frames_are_those_of_a_run_without_ray(clip, tmp_path, cluster):
    here, there, seen = str(tmp_path / "here"), str(tmp_path / "there"), []
    run(clip, tmp_path / "here.mp4", here)
    report = run(
        clip,
        tmp_path / "there.mp4",
        there,
        runner(cluster, there),
        progress=lambda *told: seen.append(told),
    )
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
    assert len(report.shots) == 2 and report.engine_seconds > 0.1
    assert given(there) == given(here) and ("stylize", FRAMES, FRAMES) in seen


def test_a_stopped_driver_goes_on(clip, tmp_path, cluster):
    here, there, job = str(tmp_path / "here"), str(tmp_path / "there"), tmp_path / "job"
    run(clip, tmp_path / "here.mp4", here)

    def stop(stage, done, total):
        if stage == "stylize" and done >= 12:
            raise KeyboardInterrupt

    again = runner(cluster, there)
    with pytest.raises(KeyboardInterrupt):
        run(clip, tmp_path / "there.mp4", there, again, job=Kept(job), progress=stop)
    report = run(clip, tmp_path / "there.mp4", there, again, job=Kept(job))
    assert report.resumed >= 8 and not job.exists()
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()


def test_what_a_worker_refuses_is_said_as_it_is(clip, tmp_path, cluster):
    def engine_of(made):
        return lambda frames, indices: frames * float("nan")

    with pytest.raises(StyleAVideoError, match="^The result of frames 0 to 3 is not finite"):
        run(clip, tmp_path / "out.mp4", "", cluster.runner(engine_of))
    assert not (tmp_path / "out.mp4").exists()


def test_a_dead_worker_costs_what_it_had_in_hand(clip, tmp_path, cluster):
    here, there, killed = str(tmp_path / "here"), str(tmp_path / "there"), []
    run(clip, tmp_path / "here.mp4", here)
    victim = cluster.ask(lambda made: made[0])

    def kill(stage, done, total):
        if stage == "stylize" and done >= 8 and not killed:
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    run(clip, tmp_path / "there.mp4", there, runner(cluster, there), progress=kill)
    assert cluster.ask(lambda made: made[0]) != victim
    assert killed and (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
    assert set(given(there)) == set(given(here))
    # The two segments that it was given, and two whose frames it held and that were not refined.
    assert len(given(there)) - len(given(here)) <= 4


def test_more_workers_than_there_are_cpus_are_refused(ray_here):
    with pytest.raises(StyleAVideoError, match="3 CPUs for 4 workers: ask for 3 w") as refusal:
        Cluster(lambda: None, 4)
    assert refusal.value.worded(WORDS).endswith("for 4 workers: give --workers 3 or fewer.")
    with pytest.raises(StyleAVideoError, match="number of workers must be a whole number"):
        Cluster(lambda: None, 0)


def test_a_folder_of_videos_from_the_command_line(clip, tmp_path, ray_here, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mkv"):
        clips.encode(folder / name, clips.ramp(3, 32, 32))
    options = ["--prompt", "comic", "--device", "cpu", "--dtype", "fp32", "--chunk", "2"]

    def stylize(source, target, *more):
        return cli.main(["stylize", str(source), str(target), *options, *more])

    assert stylize(folder, tmp_path / "there", "--ray", "auto") == 0
    assert stylize(folder, tmp_path / "here") == 0
    for name in ("a.mp4", "b.mp4"):
        there, here = (list(read_frames(tmp_path / x / name)) for x in ("there", "here"))
        assert len(there) == len(here) == 3
        assert all((t.image - h.image).abs().max() == 0 for t, h in zip(there, here, strict=True))
    capsys.readouterr()
    assert stylize(folder, tmp_path / "here") == 0
    assert capsys.readouterr().err.count("is there already") == 2
    assert stylize(folder, tmp_path / "here", "--report", str(tmp_path / "r.json")) == 2
    assert "--report is for one video" in capsys.readouterr().err
    assert stylize(folder, tmp_path / "lossless", "--codec", "ffv1") == 0
    assert sorted(p.name for p in (tmp_path / "lossless").iterdir()) == ["a.mkv", "b.mkv"]


def test_a_model_that_is_not_there_is_said_as_without_ray(ray_here):
    def refuse():
        raise StyleAVideoError("no such model")

    with Cluster(refuse) as cluster, pytest.raises(StyleAVideoError, match="^no such model$"):
        cluster.ask(id)


def test_a_segment_that_kills_its_worker_does_not_go_on_for_ever(clip, tmp_path, ray_here):
    def engine_of(made):
        return lambda frames, indices: os._exit(1)

    job = tmp_path / "job"
    with (
        pytest.MonkeyPatch.context() as patched,
        pytest.raises(StyleAVideoError, match="workers died over and over"),
    ):
        patched.setattr("style_a_video.pipelines.run.cluster.TRIES", 1)
        with Cluster(lambda: None) as cluster:
            run(clip, tmp_path / "out.mp4", "", cluster.runner(engine_of), job=Kept(job))
    assert (job / "plan.json").exists() and not (tmp_path / "out.mp4").exists()
