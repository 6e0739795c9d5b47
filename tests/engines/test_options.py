"""An engine's options: declared once, and the command line, checks and help that follow."""

import argparse
import json
from dataclasses import FrozenInstanceError, dataclass

import pytest
from style_a_video.pipelines.engines.options import Options, add_options, flag, from_args, option
from style_a_video.pipelines.engines.registry import KINDS
from style_a_video.pipelines.errors import StyleAVideoError


@dataclass(frozen=True)
class Brush(Options):
    strength: float = option(0.5, "how much of 100 %", high=1)
    steps: int | None = option(None, "sampling steps", low=1, high=9, metavar="N")
    seed: int = option(0, "of the noise", high=10)
    paper: str = option("rough", "what it is painted on", choices=("rough", "smooth"))
    keep_colour: bool = option(False, "of the source")
    title: str = option("", "in words")
    in_: str = option("", "where it is dipped")


@dataclass(frozen=True)
class Pen(Options):
    strength: float = option(1.0, "how much", high=2)
    width: float = option(1.0, "of the line, px", low=0.5)


OWNERS = [("brush", Brush), ("pen", Pen)]


def given(*arguments):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, OWNERS)
    return parser.parse_args(arguments)


def brush(*arguments):
    return from_args("brush", Brush, dict(OWNERS), given(*arguments))


def refused(make):
    with pytest.raises(StyleAVideoError) as refusal:
        make()
    return str(refusal.value)


def test_flags_give_the_values():
    assert brush() == Brush()
    assert brush(
        *("--strength", "0.25", "--steps", "3", "--seed", "7", "--paper", "smooth"),
        *("--keep-colour", "--title", "水彩画", "--in", "ink"),
    ) == Brush(0.25, 3, 7, "smooth", True, "水彩画", "ink")
    assert brush("--no-keep-colour") == Brush()
    assert flag("keep_colour") == "--keep-colour"


def test_the_help_names_whose_option_it_is(capsys):
    parser = argparse.ArgumentParser()
    add_options(parser, OWNERS)
    parser.print_help()
    told = " ".join(capsys.readouterr().out.split())
    assert "brush, pen: how much of 100 % (brush 0.5, pen" in told  # once, though both have it
    assert told.count("--strength") == 2  # in the usage and in the list
    assert "--paper {rough,smooth}" in told and "--steps N" in told
    assert "pen: of the line, px (1.0)" in told and "brush: of the source" in told
    assert "sampling steps (" not in told  # None stands for the model's own


def test_an_option_of_another_engine_is_refused():
    assert refused(lambda: brush("--width", "2")) == (
        "--width is no option of the engine brush but of pen: leave it out, or take one of those."
    )
    assert brush("--strength", "1").strength == 1  # which both have


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--strength", "1.5"), "--strength must be between 0 and 1, not 1.5."),
        (("--strength", "-1"), "--strength must be between 0 and 1, not -1."),
        (("--strength", "nan"), "--strength must be a finite number, not nan."),
        (("--steps", "0"), "--steps must be a whole number of at least 1, not 0."),
        (("--steps", "10"), "--steps must be between 1 and 9, not 10."),
        (("--seed", "-1"), "--seed must be between 0 and 10, not -1."),
    ],
)
def test_ranges_on_the_command_line(arguments, told):
    assert refused(lambda: brush(*arguments)) == told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"strength": 2}, "strength must be between 0 and 1, not 2."),
        ({"strength": "1"}, "strength must be a finite number, not '1'."),
        ({"strength": None}, "strength must be a finite number, not None."),
        ({"strength": True}, "strength must be a finite number, not True."),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, not 2.5."),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5."),
        ({"seed": "1"}, "seed must be a finite number, not '1'."),
        ({"paper": "wet"}, "There is no paper 'wet'; choose one of: rough, smooth."),
        ({"keep_colour": 1}, "keep_colour must be true or false, not 1."),
        ({"title": 7}, "title must be text, not 7."),
        ({"title": None}, "title must be text, not None."),
    ],
)
def test_values_are_checked_where_they_are_made(values, told):
    assert refused(lambda: Brush(**values)) == told


def test_options_are_values():
    options = Brush(0.25, keep_colour=True)
    assert Brush(**json.loads(json.dumps(options.as_dict()))) == options
    with pytest.raises(FrozenInstanceError):
        options.seed = 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_engine_s_defaults_are_allowed_and_json(kind):
    options = kind.options()
    assert kind.options(**json.loads(json.dumps(options.as_dict()))) == options
