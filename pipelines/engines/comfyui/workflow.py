"""A workflow in ComfyUI's API form: where frames go in, where pictures come out.

It is a stranger's file. Nothing that it names is opened here: it is sent to the server, as far as
the pictures that are wanted depend on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ...errors import StyleAVideoError
from ...files import parse_json, read_bounded, shown

LARGEST = 8 << 20  # bytes of a file
LISTED = 6  # places that an error names

Graph = dict[str, dict[str, Any]]
"""Node → its class_type and inputs; an input is a value or the link [node, output]."""


class Loader(NamedTuple):
    """A node that frames come from: the input with the file's name, and what makes it give all."""

    input: str
    takes_video: bool
    whole: Mapping[str, Any] = {}


LOADERS = {
    "StyleAVideoLoadFrames": Loader(
        "file",
        True,
        {
            "start": 0.0,
            "end": 0.0,
            "every_nth": 1,
            "max_frames": 0,
            "first_frame_only": False,
            "resize": "none",
            "fit": "pad",
            "multiple": 1,
        },
    ),
    "LoadVideo": Loader("file", True),
    "VHS_LoadVideo": Loader(
        "video",
        True,
        {"force_rate": 0, "frame_load_cap": 0, "skip_first_frames": 0, "select_every_nth": 1},
    ),
    "LoadImage": Loader("image", False),
}

SAVERS = {
    "SaveImage": "images",
    "StyleAVideoFramesToVideo": "images",
    "CreateVideo": "images",
    "VHS_VideoCombine": "images",
}
"""Class → its input of pictures."""
PREVIEWS = {"PreviewImage": "images"}
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
PICTURES = {"LoadImage": "image", "LoadImageMask": "image", "StyleAVideoStylePicture": "painting"}
"""Class → its input that may name a picture of the server."""


class Place(NamedTuple):
    node: str
    input: str


@dataclass(frozen=True)
class Workflow:
    """What is queued.

    Attributes:
        graph: the nodes that the pictures depend on.
        frames_at: the input that is given the name of a file with frames.
        takes_video: whether that file is a video of several frames, or a picture.
        link: the output, [node, number], that has the pictures.
    """

    graph: Graph
    frames_at: Place
    takes_video: bool
    link: list[Any]

    @cached_property
    def out(self) -> str:
        """The node that is added to show the pictures."""
        name = "style_a_video"
        while name in self.graph:
            name += "_"
        return name

    def prompt(self, file: str, mark: str) -> Graph:
        """The workflow for a file of the server.

        `mark`: another one for each prompt. ComfyUI gives of what it has seen before the names of
        files that may be gone; an input that a node does not know makes it another prompt.
        """
        node, name = self.frames_at
        loader = self.graph[node]
        given = loader | {"inputs": loader["inputs"] | {name: file}}
        preview = {"images": self.link, "mark": mark}
        return self.graph | {
            node: given,
            self.out: {"class_type": "PreviewImage", "inputs": preview},
        }

    @property
    def sha256(self) -> str:
        """Of all that decides its pictures but the files that it names."""
        known = json.dumps(
            [self.prompt("", ""), self.frames_at], sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(known.encode()).hexdigest()

    @property
    def pictures(self) -> list[str]:
        """The files that it names for pictures beside the frames."""
        names = (
            node["inputs"].get(PICTURES[node["class_type"]])
            for key, node in self.graph.items()
            if node["class_type"] in PICTURES and key != self.frames_at.node
        )
        return sorted({name for name in names if isinstance(name, str)})


def read_workflow(path: Path, frames_at: str = "", out: str = "") -> Workflow:
    """A file; `frames_at` as NODE.INPUT, `out` as NODE or NODE.INPUT, or what there is one of.

    Raises:
        StyleAVideoError: no such file, no workflow in the API form, no such places or several.
    """
    graph = _graph(path)
    link = _link_of(graph, out)
    kept = _needed(graph, link)
    place = _place_of_frames(kept, frames_at, graph)
    loader = LOADERS.get(kept[place.node]["class_type"])
    if loader is None or loader.input != place.input:
        suffix = PurePosixPath(str(kept[place.node]["inputs"][place.input])).suffix
        return Workflow(kept, place, suffix.lower() in VIDEOS, link)
    node = kept[place.node]
    inputs = {k: v for k, v in node["inputs"].items() if k.split(".")[0] not in loader.whole}
    kept[place.node] = node | {"inputs": {**inputs, **loader.whole}}
    return Workflow(kept, place, loader.takes_video, link)


def _graph(path: Path) -> Graph:
    """The nodes of a file, without what is only shown."""
    if path == Path():
        raise StyleAVideoError(
            "The engine comfyui needs a workflow: a file that ComfyUI saved by File > Export (API)."
        )
    try:
        found = parse_json(read_bounded(path, LARGEST))
    except StyleAVideoError:
        raise
    except ValueError as error:
        raise StyleAVideoError(f"{shown(path)} is no workflow: it is no JSON.") from error
    if isinstance(found, dict) and isinstance(found.get("nodes"), list):
        raise StyleAVideoError(
            f"{shown(path)} is the workflow for the browser: save it by File > Export (API)."
        )
    if not isinstance(found, dict) or not found or not all(map(_is_node, found.values())):
        raise StyleAVideoError(f"{shown(path)} is no workflow in ComfyUI's API form.")
    return {
        key: {"class_type": node["class_type"], "inputs": node["inputs"]}
        for key, node in found.items()
    }


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
    )


