"""The example workflows: what the browser opens, what scripts queue, and that they run."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
import pytest
from aiohttp import web
from PIL import Image
from templates import FOLDER, decoded, load_script

build = load_script("build")
TITLES = {describe.__name__: title for title, describe in build.GRAPHS.items()}
"""Name for scripts → what the list of templates shows."""
NAMES = list(TITLES)
CHECKPOINTS = {
    "stable_diffusion_with_controlnet": [
        "checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
        "controlnet/control_v11p_sd15_canny_fp16.safetensors",
    ],
    "stylize_a_film_with_bernini": [
        "diffusion_models/wan2.2_bernini_r_high_noise_fp8_scaled.safetensors",
        "diffusion_models/wan2.2_bernini_r_low_noise_fp8_scaled.safetensors",
        "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        "vae/Wan2_1_VAE_bf16.safetensors",
    ],
}
BUILT_IN = [name for name in NAMES if name not in CHECKPOINTS]

FRAMES, SIZE, RATE = 5, (96, 64), Fraction(10)
WITHOUT_VIDEO = {"see_where_the_model_looks": (6, FRAMES), "two_pictures_swap_their_looks": (6, 1)}
"""Name → preview nodes, pictures of each."""
TITLE = 30  # px above a node's position


def ui(name):
    return json.loads((FOLDER / f"{TITLES[name]}.json").read_text(encoding="utf-8"))


def api(name):
    return json.loads((FOLDER / "api" / f"{name}.api.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def definitions(server):
    return build.of_any_version(server.get("/object_info"))


@pytest.fixture(scope="module")
def clip(server, tmp_path_factory):
    """A square that moves over a gradient; also in the server's input folder."""
    path = tmp_path_factory.mktemp("clips") / "moving.mp4"
    wide, high = SIZE
    x, y = np.meshgrid(np.linspace(0, 255, wide), np.linspace(0, 255, high))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"
        for i in range(FRAMES):
            picture = np.stack([x, y, 255 - x], -1).astype(np.uint8)
            picture[16:48, 8 + 8 * i : 40 + 8 * i] = (230, 200, 30)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    server.add_input(path)
    return path


def on(prompt, clip, **inputs):
    """The workflow on that clip, every frame of it."""
    for node in prompt.values():
        if node["class_type"] == "StyleAVideoLoadFrames":
            node["inputs"] |= {"file": clip.name, "every_nth": 1, **inputs}
        if node["class_type"] == "StyleAVideoLearnStyle":
            node["inputs"]["steps"] = 2
        if node["class_type"] == "StyleAVideoDeepImageAnalogy":
            node["inputs"]["size"] = 64
    return prompt


# What the browser opens


def links_of(graph):
    return {link[0]: link[1:] for link in graph["links"]}


