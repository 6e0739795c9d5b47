"""Frames through a workflow: which files are workflows, and servers that are none or fail.

A real server is asked in tests/comfyui/test_workflow_engine.py; this one does as it is told.
"""

import io
import json
import os
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from PIL import Image
from style_a_video.pipelines.engines.comfyui import KIND, ComfyUIOptions, server
from style_a_video.pipelines.engines.comfyui.workflow import LARGEST, read_workflow
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.run.segments import Work, stylize

CPU = torch.device("cpu")
FRAMES = torch.rand(4, 3, 24, 32, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255


def graph(loader="LoadImage", **more):
    name = "file" if loader == "StyleAVideoLoadFrames" else "image"
    return {
        "1": {"class_type": loader, "inputs": {name: "a.png"}, "_meta": {"title": "mine"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
        **more,
    }


@pytest.fixture
def save(tmp_path):
    def save(nodes, name="mine.api.json"):
        text = nodes if isinstance(nodes, str) else json.dumps(nodes)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return save


# workflows


def test_what_is_sent_is_what_the_pictures_need(save):
    more = {
        "4": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "y"}},
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "6": {"class_type": "LoadImage", "inputs": {"image": "b.png"}},  # which nothing needs
    }
    found = read_workflow(save(graph(**more)))
    sent = found.prompt("f.png [temp]", "7")
    assert sorted(sent) == ["1", "2", found.out]
    assert sent["1"] == {"class_type": "LoadImage", "inputs": {"image": "f.png [temp]"}}
    assert sent[found.out]["class_type"] == "PreviewImage"
    assert sent[found.out]["inputs"]["images"] == ["2", 0]
    assert not found.takes_video and found.pictures == []
    clash = read_workflow(save(graph(**{found.out: graph()["2"]}), "clash.json"), out="3")
    assert clash.out not in clash.graph


def test_a_loader_of_videos_gives_every_frame(save):
    nodes = graph("StyleAVideoLoadFrames")
    nodes["1"]["inputs"] |= {"every_nth": 5, "resize": "area", "resize.area": 256, "fit": "crop"}
    found = read_workflow(save(nodes))
    given = found.prompt("f.mkv", "")["1"]["inputs"]
    assert found.takes_video and given["file"] == "f.mkv"
    assert (given["every_nth"], given["resize"], given["fit"]) == (1, "none", "pad")
    assert "resize.area" not in given


def test_inputs_of_unknown_nodes_take_what_they_had(save):
    nodes = graph("Mine")
    assert not read_workflow(save(nodes), "1.image").takes_video
    nodes["1"]["inputs"]["image"] = "a.MP4"
    assert read_workflow(save(nodes), "1.image").takes_video


def test_what_decides_the_pictures_is_what_they_need(save):
    one = read_workflow(save(graph())).sha256
    other = graph(**{"9": {"class_type": "Note", "inputs": {"text": "hello"}}})
    other["1"]["_meta"]["title"] = "another"
    other["1"]["inputs"]["image"] = "b.png"
    assert read_workflow(save(other, "moved.json")).sha256 == one
    other["2"]["inputs"]["strength"] = 2
    assert read_workflow(save(other, "moved.json")).sha256 != one


LOOP = {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}}


@pytest.mark.parametrize(
    ("nodes", "given", "told"),
    [
        ({"nodes": [], "links": []}, {}, r"is the workflow for the browser: save it by File >"),
        ("[1, 2", {}, "is no JSON"),
        ("[" * 100_000, {}, "is no JSON"),
        ("9" * 10_000, {}, "is no JSON"),
        ([graph()], {}, "is no workflow in ComfyUI's API form"),
        ({}, {}, "is no workflow in ComfyUI's API form"),
        ({"1": {"class_type": "LoadImage"}}, {}, "is no workflow in ComfyUI's API form"),
        ({"1": graph()["1"]}, {}, "has no output of pictures: add a Save Image"),
        ({"2": graph()["2"], "3": graph()["3"]}, {}, "has no node 1, which others need"),
        (graph("Mine"), {}, "has nothing that loads frames: add a Load Image"),
        (graph(**{"2": LOOP}), {}, "has nothing that loads frames"),
        (graph(), {"out": "9"}, r"has no node 9; it has 1 \(LoadImage\), 2 \(ImageInvert\), 3"),
        (graph(), {"out": "1"}, r"1 \(LoadImage\) has the inputs image: name one of them as NODE"),
        (graph(), {"out": "1.image"}, r"Nothing is connected to 1\.image"),
        (graph(), {"frames_at": "2.image"}, r"2\.image \(ImageInvert\) is no input with a file's"),
        (graph(**{"4": graph()["1"]}), {"frames_at": "4"}, r"do not depend on 4\.image"),
    ],
)
def test_files_that_are_no_workflow_are_refused_in_a_sentence(save, nodes, given, told):
    with pytest.raises(StyleAVideoError, match=told) as refusal:
        read_workflow(save(nodes), **given)
    assert "\n" not in str(refusal.value)


