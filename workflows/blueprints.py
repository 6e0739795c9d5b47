"""Writes the blueprints of ComfyUI's node library, ../subgraphs/TITLE.json.

python workflows/blueprints.py --server http://127.0.0.1:8188

A blueprint is a graph in one block: what it takes and gives is named here, all else lies inside.
ComfyUI has no translations for them, so their words are in both languages.
"""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build import (
    FOLDER,
    GAP,
    NOTE,
    ROW,
    TEXT,
    WIDGET,
    Graph,
    Node,
    Output,
    any_length_by_words,
    definitions_of,
    load_clip,
    ui_group,
    write,
)

SUBGRAPHS = FOLDER.parent / "subgraphs"
TAKES, GIVES = -10, -20
"""The ids that ComfyUI gives the two ends of a subgraph."""
EDGE = 160  # px, the width of an end
WIDTH = 360  # px, of the block
CATEGORY = "Style-A-Video"


@dataclass
class Blueprint(Graph):
    """A graph that is one block; its parts are drawn as in `Graph`."""

    about: str = ""
    aliases: tuple[str, ...] = ()
    takes: Node = field(
        default_factory=lambda: Node(TAKES, "", "", {"output_name": [], "output": []}, {})
    )
    gives: list[Output] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    all_slots: bool = True  # the library counts links by them

    def take(self, name: str, kind: str, label: str) -> Output:
        """An input of the block, to be connected inside: with a widget, it shows that."""
        self.takes.definition["output_name"].append(name)
        self.takes.definition["output"].append(kind)
        self.labels[name] = label
        return self.takes[name]

    def give(self, label: str, output: Output) -> None:
        self.gives.append(output)
        self.labels[output.type] = label

    def ui(self) -> dict[str, Any]:
        """A workflow of one node, which is the subgraph."""
        inside = self._inside()
        inputs = [_slot(one) | {"link": None} for one in inside["inputs"]]
        for place in _widget_places(inside):
            inputs[place]["widget"] = {"name": inputs[place]["name"]}
        size = [WIDTH, ROW + sum(map(_height, inputs))]
        block = {"id": 1, "type": inside["id"], "pos": [0, 0], "size": size, "flags": {}}
        block |= {"order": 0, "mode": 0, "inputs": inputs}
        block["outputs"] = [_slot(one) | {"links": []} for one in inside["outputs"]]
        block |= {"properties": {}, "widgets_values": [], "title": self.name}
        return {
            "revision": 0,
            "last_node_id": 1,
            "last_link_id": 0,
            "nodes": [block],
            "links": [],
            "version": 0.4,
            "definitions": {"subgraphs": [inside]},
            "extra": {
                "BlueprintDescription": self.about,
                "BlueprintSearchAliases": list(self.aliases),
            },
        }

    def _inside(self) -> dict[str, Any]:
        nodes, links = self.ui_nodes()
        for place, output in enumerate(self.gives):
            link = [len(links) + 1, output.node.id, output.slot, GIVES, place, output.type]
            links.append(link)
            nodes[output.node.id - 1]["outputs"][output.slot]["links"].append(link[0])
        right = max(n.place[0] + n.size[0] for n in self.nodes) + 2 * GAP
        given = self.takes.definition
        kinds = dict(zip(given["output_name"], given["output"], strict=True))
        inputs = [
            self._end(name, kind, [link[0] for link in links if link[1:3] == [TAKES, i]])
            for i, (name, kind) in enumerate(kinds.items())
        ]
        outputs = [
            self._end(one.type, one.type, [link[0] for link in links if link[3:5] == [GIVES, i]])
            for i, one in enumerate(self.gives)
        ]
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        return {
            "id": self._id(""),
            "version": 1,
            "state": {
                "lastGroupId": len(self.groups),
                "lastNodeId": len(nodes),
                "lastLinkId": len(links),
                "lastRerouteId": 0,
            },
            "revision": 0,
            "config": {},
            "name": self.name,
            "inputNode": {"id": TAKES, "bounding": _box(NOTE[0] - EDGE - 2 * GAP, len(inputs))},
            "outputNode": {"id": GIVES, "bounding": _box(right, len(outputs))},
            "inputs": inputs,
            "outputs": outputs,
            "widgets": [],
            "nodes": nodes,
            "groups": [ui_group(i, group) for i, group in enumerate(self.groups)],
            "links": [dict(zip(names, link, strict=True)) for link in links],
            "extra": {},
            "category": CATEGORY,
            "description": self.about,
        }

    def _end(self, name: str, kind: str, links: list[int]) -> dict[str, Any]:
        end = {"id": self._id(name), "name": name, "type": kind, "linkIds": links}
        return end | {"label": self.labels[name]}

    def _id(self, part: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"style-a-video/subgraphs/{self.name}/{part}"))


def _slot(end: dict[str, Any]) -> dict[str, Any]:
    return {key: end[key] for key in ("name", "label", "type")}


