"""An engine's options, declared once: the command line, blocks and help follow from the fields.

@dataclass(frozen=True)
class AdaINOptions(Options):
    style_strength: float = option(1.0, "how much of the style", low=0, high=1)
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, get_type_hints

from ..checks import check_choice, check_count, check_number
from ..errors import StyleAVideoError
from .style import Style


def option(
    default: Any,
    what: str,
    *,
    low: float = 0.0,
    high: float = float("inf"),
    choices: Collection[str] = (),
    metavar: str | None = None,
) -> Any:
    """A field of `Options`. `what`: its help, without the default; `low`, `high`: of a number."""
    about = {"what": what, "low": low, "high": high, "choices": choices, "metavar": metavar}
    return field(default=default, metadata=about)


ALIGN = "undo the shift and zoom of each frame, where the model moves it against its source"


@dataclass(frozen=True)
class Options:
    """What a user can choose about an engine: frozen, and JSON by `as_dict`.

    Raises:
        StyleAVideoError: on making one: a value that the field does not allow.
    """

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        for one in fields(self):
            check_option(one.name, kind_of(self, one), getattr(self, one.name), one)

    def check_style(self, style: Style) -> None:
        """Refuse a style that these choices cannot make, before anything is loaded."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def kind_of(options: Options | type[Options], one: Field[Any]) -> type:
    """float, int, bool or str; what may be None is what it is otherwise."""
    hint = get_type_hints(type(options) if isinstance(options, Options) else options)[one.name]
    kinds = [kind for kind in getattr(hint, "__args__", (hint,)) if kind is not type(None)]
    return kinds[0]


def check_option(name: str, kind: type, value: Any, one: Field[Any]) -> None:
    about = one.metadata
    if value is None and one.default is None:
        return
    if kind is bool and not isinstance(value, bool):
        raise StyleAVideoError(f"{name} must be true or false, not {value!r}.")
    if kind is str and not isinstance(value, str):
        raise StyleAVideoError(f"{name} must be text, not {value!r}.")
    if about["choices"]:
        check_choice(name, value, about["choices"])
    if kind is int:
        if about["low"] == 1:
            check_count(name, value)
        elif isinstance(value, float):
            raise StyleAVideoError(f"{name} must be a whole number, not {value!r}.")
        check_number(name, value, about["low"], about["high"])
    if kind is float:
        check_number(name, value, about["low"], about["high"])


def flag(name: str) -> str:
    """The argument of a field; one named as a word of Python is ends in a line: `in_`."""
    return "--" + name.rstrip("_").replace("_", "-")


def add_options(to: Any, owners: Iterable[tuple[str, type[Options]]]) -> None:
    """Every field of these options as an argument, once; its help names the engines that have it.

    Args:
        to: an argparse parser or group.
        owners: (name of the engine, its options).
    """
    found: dict[str, list[tuple[str, type[Options], Field[Any]]]] = {}
    for engine, options in owners:
        for one in fields(options):
            found.setdefault(one.name, []).append((engine, options, one))
    for name, having in found.items():
        _, options, one = having[0]
        kind, about = kind_of(options, one), one.metadata
        engines = ", ".join(engine for engine, _, _ in having)
        shown = f"{engines}: {about['what']}{_defaults(having)}".replace("%", "%%")
        given: dict[str, Any] = {"default": argparse.SUPPRESS, "help": shown, "dest": name}
        if kind is bool:
            given["action"] = argparse.BooleanOptionalAction
        elif about["choices"]:
            given["choices"] = tuple(about["choices"])
        else:
            given |= {"type": kind, "metavar": about["metavar"]}
        to.add_argument(flag(name), **given)


def _defaults(having: list[tuple[str, type[Options], Field[Any]]]) -> str:
    """How a help text ends: the default, or each engine's where they differ."""
    defaults = {engine: one.default for engine, _, one in having}
    if len(set(defaults.values())) > 1:
        return f" ({', '.join(f'{engine} {value}' for engine, value in defaults.items())})"
    value = next(iter(defaults.values()))
    return "" if value is None or value == "" or isinstance(value, bool) else f" ({value})"


def from_args(
    engine: str, mine: type[Options], engines: Mapping[str, type[Options]], args: Any
) -> Options:
    """The options that a command line gave. `engines` are all that there are, by name.

    Raises:
        StyleAVideoError: an option of another engine, a value that is not allowed.
    """
    names = [one.name for one in fields(mine)]
    others = {one.name for options in engines.values() for one in fields(options)} - set(names)
    if strange := sorted(name for name in others if hasattr(args, name)):
        first = strange[0]
        owners = [k for k, o in engines.items() if any(one.name == first for one in fields(o))]
        raise StyleAVideoError(
            f"{flag(first)} is no option of the engine {engine} but of {', '.join(owners)}: leave "
            "it out, or take one of those."
        )
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    for one in fields(mine):
        if one.name in given:
            check_option(flag(one.name), kind_of(mine, one), given[one.name], one)
    return mine(**given)