def test_only_regular_files_of_some_size_are_read(tmp_path):
    with pytest.raises(StyleAVideoError, match="^The engine comfyui needs a workflow"):
        KIND.load(ComfyUIOptions(), CPU, torch.float32)
    with pytest.raises(StyleAVideoError, match="There is no file"):
        read_workflow(tmp_path / "none.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(LARGEST + 1)  # takes no space
    with pytest.raises(StyleAVideoError, match="is larger than"):
        read_workflow(tmp_path / "large.json")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        with pytest.raises(StyleAVideoError, match="is a pipe, not a file"):
            read_workflow(tmp_path / "pipe.json")


def test_addresses_are_checked_at_once():
    assert server.urls("host:1, https://b/x/") == ["http://host:1", "https://b/x"]
    for text in (
        "",
        "file:///etc/passwd",
        "ftp://host",
        "http://",
        "http://h:x",
        "http://a b",
        "h?q",
    ):
        with pytest.raises(StyleAVideoError, match="^server must be the address"):
            ComfyUIOptions(server=text)


# a server that does as it is told


def png(image):
    file = io.BytesIO()
    Image.fromarray(image.mul(255).round().byte().permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


class Told(BaseHTTPRequestHandler):
    """`self.server.says`: path → (status, content) or a function that gives it."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body):
        path = urlsplit(self.path).path
        path = "/history/" if path.startswith("/history/") else path
        self.server.asked.append((self.command, path, body))
        said = self.server.says.get(path, (404, b""))
        status, content, *headers = said(self, body) if callable(said) else said
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        for part in content if not isinstance(content, bytes) else [content]:
            self.wfile.write(part)


def found(value):
    return 200, json.dumps(value).encode()


class Fake(ThreadingHTTPServer):
    """Gives every frame back as it came, unless told otherwise."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Told)
        self.asked, self.files, self.runs = [], {}, {}
        self.numbers = count()  # prompts come two at a time
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.says = {
            "/system_stats": found({"system": {"comfyui_version": "0.26.0"}}),
            "/upload/image": self.upload,
            "/prompt": self.prompt,
            "/history/": self.history,
            "/view": self.view,
            **{path: found({}) for path in ("/history", "/queue", "/interrupt")},
        }

    def handle_error(self, *_):
        pass

    def upload(self, handler, body):
        head, _, rest = body.partition(b'filename="')
        name, _, rest = rest.partition(b'"')
        self.files[name.decode()] = rest.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
        return found({"name": name.decode()})

    def prompt(self, handler, body):
        if handler.command == "GET":
            return found({"exec_info": {"queue_remaining": 0}})
        nodes = json.loads(body)["prompt"]
        given = nodes["1"]["inputs"]
        name = (given.get("image") or given["file"]).removesuffix(" [temp]")
        number = str(next(self.numbers))
        out = next(k for k in nodes if k.startswith("style_a_video"))
        images = []
        for k in range(self.frames_in(name)):
            self.files[f"{number}_{k}.png"] = self.made(name, k)
            images.append({"filename": f"{number}_{k}.png", "subfolder": "", "type": "temp"})
        status = {"status_str": "success", "messages": []}
        self.runs[number] = {"status": status, "outputs": {out: {"images": images}}}
        return found({"prompt_id": number})

    def frames_in(self, name):
        return 1

    def made(self, name, k):
        return self.files[name]

    def history(self, handler, body):
        number = handler.path.rsplit("/", 1)[1]
        return found({number: self.runs[number]})

    def view(self, handler, body):
        name = parse_qs(urlsplit(handler.path).query)["filename"][0]
        return (200, self.files[name]) if name in self.files else (404, b"")

    def fails(self, kind, **about):
        """Every prompt ends with this message."""

        def history(handler, body):
            number = handler.path.rsplit("/", 1)[1]
            status = {"status_str": "error", "messages": [["execution_start", {}], [kind, about]]}
            return found({number: {"status": status, "outputs": {}}})

        self.says["/history/"] = history


@pytest.fixture
def fake():
    with Fake() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def load(fake, save):
    def load(nodes=None, **options):
        given = ComfyUIOptions(str(save(nodes or graph())), fake.url, **options)
        return KIND.load(given, CPU, torch.float32)

    return load


def stylized(loaded, frames=FRAMES):
    return loaded.engine(Style())(frames, range(len(frames)))


def refused(loaded, told):
    with pytest.raises(StyleAVideoError, match=told) as refusal:
        stylized(loaded)
    message = str(refusal.value)
    assert "\n" not in message and len(message) < 1000 and message.isprintable()


def test_frames_keep_their_order_and_names_are_used_again(load, fake):
    loaded = load()
    for _ in range(3):
        assert stylized(loaded).equal(FRAMES)
    sent = [name for name in fake.files if name.startswith("style_a_video_")]
    assert len(sent) == 2
    assert not any(data for name, data in fake.files.items() if name not in sent)  # emptied
    deleted = [
        json.loads(body) for how, path, body in fake.asked if (how, path) == ("POST", "/history")
    ]
    assert len(deleted) == 12


@pytest.mark.parametrize(
    ("kind", "name"), [("LoadImage", "image"), ("StyleAVideoStylePicture", "painting")]
)
def test_a_picture_that_the_workflow_names_is_known_by_its_content(load, fake, kind, name):
    blend = {"class_type": "ImageBlend", "inputs": {"image1": ["1", 0], "image2": ["9", 0]}}
    nodes = graph(**{"2": blend, "9": {"class_type": kind, "inputs": {name: "d/s.png"}}})
    asked = []

    def view(handler, body):
        asked.append(parse_qs(urlsplit(handler.path).query))
        return 200, b"x" * len(asked)

    fake.says["/view"] = view
    first, second = (load(nodes, in_="1").identity() for _ in range(2))
    assert asked[0] == {"filename": ["s.png"], "subfolder": ["d"], "type": ["input"]}
    assert first["pictures"] != second["pictures"] and first["comfyui"] == ["0.26.0"]


def endless(handler, body):
    return 200, iter(lambda: b"[" * 65536, None)


REDIRECT = (302, b"", ("Location", "file:///etc/passwd"))


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ((200, b"<html>"), "^The server http.* does not answer as ComfyUI does"),
        ((200, b"[" * 100_000), "does not answer as ComfyUI does"),
        (found([]), "does not answer as ComfyUI does"),
        (found({"system": "\x1b[2J"}), "tells no version: is it ComfyUI?"),
        ((404, b""), "answers system_stats with 404: is it ComfyUI"),
        (REDIRECT, "answers system_stats with 302"),
        (endless, "answers with more than 1,000,000 bytes"),
    ],
)
def test_a_server_that_is_none_is_refused_in_a_sentence(load, fake, monkeypatch, says, told):
    monkeypatch.setattr(server.Server._ask, "__defaults__", (None, "application/json", 1_000_000))
    fake.says["/system_stats"] = says
    with pytest.raises(StyleAVideoError, match=told) as refusal:
        load()
    assert str(refusal.value).isprintable()


