"""Style from pictures: the blocks are the Python engines, picture by picture, chunk by chunk."""

from __future__ import annotations

import json
import os
import re
import runpy
import time
from dataclasses import fields
from fractions import Fraction
from glob import glob
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from PIL import Image
from style_a_video.nodes import engine, stream
from style_a_video.pipelines.device import pick_dtype
from style_a_video.pipelines.engines.kinds import LEARNED, PICTURES
from style_a_video.pipelines.engines.options import kind_of
from style_a_video.pipelines.engines.registry import KINDS, kind_named
from style_a_video.pipelines.engines.style import Style, StylePicture, read_style_picture
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.refine.frames import InOrder, Refining
from style_a_video.pipelines.run.stylize import stylize_video
from style_a_video.weights.paintings import PAINTINGS, PHOTOS

pytestmark = pytest.mark.usefixtures("folders")

ROOT = Path(__file__).parents[2]
clips = runpy.run_path(str(ROOT / "tests" / "clips.py"))
encode, pan = clips["encode"], clips["pan"]
SIZE = (96, 64)
SHOTS = (5, 4)  # frames of each
NAMES = [kind.name for kind in KINDS if kind.takes == {PICTURES}]
CHOICES = [kind.name for kind in KINDS if kind.takes in ({PICTURES}, {LEARNED})]
EVERY_ENGINE = pytest.mark.parametrize("name", NAMES)
CPU = torch.device("cpu")
WAVE, SCREAM = "The Great Wave, Hokusai", "The Scream, Munch"
SEEN = {"style_size": 128}  # px: small pictures are as good here, and faster
FEW = {"gatys": {"iterations": 3}}
FAST = [name for name in NAMES if name not in FEW]
FRAME_BY_FRAME = [(name, {"statistics": "frame"}) for name in ("wct", "adain")]
FRAME_BY_FRAME += [("sctnet", {"mode": mode}) for mode in ("art", "photo")]


# In this process: the same pixels as the Python engine


@pytest.fixture(scope="module")
def pictures():
    """A clip of two shots, as RGB pictures."""
    return [image for n, count in enumerate(SHOTS, 3) for image in pan(n, count, 2, *SIZE)]


@pytest.fixture(scope="module")
def frames(pictures):
    """IMAGE (9,64,96,3)."""
    return torch.from_numpy(np.stack(pictures)) / 255


@pytest.fixture(scope="module")
def clip(pictures, tmp_path_factory):
    return encode(tmp_path_factory.mktemp("clips") / "two shots.mp4", pictures, audio=0.9)


def style(*chain):
    """STYLE of Style Picture blocks in a row, each of these settings."""
    previous = None
    for settings in chain:
        given = {"painting": WAVE, "weight": 1.0, "previous": previous, **settings}
        previous = engine.StylePictureNode.execute(**given).args[0]
    return previous


def chosen(name, settings):
    return SEEN | FEW.get(name, {}) | settings


def load(name, given, **settings):
    """ENGINE of Load Engine, for a STYLE or an IMAGE."""
    return engine.LoadEngine.execute(given, {"engine": name} | chosen(name, settings)).args[0]


def through(loaded, frames, chunk=4):
    """IMAGE of Stylize Frames by Engine."""
    with torch.inference_mode():
        return engine.EngineFrames.execute(frames, loaded, chunk).args[0]


def in_python(name, wanted, frames, **settings):
    """The engine itself on the frames of one shot (T,H,W,3), all at once."""
    kind = kind_named(name)
    options = kind.options(**chosen(name, settings))
    loaded = kind.load(options, CPU, pick_dtype("auto", CPU))
    made = InOrder(loaded.engine(wanted), None)(frames.movedim(-1, 1), range(len(frames)))
    return made.movedim(1, -1)


