"""Random API prompts, seeded: the example workflows with some of their values or links replaced."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

API = Path(__file__).parents[2] / "workflows" / "api"
WORKFLOWS = (
    "style_a_video_by_words",
    "style_a_long_video_by_words",
    "see_where_the_model_looks",
    "clip_correction_off_and_on",
    "words_that_change_over_time",
    "style_a_video_by_a_picture",
    "less_flicker_and_how_much_less",
    "two_styles_in_two_regions",
    "two_pictures_in_two_regions",
    "take_the_colours_of_a_picture",
    "fade_from_one_style_to_another",
)
SMALL = {"max_side": 64, "max_frames": 1, "steps": 1, "end": 0.1, "first_frame_only": True}
"""Of what a workflow asks for, so that ten thousand end in a night."""

NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e308, 2**31, -(2**31), 2**63, 10**30)
NUMBERS += (float("nan"), float("inf"))
TEXTS = ("", " ", "\0", "\ud800", "../../../etc/passwd", "/etc/passwd", "/dev/zero", "a" * 5000)
TEXTS += ("CON", "%n%s%p", "{{}}", "[[", "0: oil\n9: ", "火" * 700, "\x1b[31m", "x/" * 300, "-1")
OTHERS = (None, True, [], {}, [[]], {"a": {"b": []}}, ["1", 0], ["0", -1], ["99", 0], ["1"], [1, 2])


def random_prompt(seed: int, definitions: dict[str, Any]) -> dict[str, Any]:
    """API format. `definitions`: the server's /object_info."""
    draw = random.Random(seed)
    prompt = small(json.loads((API / f"{draw.choice(WORKFLOWS)}.api.json").read_text("utf-8")))
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 6))):
        draw.choice((_value, _value, _value, _choice, _link, _remove, _class, _repeat))(
            draw, prompt, definitions
        )
    return _without_surrogates(_without_strays(prompt, definitions))


def _without_strays(prompt: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Links of inputs that a block does not have: ComfyUI 0.26 follows them without a look, and
    where one leads nowhere it ends its thread of prompts.
    """
    for node in prompt.values():
        if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
            continue
        asked = definitions.get(str(node.get("class_type")), {}).get("input", {})
        known = {name for group in asked.values() for name in group}
        node["inputs"] = {
            name: value
            for name, value in node["inputs"].items()
            if not isinstance(value, list) or name.split(".")[0] in known
        }
    return prompt


def _without_surrogates(prompt: dict[str, Any]) -> dict[str, Any]:
    """Blocks of others get none: where one quotes it in an error, ComfyUI 0.26 ends its thread of
    prompts.
    """
    for node in prompt.values():
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            ours = str(node.get("class_type")).startswith("StyleAVideo")
            for name, value in node["inputs"].items():
                if value == "\ud800" and not ours:
                    node["inputs"][name] = "surrogate"
    return prompt


def small(prompt: dict[str, Any]) -> dict[str, Any]:
    """The same with what costs time brought down."""
    for node in prompt.values():
        for name, value in node["inputs"].items():
            short = name.rsplit(".", 1)[-1]
            if short in SMALL and not isinstance(value, list):
                node["inputs"][name] = type(value)(SMALL[short])
    return prompt


def _input(draw: random.Random, prompt: dict[str, Any], links: bool) -> tuple[dict, str] | None:
    found = [
        (node["inputs"], name)
        for node in prompt.values()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        for name, value in node["inputs"].items()
        if isinstance(value, list) == links
    ]
    return draw.choice(found) if found else None


def _value(draw: random.Random, prompt: dict[str, Any], definitions: dict[str, Any]) -> None:
    """A number, text or something else in the place of a value."""
    if place := _input(draw, prompt, links=False):
        inputs, name = place
        inputs[name] = draw.choice(draw.choice((NUMBERS, NUMBERS, TEXTS, OTHERS)))


def _choice(draw: random.Random, prompt: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Within its range, or another of the choices, which ComfyUI lets through."""
    node = draw.choice([n for n in prompt.values() if n["class_type"] in definitions] or [None])
    if node is None:
        return
    declared = definitions[node["class_type"]]["input"]
    fields = {**declared.get("required", {}), **declared.get("optional", {})}
    for name, (_, about, *_) in [f for f in fields.items() if len(f[1]) > 1]:
        for option in about.get("options", []):  # of a list that brings inputs of its own
            if isinstance(option, dict):
                inner = option["inputs"].get("required", {}) | option["inputs"].get("optional", {})
                fields |= {f"{name}.{key}": field for key, field in inner.items()}
    inputs = [k for k, v in node["inputs"].items() if k in fields and not isinstance(v, list)]
    if not inputs:
        return
    name = draw.choice(inputs)
    kind, about = fields[name][0], fields[name][1] if len(fields[name]) > 1 else {}
    choices = kind if isinstance(kind, list) else about.get("options", [])
    choices = [c["key"] if isinstance(c, dict) else c for c in choices]
    if choices and all(isinstance(c, str) for c in choices):
        node["inputs"][name] = draw.choice(choices)
    elif kind in ("INT", "FLOAT"):
        low, high = about.get("min", -10), about.get("max", 10)
        # Sizes, counts and steps near their lower end: large ones only take long.
        high = min(high, low + 64) if kind == "INT" else high
        drawn = draw.choice((low, draw.uniform(low, high)))
        node["inputs"][name] = int(drawn) if kind == "INT" else drawn


def _link(draw: random.Random, prompt: dict[str, Any], definitions: dict[str, Any]) -> None:
    """From another node or output, which may be its own, of another type, or none."""
    if place := _input(draw, prompt, links=True):
        inputs, name = place
        inputs[name] = [draw.choice([*prompt, "0", "none"]), draw.choice((0, 0, 0, 1, 2, 7, -1))]


def _remove(draw: random.Random, prompt: dict[str, Any], definitions: dict[str, Any]) -> None:
    """An input, or a whole node."""
    if draw.random() < 0.7 and (place := _input(draw, prompt, draw.random() < 0.5)):
        inputs, name = place
        del inputs[name]
    elif len(prompt) > 1:
        del prompt[draw.choice(list(prompt))]


def _class(draw: random.Random, prompt: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Another of our blocks, or none there is, in the place of a node, with its inputs."""
    ours = sorted(name for name in definitions if name.startswith("StyleAVideo"))
    prompt[draw.choice(list(prompt))]["class_type"] = draw.choice([*ours, "NoSuchNode", ""])


def _repeat(draw: random.Random, prompt: dict[str, Any], definitions: dict[str, Any]) -> None:
    name = draw.choice(list(prompt))
    prompt[f"{name}b"] = copy.deepcopy(prompt[name])
