"""What a person does in the browser: ComfyUI's own front end, driven in Chromium.

Every stage leaves a picture in pytest's temporary folder, and in the folder that the environment
variable STYLE_A_VIDEO_ARTIFACTS names.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from frontend import (
    FRAMES,
    SIZE,
    add_found,
    app_mode,
    check_graph,
    check_help,
    check_names,
    check_result,
    click_at,
    connect,
    look_at,
    new_workflow,
    node,
    open_help,
    open_our_templates,
    open_template,
    place,
    run,
    search,
    wait_for_node,
    widget_keys,
    words_of,
    write_clip,
)
from PIL import Image
from playwright.sync_api import expect
from server import ROOT

EXAMPLE = (384, 256)
"""The size of the clip that comes with the pack."""


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_clip(tmp_path / "browser clip.mp4")


def test_every_template_opens(page, shoot, complaints):
    names = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    content = open_our_templates(page)
    for name in names:
        card = content.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()  # pictures are loaded once they are seen
        expect(card.locator("img").first).to_have_js_property("naturalWidth", 480)
    shoot("templates")
    page.keyboard.press("Escape")
    expect(content).to_be_hidden()
    for name in names:
        open_template(page, name)
        check_graph(page)
        shoot(f"template_{name}")
        with app_mode(page) as settings:
            wanted = page.evaluate("app.graph.extra.linearData.inputs.map(i => i.join(':'))")
            assert widget_keys(settings) == wanted
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


def test_app_mode_is_words_a_video_and_run(page, clip, shoot, complaints):
    """As someone sees it who wants no graph; Run makes the video, and shows it."""
    open_template(page, "Style a video by words")
    with app_mode(page) as settings:
        expect(settings).to_have_count(3)
        for one, name in zip(settings.all(), ("prompt", "video file", "max_frames"), strict=True):
            expect(one.get_by_test_id("builder-widget-label")).to_have_text(name)
        settings.first.get_by_role("textbox").fill("ink wash")
        shoot("app")
        settings.nth(1).get_by_label("Upload").set_input_files(clip)
        expect(settings.nth(1)).to_contain_text(clip.name)
        run(page, page.get_by_test_id("linear-run-button").get_by_role("button", name="Run"))
        result = page.get_by_test_id("linear-center-panel").locator("video").first
        expect(result).to_have_js_property("videoWidth", SIZE[0])
        shoot("app_finished")
    assert node(page, "StyleAVideoStylize", "node.widgets[0].value") == "ink wash"
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
        "engine.coherence": "none",
    }
    node(page, engine, "node.widgets[0].value = 'gatys'")
    wait_for_node(page, engine, "node.widgets.some(w => w.name === 'engine.iterations')")
    node(page, engine, "node.widgets[0].value = 'wct'")
    wait_for_node(page, engine, "node.widgets[1].value === 0.9 && node.widgets.length === 6")
    node(page, maker, "node.widgets.find(w => w.name === 'max_side').value = 96")
    run(page)
    picture = "StyleAVideoStylePicture"
    wait_for_node(page, picture, "node.imgs?.length === 1 && node.imgs[0].naturalWidth > 0")
    check_result(page, (96, 64), "style_a_video_by_a_picture")
    look_at(page, engine, 0.7)
    shoot("by_a_picture_finished")
    assert complaints == []


def test_app_mode_takes_a_picture_of_one_s_own(page, tmp_path, shoot, complaints):
    """Uploaded beside the video; the shipped paintings stay in the list."""
    picture = tmp_path / "my orange.png"
    Image.new("RGB", (64, 48), (250, 160, 0)).save(picture)
    clip = write_clip(tmp_path / "own clip.mp4")
    open_template(page, "Style a video by a picture")
    with app_mode(page) as settings:
        expect(settings).to_have_count(2)
        for one, name in zip(settings.all(), ("picture", "video file"), strict=True):
            expect(one.get_by_test_id("builder-widget-label")).to_have_text(name)
        shoot("app_by_a_picture")
        for one, file in zip(settings.all(), (picture, clip), strict=True):
            one.get_by_label("Upload").set_input_files(file)
            expect(one).to_contain_text(file.name)
        run(page, page.get_by_test_id("linear-run-button").get_by_role("button", name="Run"))
        result = page.get_by_test_id("linear-center-panel").locator("video").first
        expect(result).to_have_js_property("videoWidth", SIZE[0])
        shoot("app_by_a_picture_finished")
    kind = "StyleAVideoStylePicture"
    assert node(page, kind, "node.widgets[0].value") == picture.name
    assert "Starry Night, Van Gogh" in node(page, kind, "node.widgets[0].options.values")
    wait_for_node(page, kind, "node.imgs?.[0].naturalWidth === 64")
    look_at(page, kind)
    check_graph(page)
    shoot("picture_uploaded")
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
    assert queued.keys() == wanted.keys()
    # Save Video has other inputs in later versions of ComfyUI.
    same = [key for key, n in wanted.items() if n["class_type"] != "SaveVideo"]
    assert {key: queued[key]["inputs"] for key in same} == {
        key: wanted[key]["inputs"] for key in same
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
