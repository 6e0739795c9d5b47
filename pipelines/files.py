"""Files of strangers: only regular ones, read up to a bound; and what the system says of any file.

A pipe or a device under a file's name would never end, or hold the reader for ever.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .errors import StyleAVideoError

MAX_NAME = 255  # bytes of a file's name, of what Linux, macOS and Windows hold
_NOT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_REMEDIES = {
    errno.EACCES: "look at the permissions of it and of its folder",
    errno.EPERM: "look at the permissions of it and of its folder",
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space on that disk",
    errno.EROFS: "choose a place that can be written",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EMFILE: "close other programs, or allow more open files (ulimit -n)",
}


def unusable(
    path: str | os.PathLike[str], error: OSError, cannot: str = "be used"
) -> StyleAVideoError:
    """The one sentence for what the system says: `path` cannot `cannot`, why, what to do."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    remedy = _REMEDIES.get(error.errno or 0, "check the path and the disk")
    return StyleAVideoError(f"{shown(path)} cannot {cannot} ({reason}): {remedy}.")


def shown(path: str | os.PathLike[str]) -> str:
    """A path in a sentence: what is no text, or would move a terminal's cursor, is escaped."""
    text = os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 1000 else f"{text[:300]}...{text[-300:]}"


@contextmanager
def told(path: Path, cannot: str = "be read") -> Iterator[None]:
    """What the system refuses in here becomes a sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise unusable(path, error, cannot) from error
    except ValueError as error:
        if "null byte" not in str(error) and "null character" not in str(error):
            raise
        raise StyleAVideoError(
            f"{shown(path)} is no path (it holds a zero byte): check it."
        ) from error


def kind_of_place(path: Path) -> str:
    """ "file", "folder", "" where nothing is, or in words what else is there.

    Raises:
        StyleAVideoError: the system does not let us look.
    """
    with told(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return ""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    named = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in named if test(mode)), "a device")


def check_file(path: Path) -> None:
    """Refuse what is no regular file.

    Raises:
        StyleAVideoError: missing, a folder, a pipe or a device, not permitted.
    """
    kind = kind_of_place(path)
    if not kind:
        raise StyleAVideoError(f"There is no file {shown(path)}: check the path.")
    if kind != "file":
        raise StyleAVideoError(f"{shown(path)} is {_a(kind)}, not a file: check the path.")


def _a(kind: str) -> str:
    return "a folder" if kind == "folder" else kind


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading.

    Raises:
        StyleAVideoError: missing, no regular file, or the system refuses.
    """
    check_file(path)
    with told(path):
        # What is there may have changed since: a pipe is not waited for.
        handle = os.open(path, os.O_RDONLY | _NOT_WAITING)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise StyleAVideoError(f"{shown(path)} is not a file: check the path.")
            yield file


def read_bounded(path: Path, most: int) -> bytes:
    """All of a regular file of at most `most` bytes.

    Raises:
        StyleAVideoError: missing, no regular file, larger, or the system refuses.
    """
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise StyleAVideoError(
            f"{shown(path)} is larger than the {most:,} bytes that such a file can have: give "
            "another one."
        )
    return data


def parse_json(data: bytes | str) -> Any:
    """JSON of a stranger as a value.

    Raises:
        ValueError: no JSON: numbers of thousands of digits and endless nesting included.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
