"""What a person does in the browser: ComfyUI's own front end, driven in Chromium.

Every stage leaves a picture in pytest's temporary folder, and in the folder that the environment
variable STYLE_A_VIDEO_ARTIFACTS names.
"""

from __future__ import annotations

import copy
import json
import os
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import PATIENCE
from playwright.sync_api import Locator, Page, expect

ROOT = Path(__file__).parents[2]
PACK = "style-a-video"
OURS = ("style-a-video", "style_a_video", "styleavideo")
NEED_A_DOWNLOAD = {"CheckpointLoaderSimple", "CLIPVisionLoader", "ControlNetLoader"}
"""Red where a template names a file of the user's that is not there."""
EXAMPLE, SIZE = (384, 256), (96, 64)
"""Of the clip that comes with the pack, and of the one made here."""
FRAMES = 4
SETTINGS = {
    # ms: on a busy machine a slow click is still a click, and two are still a double click.
    "Comfy.Pointer.ClickBufferTime": 60_000,
    "Comfy.Pointer.DoubleClickTime": 60_000,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.TutorialCompleted": True,  # else the templates open by themselves
}
RUN = 180_000
"""Milliseconds that a run of a graph may take."""

encode = runpy.run_path(str(ROOT / "tests" / "clips.py"))["encode"]

Shoot = Callable[[str], None]


# The browser


class Complaints(list[str]):
    """What the console and the server said against this pack."""

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("console", lambda m: self._note(m.type, m.text, m.location.get("url", "")))
        page.on("response", lambda r: self._note("error" if r.status >= 400 else "", "", r.url))

    def _note(self, kind: str, text: str, url: str) -> None:
        said = f"{text} {url}".strip()
        if kind == "error" and any(name in said.lower() for name in OURS):
            self.append(said)


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def language() -> str:
    return "en"


@pytest.fixture
def page(browser, server, complaints, language) -> Iterator[Page]:
    """ComfyUI as someone sees it who has used it before."""
    status, _ = server.post("/settings", SETTINGS | {"Comfy.Locale": language})
    assert status == 200
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(PATIENCE)
    # News, fonts and telemetry: nothing here may depend on the internet.
    context.route(
        lambda url: not url.startswith((server.url, "data:", "blob:")), lambda route: route.abort()
    )
    opened = context.new_page()
    opened.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    complaints.watch(opened)
    opened.goto(server.url)
    opened.wait_for_function(
        f"window.app?.vueAppReady && {OPEN}?.activeState && app.graph.nodes.length"
        " && Object.keys(LiteGraph.registered_node_types).some(t => t.startsWith('StyleAVideo'))"
    )
    expect(opened.get_by_test_id("queue-button")).to_be_visible()
    yield opened
    context.close()


@pytest.fixture
def shoot(page, tmp_path) -> Shoot:
    """Takes a picture of the page under a name."""
    folders = [tmp_path]
    if artifacts := os.environ.get("STYLE_A_VIDEO_ARTIFACTS"):
        folders.append(Path(artifacts))

    def take(name: str) -> None:
        wait_for_paint(page)
        picture = page.screenshot()
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(picture)

    return take


def wait_for_paint(page: Page) -> None:
    page.evaluate("app.canvas.setDirty(true, true)")
    page.evaluate("new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))")


# The graph, as the front end holds it

NODE = "(type => app.graph.nodes.find(node => node.type === type))"
OPEN = "app.extensionManager.workflow.activeWorkflow"


def node(page: Page, kind: str, what: str) -> Any:
    """An expression in `node`, the node of this type."""
    return page.evaluate(f"type => {{ const node = {NODE}(type); return {what} }}", kind)


def wait_for_node(page: Page, kind: str, what: str = "node") -> None:
    """Until an expression in `node` is true."""
    page.wait_for_function(
        f"type => {{ const node = {NODE}(type); return node && ({what}) }}", arg=kind
    )


