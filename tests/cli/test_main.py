"""The command line: what it writes, what it says, and with which exit code it refuses."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.engines.diffusion import SCHEDULERS
from style_a_video.pipelines.engines.diffusion.engine import Diffusion
from style_a_video.pipelines.media import probe, read_frames
from style_a_video.pipelines.report import sheet

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


@pytest.fixture(scope="session")
def model(tiny_pipeline, tmp_path_factory):
    """A model folder as a user would bring it: the built-in architecture in small, untrained."""
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def clip(tmp_path):
    return clips.encode(tmp_path / "in.mp4", clips.ramp(6), audio=0.6)


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def stylize(source, target, *more, prompt="oil"):
    return run("stylize", source, target, "--prompt", prompt, "--dtype", "fp32", *more)


# what it does


def test_a_clip_is_stylized_with_report_and_preview(clip, model, tmp_path, capsys):
    target, report, preview = (tmp_path / n for n in ("油画.mp4", "report.json", "preview.jpg"))
    options = ("--model", model, "--device", "cpu", "--chunk", 4, "--text-scale", 3, "--seed", 7)
    code = stylize(clip, target, *options, "--report", report, "--preview", preview, prompt="油画")
    out, err = capsys.readouterr()
    assert code == 0, err
    assert out == f"{target}\n" and "6 frames of 64x48" in err
    assert clips.times(target) == clips.times(clip)
    assert clips.audio_packets(target) == clips.audio_packets(clip)
    told = json.loads(report.read_text(encoding="utf-8"))
    assert (told["frames"], told["chunk_size"], told["notes"]) == (6, 4, [])
    used = told["settings"]
    assert (used["prompt"], used["text_scale"], used["frame_scale"]) == ("油画", 3.0, 1.2)
    assert (used["engine"], used["style"]) == ("diffusion", {"text": "油画", "pictures": []})
    assert (used["num_inference_steps"], used["seed"], used["dtype"]) == (2, 7, "float32")
    with Image.open(preview) as picture:
        assert picture.width > 3 * 224  # the source's and the result's frames beside their words
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_the_settings_reach_the_model(clip, model, tmp_path):
    """Each of these must change the picture; another chunk must not."""
    common = ("--model", model, "--device", "cpu", "--frames", 2)
    assert stylize(clip, tmp_path / "a.mp4", *common) == 0
    variants = {
        "again": ("--chunk", 1),
        "seed": ("--seed", 1),
        "steps": ("--steps", 3),
        "text": ("--text-scale", 5),
        "negative": ("--negative", "blurry"),
        "preset": ("--preset", "paper", "--steps", 2),
        "scheduler": ("--scheduler", "euler"),
    }
    first = [frame.image for frame in read_frames(tmp_path / "a.mp4")]
    assert len(first) == 2
    for name, options in variants.items():
        assert stylize(clip, tmp_path / f"{name}.mp4", *common, *options) == 0
        images = [frame.image for frame in read_frames(tmp_path / f"{name}.mp4")]
        same = all(torch.equal(a, b) for a, b in zip(first, images, strict=True))
        assert same == (name == "again"), name


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_samples(name, clip, model, tmp_path):
    options = ("--model", model, "--device", "cpu", "--frames", 1, "--scheduler", name)
    assert stylize(clip, tmp_path / "out.mp4", *options, "--steps", 3) == 0
    assert probe(tmp_path / "out.mp4").frames == 1


def test_size_and_range(clip, model, tmp_path):
    options = ("--model", model, "--device", "cpu")
    assert stylize(clip, tmp_path / "a.mp4", *options, "--size", "32x32", "--frames", 1) == 0
    info = probe(tmp_path / "a.mp4")
    assert info.aspect == Fraction(4, 3)  # the size ratio of the source, whatever the pixels
    assert next(read_frames(tmp_path / "a.mp4", size=(32, 32))).image.shape == (3, 32, 32)
    target = tmp_path / "b.mp4"
    assert stylize(clip, target, *options, "--max-side", 32, "--start", 0.2, "--end", 0.4) == 0
    assert clips.times(target) == [0, Fraction(1, 10)] and probe(target).width == 32


def test_the_quality_is_the_file_s(clip, model, tmp_path, capsys):
    options = ("--model", model, "--device", "cpu")
    sizes = []
    for quality in ("high", "low"):
        target = tmp_path / f"{quality}.mp4"
        assert stylize(clip, target, *options, "--quality", quality) == 0
        again = tmp_path / f"calm {quality}.mp4"
        assert run("refine", clip, target, again, "--quality", quality) == 0
        sizes.append((target.stat().st_size, again.stat().st_size))
    assert sizes[0][0] > sizes[1][0] and sizes[0][1] > sizes[1][1]
    capsys.readouterr()
    assert stylize(clip, tmp_path / "a.gif", *options, "--quality", "high") == 2
    assert "With gif there is no quality to choose" in capsys.readouterr().err
    assert stylize(clip, tmp_path / "a.mp4", *options, "--quality", "20") == 2
    assert "--quality" in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))


def test_the_demo_shows_source_and_styles(clip, model, tmp_path, capsys):
    options = ("--model", model, "--device", "cpu", "--output", tmp_path / "new" / "demo")
    prompts = ("--prompt", "oil", "--prompt", "水彩画")
    assert run("demo", "--input", clip, *prompts, "--seconds", 0.5, *options) == 0
    video, picture = tmp_path / "new" / "demo.mp4", tmp_path / "new" / "demo.jpg"
    assert capsys.readouterr().out == f"{video}\n{picture}\n"
    info = probe(video)
    assert (info.width, info.height, info.frames) == (3 * 64, 48, 5) and info.has_audio
    # the first third is the source itself (above its label)
    shown, source = next(read_frames(video)).image, next(read_frames(clip)).image
    assert (shown[:, :16, :56] - source[:, :16, :56]).abs().mean() < 0.02
    with Image.open(picture) as image:
        rows = round(image.height / (224 * 48 / 64 + sheet.GAP))
        assert rows == 3


def test_info_names_models_licences_and_device(capsys):
    assert run("info", "--device", "cpu", "--dtype", "fp32") == 0
    out = capsys.readouterr().out
    for word in (
        "embedded",
        "timbrooks/instruct-pix2pix",
        "licence: MIT",
        "device: cpu",
        "float32",
    ):
        assert word in out


def test_help_is_quick_and_needs_nothing_heavy():
    code = (
        "import sys\nfrom style_a_video.pipelines.cli import main as cli\n"
        "try:\n    cli.main(['stylize', '--help'])\nexcept SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "assert not {'torch', 'diffusers', 'av'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--prompt" in done.stdout and "512" in done.stdout


# what it refuses: one line, code 2, before any model is loaded, and no file


@pytest.fixture
def no_model(monkeypatch):
    def load(*_):
        raise AssertionError("the model was loaded before the arguments were checked")

    monkeypatch.setattr(Diffusion, "_load", load)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompt", ""), "prompt is empty"),
        (("--prompt", "  "), "prompt is empty"),
        (("--prompt", "a" * 5000), "5,000 characters"),
        (("--negative", "a" * 5000), "5,000 characters"),
        (("--steps", "0"), "--steps must be"),
        (("--steps", "-3"), "--steps must be"),
        (("--steps", "many"), "--steps"),
        (("--text-scale", "-1"), "--text-scale must be 0 or more"),
        (("--frame-scale", "nan"), "--frame-scale must be a finite number"),
        (("--attention-scale", "inf"), "--attention-scale must be a finite number"),
        (("--correction", "-0.1"), "--correction must be 0 or more"),
        (("--seed", "-1"), "--seed must be"),
        (("--refine-strength", "5", "--no-refine"), "--refine-strength must be between 0 and 1"),
        (("--size", "512"), "WIDTHxHEIGHT"),
        (("--size", "0x64"), "between 16 and 8192"),
        (("--max-side", "4"), "between 16 and 8192"),
        (("--chunk", "0"), "--chunk must be"),
        (("--chunk", "some"), "--chunk must be"),
        (("--frames", "0"), "--frames must be"),
        (("--start", "0.3", "--end", "0.3"), "is empty"),
        (("--start", "5"), "0.60 s long"),
        (("--end", "nan"), "--end must be a finite number"),
        (("--scheduler", "best"), "choose from"),
        (("--preset", "best"), "choose from"),
        (("--report", "nowhere/r.json"), "does not exist"),
        (("--report", "r.txt"), ".json"),
        (("--preview", "p.mp4"), ".jpg"),
        (("--bogus",), "--bogus"),
        (("--codec", "mpeg1"), "no codec 'mpeg1'; choose one of: h264, hevc, av1"),
        (("--codec", "prores"), ".mp4 file holds h264 or hevc or av1, not prores"),
        (("--rate", "0"), "between 0 and 1000 pictures/s"),
        (("--rate", "1/0"), "between 0 and 1000 pictures/s"),
        (("--rate", "24"), "a frame rate of its own"),
    ],
)
def test_bad_arguments(options, message, clip, tmp_path, no_model, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stylize(clip, tmp_path / "out.mp4", *options) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("style-a-video: error: ")
    assert err.count("\n") == 1 and out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--style-image", "no.png"), "There is no picture no.png: give a PNG, JPEG or WebP file."),
        (("--style-image", "."), "error: . is a folder: give one of the pictures in it."),
        (("--promt", "ink wash"), "does not know '--promt'; is --prompt meant? (see style-a-vi"),
        (("--prompt", "ink", "wash"), "does not know 'wash': put words that belong together in q"),
        (("--quite-another", "x"), "does not know '--quite-another' (see style-a-video styl"),
        (("--style-image", "in.mp4"), "in.mp4 is not a picture that can be read: give a PNG,"),
        (("--style-image", "dot.png"), "dot.png is 1x1: give a picture with sides of 16 to 16,3"),
        (("--style-image", "p.png:-1"), "picture p.png must be 0 or more, not -1."),
        (("--style-image", "p.png:x"), "picture p.png must be a number, not 'x'."),
        (("--style-image", "p.png:0"), "The weights of the style pictures are all 0."),
        (
            ("--style-mask", "p.png"),
            "--style-mask says where a --style-image or --style counts: give both.",
        ),
        (
            ("--style-image", "p.png", "--style-mask", "p.png", "--style-mask", "p.png"),
            "There are 2 masks for 1 style pictures: give one for each.",
        ),
        (
            ("--style-image", "p.png", "--engine", "edit"),
            "The engine edit takes words, no pictures: leave them out, or choose another",
        ),
        (
            ("--style-image", "p.png", "--engine", "diffusion", "--model", "owner/name"),
            "The built-in model alone takes a picture in the place of words: leave the picture",
        ),
        (
            ("--style-image", "p.png", "--engine", "diffusion", "--style-mask", "p.png"),
            "The engine diffusion puts a picture's style on the whole frame: leave the mask out",
        ),
        (("--engine", "best"), "There is no engine 'best'; choose one of: sctnet, diffusion"),
        (("--style", "no"), "There is no learned style 'no'; there are: "),
        (("--style", "p.safetensors"), "There is no file p.safetensors: check the path."),
        (("--style", "scream:x"), "The weight of the learned style scream must be a number, not"),
        (("--style", "p.png"), "p.png is a picture: give it as --style-image."),
        (("--style", "scream:0"), "The weights of the learned styles are all 0."),
        (
            ("--style", "scream", "--style-image", "p.png"),
            "--style-image and --style cannot be mixed: leave one out.",
        ),
    ],
)
def test_bad_pictures_and_engines(options, message, clip, tmp_path, no_model, capsys, monkeypatch):
    """Beside words, and where the pictures are all there is."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (1, 1)).save("dot.png")
    Image.new("RGB", (32, 32)).save("p.png")
    before = sorted(tmp_path.iterdir())
    prompts = [("--prompt", "oil"), ()]
    for prompt in prompts if options[0] == "--style-image" else prompts[:1]:
        assert run("stylize", clip, tmp_path / "out.mp4", *prompt, *options) == 2
        out, err = capsys.readouterr()
        assert message in err and err.startswith("style-a-video: error: ")
        assert err.count("\n") == 1 and out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("none.mp4", "out.mp4", "does not exist"),
        ("empty.mp4", "out.mp4", "0 bytes"),
        ("text.mp4", "out.mp4", "not a video"),
        ("in.mp4", "out.avi", "suffix"),
        ("in.mp4", "no/out.mp4", "does not exist: create it"),
    ],
)
def test_bad_files(source, target, message, clip, tmp_path, no_model, capsys):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello\n" * 99)
    before = sorted(tmp_path.iterdir())
    assert stylize(tmp_path / source, tmp_path / target) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--start", "nan"), "--start must be a finite number"), (("--frames", "0"), "--frames must")],
)
def test_shots_refuses_a_wrong_range_too(options, message, clip, tmp_path, capsys):
    assert run("shots", clip, "--json", tmp_path / "shots.json", *options) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_videos_of_a_folder_go_into_a_folder(clip, tmp_path, no_model, capsys):
    (tmp_path / "out.mp4").write_text("precious")
    assert stylize(tmp_path, tmp_path / "out.mp4") == 2
    err = capsys.readouterr().err
    assert "out.mp4 cannot be made (File exists)" in err and err.count("\n") == 1
    assert (tmp_path / "out.mp4").read_text() == "precious"