def _height(slot: dict[str, Any]) -> int:
    if "widget" not in slot:
        return ROW
    return TEXT if slot["type"] == "STRING" else WIDGET


def _widget_places(inside: dict[str, Any]) -> set[int]:
    """Which inputs of the block go into a widget."""
    nodes = {node["id"]: node for node in inside["nodes"]}
    return {
        link["origin_slot"]
        for link in inside["links"]
        if link["origin_id"] == TAKES
        and "widget" in nodes[link["target_id"]]["inputs"][link["target_slot"]]
    }


def _box(left: int, rows: int) -> list[int]:
    return [left, 0, EDGE, ROW * (rows + 2)]


# The blueprints


VIDEO = ("video", "VIDEO", "video · 视频")
SIDE = ("max_side", "INT", "longest side, px · 最长边")
CALM = ("refine", "FLOAT", "less flicker · 减少闪烁")


def by_words(g: Blueprint) -> None:
    """Turns a video of any length into the style that you name, such as watercolour or Van Gogh.
    Every frame's time and the sound stay. Nothing to download.

    按文字（例如水彩画、梵高）把任意长度的视频风格化；时间和声音不变，无需下载。"""
    video = g.take(*VIDEO)
    prompt = g.take("prompt", "STRING", "prompt · 提示词")
    size, calm = g.take(*SIDE), g.take(*CALM)
    g.stage("1 · Load · 载入")
    model = g.add("StyleAVideoLoadBuiltIn")
    frames = load_clip(g, 0, first_frame_only=True, video=video)
    made = any_length_by_words(g, model, frames, prompt, max_side=size, refine=calm)
    g.give("video · 视频", made["VIDEO"])


def by_a_picture(g: Blueprint) -> None:
    """Turns a video of any length into the style of a picture, such as a painting. Every frame's
    time and the sound stay. Nothing to download.

    按一张图片（例如一幅画）的风格把任意长度的视频风格化；时间和声音不变，无需下载。"""
    video = g.take(*VIDEO)
    picture = g.take("picture", "IMAGE", "picture · 图片")
    size, calm = g.take(*SIDE), g.take(*CALM)
    g.stage("1 · Engine · 引擎")
    engine = g.add("StyleAVideoLoadEngine", style=picture)
    g.stage("2 · Stylize · 风格化")
    made = g.add("StyleAVideoStylizeVideo", video=video, engine=engine, max_side=size, refine=calm)
    g.give("video · 视频", made["VIDEO"])


def calm_a_video(g: Blueprint) -> None:
    """Takes the flicker out of a video that was edited frame by frame, by whatever means: every
    frame follows the one before along the motion of the original. All frames are in memory.

    消除逐帧处理的视频的闪烁，不论用什么方法做成：每一帧沿原片的运动承接上一帧。所有帧都在内存中。"""
    original = g.take("original", "VIDEO", "original video · 原片")
    edited = g.take("flickering", "VIDEO", "flickering video · 闪烁的视频")
    strength = g.take("strength", "FLOAT", "strength · 强度")
    g.stage("1 · Load · 载入")
    frames = [
        load_clip(g, 0, resize="none", video=video, title=title)
        for video, title in ((original, "The original"), (edited, "The flickering video"))
    ]
    g.stage("2 · Refine · 稳定")
    refined = g.add(
        "StyleAVideoTemporalRefiner",
        source=frames[0]["frames"],
        stylized=frames[1]["frames"],
        strength=strength,
    )
    made = g.add(
        "StyleAVideoFramesToVideo",
        images=refined,
        frame_info=frames[1]["frame_info"],
        audio=frames[0]["audio"],
    )
    g.give("video · 视频", made["video"])


BLUEPRINTS: dict[str, tuple[Callable[[Blueprint], None], tuple[str, ...]]] = {
    "Style a video by words": (by_words, ("stylize video", "video style transfer", "视频风格化")),
    "Style a video by a picture": (
        by_a_picture,
        ("stylize video", "video style transfer", "painting", "视频风格化", "图片风格"),
    ),
    "Calm a flickering video": (
        calm_a_video,
        ("deflicker", "temporal consistency", "less flicker", "去闪烁", "时序稳定"),
    ),
}
"""Title → what is inside, and other words to find it by; its docstring is its description."""


def build(definitions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Title → form, for the nodes of GET /object_info."""
    built = {}
    for title, (describe, aliases) in BLUEPRINTS.items():
        halves = (describe.__doc__ or "").split("\n\n")
        about = " · ".join(" ".join(half.split()) for half in halves)
        blueprint = Blueprint(title, definitions, about=about, aliases=aliases)
        describe(blueprint)
        built[title] = blueprint.ui()
    return built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL")
    parser.add_argument("--out", type=Path, default=SUBGRAPHS, metavar="FOLDER")
    given = parser.parse_args()
    for title, form in build(definitions_of(given.server)).items():
        write(given.out / f"{title}.json", form)


if __name__ == "__main__":
    main()