def look_at(page: Page, kind: str, scale: float = 1.0) -> None:
    """Move the view so that the node is left of the middle."""
    page.evaluate(
        f"""([type, scale]) => {{
            const node = {NODE}(type), view = app.canvas.ds
            view.scale = scale
            view.offset = [350 / scale - node.pos[0], 200 / scale - node.pos[1]]
        }}""",
        [kind, scale],
    )
    wait_for_paint(page)


def place(page: Page, kind: str, point: str) -> tuple[float, float]:
    """Where on the screen a point of the graph is, an expression in `node`."""
    x, y = page.evaluate(
        f"""type => {{
            const node = {NODE}(type), box = app.canvas.canvas.getBoundingClientRect()
            const [x, y] = app.canvas.convertOffsetToCanvas({point})
            return [x + box.x, y + box.y]
        }}""",
        kind,
    )
    return x, y


def point_at(page: Page, x: float, y: float) -> None:
    """Move the mouse to a point of the canvas, once nothing lies over it: dialogs fade slowly."""
    page.wait_for_function(
        "([x, y]) => document.elementFromPoint(x, y) === app.canvas.canvas", arg=[x, y]
    )
    wait_for_paint(page)  # only what has been drawn can be clicked
    page.mouse.move(x, y)


def click_at(page: Page, x: float, y: float) -> None:
    """One event after the other: `page.mouse.click` and `dblclick` send all at once, and where two
    come at the same time the front end sees no click."""
    point_at(page, x, y)
    page.mouse.down()
    page.mouse.up()


def check_graph(page: Page) -> None:
    """Every type is known, nothing is red but for a download, no node lies on another or over the
    edge of a group."""
    nodes = page.evaluate(
        """app.graph.nodes.map(n => ({
            type: n.type, error: Boolean(n.has_errors), known: n.type in
            LiteGraph.registered_node_types, box: [...n.boundingRect]}))"""
    )
    groups = page.evaluate("app.graph.groups.map(g => [...g.boundingRect])")
    assert nodes
    assert not [n["type"] for n in nodes if not n["known"]]
    assert {n["type"] for n in nodes if n["error"]} <= NEED_A_DOWNLOAD
    pairs = [(a, b) for i, a in enumerate(nodes) for b in nodes[:i]]
    assert not [(a["type"], b["type"]) for a, b in pairs if overlap(a["box"], b["box"])]
    cut = [
        n["type"] for n in nodes for g in groups if overlap(n["box"], g) and not within(n["box"], g)
    ]
    assert not cut


def overlap(a: list[float], b: list[float]) -> bool:
    """Of two boxes (left, top, width, height)."""
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


def within(a: list[float], b: list[float]) -> bool:
    return all(b[i] <= a[i] and a[i] + a[i + 2] <= b[i] + b[i + 2] for i in (0, 1))


# What people do


def open_our_templates(page: Page) -> Locator:
    """The template dialog at this pack's section."""
    page.get_by_test_id("side-toolbar").locator(".templates-tab-button").click()
    page.get_by_role("button", name=PACK, exact=True).click()
    content = page.get_by_test_id("template-workflows-content")
    expect(content.get_by_test_id("template-workflow-Style a video by words")).to_be_visible()
    return content


def open_template(page: Page, name: str) -> None:
    """Pick a template of ours in the dialog and wait until it is the open workflow."""
    wanted = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    content = open_our_templates(page)
    content.get_by_test_id(f"template-workflow-{name}").click()
    expect(content).to_be_hidden()
    page.wait_for_function(
        f"""([name, types]) => {OPEN}.filename === name
            && JSON.stringify(app.graph.nodes.map(n => n.type).sort()) === types""",
        arg=[name, json.dumps(sorted(n["type"] for n in wanted["nodes"]), separators=(",", ":"))],
    )
    expect(page.get_by_test_id("topbar-workflow-tabs")).to_contain_text(name)
    expect(page.get_by_test_id("missing-node-card")).to_have_count(0)
    wait_for_paint(page)