def test_what_is_not_kept_is_said_before_the_work_and_once(model, tmp_path, capsys, monkeypatch):
    clip = clips.encode(tmp_path / "in.mkv", clips.ramp(3), audio=0.3, audio_codec="pcm_s16le")
    report, said = tmp_path / "report.json", []
    given = Diffusion.engine

    def watched(self, style):
        said.append(capsys.readouterr().err)
        return given(self, style)

    monkeypatch.setattr(Diffusion, "engine", watched)
    assert stylize(clip, tmp_path / "out.mp4", "--model", model, "--report", report) == 0
    assert "audio (pcm_s16le) cannot go into .mp4" in said[0] and ".mkv" in said[0]
    assert "pcm_s16le" not in capsys.readouterr().err
    assert ["pcm_s16le" in note for note in json.loads(report.read_text())["notes"]] == [True]


def test_a_folder_of_pictures_to_another_at_any_rate(model, tmp_path):
    """And to a codec that is named."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (64, 48), (80 * i, 0, 90)).save(folder / f"{i}.png")
    assert stylize(folder, tmp_path / "out", "--model", model, "--rate", "30000/1001") == 0
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [
        "000001.png",
        "000002.png",
        "000003.png",
    ]
    target = tmp_path / "out.mkv"
    options = ("--model", model, "--rate", "30000/1001", "--codec", "ffv1")
    assert stylize(folder, target, *options) == 0
    info = probe(target)
    assert (info.codec, info.frames) == ("ffv1", 3)
    assert abs(info.duration - Fraction(3003, 30000)) < Fraction(1, 1000)


def test_a_model_that_is_not_there(clip, tmp_path, capsys):
    assert stylize(clip, tmp_path / "out.mp4", "--model", tmp_path / "none") == 2
    err = capsys.readouterr().err
    assert "none" in err and err.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()


def test_nothing_but_a_command_is_an_error_too(capsys):
    assert run() == 2
    assert capsys.readouterr().err.startswith("style-a-video: error: ")


def test_what_ctrl_c_leaves_is_gone_on_with(clip, tmp_path, monkeypatch, capsys):
    given = Diffusion.engine

    def interrupted(self, style):
        engine = given(self, style)

        def stylize(frames, frame_indices):
            if frame_indices[0] >= 2:
                raise KeyboardInterrupt
            return engine(frames, frame_indices)

        return stylize

    monkeypatch.setattr("style_a_video.pipelines.run.shots.SEGMENT", 2)
    assert stylize(clip, tmp_path / "whole.mp4") == 0
    with monkeypatch.context() as patched:
        patched.setattr(Diffusion, "engine", interrupted)
        assert stylize(clip, tmp_path / "out.mp4") == 130
    assert not (tmp_path / "out.mp4").exists()
    kept = f"Finished and kept in {tmp_path / 'out.mp4.job'}: 2 frames; the same command goes on."
    assert kept in capsys.readouterr().err
    assert stylize(clip, tmp_path / "out.mp4", "--seed", 5) == 2
    assert "settings seed was 0 and is 5" in capsys.readouterr().err
    assert stylize(clip, tmp_path / "out.mp4") == 0
    assert "2 frames were done by a former run" in capsys.readouterr().err
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "whole.mp4"]


def test_every_shot_may_name_its_style_and_then_no_prompt_is_needed(clip, tmp_path, capsys):
    shots = tmp_path / "shots.json"
    shots.write_text('{"shots": [{"start": 0, "prompt": "comic"}, {"start": 3}]}')
    source, target = str(clip), str(tmp_path / "out.mp4")
    command = ["stylize", source, target, "--shots", str(shots), "--device", "cpu"]
    assert cli.main(command) == 2
    assert "The shot at frame 3 has no style: give it one" in capsys.readouterr().err
    shots.write_text('{"shots": [{"start": 0}, {"start": 3}]}')
    assert cli.main(command) == 2
    assert "Name the style: --prompt TEXT" in capsys.readouterr().err
    shots.write_text('{"shots": [{"start": 0, "prompt": "comic"}, {"start": 3, "prompt": "oil"}]}')
    assert cli.main(command) == 0


def test_of_a_part_the_shots_of_a_file_that_lie_in_it_are_made(clip, tmp_path, capsys):
    shots = tmp_path / "shots.json"
    shots.write_text(
        '{"shots": [{"start": 0, "prompt": "comic"}, {"start": 2, "prompt": "oil"},'
        ' {"start": 5}, {"start": 90}]}'
    )
    target, report = tmp_path / "out.mp4", tmp_path / "r.json"
    command = ["stylize", clip, target, "--shots", shots, "--device", "cpu", "--report", report]
    assert run(*command, "--frames", 4) == 0  # the shots without a style lie beyond it
    told = json.loads(report.read_text(encoding="utf-8"))["shots"]
    assert [(s["start"], s["end"], s["prompt"]) for s in told] == [(0, 2, "comic"), (2, 4, "oil")]
    assert run(*command) == 2
    assert "The shot at frame 5 has no style" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_said_and_leaves_nothing(clip, tmp_path, capsys):
    part = tmp_path / ".r.json.part"
    part.mkdir()
    assert cli.main(["shots", str(clip), "--json", str(tmp_path / "r.json")]) == 2
    assert "r.json cannot be written (Is a directory)" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def test_an_unknown_option_points_to_its_command(capsys):
    assert cli.main(["stylize", "a.mp4", "b.mp4", "--prompt", "oil", "--text-scales", "3"]) == 2
    told = capsys.readouterr().err
    assert "is --text-scale meant? (see style-a-video stylize --help)" in told


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: 9 bytes")]
)
def test_too_little_memory_is_a_sentence(error, capsys, monkeypatch):
    def full(args):
        raise error

    monkeypatch.setattr(cli.COMMANDS["info"], "run", full)
    assert run("info") == 2
    assert capsys.readouterr().err == (
        "style-a-video: error: There is too little memory for frames of this size: make the video "
        "smaller, or close other programs.\n"
    )


def test_another_error_keeps_its_traceback(monkeypatch):
    def broken(args):
        raise RuntimeError("a defect")

    monkeypatch.setattr(cli.COMMANDS["info"], "run", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        run("info")
