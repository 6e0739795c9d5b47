"""Cancelled jobs in ComfyUI's output folder: bounded in age and size."""

import os

import pytest
from filelock import FileLock
from style_a_video.pipelines.run import leftovers
from style_a_video.pipelines.run.job import Job

DAY = 86400
NOW = 2_000_000_000


@pytest.fixture
def jobs(tmp_path):
    """Five jobs of 1 MB, last worked on 0, 10, 20, 40 and -5 days ago."""
    for days in (0, 10, 20, 40, -5):
        folder = tmp_path / f"job{days}"
        with Job(folder, {"a": days}) as job:
            job._plan.write_text("{}")
            (folder / "segments" / "000000000.mkv").write_bytes(bytes(1_000_000))
        for path in [*folder.rglob("*"), folder]:
            os.utime(path, (NOW - days * DAY,) * 2)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_old_jobs_go(jobs):
    kept = leftovers.clear(jobs, NOW)
    assert names(jobs) == ["job-5", "job0", "job10", "job20"]
    assert (kept.count, kept.removed) == (4, 1) and "1 unfinished videos were" in kept.notes[0]
    assert "4 unfinished videos are kept (4.0 MB)" in kept.notes[1]


def test_the_oldest_go_beyond_a_size(jobs):
    leftovers.clear(jobs, NOW, most=2_100_000)
    assert names(jobs) == ["job-5", "job0"]


def test_a_clock_set_back_removes_nothing(jobs):
    leftovers.clear(jobs, NOW - 1000 * DAY)
    assert len(names(jobs)) == 5


def test_what_is_at_work_or_no_job_stays(jobs):
    (jobs / "mine").mkdir()
    (jobs / "mine" / "job.json").write_text("{}")
    (jobs / "mine" / "photo.jpg").write_text("precious")
    (jobs / "link").symlink_to(jobs / "job40")
    (jobs / "file").write_text("precious")
    with FileLock(jobs / "job40" / "lock"):
        leftovers.clear(jobs, NOW, days=0, most=0)
    assert names(jobs) == ["file", "job40", "link", "mine"]
    assert (jobs / "mine" / "photo.jpg").exists()
