"""Which engine makes which style, and what is said where none does."""

from dataclasses import replace

import pytest
import torch
from style_a_video.pipelines.engines import registry
from style_a_video.pipelines.engines.kinds import LEARNED, PICTURES, WORDS
from style_a_video.pipelines.engines.registry import KINDS, default_for, kind_named
from style_a_video.pipelines.engines.style import Style, StylePicture
from style_a_video.pipelines.errors import StyleAVideoError

PICTURE = StylePicture(torch.zeros(3, 16, 16))
IN_WORDS, IN_PICTURES, IN_BOTH = Style("oil"), Style("", (PICTURE,)), Style("oil", (PICTURE,))


def kinds(**takes):
    return tuple(replace(KINDS[0], name=n, takes=frozenset(t)) for n, t in takes.items())


@pytest.fixture
def three(monkeypatch):
    given = kinds(first={PICTURES}, second={WORDS}, third={WORDS, PICTURES})
    monkeypatch.setattr(registry, "KINDS", given)
    return given


def test_engines_are_found_by_name():
    for kind in KINDS:
        assert kind_named(kind.name) is kind
    with pytest.raises(StyleAVideoError) as refusal:
        kind_named("best")
    names = ", ".join(kind.name for kind in KINDS)
    assert str(refusal.value) == f"There is no engine 'best'; choose one of: {names}."


def test_the_first_that_takes_a_style_makes_it(three):
    found = [default_for(style).name for style in (IN_WORDS, IN_PICTURES, IN_BOTH)]
    assert found == ["second", "first", "third"]


def test_where_none_takes_all_of_it_one_says_so(monkeypatch):
    monkeypatch.setattr(registry, "KINDS", kinds(words={WORDS}))
    for style in (IN_PICTURES, IN_BOTH):
        with pytest.raises(StyleAVideoError) as refusal:
            default_for(style).check(style)
        assert str(refusal.value) == (
            "The engine words takes words, no pictures: leave them out, or choose another engine."
        )


def test_what_an_engine_does_not_take_is_refused(three):
    first, second, third = three
    for style in (IN_WORDS, IN_PICTURES, IN_BOTH):
        third.check(style)
    with pytest.raises(StyleAVideoError, match="^The engine first takes pictures, no words: leave"):
        first.check(IN_BOTH)
    with pytest.raises(StyleAVideoError, match="^The engine second takes words, no pictures: leav"):
        second.check(IN_PICTURES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_engine_says_what_it_is(kind):
    assert kind.takes <= {WORDS, PICTURES, LEARNED}
    assert kind.what and kind.speed and kind.licence
