"""Jobs that nobody goes on with: what was cancelled stays for a while, not for ever."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from .job import is_job

DAYS = 30  # that a job is kept after it was last worked on
BYTES = 20 << 30  # that all of them may take; the oldest go first


@dataclass(frozen=True)
class Leftovers:
    """What is left of jobs, and what was removed: their number and bytes."""

    count: int
    size: int
    removed: int
    freed: int

    @property
    def notes(self) -> list[str]:
        lines = []
        if self.removed:
            lines.append(
                f"{self.removed} unfinished videos were removed ({_size(self.freed)}): older than "
                f"{DAYS} days, or beyond {_size(BYTES)} in all."
            )
        if self.count:
            lines.append(f"{self.count} unfinished videos are kept ({_size(self.size)})")
        return lines


def clear(
    folder: Path, now: float | None = None, days: float = DAYS, most: int = BYTES
) -> Leftovers:
    """Remove the jobs in `folder` that are older than `days`, and the oldest beyond `most` bytes.

    What is at work, or is no job, is left. `now`: seconds since 1970, the clock's by default; jobs
    of the future, after a clock was set back, count as new.
    """
    now = time.time() if now is None else now
    jobs = sorted(_jobs(folder), reverse=True)
    count = size = removed = freed = 0
    for last, path, taken in jobs:
        old = now - last > days * 86400 or size + taken > most
        if old and _remove(path):
            removed, freed = removed + 1, freed + taken
        else:
            count, size = count + 1, size + taken
    return Leftovers(count, size, removed, freed)


def _jobs(folder: Path) -> Iterator[tuple[float, Path, int]]:
    """When each was last worked on, where it is, its bytes."""
    for path in folder.iterdir():
        with suppress(OSError):
            if path.is_symlink() or not is_job(path):
                continue
            files = [p.lstat() for p in (path, *path.rglob("*"))]
            yield max(f.st_mtime for f in files), path, sum(f.st_size for f in files)


def _remove(job: Path) -> bool:
    lock = FileLock(job / "lock", blocking=False)
    try:
        with lock:
            pass
    except (Timeout, OSError):
        return False
    shutil.rmtree(job, ignore_errors=True)
    return not job.exists()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
