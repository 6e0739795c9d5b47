"""ComfyUI's own front end as people use it, driven in Chromium."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from chromium import PATIENCE
from playwright.sync_api import Browser, Locator, Page, expect
from server import ROOT, Server

PACK = "style-a-video"
OURS = ("style-a-video", "style_a_video", "styleavideo")
NEED_A_DOWNLOAD = {
    *("CheckpointLoaderSimple", "CLIPVisionLoader", "ControlNetLoader"),
    *("UNETLoader", "CLIPLoader", "VAELoader"),
}
"""Red where a template names a file of the user's that is not there."""
SETTINGS = {
    # ms: on a busy machine a slow click is still a click, and two are still a double click.
    "Comfy.Pointer.ClickBufferTime": 60_000,
    "Comfy.Pointer.DoubleClickTime": 60_000,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.TutorialCompleted": True,  # else the templates open by themselves
    "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],  # tours, from 0.33 on
}
RUN = 180_000
"""Milliseconds that a run of a graph may take."""
FRAMES, SIZE = 4, (96, 64)
"""Of the clip that is made here."""

encode = runpy.run_path(str(ROOT / "tests" / "clips.py"))["encode"]


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


@contextmanager
def opened(
    browser: Browser, server: Server, complaints: Complaints, language: str
) -> Iterator[Page]:
    """ComfyUI as someone sees it who has used it before."""
    status, _ = server.post("/settings", SETTINGS | {"Comfy.Locale": language})
    assert status == 200
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(PATIENCE)
    # News, fonts and telemetry: nothing here may depend on the internet.
    context.route(
        lambda url: not url.startswith((server.url, "data:", "blob:")), lambda route: route.abort()
    )
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    complaints.watch(page)
    page.goto(server.url)
    page.wait_for_function(
        f"window.app?.vueAppReady && {OPEN}?.activeState && app.graph.nodes.length"
        " && Object.keys(LiteGraph.registered_node_types).some(t => t.startsWith('StyleAVideo'))"
    )
    expect(page.get_by_test_id("queue-button")).to_be_visible()
    yield page
    context.close()


def take_picture(page: Page, name: str, folder: Path) -> None:
    """Into this folder, and into the one that the environment variable names."""
    wait_for_paint(page)
    picture = page.screenshot()
    for place in filter(None, (str(folder), os.environ.get("STYLE_A_VIDEO_ARTIFACTS"))):
        Path(place).mkdir(parents=True, exist_ok=True)
        (Path(place) / f"{name}.png").write_bytes(picture)


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


@contextmanager
def app_mode(page: Page) -> Iterator[Locator]:
    """What App mode shows, which hides the graph: the settings, in their order."""
    page.get_by_role("button", name="Enter app mode").click()
    settings = page.get_by_test_id("app-mode-widget-item")
    expect(settings.first).to_be_visible()
    yield settings
    page.get_by_role("button", name="Enter node graph").click()
    expect(settings).to_have_count(0)


def widget_keys(settings: Locator) -> list[str]:
    """Node and widget of each setting; from 0.33 on the graph stands before them."""
    keys = [one.get_attribute("data-widget-key") or "" for one in settings.all()]
    return [":".join(key.split(":")[-2:]) for key in keys]


def new_workflow(page: Page) -> None:
    before = page.evaluate(f"{OPEN}.path")
    # By its command: which button of the tabs it is has changed since 0.26.
    page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
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


def place_blueprint(page: Page, title: str, x: float, y: float) -> None:
    """From the node library: a click takes it, the next one sets it down."""
    page.get_by_test_id("side-toolbar").locator(".node-library-tab-button").click()
    library = page.locator(".side-bar-panel")
    # 0.26 has a tab of them, 0.33 a folder in the list of all nodes.
    tab, folder = (
        library.get_by_role(role, name=name)
        for role, name in (("tab", "Blueprints"), ("treeitem", "Comfy Blueprints"))
    )
    tab.or_(folder).first.click()
    library.get_by_role("treeitem", name="Style-A-Video", exact=True).first.click()
    library.get_by_role("treeitem", name=title).click()
    click_at(page, x, y)
    page.wait_for_function("title => app.graph.nodes.some(n => n.title === title)", arg=title)


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


def write_clip(path: Path) -> Path:
    """A green square that moves over black to red."""
    frames = np.zeros((FRAMES, SIZE[1], SIZE[0], 3), np.uint8)
    frames[..., 0] = np.linspace(0, 255, SIZE[0])
    for i, frame in enumerate(frames):
        frame[16:40, 8 * i : 8 * i + 24] = (40, 200, 90)
    encode(path, list(frames), rate=8)
    return path


def run(page: Page, button: Locator | None = None) -> dict[str, tuple[int, int]]:
    """Press Run and wait for the end → node id: its last progress, as (value, of)."""
    page.evaluate(
        """() => {
            window.said = {progress: [], end: null}
            app.api.addEventListener('progress', e => said.progress.push(e.detail))
            for (const end of ['execution_success', 'execution_error'])
                app.api.addEventListener(end, e => said.end = [end, JSON.stringify(e.detail)])
        }"""
    )
    (button or page.get_by_test_id("queue-button")).click()
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
