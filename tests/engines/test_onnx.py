"""Networks of others in ONNX: what they are given, what comes out, and which are refused."""

import json
import os
import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.engines.onnx import KIND, LARGEST, Onnx, OnnxOptions
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import read_frames

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

CPU = torch.device("cpu")
FRAMES = torch.rand(3, 3, 18, 26, generator=torch.Generator().manual_seed(0))
SWAPPED = np.eye(3)[::-1].copy()  # blue for red


def save(
    path,
    *,
    shape=(1, 3, "h", "w"),
    made=None,
    matrix=SWAPPED,
    kind=onnx.TensorProto.FLOAT,
    more=(),
    nodes=None,
    last=False,
):
    """A network whose colours are `matrix` times those that it is given."""
    helper = onnx.helper
    array = np.float16 if kind == onnx.TensorProto.FLOAT16 else np.float32
    if last:
        weights = [onnx.numpy_helper.from_array(matrix.T.astype(array), "k")]
        nodes = nodes or [helper.make_node("MatMul", ["frames", "k"], ["stylized"])]
    else:
        weights = [onnx.numpy_helper.from_array(matrix[:, :, None, None].astype(array), "k")]
        nodes = nodes or [helper.make_node("Conv", ["frames", "k"], ["stylized"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("frames", kind, shape), *more],
        [helper.make_tensor_value_info("stylized", kind, made or shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, str(path))
    return path


def engine(path, **options):
    loaded = KIND.load(OnnxOptions(network=str(path), **options), CPU, torch.float32)
    return loaded.engine(Style())


def stylized(path, frames=FRAMES, **options):
    return engine(path, **options)(frames, range(len(frames)))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"shape": ("n", 3, "h", "w")},
        {"shape": (1, 3, 20, 28)},  # what the frames are padded to
        {"shape": (1, "h", "w", 3), "last": True},
        {"kind": onnx.TensorProto.FLOAT16},
    ],
)
def test_frames_of_any_size_go_through_a_network_of_any_usual_form(tmp_path, given):
    found = stylized(save(tmp_path / "net.onnx", **given))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, FRAMES.flip(1), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "sees", "gives"),
    [
        ({"input_range": "0-255", "output_range": "0-255"}, (255, 0), (1 / 255, 0)),
        ({"input_range": "signed", "output_range": "signed"}, (2, -1), (0.5, 0.5)),
        ({"normalize": "0.5,0.5,0.5/0.25,0.25,0.25"}, (4, -2), (1, 0)),
        ({"normalize": "0.5,0.5,0.5/1,1,1", "input_range": "0-255"}, (255, -127.5), (1, 0)),
    ],
)
def test_values_are_those_that_the_network_wants(tmp_path, options, sees, gives):
    found = stylized(save(tmp_path / "net.onnx"), **options)
    expected = ((FRAMES * sees[0] + sees[1]).flip(1) * gives[0] + gives[1]).clamp(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_imagenet_is_its_mean_and_deviation(tmp_path):
    path = save(tmp_path / "net.onnx")
    by_name = stylized(path, normalize="imagenet")
    assert by_name.equal(stylized(path, normalize="0.485,0.456,0.406/0.229,0.224,0.225"))
    assert not by_name.equal(stylized(path))


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_torch_exports_gives_what_it_gave(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1),
        torch.nn.InstanceNorm2d(8, affine=True),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(8, 3, 4, 2, 1),
        torch.nn.Sigmoid(),
    ).eval()
    path, example, sides = tmp_path / "net.onnx", torch.rand(1, 3, 8, 8), {2: "h", 3: "w"}
    names = {"input_names": ["frames"], "output_names": ["stylized"]}
    axes = {"frames": sides, "stylized": sides}
    torch.onnx.export(network, (example,), path, dynamo=False, dynamic_axes=axes, **names)
    padded = torch.nn.functional.pad(FRAMES, (0, 6, 0, 6), mode="replicate")
    with torch.no_grad():
        expected = torch.cat([network(frame) for frame in padded.split(1)])[..., :18, :26]
    torch.testing.assert_close(stylized(path, multiple=8), expected, atol=1e-5, rtol=1e-5)