def test_where_none_is_it_says_how_to_start_it(save):
    options = ComfyUIOptions(str(save(graph())), "http://127.0.0.1:9")
    with pytest.raises(
        StyleAVideoError, match=r"^There is no ComfyUI at http://127\.0\.0\.1:9 \(.+"
    ):
        KIND.load(options, CPU, torch.float32)


def test_one_that_is_gone_in_the_middle_is_told(load, fake):
    def gone(handler, body):
        handler.connection.close()
        raise OSError

    loaded = load()
    fake.says["/history/"] = gone
    refused(loaded, "What is done is kept: the same call goes on")


def test_a_prompt_that_the_server_forgot_is_told(load, fake):
    loaded = load()
    fake.says["/history/"] = found({})
    refused(loaded, "knows nothing of a prompt that it was sent: it was restarted")


def test_one_that_takes_too_long_is_taken_off_the_queue(load, fake):
    loaded = load(timeout=1.0)
    busy = found({"exec_info": {"queue_remaining": 1}})
    prompt = fake.says["/prompt"]
    fake.says |= {
        "/prompt": lambda h, body: busy if h.command == "GET" else prompt(h, body),
        "/history/": found({}),
    }
    refused(loaded, r"^A prompt took more than 1 s at http.* give it more time with timeout\.$")
    sent = {json.loads(b)["prompt_id"] for how, path, b in fake.asked if path == "/interrupt"}
    assert sent == set(fake.runs)  # those that were queued beside it too