def new_workflow(page: Page) -> None:
    before = page.evaluate(f"{OPEN}.path")
    page.get_by_test_id("topbar-workflow-tabs").get_by_role("button").last.click()
    page.wait_for_function(
        f"before => {OPEN}.path !== before && app.graph.nodes.length === 0", arg=before
    )


def search(page: Page, words: str, title: str, x: float, y: float) -> None:
    """Double click on the empty canvas and type, until a title is the first result."""
    click_at(page, x, y)
    click_at(page, x, y)
    expect(page.locator("input[role=combobox][aria-controls=results-list]")).to_be_focused()
    page.keyboard.type(words)
    expect(page.get_by_test_id("result-item").first).to_contain_text(title)


def add_found(page: Page, kind: str, x: float, y: float) -> None:
    """Enter takes the first result; the node then hangs at the mouse until a click."""
    page.keyboard.press("Enter")
    wait_for_node(page, kind)
    click_at(page, x, y)
    page.wait_for_function("app.canvas.state.ghostNodeId == null")


def connect(page: Page, source: str, target: str, input_name: str) -> None:
    """Drag a wire from a node's first output."""
    index = f"node.inputs.findIndex(i => i.name === {input_name!r})"
    start = place(page, source, "node.getOutputPos(0)")
    end = place(page, target, f"node.getInputPos({index})")
    point_at(page, *start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()
    wait_for_node(page, target, f"node.inputs[{index}].link != null")


def open_help(page: Page) -> Locator:
    """The help page of the selected node."""
    page.get_by_test_id("selection-toolbox").get_by_test_id("info-button").click()
    content = page.locator(".node-help-content")
    expect(content.locator("h1")).to_be_visible()
    return content


def words_of(kind: str, language: str) -> dict[str, Any]:
    path = ROOT / "locales" / language / "nodeDefs.json"
    return json.loads(path.read_text(encoding="utf-8"))[kind]


def check_names(page: Page, kind: str, language: str) -> None:
    """The title, and every input, output and widget of ours that is shown."""
    words = words_of(kind, language)
    shown = "({name, label, localized_name}) => [name, label ?? localized_name]"
    inputs = node(page, kind, f"[...node.inputs, ...node.widgets].map({shown})")
    outputs = node(page, kind, f"node.outputs.map({shown})")
    wanted = {key: entry["name"] for key, entry in words["inputs"].items()}
    seen = {name.replace(".", "_"): label for name, label in inputs}
    assert node(page, kind, "node.title") == words["display_name"]
    assert {key: wanted[key] for key in seen if key in wanted} == {
        key: label for key, label in seen.items() if key in wanted
    }
    assert [label for _, label in outputs] == [e["name"] for e in words["outputs"].values()]


def help_text(kind: str, language: str) -> list[str]:
    return (ROOT / "web" / "docs" / kind / f"{language}.md").read_text("utf-8").splitlines()


def check_help(content: Locator, kind: str, language: str) -> None:
    """Heading and first paragraph are ours, and every picture is there."""
    heading, _, first, *rest = help_text(kind, language)
    expect(content.locator("h1")).to_have_text(heading.removeprefix("# "))
    expect(content).to_contain_text(first.replace("`", ""))
    pictures = content.locator("img")
    expect(pictures).to_have_count(sum(line.startswith("![") for line in rest))
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 0


# The tests


@pytest.fixture
def clip(tmp_path) -> Path:
    """A green square that moves over black to red."""
    frames = np.zeros((FRAMES, SIZE[1], SIZE[0], 3), np.uint8)
    frames[..., 0] = np.linspace(0, 255, SIZE[0])
    for i, frame in enumerate(frames):
        frame[16:40, 8 * i : 8 * i + 24] = (40, 200, 90)
    path = tmp_path / "browser clip.mp4"
    encode(path, list(frames), rate=8)
    return path


def run(page: Page) -> dict[str, tuple[int, int]]:
    """Press Run and wait for the end → node id: its last progress, as (value, of)."""
    page.evaluate(
        """() => {
            window.said = {progress: [], end: null}
            app.api.addEventListener('progress', e => said.progress.push(e.detail))
            for (const end of ['execution_success', 'execution_error'])
                app.api.addEventListener(end, e => said.end = [end, JSON.stringify(e.detail)])
        }"""
    )
    page.get_by_test_id("queue-button").click()
    page.wait_for_function("said.end", timeout=RUN)
    end, detail = page.evaluate("said.end")
    assert end == "execution_success", detail
    return {str(p["node"]): (p["value"], p["max"]) for p in page.evaluate("said.progress")}


def check_result(page: Page, size: tuple[int, int], name: str = "style_a_video_by_words") -> None:
    """Save Video shows the stylized clip, which lies in the output folder."""
    look_at(page, "SaveVideo")
    result = page.locator(f"video[src*='{name}']")
    expect(result).to_be_visible()
    expect(result).to_have_js_property("videoWidth", size[0])
    expect(result).to_have_js_property("videoHeight", size[1])
    (file,) = node(page, "SaveVideo", "app.nodeOutputs[node.id].images")
    assert (file["type"], file["subfolder"]) == ("output", "style_a_video")
    check_graph(page)


def test_every_template_opens(page, shoot, complaints):
    names = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    content = open_our_templates(page)
    for name in names:
        card = content.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()  # pictures are loaded once they are seen
        expect(card.locator("img").first).to_have_js_property("naturalWidth", 640)
    shoot("templates")
    page.keyboard.press("Escape")
    expect(content).to_be_hidden()
    for name in names:
        open_template(page, name)
        check_graph(page)
        shoot(f"template_{name}")
    assert complaints == []


def test_style_by_words_runs(page, shoot, complaints):
    open_template(page, "Style a video by words")
    expect(page.get_by_role("dialog")).to_have_count(0)
    # All else as it comes: the example clip, its size, the prompt.
    limit = "node.widgets.find(w => w.name === 'max_frames')"
    node(page, "StyleAVideoLoadFrames", f"{limit}.value = {FRAMES}")
    run(page)
    check_result(page, EXAMPLE)
    look_at(page, "StyleAVideoLoadFrames", 0.7)
    shoot("finished")
    assert complaints == []


def test_style_by_a_picture_runs(page, shoot, complaints):
    """Another engine brings its own settings, with the values that suit it."""
    engine, maker = "StyleAVideoLoadEngine", "StyleAVideoStylizeVideo"
    open_template(page, "Style a video by a picture")
    values = "Object.fromEntries(node.widgets.map(w => [w.name, w.value]))"
    assert node(page, engine, values) == {
        "engine": "sctnet",
        "engine.style_strength": 1,
        "engine.style_size": 512,
        "engine.keep_colour": False,
        "engine.mode": "video",
    }
    node(page, engine, "node.widgets[0].value = 'gatys'")
    wait_for_node(page, engine, "node.widgets.some(w => w.name === 'engine.iterations')")
    node(page, engine, "node.widgets[0].value = 'wct'")
    wait_for_node(page, engine, "node.widgets[1].value === 0.9 && node.widgets.length === 5")
    node(page, maker, "node.widgets.find(w => w.name === 'max_side').value = 96")
    run(page)
    wait_for_node(page, "PreviewImage", "node.imgs?.length === 1 && node.imgs[0].naturalWidth > 0")
    check_result(page, (96, 64), "style_a_video_by_a_picture")
    look_at(page, engine, 0.7)
    shoot("by_a_picture_finished")
    assert complaints == []


def without(graph: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """A workflow as it was saved before a node had this input, which nothing is connected to;
    and before those after it could be left out."""
    graph = copy.deepcopy(graph)
    (one,) = (n for n in graph["nodes"] if n["type"] == kind)
    place = [slot["name"] for slot in one["inputs"]].index(name)
    assert one["inputs"].pop(place)["link"] is None
    for slot in one["inputs"]:
        slot.pop("shape", None)
    for link in graph["links"]:
        if link[3] == one["id"] and link[4] > place:
            link[4] -= 1
    return graph


def test_a_workflow_saved_before_engines_is_the_same(page, shoot, complaints):
    """Stylize Video had no input `engine` then, and wanted all others."""
    new = json.loads((ROOT / "workflows" / "Style a long video by words.json").read_text("utf-8"))
    old = without(new, "StyleAVideoStylizeVideo", "engine")
    new_workflow(page)
    page.evaluate("graph => app.loadGraphData(graph)", old)
    wait_for_node(page, "StyleAVideoStylizeVideo")
    wanted = json.loads(
        (ROOT / "workflows/api/style_a_long_video_by_words.api.json").read_text("utf-8")
    )
    queued = page.evaluate("app.graphToPrompt().then(made => made.output)")
    assert {key: n["inputs"] for key, n in queued.items()} == {
        key: n["inputs"] for key, n in wanted.items()
    }
    names = node(page, "StyleAVideoStylizeVideo", "node.inputs.map(i => i.name)")
    assert "engine" in names
    check_graph(page)
    shoot("saved_before_engines")
    node(
        page,
        "StyleAVideoStylizeVideo",
        "node.widgets.find(w => w.name === 'max_side').value = 96",
    )
    run(page)
    check_result(page, (96, 64), "style_a_long_video_by_words")
    assert complaints == []


def test_an_uploaded_clip_runs(page, clip, shoot, complaints):
    loader = "StyleAVideoLoadFrames"
    open_template(page, "Style a video by words")
    look_at(page, loader)
    shoot("by_words_close")
    button = "node.widgets.find(w => w.type === 'button')"
    point = place(page, loader, f"[node.pos[0] + node.size[0] / 2, node.pos[1] + {button}.y + 10]")
    with page.expect_file_chooser() as chooser:
        click_at(page, *point)
    chooser.value.set_files(clip)
    wait_for_node(page, loader, f"node.widgets[0].value === {clip.name!r}")
    expect(page.locator("video[src*='browser']")).to_have_js_property("videoWidth", SIZE[0])
    check_graph(page)
    shoot("uploaded")

    last = run(page)
    assert last[str(node(page, loader, "node.id"))] == (FRAMES, FRAMES)
    done, steps = last[str(node(page, "StyleAVideoStylize", "node.id"))]
    assert done == steps >= 1
    check_result(page, SIZE)
    shoot("uploaded_finished")
    assert complaints == []


def test_consistency_is_measured(page, shoot, complaints):
    report = "StyleAVideoConsistencyReport"
    open_template(page, "Less flicker, and how much less")
    rate = "node.inputs.find(i => i.name === 'fps')"
    assert node(page, report, f"Boolean({rate}.link) && node.widgets[0].name === 'fps'")
    limit = "node.widgets.find(w => w.name === 'max_frames')"
    node(page, "StyleAVideoLoadFrames", f"{limit}.value = {FRAMES}")
    run(page)
    check_graph(page)
    wait_for_node(page, report, "node.imgs?.length === 1 && node.imgs[0].naturalWidth > 0")
    (text,) = node(page, report, "app.nodeOutputs[node.id].text")
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["source", "result", "result"]
    shoot("measured")
    look_at(page, report)
    shoot("measured_close")
    assert complaints == []


def test_an_analogy_says_how_many_patches_found_a_match(page, shoot, complaints):
    kind = "StyleAVideoDeepImageAnalogy"
    open_template(page, "Two pictures swap their looks")
    for name, value in {"size": 64, "reconstruct": "warp"}.items():
        node(page, kind, f"node.widgets.find(w => w.name === {name!r}).value = {value!r}")
    run(page)
    said = "node.widgets.find(w => w.name === '$$node-text-preview')?.value"
    wait_for_node(page, kind, f"/of the patches/.test({said})")
    wait_for_node(page, "MaskPreview", "node.imgs?.length === 1 && node.imgs[0].naturalWidth > 0")
    check_graph(page)
    shoot("analogy")
    look_at(page, kind, 0.7)
    shoot("analogy_close")
    assert complaints == []


def test_blocks_say_the_weights_and_where_the_frame_goes(page, shoot, complaints):
    """A curve is one wire, and the text of a block lies within it."""
    guider, frame = "StyleAVideoPresetGuider", "StyleAVideoFrameCondition"
    said = "node.widgets.find(w => w.name === '$$node-text-preview')?.value"
    open_template(page, "Words that change over time")
    limit = "node.widgets.find(w => w.name === 'max_frames')"
    node(page, "StyleAVideoLoadFrames", f"{limit}.value = 1")
    page.evaluate(
        """([guider, frame]) => {
            const of = type => app.graph.nodes.find(n => n.type === type)
            const curve = LiteGraph.createNode('CurveEditor'), at = of(guider).pos
            app.graph.add(curve)
            curve.pos = [at[0], at[1] + 900]
            curve.connect('curve', of(guider), 'text_schedule')
            of('StyleAVideoLoadBuiltIn').connect('MODEL', of(frame), 'model')
        }""",
        [guider, frame],
    )
    run(page)
    wait_for_node(page, frame, f"{said} === 'BuiltInModel: concat_latent_image'")
    wait_for_node(page, guider, f"/frame_text: 0 → 1/.test({said})")
    check_graph(page)
    look_at(page, guider, 0.7)
    shoot("weights")
    assert complaints == []


def test_blocks_are_found_and_wired(page, shoot, complaints):
    condition, guider = "StyleAVideoWeightedCondition", "StyleAVideoMultiConditionGuider"
    sampler = "SamplerCustomAdvanced"  # a stock one
    places = "node.inputs.map(i => i.name).filter(n => n.includes('condition_'))"
    new_workflow(page)
    search(page, "Multi-condition", "Multi-condition Guider", 700, 500)
    shoot("search")
    add_found(page, guider, 850, 450)
    search(page, "Weighted Condition", "Weighted Condition", 500, 700)
    add_found(page, condition, 450, 350)
    search(page, sampler, sampler, 700, 800)
    add_found(page, sampler, 1250, 350)
    connect(page, guider, sampler, "guider")
    before = node(page, guider, places)
    for name in before:
        connect(page, condition, guider, name)
    wait_for_node(page, guider, f"{places}.length === {len(before) + 1}")
    assert node(page, guider, places)[:-1] == before
    check_graph(page)
    shoot("connected")
    assert complaints == []


@pytest.mark.parametrize("language", ["zh"])
def test_chinese(page, language, shoot, complaints):
    kind, loader = "StyleAVideoStylize", "StyleAVideoLoadFrames"
    words = words_of(kind, language)
    new_workflow(page)
    search(page, words["display_name"], words["display_name"], 700, 500)
    expect(page.get_by_test_id("node-preview-card")).to_contain_text(words["description"])
    shoot("search_zh")
    add_found(page, kind, 600, 350)
    check_names(page, kind, language)
    check_help(open_help(page), kind, language)
    shoot("help_zh")

    open_template(page, "Style a video by words")
    check_names(page, loader, language)
    look_at(page, loader)
    shoot("by_words_zh")

    open_template(page, "Style a video by a picture")
    for kind in ("StyleAVideoStylePicture", "StyleAVideoLoadEngine", "StyleAVideoStylizeVideo"):
        check_names(page, kind, language)
    look_at(page, "StyleAVideoLoadEngine", 0.7)
    shoot("by_a_picture_zh")
    assert complaints == []


def test_help(page, shoot, complaints):
    kind = "StyleAVideoWeightedCondition"
    new_workflow(page)
    search(page, "Weighted Condition", "Weighted Condition", 700, 500)
    add_found(page, kind, 500, 400)
    check_help(open_help(page), kind, "en")
    shoot("help")
    assert complaints == []
