"""What a command says while it works, and the files it writes beside its result."""

from __future__ import annotations

import json
import os
import sys
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StyleAVideoError

if TYPE_CHECKING:
    from ..run.shots import Plan


class Bars:
    """A progress bar a stage, on a terminal: frames a second, the time left. No bar in a log.

    Used as a context: what is said after it, of an error too, begins on a line of its own.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None
        self._shots: list[int] = []

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def planned(self, plan: Plan) -> None:
        self._shots = [shot.start for shot in plan.shots]

    def kept(self, count: int) -> None:
        """So many frames will not be made again; the bar is ahead of them by what is in hand."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{count} kept", refresh=False)

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if stage != self._stage:
            self.__exit__()
            self._stage = stage
            self._bar = tqdm(
                desc=stage,
                initial=done,  # what a former run has done says nothing about the speed of this one
                total=total,
                unit=" frames",
                disable=None,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}"
                "{postfix} [{rate_noinv_fmt}, {remaining} left]",
            )
        if stage == "stylize" and len(self._shots) > 1:
            shot = bisect_right(self._shots, max(0, done - 1))
            self._bar.set_description_str(f"stylize, shot {shot} of {len(self._shots)}", False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)


def say(line: str) -> None:
    print(line, file=sys.stderr)


def write_json(path: Path, what: dict[str, Any]) -> None:
    write_text(path, json.dumps(what, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StyleAVideoError(
            f"{path} cannot be written ({error.strerror}): free space or choose another place."
        ) from error