@pytest.mark.parametrize(
    ("kind", "about", "told"),
    [
        ("execution_interrupted", {}, "was interrupted on the server"),
        (
            "execution_error",
            {"node_id": "2", "node_type": "X\x1b[2J", "exception_message": "a\nb" * 9999},
            r"^The node 2 X\\x1b\[2J of the workflow failed: a b",
        ),
        ("execution_error", {}, "^The node None None of the workflow failed: None"),
        ("other", {}, "which does not say why"),
        (
            "execution_error",
            {"exception_type": "torch.OutOfMemoryError"},
            "^The server has too little memory for a frame of 32x24: use a smaller size",
        ),
    ],
)
def test_prompts_that_fail_are_told_in_a_sentence(load, fake, kind, about, told):
    loaded = load()
    fake.fails(kind, **about)
    refused(loaded, told)


def bomb():
    """A PNG of 60,000 x 60,000 in some bytes."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [b"", b"no picture", bomb(), b"#!/bin/sh\n", b"%PDF-1.4"])
def test_what_comes_back_is_a_picture_or_refused(load, fake, data):
    loaded = load()
    fake.made = lambda name, k: data
    refused(loaded, "gave a file that is no picture, or one with a side of more than 8,192 px")


def test_pictures_are_as_many_as_frames_and_of_one_size(load, fake):
    loaded = load()
    fake.frames_in = lambda name: 3
    refused(loaded, "^The workflow gives 3 pictures for 1 frame: it must give as many")
    fake.frames_in = lambda name: 1
    sizes = iter([(16, 16), (16, 24), (16, 16), (16, 16)])
    fake.made = lambda name, k: png(torch.zeros(3, *next(sizes)))
    refused(loaded, r"gives pictures of different sizes \(16x16, 24x16\)")


@pytest.mark.parametrize("images", ["x", [1], [{"filename": 7, "subfolder": "", "type": "temp"}]])
def test_lists_of_files_that_are_none_are_refused(load, fake, images):
    loaded = load()

    def history(handler, body):
        number = handler.path.rsplit("/", 1)[1]
        outputs = {loaded.workflow.out: {"images": images}}
        return found({number: {"status": {"status_str": "success"}, "outputs": outputs}})

    fake.says["/history/"] = history
    refused(loaded, "names files that are none|gives 0 pictures for 1 frame")


def test_only_previews_of_its_own_are_emptied(load, fake):
    """A server that names others' files does not have us write there."""
    loaded = load()
    named = [("../../a.png", "", "temp"), ("a.png", "", "output"), ("a.png", "x", "temp")]

    def history(handler, body):
        files = [dict(zip(("filename", "subfolder", "type"), one, strict=True)) for one in named]
        number = handler.path.rsplit("/", 1)[1]
        outputs = {loaded.workflow.out: {"images": files}}
        return found({number: {"status": {"status_str": "success"}, "outputs": outputs}})

    fake.says["/history/"] = history
    refused(loaded, "gives 3 pictures for 1 frame")
    assert not [name for name in fake.files if "a.png" in name]


def test_a_chunk_that_is_too_large_for_the_server_is_halved(load, fake, monkeypatch):
    loaded = load(graph("StyleAVideoLoadFrames"))
    sizes = []

    def video(frames):
        sizes.append(len(frames))
        return b"".join(map(png, frames))  # the fake knows no videos

    monkeypatch.setattr("style_a_video.pipelines.engines.comfyui.engine.video_of", video)
    history = fake.says["/history/"]
    fake.frames_in = lambda name: sizes[-1]
    fake.made = lambda name, k: png(FRAMES[k])

    def small(handler, body):
        if sizes[-1] > 2:
            fake.fails("execution_error", exception_type="torch.cuda.OutOfMemoryError")
            answer, fake.says["/history/"] = fake.says["/history/"](handler, body), small
            return answer
        return history(handler, body)

    fake.says["/history/"] = small
    with pytest.raises(MemoryError):
        stylized(loaded)
    frames = [SimpleNamespace(image=frame) for frame in FRAMES]
    work = Work(None, (32, 24), 4, "yuv420p")
    segment = SimpleNamespace(start=0)
    sizes.clear()
    assert len(stylize(work, loaded.engine(Style()), segment, frames).images) == 4
    assert sizes == [4, 2, 2]  # as for an engine on this machine