def _is_link(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and type(value[1]) is int
    )


def _needed(graph: Graph, link: list[Any]) -> Graph:
    """The nodes that an output depends on."""
    kept: set[str] = set()
    todo = [link[0]]
    while todo:
        key = todo.pop()
        if key in kept:
            continue
        if key not in graph:
            raise StyleAVideoError(f"The workflow has no node {shown(key)}, which others need.")
        kept.add(key)
        todo += [value[0] for value in graph[key]["inputs"].values() if _is_link(value)]
    return {key: node for key, node in graph.items() if key in kept}


# where pictures come out


def _link_of(graph: Graph, out: str) -> list[Any]:
    if out:
        place = _named(graph, out, SAVERS | PREVIEWS)
        value = graph[place.node]["inputs"].get(place.input)
        if not _is_link(value):
            raise StyleAVideoError(
                f"Nothing is connected to {_told(graph, place)}: name a node that is given the "
                "results, as NODE or NODE.INPUT."
            )
        return value
    for savers in (SAVERS, PREVIEWS):
        places = [
            Place(key, savers[node["class_type"]])
            for key, node in graph.items()
            if _is_link(node["inputs"].get(savers.get(node["class_type"], "")))
        ]
        links = {json.dumps(graph[node]["inputs"][name]): (node, name) for node, name in places}
        if len(links) > 1:
            raise StyleAVideoError(
                f"The workflow has {len(links)} outputs of pictures ({_listed(graph, places)}): "
                "name one with out."
            )
        if links:
            node, name = next(iter(links.values()))
            return graph[node]["inputs"][name]
    raise StyleAVideoError(
        "The workflow has no output of pictures: add a Save Image, or name the node that is given "
        "the results with out."
    )


# where frames go in


def _place_of_frames(kept: Graph, frames_at: str, graph: Graph) -> Place:
    if frames_at:
        place = _named(graph, frames_at, {k: loader.input for k, loader in LOADERS.items()})
        if place.node not in kept:
            raise StyleAVideoError(
                f"The results do not depend on {_told(graph, place)}, where the frames go in: "
                "look at in and out."
            )
        if not isinstance(kept[place.node]["inputs"].get(place.input), str):
            raise StyleAVideoError(
                f"{_told(graph, place)} is no input with a file's name: frames cannot go in there."
            )
        return place
    for takes_video in (True, False):
        places = list(_loaders(kept, takes_video))
        if len(places) > 1:
            raise StyleAVideoError(
                f"Frames can go in at {len(places)} places of the workflow "
                f"({_listed(kept, places)}): name one with in."
            )
        if places:
            return places[0]
    raise StyleAVideoError(
        "The workflow has nothing that loads frames: add a Load Image, or name an input that takes "
        "a file's name with in."
    )


def _loaders(graph: Graph, takes_video: bool) -> Iterator[Place]:
    for key, node in graph.items():
        loader = LOADERS.get(node["class_type"])
        if loader is None or loader.takes_video is not takes_video:
            continue
        inputs = node["inputs"]
        if isinstance(inputs.get(loader.input), str) and not (
            loader.input == "file" and _is_link(inputs.get("video"))  # which is read instead
        ):
            yield Place(key, loader.input)


def _named(graph: Graph, text: str, inputs: Mapping[str, str]) -> Place:
    """NODE or NODE.INPUT; `inputs`: which is meant of a class where none is named."""
    key, _, name = text.partition(".")
    if key not in graph:
        raise StyleAVideoError(
            f"The workflow has no node {shown(key)}; it has {_listed(graph, list(graph))}."
        )
    node = graph[key]
    name = name or inputs.get(node["class_type"], "")
    if name not in node["inputs"]:
        raise StyleAVideoError(
            f"The node {_told(graph, Place(key, ''))} has the inputs "
            f"{shown(', '.join(node['inputs']) or 'none')}: name one of them as NODE.INPUT."
        )
    return Place(key, name)


def _told(graph: Graph, place: Place) -> str:
    node, name = place
    return shown(f"{node}{'.' if name else ''}{name} ({graph[node]['class_type'][:60]})")


def _listed(graph: Graph, places: list[Place] | list[str]) -> str:
    """Places or nodes in words, a few of them."""
    told = [
        _told(graph, place if isinstance(place, Place) else Place(place, ""))
        for place in places[:LISTED]
    ]
    return ", ".join(told) + (" and others" if len(places) > LISTED else "")
