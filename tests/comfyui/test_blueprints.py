"""The blueprints: what ComfyUI's node library lists, and that what is placed from there runs."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from frontend import FRAMES, SIZE, encode, new_workflow, place_blueprint, run, write_clip
from PIL import Image
from server import ROOT
from templates import decoded, load_script

FOLDER = ROOT / "subgraphs"
blueprints = load_script("blueprints")
TITLES = list(blueprints.BLUEPRINTS)
HAN = re.compile(r"[\u4e00-\u9fff]")

# Nodes of ComfyUI's own around the block, each connected to an input of this name.
SURROUND = """given => {
    const block = app.graph.nodes[0], add = (kind, x, y) => {
        const node = LiteGraph.createNode(kind)
        app.graph.add(node)
        node.pos = [block.pos[0] + x, block.pos[1] + y]
        return node
    }
    given.forEach(([name, kind, file], i) => {
        const node = add(kind, -500, 400 * i)
        node.widgets[0].value = file
        node.connect(0, block, block.inputs.findIndex(input => input.name === name))
    })
    const save = add('SaveVideo', 500, 0)
    block.connect(0, save, 0)
    save.widgets[0].value = 'blueprint'
}"""


def form(title):
    return json.loads((FOLDER / f"{title}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def definitions(server):
    return server.get("/object_info")


def test_the_script_writes_these_very_files(definitions):
    built = blueprints.build(definitions)
    assert sorted(built) == sorted(path.stem for path in FOLDER.glob("*.json"))
    for title in TITLES:
        assert built[title] == form(title), "run workflows/blueprints.py"


def test_the_server_lists_and_gives_them(server):
    listed = server.get("/global_subgraphs")
    ours = {
        entry["name"]: number
        for number, entry in listed.items()
        if entry["info"]["node_pack"] == "custom_nodes.style-a-video"
    }
    assert sorted(ours) == sorted(TITLES)
    for title, number in ours.items():
        assert json.loads(server.get(f"/global_subgraphs/{number}")["data"]) == form(title)


@pytest.mark.parametrize("title", TITLES)
def test_its_words_are_in_both_languages(title):
    (inside,) = form(title)["definitions"]["subgraphs"]
    said = [inside["description"]]
    said += [end["label"] for end in inside["inputs"] + inside["outputs"]]
    for words in said:
        english, chinese = words.split(" · ")
        assert not HAN.search(english) and HAN.search(chinese)


@pytest.mark.parametrize("title", TITLES)
def test_its_links_hold_together(definitions, title):
    """Also what the library goes by: the place of an input among all that a node has."""
    (inside,) = form(title)["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in inside["nodes"]}
    for place, end in enumerate(inside["inputs"]):
        assert end["linkIds"], end["name"]
        for link in (one for one in inside["links"] if one["id"] in end["linkIds"]):
            assert (link["origin_id"], link["origin_slot"]) == (-10, place)
    for link in inside["links"]:
        if link["target_id"] == -20:
            assert inside["outputs"][link["target_slot"]]["linkIds"] == [link["id"]]
            continue
        target = nodes[link["target_id"]]
        assert target["inputs"][link["target_slot"]]["link"] == link["id"]
        has = definitions[target["type"]]["input_order"]
        wanted = {name for part in ("required", "optional") for name in has.get(part, [])}
        assert wanted <= {slot["name"] for slot in target["inputs"]}


def result(server, page):
    """The frames that Save Video left."""
    outputs = page.evaluate("app.nodeOutputs[app.graph.nodes.find(n => n.type === 'SaveVideo').id]")
    (file,) = outputs["images"]
    return decoded(server.folder / "output" / file["subfolder"] / file["filename"])[0]


def settings(page):
    return page.evaluate(
        "Object.fromEntries(app.graph.nodes[0].widgets.map(w => [w.name, w.value]))"
    )


@pytest.fixture
def clip(server, tmp_path):
    """In the server's input folder → its name."""
    return server.add_input(write_clip(tmp_path / "blueprint.mp4"))


@pytest.fixture
def placed(page):
    """Puts one on an empty graph, and nodes around it."""

    def place(title, *around):
        new_workflow(page)
        place_blueprint(page, title, 900, 450)
        page.evaluate(SURROUND, around)

    return place


def test_style_by_words(server, page, placed, clip, shoot, complaints):
    placed("Style a video by words", ["video", "LoadVideo", clip])
    assert settings(page) == {"prompt": "watercolour", "max_side": 512, "refine": 1}
    made = []
    for words in ("blueprint", "ink wash"):
        page.evaluate("words => { app.graph.nodes[0].widgets[0].value = words }", words)
        run(page)
        made.append(result(server, page).astype(float))
    shoot("blueprint_words")
    assert made[0].shape == (FRAMES, SIZE[1], SIZE[0], 3)
    assert np.abs(made[0] - made[1]).mean() > 10, "the words change nothing"
    assert complaints == []


def test_style_by_a_picture(server, page, placed, clip, shoot, complaints):
    Image.new("RGB", (64, 64), (250, 160, 0)).save(server.folder / "input" / "orange.png")
    placed(
        "Style a video by a picture",
        *(["video", "LoadVideo", clip], ["picture", "LoadImage", "orange.png"]),
    )
    assert settings(page) == {"max_side": 512, "refine": 1}
    run(page)
    made = result(server, page)
    shoot("blueprint_picture")
    assert made.shape == (FRAMES, SIZE[1], SIZE[0], 3)
    red, _, blue = made.mean((0, 1, 2))
    assert red - blue > 100, "the picture's colour did not arrive"
    assert complaints == []


def test_calm_a_flickering_video(server, page, placed, clip, shoot, complaints):
    """Every other frame is brighter: what differs from frame to frame becomes less."""
    original, _ = decoded(server.folder / "input" / clip)
    bright = np.clip(original.astype(float) * 0.5 + 60, 0, 255)
    bright[1::2] += 15
    encode(server.folder / "input" / "flickering.mp4", list(bright.astype(np.uint8)), rate=8)
    placed(
        "Calm a flickering video",
        *(["original", "LoadVideo", clip], ["flickering", "LoadVideo", "flickering.mp4"]),
    )
    assert settings(page) == {"strength": 1}
    run(page)
    made = result(server, page)
    shoot("blueprint_calm")
    before, after = (np.abs(np.diff(f.astype(float), axis=0)).mean() for f in (bright, made))
    assert made.shape == original.shape
    assert after < 0.6 * before
    assert complaints == []
