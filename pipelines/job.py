"""A job directory: what is to be done, and the segments that are done. It survives the process.

    job.json        what decides the pixels: input by hash, settings, versions
    plan.json       shots and segments
    segments/       000016.mkv, its pictures; 000016.json, their times: written last, the segment is
                    done; 000016.past, the refiner's past of the one that follows

Every file appears under its name only when all of it is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save

from .errors import StyleAVideoError
from .refine import Past
from .segments import Finished, unpack
from .shots import Plan, Segment

VERSIONS = ("style-a-video", "torch", "diffusers", "av")
DIFFERENCES = 5  # named when a job is refused


class Job:
    """Used as a context: one process at a time works on a job.

    Args:
        folder: made where it is missing.
        identity: what decides the pixels, as JSON values.
        fresh: throw away what is there.

    Raises:
        StyleAVideoError: on entering: the folder holds a job of another identity, or something
            else; another process is at work on it; it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], fresh: bool = False) -> None:
        self.folder, self.fresh = folder, fresh
        self.identity = json.loads(json.dumps(dict(identity)))
        self.segments = folder / "segments"
        self._identity, self._plan = folder / "job.json", folder / "plan.json"
        self._lock = FileLock(folder / "lock", blocking=False)

    def __enter__(self) -> Job:
        shutil.rmtree(self._gone, ignore_errors=True)
        try:
            self._check_folder()
            self.segments.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._begin()
        except Timeout as error:
            raise StyleAVideoError(
                f"Another run is at work on the job {self.folder}: wait for it or stop it."
            ) from error
        except OSError as error:
            raise self._failed(error) from error
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _check_folder(self) -> None:
        """Refuse a folder with files that are not ours."""
        if not self.folder.exists():
            return
        ours = {"job.json", "plan.json", "segments", "lock"}
        for path in self.folder.iterdir():
            if path.name not in ours and not path.name.endswith(".part"):
                raise StyleAVideoError(
                    f"{self.folder} holds {path.name}, which is no part of a job: name another "
                    "folder with --job."
                )

    def _begin(self) -> None:
        known = None if self.fresh else self._read(self._identity)
        if known is None:
            for path in (self._identity, self._plan):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.segments)
            self.segments.mkdir()
            text = json.dumps(self.identity, indent=2, ensure_ascii=False)
            self._write(self._identity, text.encode())
        elif changes := differences(known, self.identity):
            raise StyleAVideoError(
                f"The job {self.folder} was begun with other settings ({'; '.join(changes)}): give "
                "the same as then, start over with --fresh, or name another folder with --job."
            )
        for path in [*self.folder.glob("*.part"), *self.segments.glob("*.part")]:
            path.unlink()

    # the plan

    def plan(self) -> Plan | None:
        """The plan made before; None where there is none yet."""
        given = self._read(self._plan)
        try:
            return None if given is None else Plan.from_dict(given)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(self._plan) from error

    def keep_plan(self, plan: Plan) -> None:
        self._write(self._plan, json.dumps(plan.as_dict()).encode())

    # the segments

    def has(self, segment: Segment) -> bool:
        return self._file(segment, "json").is_file()

    def keep(self, done: Finished, last: bool) -> None:
        """Writes a finished segment; `last`: no other of its shot follows."""
        segment = done.segment
        if done.past is not None and not last:
            self._write_past(segment, done.past)
        self._write(self._file(segment, "mkv"), done.video)
        times = [[str(pts), str(duration)] for pts, duration in done.times]
        self._write(self._file(segment, "json"), json.dumps(times).encode())

    def forget_past(self, segment: Segment) -> None:
        """Of a segment whose follower is done."""
        self._file(segment, "past").unlink(missing_ok=True)

    def past(self, segment: Segment) -> Past | None:
        """What the refiner knew at the end of a finished segment."""
        path = self._file(segment, "past")
        if not path.is_file():
            return None
        found = load_file(path)
        return Past(found["source"], found["refined"], found.get("memory"))

    def pictures(self, segment: Segment) -> Iterator[tuple[Any, Fraction, Fraction]]:
        """Each picture (av.VideoFrame) of a finished segment, its time and duration (s)."""
        times = self._read(self._file(segment, "json"))
        pictures = unpack(self._file(segment, "mkv").read_bytes())
        for picture, (pts, duration) in zip(pictures, times, strict=True):
            yield picture, Fraction(pts), Fraction(duration)

    def remove(self) -> None:
        """The work is done: nothing of it is left."""
        self._lock.release()
        self.folder.replace(self._gone)  # at once: never half a job
        shutil.rmtree(self._gone, ignore_errors=True)

    # files

    @property
    def _gone(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}.done")

    def _file(self, segment: Segment, suffix: str) -> Path:
        return self.segments / f"{segment.start:09d}.{suffix}"

    def _write_past(self, segment: Segment, past: Past) -> None:
        tensors = {"source": past.source, "refined": past.refined, "memory": past.memory}
        data = save({k: v.cpu().contiguous() for k, v in tensors.items() if v is not None})
        self._write(self._file(segment, "past"), data)

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._damaged(path) from error

    def _write(self, path: Path, data: bytes) -> None:
        part = path.with_name(path.name + ".part")
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StyleAVideoError:
        return StyleAVideoError(
            f"The job {self.folder} cannot be written ({error.strerror}): free space or name "
            "another folder with --job. What is done is kept: the same command goes on."
        )

    def _damaged(self, path: Path) -> StyleAVideoError:
        return StyleAVideoError(
            f"{path} is damaged: start over with --fresh, or name another folder "
            "with --job."
        )


def _sync_folder(folder: Path) -> None:
    """The names in it too are on the disk then. Windows has no such call, and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """What changed between two JSON values, in words; at most `DIFFERENCES` of them."""
    if isinstance(then, dict) and isinstance(now, dict):
        found = [
            line
            for key in dict.fromkeys([*then, *now])
            for line in differences(then.get(key), now.get(key), f"{name} {key}".strip())
        ]
        return found[:DIFFERENCES]
    if then == now:
        return []
    return [f"{name} was {_short(then)} and is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        if path.is_dir():
            found.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def versions() -> dict[str, str]:
    """Of what draws the pixels."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the pack in ComfyUI's folder need not be installed
            from .. import __version__

            found[name] = __version__
    return found


def fingerprint(pipeline: Any) -> str:
    """SHA-256 of all weights of a diffusers pipeline, wherever they came from."""
    found = hashlib.sha256()
    for name, module in sorted(pipeline.components.items()):
        if isinstance(module, torch.nn.Module):
            for key, tensor in module.state_dict().items():
                found.update(f"{name}.{key}".encode())
                found.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()