def wave(**settings):
    path = next(one.path for one in PAINTINGS if one.name == WAVE)
    return StylePicture(read_style_picture(path).image, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, {}) for name in NAMES] + FRAME_BY_FRAME,
)
def test_the_blocks_are_the_python_engine(name, settings, frames):
    """Shot by shot: what is carried begins anew at the cut."""
    made = through(load(name, style({}), **settings), frames)
    wanted = torch.cat(
        [
            in_python(name, Style(pictures=(wave(),)), shot, **settings)
            for shot in frames.split(SHOTS)
        ]
    )
    assert made.shape == frames.shape and made.dtype == torch.float32
    assert (made - wanted).abs().max() < 1 / 2550
    assert (made - frames).abs().mean() > 0.02


@EVERY_ENGINE
def test_frames_per_batch_change_nothing(name, frames):
    loaded = load(name, style({}))
    whole = through(loaded, frames, 256)
    for chunk in (1, 2, 5):
        assert (through(loaded, frames, chunk) - whole).abs().max() < 1 / 2550
    alone = torch.cat([through(loaded, frame[None]) for frame in frames])
    assert (alone - whole).abs().max() > 1 / 255  # else nothing was carried


def test_options_reach_the_engine(frames):
    shot = frames[: SHOTS[0]]
    given = {"style_strength": 0.5, "keep_colour": True, "style_size": 64}
    made = through(load("adain", style({}), **given), shot)
    kind = kind_named("adain")
    loaded = kind.load(kind.options(**given), CPU, pick_dtype("auto", CPU))
    wanted = InOrder(loaded.engine(Style(pictures=(wave(),))), None)(shot.movedim(-1, 1), range(5))
    assert (made - wanted.movedim(1, -1)).abs().max() < 1 / 2550
    assert (made - through(load("adain", style({})), shot)).abs().mean() > 0.02


def test_an_image_is_a_style_picture(frames):
    """One picture, whichever socket it takes; the second output of Style Picture is it."""
    picture = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(1))
    _, shown = engine.StylePictureNode.execute(WAVE, 1.0, image=picture).args
    assert torch.equal(shown, picture)
    direct = through(load("adain", picture), frames[:1])
    assert torch.equal(through(load("adain", style({"image": picture})), frames[:1]), direct)
    of_own = StylePicture(picture[0].movedim(-1, 0))
    wanted = in_python("adain", Style(pictures=(of_own,)), frames[:1])
    assert (direct - wanted).abs().max() < 1 / 2550


def test_paintings_are_shown_as_they_are():
    for painting in (*PAINTINGS, *PHOTOS):
        (one,), shown = engine.StylePictureNode.execute(painting.name, 1.0).args
        assert shown.shape[0] == 1 and shown.shape[-1] == 3
        assert torch.equal(one.image, read_style_picture(painting.path).image)


def orange(folder, **settings):
    """A picture file → its name."""
    path = Path(folder) / "my orange.png"
    Image.new("RGB", (64, 48), (250, 160, 0)).save(path, **settings)
    return path.name


def test_a_file_of_one_s_own_is_a_style_picture(tmp_path):
    name = orange(tmp_path / "input")
    (one,), shown = engine.StylePictureNode.execute(name, 1.0).args
    assert shown.shape == (1, 48, 64, 3)
    assert torch.equal(one.image, read_style_picture(tmp_path / "input" / name).image)


def test_a_file_that_changed_is_read_again(tmp_path):
    name = orange(tmp_path / "input")
    seen = engine.StylePictureNode.fingerprint_inputs(painting=name, weight=1.0)
    os.utime(tmp_path / "input" / name, (1, 1))
    assert engine.StylePictureNode.fingerprint_inputs(painting=name) != seen
    assert engine.StylePictureNode.fingerprint_inputs(painting=name, image=None) is None
    assert engine.StylePictureNode.fingerprint_inputs(painting=None) is None


@pytest.mark.parametrize(
    ("painting", "text"),
    [
        ("", "choose a file, or connect an image"),
        (7, "choose a file, or connect an image"),
        ("gone.png", "gone.png is not in ComfyUI's folder"),
        ("../secret.png", "outside ComfyUI's folders"),
        ("/etc/passwd", "outside ComfyUI's folders"),
    ],
)
def test_what_is_no_picture_of_comfyui_s_folders_is_refused(painting, text):
    assert text in engine.StylePictureNode.validate_inputs(painting=painting)
    with pytest.raises(StyleAVideoError, match=re.escape(text)):
        engine.StylePictureNode.execute(painting, 1.0)


