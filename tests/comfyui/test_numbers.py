"""NaN, infinity and what is out of range, in every float of every block: one sentence, no work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from style_a_video.nodes import NODES
from style_a_video.pipelines.errors import StyleAVideoError

SCHEMAS = json.loads(Path(__file__).with_name("schemas.json").read_text(encoding="utf-8"))
BLOCKS = {block.GET_SCHEMA().node_id: block for block in NODES}


def floats(inputs: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Names and limits: of an input, or of one of an option with the option's key."""
    for group in inputs.values():
        for name, (kind, *about) in group.items():
            if kind == "FLOAT":
                yield "", "", name, about[0]
            for option in about[0].get("options", []) if about else []:
                if isinstance(option, dict):
                    for *_, inner, limits in floats(option["inputs"]):
                        yield name, option["key"], inner, limits


FLOATS = [(block, *found) for block, schema in SCHEMAS.items() for found in floats(schema["input"])]


def given(outer: str, key: str, name: str, value: float) -> dict[str, Any]:
    return {outer: {outer: key, name: value}} if outer else {name: value}


def refusal(block: str, inputs: dict[str, Any]) -> str:
    """Nothing else is given: a block that went on to work would miss it."""
    with pytest.raises(StyleAVideoError) as refused:
        BLOCKS[block].execute(**inputs)
    return str(refused.value)


def test_all_blocks_have_their_floats_here():
    assert len(FLOATS) >= 30 and set(SCHEMAS) == set(BLOCKS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
@pytest.mark.parametrize(
    ("block", "outer", "key", "name", "limits"),
    FLOATS,
    ids=["-".join(filter(None, one[:4])) for one in FLOATS],
)
def test_a_float_that_is_no_number_is_refused_by_its_name(block, outer, key, name, limits, value):
    inputs = given(outer, key, name, value)
    assert refusal(block, inputs) == f"{name} must be a finite number, not {value!r}."


@pytest.mark.parametrize(
    ("block", "outer", "key", "name", "limits"),
    FLOATS,
    ids=["-".join(filter(None, one[:4])) for one in FLOATS],
)
def test_what_comes_by_a_link_has_the_same_limits_as_a_widget(block, outer, key, name, limits):
    for value in limits["min"] - 1, limits["max"] + 1:
        span = f"between {limits['min']:g} and {limits['max']:g}"
        assert (
            refusal(block, given(outer, key, name, value))
            == f"{name} must be {span}, not {value:g}."
        )
    for value in limits["min"], limits["max"], int(limits["max"]):
        with pytest.raises(TypeError):  # on to the work, which misses the other inputs
            BLOCKS[block].execute(**given(outer, key, name, value), no_such_input=None)
