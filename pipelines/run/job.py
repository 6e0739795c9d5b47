"""A job directory: what is to be done, and the segments that are done. It survives the process.

    job.json        what decides the pixels: input by hash, settings, versions
    plan.json       shots and segments
    unfinished      where the result is written until it is complete
    segments/       000000016.mkv, its pictures; .json, their times: written last, the segment is
                    done; .past, what the one that follows needs: the refiner's past, the engine's

Every file appears under its name only when all of it is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..errors import Remedy, StyleAVideoError
from ..files import kind_of_place, parse_json, read_bounded, shown
from ..media.stills import pictures_in
from ..refine.frames import Past
from .segments import Finished, State, unpack
from .shots import Plan, Segment, read_time

VERSIONS = (
    *("torch", "diffusers", "transformers", "av", "opencv-python-headless", "opencv-python"),
    *("onnxruntime", "onnxruntime-gpu"),
)
MAX_JSON = 64 << 20  # bytes; the plan of a million segments has 40 MB
MAX_DATA = 2 << 30  # bytes of a segment's file; two frames of 8192 x 8192 have 1.6 GB
MAX_PATH = 1 << 16  # bytes
DIFFERENCES = 5  # named when a job is refused
CALLED = "called"  # of what is identified by its pixels: its name

_OURS = re.compile(r"(job\.json|plan\.json|unfinished)(\.part)?|segments|lock")
_OURS_OF_SEGMENTS = re.compile(r"[0-9]{9,}\.(mkv|json|past)(\.part)?")
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}(\.[a-z0-9]+)?")  # a name that VideoWriter chose


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
        self.folder, self.fresh = Path(os.path.realpath(folder)), fresh
        self.identity = json.loads(json.dumps(dict(identity)))
        self.segments = self.folder / "segments"
        self._identity, self._plan = self.folder / "job.json", self.folder / "plan.json"
        self._unfinished = self.folder / "unfinished"
        self._form: tuple[int, int, str] | None = None  # of its pictures
        self._lock = FileLock(self.folder / "lock", blocking=False)

    def __enter__(self) -> Job:
        try:
            self._check_folder()
            shutil.rmtree(self._gone, ignore_errors=True)
            self.segments.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            try:
                self._begin()
            except BaseException:
                self._lock.release()
                raise
        except Timeout as error:
            raise StyleAVideoError(
                f"Another run is at work on the job {shown(self.folder)}: wait for it or stop it."
            ) from error
        except OSError as error:
            raise self._failed(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock.is_locked and not self._plan.exists():
            self._remove()  # refused before anything was done
        self._lock.release()

    def _check_folder(self) -> None:
        """Refuse a folder with files that are not ours: some of what is there will be removed."""
        begun = self._identity.exists()
        foreign = [p for p in _inside(self.folder) if not _OURS.fullmatch(p.name)]
        for path in _inside(self.segments):
            if not begun or not _OURS_OF_SEGMENTS.fullmatch(path.name):
                foreign.append(path)
        if not begun and self._plan.exists():
            foreign.append(self._plan)
        if foreign:
            strange = shown(foreign[0].relative_to(self.folder))
            raise StyleAVideoError(
                f"{shown(self.folder)} holds {strange}, which is no part of a job: ",
                Remedy.OTHER_FOLDER,
            )

    def _begin(self) -> None:
        known = {}
        if self._identity.exists() and not self.fresh:
            known = self._read(self._identity)
            if not isinstance(known, dict):
                raise self._damaged(self._identity)
        changes = differences(known, self.identity)
        if known and changes and any(self.segments.glob("*.json")):
            raise StyleAVideoError(
                f"The job {shown(self.folder)} was begun with other settings "
                f"({'; '.join(changes)}): ",
                Remedy.SAME_OR_START_OVER,
            )
        if changes:
            self._plan.unlink(missing_ok=True)
        if not self._plan.exists():  # segments of what?
            shutil.rmtree(self.segments)
            self.segments.mkdir()
        if changes:
            text = json.dumps(self.identity, indent=2, ensure_ascii=False)
            self._write(self._identity, text.encode("utf-8", "backslashreplace"))
        for path in [*self.folder.glob("*.part"), *self.segments.glob("*.part")]:
            path.unlink()

    # what is written outside

    def will_write(self, path: Path) -> None:
        """An unfinished result: where a run is killed, the next one that writes there removes it.

        Its name alone is kept: whatever a job from elsewhere says, nothing else is removed.
        """
        self._remove_unfinished(path.absolute().parent)
        self._write(self._unfinished, os.fsencode(path.name))

    def _remove_unfinished(self, folder: Path) -> None:
        if kind_of_place(self._unfinished) != "file":
            return
        name = os.path.basename(os.fsdecode(read_bounded(self._unfinished, MAX_PATH)))
        if not _UNFINISHED.fullmatch(name):
            return
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    # the plan

    def plan(self) -> Plan | None:
        """The plan made before; None where there is none yet."""
        if not self._plan.exists():
            return None
        try:
            return Plan.from_dict(self._read(self._plan))
        except (LookupError, TypeError, ValueError) as error:
            raise self._damaged(self._plan) from error

    def keep_plan(self, plan: Plan) -> None:
        self._write(self._plan, json.dumps(plan.as_dict()).encode())

    # the segments

    def has(self, segment: Segment) -> bool:
        return self._file(segment, "json").is_file()

    def keep(self, done: Finished, last: bool) -> None:
        """Writes a finished segment; `last`: no other of its shot follows."""
        written = {"mkv": done.video}
        if not (done.state.is_empty or last):
            written["past"] = _packed(done.state)
        for suffix, data in written.items():
            self._write(self._file(done.segment, suffix), data)
        listed = {
            "sha256": {suffix: _sha256(data) for suffix, data in written.items()},
            "times": [[str(pts), str(duration)] for pts, duration in done.times],
        }
        self._write(self._file(done.segment, "json"), json.dumps(listed).encode())

    def forget_state(self, segment: Segment) -> None:
        """Of a segment whose follower is done."""
        self._file(segment, "past").unlink(missing_ok=True)

    def state(self, segment: Segment) -> State:
        """What the refiner and the engine knew at the end of a finished segment."""
        listed = self._file(segment, "json")
        try:
            if "past" not in self._read(listed)["sha256"]:
                return State()
        except (LookupError, TypeError) as error:
            raise self._damaged(listed) from error
        try:
            return _unpacked(load(self._checked(segment, "past")))
        except (KeyError, ValueError, SafetensorError) as error:
            raise self._damaged(self._file(segment, "past")) from error

    def pictures(self, segment: Segment) -> Iterator[tuple[Any, Fraction, Fraction]]:
        """Each picture (av.VideoFrame) of a finished segment, its time and duration (s)."""
        path = self._file(segment, "json")
        try:
            given = self._read(path)["times"]
            times = [(read_time(pts), read_time(duration)) for pts, duration in given]
        except (LookupError, TypeError, ValueError) as error:
            raise self._damaged(path) from error
        if any(duration < 0 for _, duration in times):
            raise self._damaged(path)
        video = self._checked(segment, "mkv")
        try:
            for picture, (pts, duration) in zip(unpack(video), times, strict=True):
                form = picture.width, picture.height, picture.format.name
                self._form = self._form or form
                if form != self._form:
                    raise ValueError(f"{form} after {self._form}")
                yield picture, pts, duration
        except (OSError, av.FFmpegError, ValueError) as error:
            raise self._damaged(self._file(segment, "mkv")) from error

    def _checked(self, segment: Segment, suffix: str) -> bytes:
        """A file of a finished segment, the bytes that were written."""
        path, listed = self._file(segment, suffix), self._file(segment, "json")
        try:
            expected = self._read(listed)["sha256"][suffix]
        except (LookupError, TypeError) as error:
            raise self._damaged(listed) from error
        if kind_of_place(path) != "file":
            raise self._damaged(path)
        data = read_bounded(path, MAX_DATA)
        if _sha256(data) != expected:
            raise self._damaged(path)
        return data

    def finish(self, result: Path) -> None:
        """The work is done: nothing of it is left. The result outlasts a power loss from here on.

        Args:
            result: the file, or the folder of pictures, that was made of the segments.
        """
        pictures = [*result.iterdir()] if result.is_dir() else []
        for path in pictures or [result]:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        for folder in {path.parent for path in [result, *pictures]}:
            _sync_folder(folder)
        self._remove()

    def _remove(self) -> None:
        self._lock.release()
        try:
            self.folder.replace(self._gone)  # at once: never half a job
        except OSError:  # it is a disk of its own, or this process works in it
            self._plan.unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            shutil.rmtree(self._gone, ignore_errors=True)

    # files

    @property
    def _gone(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}.done")

    def _file(self, segment: Segment, suffix: str) -> Path:
        return self.segments / f"{segment.start:09d}.{suffix}"

    def _read(self, path: Path) -> Any:
        try:
            return parse_json(read_bounded(path, MAX_JSON))
        except StyleAVideoError:  # it cannot be read: that does not tell what it holds
            raise
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
            with suppress(OSError):  # a disk that failed may be read-only since
                part.unlink(missing_ok=True)
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StyleAVideoError:
        if not self.folder.parent.is_dir():
            return StyleAVideoError(
                f"The folder {shown(self.folder.parent)} is not there any more, and what was done "
                "is gone with it: make it again and start over."
            )
        return StyleAVideoError(
            f"The job {shown(self.folder)} cannot be written ({error.strerror}): ",
            Remedy.FREE_SPACE,
        )

    def _damaged(self, path: Path) -> StyleAVideoError:
        return StyleAVideoError(
            f"{shown(path)} is damaged: ", Remedy.START_OVER_OR_MOVE, folder=self.folder
        )


def is_job(folder: Path) -> bool:
    """Whether a folder holds a job and nothing else."""
    names = [path.name for path in _inside(folder)] if folder.is_dir() else []
    return "job.json" in names and all(_OURS.fullmatch(name) for name in names)


def frames_kept(folder: Path) -> int:
    """Of the finished segments of a job. What was at work when the run ended is not among them."""
    times = [parse_json(read_bounded(p, MAX_JSON))["times"] for p in folder.glob("segments/*.json")]
    return sum(map(len, times))


_ENGINE = "engine."  # before the names of what the engine carries


def _packed(state: State) -> bytes:
    tensors = {f"{_ENGINE}{name}": value for name, value in (state.carried or {}).items()}
    if state.past is not None:
        tensors |= {"source": state.past.source, "refined": state.past.refined}
    return save({k: v.cpu().contiguous() for k, v in tensors.items()})


def _unpacked(found: dict[str, Tensor]) -> State:
    """Anything but what `_packed` gave is a KeyError or ValueError."""
    carried = {k.removeprefix(_ENGINE): v for k, v in found.items() if k.startswith(_ENGINE)}
    past = Past(found["source"], found["refined"]) if len(found) > len(carried) else None
    if past is not None and not all(_is_frame(t) for t in (past.source, past.refined)):
        raise ValueError("no frames")
    return State(past, carried or None)


def _is_frame(tensor: Tensor) -> bool:
    whole = tensor.ndim == 4 and tensor.shape[:2] == (1, 3) and 0 not in tensor.shape
    return whole and tensor.is_floating_point() and bool(tensor.isfinite().all())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def _sync_folder(folder: Path) -> None:
    """The names in it too are on the disk then. Windows has no such call, and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """What changed between two JSON values, in words; at most `DIFFERENCES` of them. What both have
    a name for (`Style.told`) is told by it.
    """
    then, now = _numbered(then), _numbered(now)
    if isinstance(then, dict) and isinstance(now, dict):
        found = [
            line
            for key in dict.fromkeys([*then, *now])
            if key != CALLED
            for line in differences(then.get(key), now.get(key), f"{name} {key}".strip())
        ]
        names = then.get(CALLED), now.get(CALLED)
        if found and all(names) and names[0] != names[1]:
            return [f"{name} was {_short(names[0])} and is {_short(names[1])}"]
        return found[:DIFFERENCES]
    if then == now:
        return []
    return [f"{name} was {_short(then)} and is {_short(now)}"]


def _numbered(value: Any) -> Any:
    """A list of dictionaries as one of them by number."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return {str(number): one for number, one in enumerate(value, 1)}
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's pictures with their names."""
    files = sorted(pictures_in(path)) if path.is_dir() else [path]
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
    from ... import __version__

    found = {"style-a-video": __version__}
    for name in VERSIONS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