def test_with_an_image_connected_no_file_is_asked_for():
    assert engine.StylePictureNode.validate_inputs(painting="gone.png", image=None) is True
    picture = torch.rand(1, 40, 60, 3)
    assert torch.equal(engine.StylePictureNode.execute("gone.png", 1.0, picture).args[1], picture)


def test_weights_mix(frames):
    """As in Python; 0 leaves a picture out, wherever in the chain it stands."""
    mixed = load("adain", style({"weight": 2.0}, {"painting": SCREAM, "weight": 1.0}))
    scream = next(one.path for one in PAINTINGS if one.name == SCREAM)
    both = Style(pictures=(wave(weight=2.0), read_style_picture(scream)))
    made = through(mixed, frames[:1])
    assert (made - in_python("adain", both, frames[:1])).abs().max() < 1 / 2550
    alone = through(load("adain", style({})), frames[:1])
    for chain in (
        ({"weight": 0.0, "painting": SCREAM}, {}),
        ({}, {"weight": 0.0, "painting": SCREAM}),
    ):
        assert (through(load("adain", style(*chain)), frames[:1]) - alone).abs().max() < 1 / 2550
    assert (made - alone).abs().mean() > 0.002


def test_a_batch_is_several_pictures(frames):
    batch = torch.rand(2, 40, 60, 3, generator=torch.Generator().manual_seed(1)) * 0.5
    batch[1] += 0.5
    at_once = through(load("adain", batch), frames[:1])
    chained = load("adain", style({"image": batch[:1]}, {"image": batch[1:]}))
    assert torch.equal(through(chained, frames[:1]), at_once)
    given = style({"image": batch, "weight": 3.0})
    assert [one.weight for one in given] == [3.0, 3.0]
    assert [one.name for one in given] == ["1", "2"]


def half(left):
    mask = torch.zeros(1, 8, 12)
    mask[..., :6] = 1
    return mask if left else 1 - mask


@pytest.mark.parametrize("name", FAST)
def test_each_region_has_its_own_picture(name, frames):
    """Another picture on the right changes next to nothing far on the left."""
    frames = torch.nn.functional.interpolate(frames[:1].movedim(-1, 1), (128, 384)).movedim(1, -1)
    made = [
        through(
            load(name, style({"mask": half(True)}, {"mask": half(False), "painting": other})),
            frames,
        )
        for other in (WAVE, SCREAM)
    ]
    change = (made[0] - made[1]).abs().mean((0, 1, 3))
    assert change[:64].mean() * 4 < change[-96:].mean()


def test_regions_are_those_of_the_python_engine(frames):
    scream = next(one.path for one in PAINTINGS if one.name == SCREAM)
    pictures = (
        wave(mask=half(True)),
        StylePicture(read_style_picture(scream).image, mask=half(False)),
    )
    loaded = load(
        "adain", style({"mask": half(True)[0]}, {"mask": half(False), "painting": SCREAM})
    )
    wanted = in_python("adain", Style(pictures=pictures), frames[:5])
    assert (through(loaded, frames[:5]) - wanted).abs().max() < 1 / 2550


def test_where_no_mask_is_the_frame_stays(frames):
    masked = through(load("adain", style({"mask": torch.zeros(64, 96)})), frames[:1])
    assert (masked - frames[:1]).abs().max() < 1 / 255


def test_transparent_is_white_and_large_is_scaled():
    clear = torch.zeros(1, 20, 30, 4)
    clear[:, :, 15:] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    (one,) = style({"image": clear})
    assert torch.equal(one.image[:, 0, 0], torch.ones(3))
    assert torch.equal(one.image[:, 0, -1], torch.tensor([1.0, 0.0, 0.0]))
    (one,) = style({"image": torch.rand(1, 1024, 2048, 3)})
    assert one.image.shape == (3, 512, 1024)
    assert one.image.min() >= 0 and one.image.max() <= 1