def test_inputs_and_outputs_are_chosen_by_name(tmp_path):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Conv", ["frames", "k"], ["stylized"]),
        helper.make_node("Neg", ["stylized"], ["negative"]),
    ]
    path = save(tmp_path / "net.onnx", nodes=nodes)
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("negative", kind, (1, 3, "h", "w")))
    onnx.save_model(model, str(path))
    assert stylized(path, input_name="frames", output_name="stylized").max() > 0.9
    assert stylized(path, output_name="negative").max() == 0
    for option in ("input_name", "output_name"):
        with pytest.raises(StyleAVideoError, match=r"net\.onnx has no .*put 'x', but "):
            stylized(path, **{option: "x"})


def test_networks_that_do_not_fit_are_refused_in_a_sentence(tmp_path):
    def refuses(match, frames=FRAMES, options=(), **given):
        path = save(tmp_path / "net.onnx", **given)
        with pytest.raises(StyleAVideoError, match=rf"^The network net\.onnx {match}.*\.$"):
            stylized(path, frames, **dict(options))

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    refuses("takes frames of 64x32 alone, not 28x20", shape=(1, 3, 32, 64))
    refuses("takes 4 frames at once", shape=(4, 3, "h", "w"))
    refuses("is for .* at frames, not for pictures", shape=(1, 4, "h", "w"), matrix=np.ones((3, 4)))
    wide = helper.make_tensor_value_info("look", kind, (1, 3, "h", "w"))
    refuses("wants look beside the frames", more=[wide])
    sums = [helper.make_node("ReduceSum", ["frames"], ["stylized"], keepdims=0)]
    refuses("is for .* at stylized, not for pictures", nodes=sums, made=())
    halves = [helper.make_node("Conv", ["frames", "k"], ["stylized"], strides=[2, 2])]
    refuses("makes 14x10 of frames of 28x20", nodes=halves, made=(1, 3, "y", "x"))
    custom = [helper.make_node("Swirl", ["frames"], ["stylized"], domain="mine")]
    refuses("cannot be loaded", nodes=custom)
    bytes_ = onnx.TensorProto.UINT8
    cast = [helper.make_node("Identity", ["frames"], ["stylized"])]
    refuses(r"has an input frames of tensor\(uint8\)", kind=bytes_, nodes=cast)
    tall = [helper.make_node("Reshape", ["frames", "size"], ["stylized"])]
    with pytest.raises(StyleAVideoError, match="cannot be loaded"):
        stylized(save(tmp_path / "net.onnx", nodes=tall))


