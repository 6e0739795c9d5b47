"""The one error that a user's input can cause: what is wrong, and as data what can be done."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, ClassVar


class Remedy(Enum):
    """What can be done where the words for it depend on the host: options, widgets, arguments."""

    START_OVER = auto()
    START_OVER_OR_MOVE = auto()
    SAME_OR_START_OVER = auto()
    OTHER_FOLDER = auto()
    FREE_SPACE = auto()
    SMALLER = auto()
    OTHER_PRECISION = auto()
    CPU_PRECISION = auto()
    TAKE_PARTIAL = auto()
    COMPARE_PART = auto()
    SAY_WHERE = auto()
    FEWER_WORKERS = auto()
    CLUSTER_ADDRESS = auto()
    WORKERS_MEMORY = auto()
    ANYWAY = auto()


IN_PYTHON: dict[Remedy, str] = {
    Remedy.START_OVER: "Start over with fresh=True.",
    Remedy.START_OVER_OR_MOVE: "start over with fresh=True, or name another folder.",
    Remedy.SAME_OR_START_OVER: "give the same as then, start over with fresh=True, or name another "
    "folder.",
    Remedy.OTHER_FOLDER: "name another folder.",
    Remedy.FREE_SPACE: "free space or name another folder. What is done is kept: the same call "
    "goes on.",
    Remedy.SMALLER: "size.",
    Remedy.OTHER_PRECISION: "use float32 or lower scales.",
    Remedy.CPU_PRECISION: "use torch.bfloat16 or torch.float32.",
    Remedy.TAKE_PARTIAL: ", or take what can be decoded (partial=True).",
    Remedy.COMPARE_PART: ", or say which part of {source} the results are of (start, end or "
    "max_frames={frames}).",
    Remedy.SAY_WHERE: ", and with start where in it the stylized part begins.",
    Remedy.FEWER_WORKERS: "ask for {count} workers or fewer.",
    Remedy.CLUSTER_ADDRESS: "start one with `ray start --head`, or give the address that it "
    "prints.",
    Remedy.WORKERS_MEMORY: "use a smaller size or chunk_size. What is done is kept: the same call "
    "goes on.",
    Remedy.ANYWAY: ", or go on with anyway=True.",
}


class StyleAVideoError(ValueError):
    """Input that cannot be used; the message is one sentence: what, where, what to do.

    Args:
        what: the sentence, up to where it would name options, widgets or arguments.
        remedy: what can be done, which each host words in its own way.
        about: what those words tell of, by name.
    """

    words: ClassVar[Mapping[Remedy, str]] = IN_PYTHON
    """How `str` words a remedy. ComfyUI shows `str`: `nodes` puts its own words here."""

    def __init__(self, what: str, remedy: Remedy | None = None, **about: Any) -> None:
        super().__init__(what)
        self.what, self.remedy, self.about = what, remedy, about

    def worded(self, words: Mapping[Remedy, str]) -> str:
        """The sentence in the words of a host; half a character, as broken JSON has it, is escaped:
        it would end a host that only wants to print it.
        """
        said = self.what + (words[self.remedy].format(**self.about) if self.remedy else "")
        return said.encode("utf-8", "backslashreplace").decode("utf-8")

    def __str__(self) -> str:
        return self.worded(self.words)

    def __reduce__(self) -> tuple[Any, ...]:
        """Ray's workers send it on."""
        return _again, (type(self), self.what, self.remedy, self.about)


def _again(
    kind: type[StyleAVideoError], what: str, remedy: Remedy | None, about: dict[str, Any]
) -> StyleAVideoError:
    return kind(what, remedy, **about)