def test_frames_of_any_size_and_with_alpha(frames):
    loaded = load("wct", style({}))
    for height, width in ((1, 1), (17, 33), (64, 96)):
        made = through(loaded, torch.rand(2, height, width, 4))
        assert made.shape == (2, height, width, 3) and made.isfinite().all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: load("adain", torch.rand(1, 1, 1, 3)),
         "The style picture 1 is 1x1: give one with sides of 16 to 16,384 px."),
        (lambda: style({}, {"image": torch.rand(1, 8, 4096, 3)}),
         "The style picture 2 is 4096x8: give one with sides of 16 to 16,384 px."),
        (lambda: load("adain", torch.rand(17, 16, 16, 3)),
         "A style has at most 16 pictures, not 17."),
        (lambda: load("adain", style({"weight": 0.0})),
         "The weights of the style pictures are all 0."),
        (lambda: style({"mask": torch.ones(3, 8, 8)}),
         "The mask of a style has 3 pictures, one a frame: give one for all."),
        (lambda: stream.sampled_or_engine(object(), {"noise": 0, "vae": 0}, False),
         "An engine and noise, vae are connected: connect the engine alone, or all the others "
         "without it."),
        (lambda: stream.sampled_or_engine(None, {}, False),
         "Connect engine, or guider, noise, sampler, sigmas, vae: guider, noise, sampler, sigmas, "
         "vae are missing."),
        (lambda: stream.sampled_or_engine(
            None, dict.fromkeys(("guider", "noise", "sampler", "sigmas")), False),
         "Connect engine, or guider, noise, sampler, sigmas, vae: vae is missing."),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(given, words):
    with pytest.raises(StyleAVideoError) as refused:
        given()
    assert str(refused.value) == words


def specs(name):
    """The widgets that Load Engine shows for an engine: field → (type, options)."""
    (_, about) = engine.LoadEngine.GET_NODE_INFO_V1()["input"]["required"]["engine"]
    (chosen,) = (option for option in about["options"] if option["key"] == name)
    return {k: spec for section in chosen["inputs"].values() for k, spec in section.items()}


def test_every_engine_for_pictures_and_learned_styles_can_be_chosen():
    (_, about) = engine.LoadEngine.GET_NODE_INFO_V1()["input"]["required"]["engine"]
    assert [option["key"] for option in about["options"]] == CHOICES


@pytest.mark.parametrize("name", CHOICES)
def test_every_option_is_a_widget_of_its_range(name):
    options, shown = kind_named(name).options, specs(name)
    assert list(shown) == [one.name for one in fields(options)]
    for one in fields(options):
        (kind, about), given = shown[one.name], one.metadata
        assert about["default"] == one.default
        assert about["tooltip"].rstrip(".").lower() == given["what"].lower()
        if given["choices"]:
            assert kind == "COMBO" and about["options"] == list(given["choices"])
            continue
        wanted = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
        assert kind == wanted[kind_of(options, one)]
        if kind in ("INT", "FLOAT"):
            assert about["min"] == given["low"]
            assert about["max"] <= given["high"] and about["max"] == min(
                about["max"], given["high"]
            )
        ends = [about[end] for end in ("min", "max") if end in about]
        for value in (one.default, *ends):  # what the widget allows the engine takes
            options(**{one.name: value})


# Stylize Video