def test_files_that_are_no_network_are_refused_in_a_sentence(tmp_path):
    def refuses(path, match):
        with pytest.raises(StyleAVideoError, match=match) as refusal:
            stylized(path)
        assert "\n" not in str(refusal.value)

    with pytest.raises(StyleAVideoError, match="^The engine onnx needs a network"):
        KIND.load(OnnxOptions(), CPU, torch.float32)
    refuses(tmp_path / "none.onnx", "There is no file")
    refuses(tmp_path, "is a folder, not a file")
    (tmp_path / "text.onnx").write_text("no network at all")
    refuses(tmp_path / "text.onnx", "text.onnx is no network in ONNX's format")
    (tmp_path / "empty.onnx").touch()
    refuses(tmp_path / "empty.onnx", "cannot be loaded")
    whole = save(tmp_path / "net.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[:-20])
    refuses(tmp_path / "cut.onnx", "is no network|cannot be loaded")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(LARGEST + 1)  # takes no space
    refuses(tmp_path / "large.onnx", "large.onnx is larger than the 536,870,912 bytes")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")
        refuses(tmp_path / "pipe.onnx", "is a pipe, not a file")


def test_no_other_file_is_read(tmp_path, monkeypatch):
    """onnxruntime would follow the path that a tensor names, from the working directory."""
    model = onnx.load(save(tmp_path / "net.onnx"))
    onnx.save_model(
        model,
        str(tmp_path / "net.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StyleAVideoError, match="are in other files: save it as one file"):
        stylized(tmp_path / "net.onnx")


def test_without_onnxruntime_it_says_what_to_install(tmp_path, monkeypatch):
    path = save(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(StyleAVideoError, match="pip install onnxruntime"):
        stylized(path)


@pytest.mark.parametrize("text", ["imagnet", "1,1/1,1,1", "0,0,0/1,1,0", "0,0,nan/1,1,1", "0,0,0"])
def test_a_mean_that_is_none_is_refused_at_once(text):
    with pytest.raises(StyleAVideoError, match="^normalize must be imagenet"):
        OnnxOptions(network="net.onnx", normalize=text)


def test_what_decides_the_pixels_is_the_file_not_its_name(tmp_path):
    def identity(path, **options):
        return KIND.load(OnnxOptions(network=str(path), **options), CPU, torch.float32).identity()

    one, same = save(tmp_path / "one.onnx"), save(tmp_path / "same.onnx")
    other = save(tmp_path / "other.onnx", matrix=np.eye(3))
    assert identity(one) == identity(same) == json.loads(json.dumps(identity(one)))
    assert identity(one) != identity(other) and identity(one) != identity(one, multiple=8)


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def test_a_clip_is_stylized_by_the_command_line(tmp_path, capsys):
    clip = clips.encode(tmp_path / "in.mp4", clips.ramp(6), audio=0.6)
    path, report = save(tmp_path / "net.onnx"), tmp_path / "report.json"
    signed = ("--input-range", "signed", "--output-range", "signed")
    common = ("--engine", "onnx", "--network", path, "--device", "cpu", "--no-refine", *signed)
    picture = ("--preview", tmp_path / "preview.png", "--report", report)
    code = run("stylize", clip, tmp_path / "out.mp4", *common, *picture)
    out, err = capsys.readouterr()
    assert code == 0, err
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["frames"] == 6 and told["settings"]["engine"] == "onnx"
    assert len(told["settings"]["network"]) == 64
    for before, after in zip(read_frames(clip), read_frames(tmp_path / "out.mp4"), strict=True):
        means = before.image.flip(0).mean((1, 2)), after.image.mean((1, 2))
        torch.testing.assert_close(*means, atol=0.05, rtol=0)


def test_the_command_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch):
    clip, path = clips.encode(tmp_path / "in.mp4", clips.ramp(6)), save(tmp_path / "net.onnx")
    options = ("--engine", "onnx", "--network", path, "--device", "cpu", "--chunk", 2)
    made = Onnx.stylize
    calls = []

    def stopped(self, frame):
        calls.append(frame)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return made(self, frame)

    monkeypatch.setattr("style_a_video.pipelines.run.shots.SEGMENT", 2)
    monkeypatch.setattr(Onnx, "stylize", stopped)
    assert run("stylize", clip, tmp_path / "out.mp4", *options) == 130
    assert "the same command goes on" in capsys.readouterr().err
    (moved := tmp_path / "moved.onnx").write_bytes(path.read_bytes())
    options = ("--engine", "onnx", "--network", moved, "--device", "cpu", "--chunk", 2)
    assert run("stylize", clip, tmp_path / "out.mp4", *options) == 0
    assert "2 frames were done by a former run" in capsys.readouterr().err
    assert len(calls) == 8


def test_what_does_not_fit_ends_before_any_work(tmp_path, capsys):
    clip, path = clips.encode(tmp_path / "in.mp4", clips.ramp(6)), save(tmp_path / "net.onnx")
    for options, told in (
        (("--network", path, "--prompt", "oil"), "onnx has a style of its own, no words"),
        ((), "The engine onnx needs a network"),
        (("--network", path, "--normalize", "grey"), "normalize must be imagenet"),
    ):
        assert run("stylize", clip, tmp_path / "b.mp4", "--engine", "onnx", *options) == 2
        assert told in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "net.onnx"]