def widgets(node, definition):
    """The node's widgets in the browser's order: name → spec; None beside a seed, and for upload.

    Written after what the frontend itself gives (1.45), apart from build.py.
    """
    found, upload = [], False
    sections, order = definition["input"], definition["input_order"]
    values = list(node["widgets_values"])

    def add(name, spec):
        nonlocal upload
        kind, options = spec[0], spec[1] if len(spec) > 1 else {}
        kind = "COMBO" if isinstance(kind, list) else kind
        if options.get("forceInput") or kind not in (
            *("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "CURVE", "COMFY_DYNAMICCOMBO_V3"),
        ):
            return
        found.append((name, spec))
        upload |= bool(options.get("video_upload") or options.get("image_upload"))
        if options.get("control_after_generate", name == "seed"):
            found.append((None, None))
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = values[len(found) - 1]
            (option,) = (o for o in options["options"] if o["key"] == chosen)
            for section in option["inputs"].values():
                for child, inner in section.items():
                    add(f"{name}.{child}", inner)

    for section in ("required", "optional"):
        for name in order.get(section, []):
            add(name, sections[section][name])
    return found + [(None, None)] * upload


@pytest.mark.parametrize("name", NAMES)
def test_it_names_known_nodes_with_all_their_widgets(definitions, name):
    for node in ui(name)["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        assert node["type"] in definitions, node["type"]
        known = widgets(node, definitions[node["type"]])
        assert len(node["widgets_values"]) == len(known), node["type"]
        for value, (_, spec) in zip(node["widgets_values"], known, strict=True):
            if spec is not None and spec[0] in ("INT", "FLOAT"):
                assert spec[1]["min"] <= value <= spec[1]["max"]
            if spec is not None and spec[0] == "BOOLEAN":
                assert isinstance(value, bool)
            if spec is None:
                assert value in ("fixed", "image")


@pytest.mark.parametrize("name", NAMES)
def test_its_links_hold_together(definitions, name):
    graph = ui(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = links_of(graph)
    assert len(nodes) == len(graph["nodes"])
    assert len(links) == len(graph["links"])
    assert graph["last_node_id"] == max(nodes)
    assert graph["last_link_id"] == max(links)
    used = set()
    for node in nodes.values():
        for i, slot in enumerate(node["inputs"]):
            if slot["link"] is not None:
                assert links[slot["link"]][2:4] == [node["id"], i]
                used.add(slot["link"])
        for i, slot in enumerate(node["outputs"]):
            given = definitions[node["type"]]
            assert (slot["name"], slot["type"]) == (given["output_name"][i], given["output"][i])
            for link in slot["links"]:
                assert links[link][:2] == [node["id"], i]
    assert used == set(links)
    for source, out, target, into, kind in links.values():
        assert nodes[source]["outputs"][out]["type"] == kind
        taken = nodes[target]["inputs"][into]["type"]
        assert kind in taken.split(",") or taken == "*"


@pytest.mark.parametrize("name", NAMES)
def test_required_inputs_are_connected(name):
    for node in ui(name)["nodes"]:
        for slot in node["inputs"]:
            free = slot.get("shape") == 7 or "widget" in slot
            assert slot["link"] is not None or free, (node["type"], slot["name"])


@pytest.mark.parametrize("name", NAMES)
def test_app_mode_shows_what_is_to_be_chosen_and_what_is_made(definitions, name):
    graph = ui(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    data = graph["extra"]["linearData"]
    for number, widget in data["inputs"]:
        known = definitions[nodes[number]["type"]]["input"]
        assert widget in known["required"] | known.get("optional", {})
    chosen = {nodes[number]["type"] for number, _ in data["inputs"]}
    loads = "StyleAVideoLoadFrames" in {node["type"] for node in nodes.values()}
    assert loads == ("StyleAVideoLoadFrames" in chosen)
    made = {nodes[number]["type"] for number in data["outputs"]}
    assert made == ({"PreviewImage"} if name in WITHOUT_VIDEO else {"SaveVideo"})


@pytest.mark.parametrize("name", NAMES)
def test_app_mode_tells_settings_of_a_kind_apart(name):
    """Two of a kind have names of their own."""
    graph = ui(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    labels = []
    for number, widget in graph["extra"]["linearData"]["inputs"]:
        given = {slot["name"]: slot.get("label") for slot in nodes[number]["inputs"]}
        labels.append(given.get(widget) or widget)
    assert len(set(labels)) == len(labels)


def boxes(graph):
    for node in graph["nodes"]:
        (x, y), (wide, high) = node["pos"], node["size"]
        yield node, (x, y - TITLE, x + wide, y + high)


@pytest.mark.parametrize("name", NAMES)
def test_titles_of_stages_fit_above_them(name):
    """A letter is 9 px wide in the browser, a Chinese one 18."""
    for group in ui(name)["groups"]:
        wide = sum(18 if ord(letter) > 0x2E80 else 9 for letter in group["title"])
        assert wide < group["bounding"][2], group["title"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_laid_out_to_be_read(name):
    graph = ui(name)
    placed = list(boxes(graph))
    for i, (node, a) in enumerate(placed):
        for other, b in placed[:i]:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, f"{node['type']} lies over {other['type']}"
    frames = [
        (x, y, x + w, y + h) for x, y, w, h in (group["bounding"] for group in graph["groups"])
    ]
    for a, b in zip(frames, frames[1:], strict=False):
        assert a[2] <= b[0]
    for node, box in placed:
        inside = [
            f
            for f in frames
            if f[0] <= box[0] and f[1] <= box[1] and box[2] <= f[2] and box[3] <= f[3]
        ]
        assert len(inside) == (node["type"] != "MarkdownNote"), node["type"]
    places = {node["id"]: node["pos"] for node, _ in placed}
    for source, _, target, *_ in links_of(graph).values():
        assert places[source][0] <= places[target][0], "a link runs from right to left"


@pytest.mark.parametrize("name", NAMES)
def test_its_note_is_in_english_and_below_in_chinese(name):
    (note,) = (n for n in ui(name)["nodes"] if n["type"] == "MarkdownNote")
    english, chinese = note["widgets_values"][0].strip().split("\n\n")
    assert not re.search(r"[\u4e00-\u9fff]", english)
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 60
    for half in (english, chinese):
        assert 3 <= len(half.splitlines()) <= 6


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_one_graph(definitions, name):
    graph = ui(name)
    links = links_of(graph)
    built = {}
    for node in graph["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        known = widgets(node, definitions[node["type"]])
        inputs = {
            widget: value
            for value, (widget, _) in zip(node["widgets_values"], known, strict=True)
            if widget is not None
        }
        for slot in node["inputs"]:
            if slot["link"] is not None:
                source, out, *_ = links[slot["link"]]
                inputs[slot["name"]] = [str(source), out]
        built[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    form = api(name)
    assert all(node.pop("_meta")["title"] for node in form.values())
    assert built == form


def test_build_writes_these_very_files(definitions):
    built = build.build(definitions)
    for name, title in TITLES.items():
        assert built[title] == (ui(name), api(name)), "run workflows/build.py"
    for pattern, names in (
        *(("*.json", TITLES.values()), ("*.jpg", TITLES.values())),
        *(("api/*.json", NAMES), ("notes/*.md", NAMES)),
    ):
        assert {path.name.split(".")[0] for path in FOLDER.glob(pattern)} == set(names)


@pytest.mark.parametrize("title", TITLES.values())
def test_its_title_can_be_read_whole_and_is_a_file_s_name_anywhere(title):
    """A card of the list shows one line; no file system or address gives these signs a meaning."""
    assert re.fullmatch(r"[A-Z][A-Za-z ,]{1,33}", title)


# What ComfyUI shows


def test_the_templates_are_listed_and_served(server):
    listed = server.get("/api/workflow_templates")
    (pack,) = (key for key, names in listed.items() if "Style a video by words" in names)
    assert sorted(listed[pack]) == sorted(TITLES.values())
    for name, title in TITLES.items():
        path = f"/api/workflow_templates/{pack}/{quote(title)}"
        assert server.get(f"{path}.json") == ui(name)
        url = f"{server.url}{path}.jpg"
        with urllib.request.urlopen(url) as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"


@pytest.mark.parametrize("name", NAMES)
def test_its_thumbnail_is_small(name):
    path = FOLDER / f"{TITLES[name]}.jpg"
    assert path.stat().st_size <= 60_000
    assert Image.open(path).size == (480, 480)


# That they run


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_runs(server, clip, name):
    entry = server.run(on(api(name), clip), 600)
    if name in WITHOUT_VIDEO:
        shown = [output["images"] for output in entry["outputs"].values() if "images" in output]
        previews, each = WITHOUT_VIDEO[name]
        assert [len(images) for images in shown] == previews * [each]
        return
    (path,) = server.files(entry)
    frames, rate = decoded(path)
    assert path.name.startswith(name)
    assert frames.shape == (FRAMES, SIZE[1], SIZE[0], 3)
    assert rate == RATE
    source, _ = decoded(clip)
    assert np.abs(frames.astype(float) - source).mean() > 5


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_is_valid_where_its_checkpoints_are(server, clip, name):
    """Files of that name are enough for ComfyUI to take the workflow; they cannot be loaded."""
    for file in CHECKPOINTS[name]:
        path = server.folder / "models" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    time.sleep(0.1)
    status, answer = server.post("/prompt", {"prompt": on(api(name), clip)})
    assert status == 200, answer
    assert not answer["node_errors"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_runs_with_the_built_in_model_instead(server, clip, name):
    prompt = load_script("thumbnails").simplified(api(name))
    (path,) = server.files(server.run(on(prompt, clip, max_frames=2), 600))
    frames, _ = decoded(path)
    streams = any(node["class_type"] == "StyleAVideoStylizeVideo" for node in prompt.values())
    assert frames.shape == (FRAMES if streams else 2, SIZE[1], SIZE[0], 3)


def test_each_region_has_its_own_style(server, clip):
    """Other words for the right change nothing on the left."""
    made = []
    for words in ("Van Gogh", "blueprint"):
        prompt = on(api("two_styles_in_two_regions"), clip, max_frames=1)
        (right,) = (n for n in prompt.values() if n["_meta"]["title"] == "Right style")
        right["inputs"]["text"] = words
        made.append(decoded(server.files(server.run(prompt, 600))[0])[0].astype(float))
    change = np.abs(made[0] - made[1]).mean((0, 1, 3))
    assert change[: SIZE[0] // 4].mean() < 4 < 20 < change[-SIZE[0] // 4 :].mean()


def test_each_region_has_its_own_picture(server, clip):
    """Another picture for the right changes next to nothing far on the left."""
    made = []
    for painting in ("The Great Wave, Hokusai", "Composition VII, Kandinsky"):
        prompt = on(api("two_pictures_in_two_regions"), clip)
        (right,) = (n for n in prompt.values() if n["_meta"]["title"] == "Right picture")
        right["inputs"]["painting"] = painting
        for node in prompt.values():
            if node["class_type"] == "StyleAVideoStylizeVideo":
                node["inputs"]["refine"] = 0.0  # it looks at all of a frame
        made.append(decoded(server.files(server.run(prompt, 600))[0])[0].astype(float))
    change = np.abs(made[0] - made[1]).mean((0, 1, 3))
    assert change[: SIZE[0] // 8].mean() < change[-SIZE[0] // 4 :].mean() / 2


def test_the_example_clip_comes_with_the_pack(server):
    assert (FOLDER / "example.mp4").stat().st_size <= 300_000
    prompt = api("style_a_video_by_words")
    (loader,) = (n for n in prompt.values() if n["class_type"] == "StyleAVideoLoadFrames")
    loader["inputs"] |= {"max_frames": 2, "resize": "max side", "resize.max_side": 96}
    (path,) = server.files(server.run(prompt, 600))
    assert len(decoded(path)[0]) == 2


# run.py


def script(server, *arguments, cwd):
    url = server if isinstance(server, str) else server.url
    return subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), *map(str, arguments), "--server", url],
        capture_output=True, text=True, encoding="utf-8", timeout=600, cwd=cwd,
    )  # fmt: skip


def said(done):
    """The one line of an error."""
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    return line


def test_run_fetches_the_video(server, clip, tmp_path):
    done = script(
        server, FOLDER / "api" / "style_a_video_by_words.api.json", "--input", clip,
        "--prompt", "ink wash", "--seed", 3, "--out", tmp_path / "made" / "result.mp4",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Stylize Frames: prompt = 'ink wash'" in done.stdout
    assert "Stylize Frames: seed = 3" in done.stdout
    assert "Load Video Frames: file = 'moving" in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "made" / "result.mp4")
    frames, rate = decoded(tmp_path / "made" / "result.mp4")
    assert frames.shape == (FRAMES, SIZE[1], SIZE[0], 3)
    assert rate == RATE


def test_run_gives_each_prompt_its_text():
    run = load_script("run")
    prompt = api("two_styles_in_two_regions")
    changed = run.set_prompts(prompt, ["ink wash", "Munch"])
    assert [line.split(" ", 1)[1] for line in changed] == [
        "Left style: text = 'ink wash'",
        "Right style: text = 'Munch'",
    ]
    with pytest.raises(run.Failure, match="3 times; the workflow has 2"):
        run.set_prompts(prompt, ["a", "b", "c"])
    assert len(run.set_prompts(api("stable_diffusion_with_controlnet"), ["a"])) == 1
    with pytest.raises(run.Failure, match="has 2"):  # the negative prompt is none of them
        run.set_prompts(api("stable_diffusion_with_controlnet"), ["a", "b", "c"])
    assert len(run.set_seed(api("see_where_the_model_looks"), 5)) == 3


def test_run_says_that_there_is_no_server(tmp_path):
    done = script(
        "http://127.0.0.1:9", FOLDER / "api" / "style_a_video_by_words.api.json", cwd=tmp_path
    )
    assert said(done).startswith("There is no ComfyUI at http://127.0.0.1:9 (")


def test_run_refuses_what_is_no_workflow(server, tmp_path):
    done = script(server, FOLDER / "Style a video by words.json", cwd=tmp_path)
    assert "is the form for the browser" in said(done)
    done = script(server, tmp_path / "gone.json", cwd=tmp_path)
    assert "gone.json cannot be read (No such file or directory)" in said(done)
    (tmp_path / "text.json").write_text("a, b")
    assert "text.json is no JSON" in said(script(server, tmp_path / "text.json", cwd=tmp_path))


def test_run_gives_comfyui_s_reason_for_a_refusal(server, clip, tmp_path):
    prompt = on(api("style_a_video_by_words"), clip)
    prompt["3"]["inputs"]["steps"] = -1
    prompt["1"]["class_type"], unknown = "NotThere", prompt["1"]["class_type"]
    (tmp_path / "bad.json").write_text(json.dumps(prompt))
    assert "NotThere" in said(script(server, tmp_path / "bad.json", cwd=tmp_path))
    prompt["1"]["class_type"] = unknown
    (tmp_path / "bad.json").write_text(json.dumps(prompt))
    line = said(script(server, tmp_path / "bad.json", cwd=tmp_path))
    assert line.startswith("ComfyUI refused the workflow: 3 Stylize Frames: Value -1 smaller than")


def test_run_says_which_node_failed(server, clip, tmp_path):
    done = script(
        server, FOLDER / "api" / "words_that_change_over_time.api.json", "--input", clip,
        "--prompt", '0: "ink", 0: "oil"', cwd=tmp_path,
    )  # fmt: skip
    assert said(done).startswith("Prompts by frame failed: The prompt schedule names frame 0 twice")


@pytest.mark.parametrize("given", ["../../x.mp4", "/x.mp4", "a/b/x.mp4", "C:\\\\a\\x.mp4", "x.mp4"])
def test_run_writes_results_here_only(given):
    assert load_script("run").file_name({"filename": given}) == "x.mp4"


@pytest.mark.parametrize("given", ["", "..", "a/..", "/", "x\0.mp4"])
def test_run_refuses_a_name_that_is_none(given):
    run = load_script("run")
    with pytest.raises(run.Failure, match="^The server calls a result .*, which is no name[.]$"):
        run.file_name({"filename": given})


def test_run_replaces_no_file_that_it_was_not_told_to(tmp_path, monkeypatch):
    targets = load_script("run").targets
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.mp4").touch()
    paths = targets(["x.mp4", "x.mp4", "y.png"], None)
    assert paths == [Path("x-2.mp4"), Path("x-3.mp4"), Path("y.png")]
    assert targets(["y.mp4"], Path("x.webm")) == [Path("x.mp4")]
    assert targets(["y.mp4", "z.png"], Path("x")) == [Path("x-1.mp4"), Path("x-2.png")]


def test_run_says_that_another_server_answers(tmp_path):
    """A socket, as ComfyUI has, and then a page of what stands between."""

    async def socket(request):
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for _ in answer:
            pass
        return answer

    async def page(request):
        return web.Response(status=502, text="<html>Bad Gateway</html>")

    async def against():
        app = web.Application()
        app.add_routes([web.get("/ws", socket), web.post("/prompt", page)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        path = FOLDER / "api" / "style_a_video_by_words.api.json"
        done = await asyncio.to_thread(script, url, path, cwd=tmp_path)
        await runner.cleanup()
        return said(done)

    said_so = asyncio.run(against())
    assert re.fullmatch(
        r"http://127[.].* answers as no ComfyUI does \(502 Bad Gateway\)[.]", said_so
    )


def test_ctrl_c_cancels_on_the_server(server, tmp_path):
    """One that waits leaves the queue, and then the one before it stops within a step."""
    paths = [tmp_path / f"{seed}.json" for seed in (1, 2)]
    runs = []
    for waiting, path in enumerate(paths):
        prompt = api("style_a_video_by_words")
        prompt["3"]["inputs"] |= {"steps": 50, "seed": waiting}
        path.write_text(json.dumps(prompt))
        command = [sys.executable, str(FOLDER / "run.py"), str(path), "--server", server.url]
        # In a background job SIGINT is ignored, and children inherit that.
        runs.append(
            subprocess.Popen(
                command,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip
        )
        wait_for_queue(server, 1, waiting)
    for run, left in zip(reversed(runs), (1, 0), strict=True):
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
        assert (run.returncode, said) == (130, "Cancelled, on the server too.\n")
        wait_for_queue(server, left, 0)
    last = list(server.get("/history").values())[-1]
    assert "execution_interrupted" in [name for name, _ in last["status"]["messages"]]


def wait_for_queue(server, running, waiting):
    for _ in range(300):
        queue = server.get("/queue")
        counts = len(queue["queue_running"]), len(queue["queue_pending"])
        if counts == (running, waiting):
            return
        time.sleep(0.1)
    raise AssertionError(f"{counts[0]} running and {counts[1]} waiting")