def decoded(path):
    """(T,H,W,3) in 0..255."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.mark.parametrize("chunk", [2, 8])
def test_stylize_video_is_the_python_run(clip, tmp_path, chunk):
    """The same files, frame by frame: cuts, what is carried, the refiner."""
    loaded = load("adain", style({}))
    with torch.inference_mode():
        video, said = stream.stylized_video(
            InputImpl.VideoFromFile(str(clip)), loaded.engine(), "a graph", 96, chunk, Refining(1.0)
        )
    assert re.fullmatch(r"9 frames of 96x64 in \d+\.\d s\n2 shots", said)
    kind = kind_named("adain")
    plain = kind.load(kind.options(**SEEN), CPU, pick_dtype("auto", CPU))
    report = stylize_video(
        clip, tmp_path / "made.mp4", plain.engine(Style(pictures=(wave(),))),
        refining=Refining(1.0), size=SIZE, chunk_size=8,
    )  # fmt: skip
    made, wanted = (decoded(p) for p in (video.get_stream_source(), report.target))
    assert made.shape == (9, 64, 96, 3)
    # Equal but for what the encoder makes of the last bit.
    assert np.abs(made.astype(float) - wanted).mean() < 1
    assert np.abs(made.astype(float) - decoded(clip)).mean() > 5


def test_a_preview_is_kept_and_the_run_can_be_ended(frames, monkeypatch):
    watched = load("adain", style({})).engine()
    made, carried = watched.carry(frames[:2].movedim(-1, 1), [0, 1], None)
    assert torch.equal(watched.last, made[-1].movedim(0, -1)) and carried

    class Ended(Exception):
        pass

    def end():
        raise Ended

    monkeypatch.setattr(
        engine.comfy.model_management, "throw_exception_if_processing_interrupted", end
    )
    with pytest.raises(Ended):
        watched.carry(frames[:2].movedim(-1, 1), [2, 3], carried)


def test_a_video_of_images_is_refused(frames):
    clip = InputImpl.VideoFromComponents(
        Types.VideoComponents(images=frames, audio=None, frame_rate=Fraction(10))
    )
    with pytest.raises(StyleAVideoError, match="made of images that are all in memory"):
        stream.stylized_video(clip, load("adain", style({})).engine(), "a graph", 96, 4, None)


def test_what_an_engine_is_decides_a_job():
    """Networks, options and pictures, whatever the graph looks like."""
    picture = torch.rand(1, 20, 30, 3)
    same = [json.dumps(load("adain", picture).identity) for _ in range(2)]
    assert same[0] == same[1]
    others = [
        load("adain", picture, style_strength=0.5),
        load("wct", picture, style_strength=1.0),
        load("adain", 1 - picture),
        load("adain", style({"image": picture, "mask": torch.ones(8, 8)})),
    ]
    assert len({same[0], *(json.dumps(one.identity) for one in others)}) == 5


# On a server


def graph(name, **more):
    """Load Video → Stylize Video by an engine → Save Video."""
    settings = {"style_strength": 1.0, "keep_colour": False, "statistics": "shot", **SEEN}
    nodes = {
        "clip": ("LoadVideo", {"file": name}),
        "picture": ("StyleAVideoStylePicture", {"painting": WAVE, "weight": 1.0}),
        "engine": (
            "StyleAVideoLoadEngine",
            {"style": ["picture", 0], "engine": "adain"}
            | {f"engine.{key}": value for key, value in settings.items()},
        ),
        "made": (
            "StyleAVideoStylizeVideo",
            {"video": ["clip", 0], "engine": ["engine", 0], "start_from": "noise",
             "max_side": 512, "frames_per_batch": 4, "refine": 1.0},
        ),
        "save": (
            "SaveVideo",
            {"video": ["made", 0], "filename_prefix": "made", "format": "auto", "codec": "auto"},
        ),
        "said": ("PreviewAny", {"source": ["made", 1]}),
    }  # fmt: skip
    nodes |= more
    return {key: {"class_type": kind, "inputs": dict(i)} for key, (kind, i) in nodes.items()}


def report(entry):
    return entry["outputs"]["said"]["text"][0]


def jobs(server):
    folder = server.folder / "output" / stream.JOBS
    return sorted(folder.iterdir()) if folder.exists() else []


def segments(server):
    """How many are done. A job that begins replaces its folder, which may vanish while it is
    listed: `glob.glob` skips it, `Path.glob` raises.
    """
    return len(glob(str(server.folder / "output" / stream.JOBS / "*" / "segments" / "*.json")))


def wait_until(what, seconds=120):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_uploaded_picture_is_taken(server, clip, tmp_path):
    """The list has it, and so does a prompt; one that is not there is refused before work."""
    picture = orange(tmp_path)
    name = server.add_input(tmp_path / picture)
    offered = server.get("/object_info/StyleAVideoStylePicture")["StyleAVideoStylePicture"]
    options = offered["input"]["required"]["painting"][1]
    assert options["image_upload"] and name in options["options"]
    assert options["options"][0] == options["default"] == PAINTINGS[0].name
    given = {"painting": name, "weight": 1.0}
    nodes = graph(server.add_input(clip), picture=("StyleAVideoStylePicture", given))
    entry = server.run(nodes)
    (made,) = server.files(entry)
    with av.open(str(made)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(float)
    assert first[..., 0].mean() - first[..., 2].mean() > 100, "the colour did not arrive"
    nodes["picture"]["inputs"]["painting"] = "gone.png"
    status, answer = server.post("/prompt", {"prompt": nodes})
    assert status == 400 and "gone.png is not in ComfyUI's folder" in json.dumps(answer)


def test_a_picture_or_a_style_is_taken(server, clip):
    """The one socket of Load Engine, over HTTP; frames by engine beside it."""
    name = server.add_input(clip)
    picture = server.folder / "input" / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 4), np.uint8)).save(picture)
    prompt = graph(name, own=("LoadImage", {"image": "picture.png"}))
    made = []
    for source in ("picture", "own"):
        prompt["engine"]["inputs"]["style"] = [source, 0]
        entry = server.run(prompt)
        assert report(entry).startswith("9 frames of 96x64 in ")
        made.append(decoded(server.files(entry)[0]).astype(float))
    assert np.abs(made[0] - made[1]).mean() > 5
    assert not jobs(server)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"engine": {"engine": "nonsense"}}, f"engine must be one of: {', '.join(CHOICES)}."),
        ({"engine": {"engine.style_strength": 7.0}}, "Value 7.0 bigger than max of 1"),
        ({"engine": {"engine.statistics": "all"}}, "'all' not in ['shot', 'frame']"),
        ({"engine": {"style": ["clip", 0]}},
         "received_type(VIDEO) mismatch input_type(IMAGE,STYLEAVIDEO_STYLE)"),
        ({"picture": {"weight": 0.0}}, "The weights of the style pictures are all 0."),
        ({"made": {"vae": ["model", 2]}}, "An engine and vae are connected"),
    ],
)  # fmt: skip
def test_errors_reach_the_browser(server, clip, change, words):
    prompt = graph(server.add_input(clip), model=("StyleAVideoLoadBuiltIn", {}))
    for key, inputs in change.items():
        prompt[key]["inputs"] |= inputs
    with pytest.raises(RuntimeError, match=re.escape(words)):
        server.run(prompt)


def test_cancel_and_the_same_graph_goes_on(server, tmp_path):
    """The carry too: the result is that of a run that nobody ended."""
    long = encode(tmp_path / "film.mp4", pan(5, 48, 1, 192, 128), audio=4.8)
    prompt = graph(server.add_input(long))
    prompt["engine"]["inputs"] |= {"engine": "wct", "engine.style_strength": 0.6}
    whole = decoded(server.files(server.run(prompt))[0])
    prompt["save"]["inputs"]["filename_prefix"] = "again"
    prompt["picture"]["inputs"]["weight"] = 2.0  # of one picture: the same pixels, another job
    status, answer = server.post("/prompt", {"prompt": prompt, "client_id": "a test"})
    assert status == 200, answer
    wait_until(lambda: segments(server) > 0)
    try:
        server.post("/interrupt", {"prompt_id": answer["prompt_id"]})
    except json.JSONDecodeError:  # an empty answer
        pass
    wait_until(lambda: not server.get("/queue")["queue_running"])
    done = segments(server)
    assert 1 <= done < 3 and len(jobs(server)) == 1
    entry = server.run(prompt)
    assert f"{16 * done} frames were done before" in report(entry)
    assert np.array_equal(decoded(server.files(entry)[0]), whole)
    assert not jobs(server)
