"""style-a-video stylize | demo | learn | refine | report | shots | info

Exit codes: 0 done, 2 arguments or input that cannot be used (one line on stderr says which and what
to do), 130 interrupted, 1 anything unforeseen (with its traceback).
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from ..errors import StyleAVideoError
from ..files import unusable
from . import demo, info, learn, refine, report, shots, stylize
from .words import WORDS

COMMANDS = {
    "stylize": stylize,
    "demo": demo,
    "learn": learn,
    "refine": refine,
    "report": report,
    "shots": shots,
    "info": info,
}


class _Parser(argparse.ArgumentParser):
    """A wrong argument is told like any other bad input."""

    def error(self, message: str) -> NoReturn:
        raise StyleAVideoError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    main = _Parser(
        prog="style-a-video",
        description="Stylize a video from words or from a picture (Style-A-Video, arXiv "
        "2305.05464, and others).",
    )
    commands = main.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))
    for command in COMMANDS.values():
        command.add(commands)
    return main


def unrecognized(command: str, argument: str) -> str:
    """What to say of an argument that a command does not know."""
    said = f"style-a-video {command} does not know {argument!r}"
    if not argument.startswith("-"):
        return (
            f"{said}: put words that belong together in quotes, and repeat an option for each of "
            f"its files (see style-a-video {command} --help)"
        )
    near = get_close_matches(argument.partition("=")[0], options_of(command), 1, 0.7)
    return f"{said}{f'; is {near[0]} meant?' if near else ''} (see style-a-video {command} --help)"


def options_of(command: str) -> list[str]:
    commands = argparse.ArgumentParser().add_subparsers()
    COMMANDS[command].add(commands)
    return re.findall(r"--[\w-]+", commands.choices[command].format_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints its settings otherwise
    try:
        args, unknown = parser().parse_known_args(argv)
        if unknown:
            raise StyleAVideoError(unrecognized(args.command, unknown[0]))
        COMMANDS[args.command].run(args)
    except StyleAVideoError as error:
        print(f"style-a-video: error: {error.worded(WORDS)}", file=sys.stderr)
        return 2
    except OSError as error:
        if not error.filename:
            raise
        print(f"style-a-video: error: {unusable(error.filename, error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        from ..device import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        print(
            "style-a-video: error: There is too little memory for frames of this size: make the "
            "video smaller, or close other programs.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("style-a-video: stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
