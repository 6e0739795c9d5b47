"""The report of this machine: what it finds, and that nothing broken stops it."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from style_a_video.pipelines.cli import doctor
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.engines import registry
from style_a_video.pipelines.engines.diffusion import DiffusionOptions
from style_a_video.pipelines.engines.kinds import PICTURES
from style_a_video.pipelines.errors import StyleAVideoError


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A home and a working folder without anything."""
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def install(folder, stated='__version__ = "0.26.2"\n', pack=None):
    folder.mkdir(parents=True)
    (folder / "comfyui_version.py").write_text(stated)
    if pack is not None:
        (folder / "custom_nodes" / pack / "pipelines").mkdir(parents=True)
        (folder / "custom_nodes" / pack / "pipelines" / "style_a_video.py").touch()
    return folder


def test_what_an_issue_needs_is_said(monkeypatch, capsys):
    quick = tuple(kind for kind in registry.KINDS if kind.name in ("sctnet", "stylebank"))
    monkeypatch.setattr(registry, "KINDS", quick)
    assert cli.main(["info", "--check", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for words in (
        f"torch {torch.__version__}",
        f"Python {sys.version.split()[0]}",
        "GFLOP/s, the one in use",
        "writes: h264, hevc, av1, vp9, prores",
        "an mp4 was written and read",
        "optical flow is there",
        "free of",
        "learned styles:\n  shipped: composition, ",
        "engine sctnet:\n  loaded in ",
        "engine stylebank:\n  loaded in ",
    ):
        assert words in said
    assert "no answer" not in said


def test_a_broken_section_stops_no_other(monkeypatch):
    def broken():
        yield "so far"
        raise ImportError("DLL load failed")

    def hanging():
        yield "begun"
        time.sleep(60)

    monkeypatch.setattr(registry, "KINDS", ())
    for section in ("comfyui", "devices", "video", "learned_styles"):
        monkeypatch.setattr(doctor, section, lambda *_: ["fine"])
    monkeypatch.setattr(doctor, "versions", broken)
    monkeypatch.setattr(doctor, "room", hanging)
    monkeypatch.setattr(doctor, "SECONDS", 2.0)
    said = list(doctor.check("cpu"))
    assert said[:3] == ["versions:", "  so far", "  ! ImportError: DLL load failed"]
    assert said[3:5] == ["room:", "  begun"]
    assert said[5].startswith("  ! no answer within ")
    assert said[6:-1] == [
        line
        for name in ("ComfyUI", "device", "video", "learned styles")
        for line in (f"{name}:", "  fine")
    ]
    assert said[-1] == "To look at, marked with !: 2."


def test_one_that_is_slow_but_at_work_is_waited_for(monkeypatch):
    def slow():
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        yield "done"

    monkeypatch.setattr(doctor, "LONGEST", 1000)
    assert doctor.within(0.2, slow) == ["done"]
    monkeypatch.setattr(doctor, "LONGEST", 0)
    assert doctor.within(0.2, slow)[0].startswith("! no answer within ")


def test_a_hanging_section_ends_the_process_without_a_crash(tmp_path):
    code = (
        "from style_a_video.pipelines.cli import doctor, main\n"
        "def hanging():\n"
        "    yield 'begun'\n"
        "    import torch\n"
        "    x = torch.ones(300, 300)\n"
        "    while True:\n"
        "        x = x @ x\n"
        "doctor.check = lambda device: doctor.within(0.5, hanging)\n"
        "doctor.LONGEST = 8\n"
        "raise SystemExit(main.main(['info', '--check']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("begun\n! no answer within ")


def test_why_it_takes_long_is_said_where_the_machine_is_busy(monkeypatch):
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (7.1, 0, 0), raising=False)
    assert doctor.busy() == ": 7 programs want to run on 2 cores; ask again when fewer do"
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (1.5, 0, 0), raising=False)
    assert doctor.busy() == ""


def test_an_engine_that_fails_is_marked_and_one_that_is_elsewhere_is_not(monkeypatch):
    class Broken:
        def engine(self, style):
            return lambda frames, indices: frames * float("nan")

    def load(*_):
        raise StyleAVideoError("sctnet.safetensors is damaged.")

    sctnet = registry.kind_named("sctnet")
    (line,) = doctor.engine(replace(sctnet, load=lambda *_: Broken()), "cpu")
    assert line.startswith("! what it gives is no picture: loaded in")
    bigger = replace(registry.kind_named("diffusion"), options=lambda: DiffusionOptions("some/one"))
    assert list(doctor.engine(bigger, "cpu")) == ["not tried: some/one is not in the package"]
    (line,) = doctor.engine(replace(sctnet, load=load), "cpu")
    assert line == "! sctnet.safetensors is damaged."


def test_every_engine_of_pictures_is_tried(monkeypatch):
    for section in ("versions", "room", "comfyui", "devices", "video", "learned_styles"):
        monkeypatch.setattr(doctor, section, lambda *_: [])
    monkeypatch.setattr(doctor, "engine", lambda kind, name: [f"tried {kind.name}"])
    said = list(doctor.check("cpu"))
    pictures = [kind.name for kind in registry.KINDS if PICTURES in kind.takes]
    assert len(pictures) >= 5 and [n for n in pictures if f"  tried {n}" not in said] == []


def test_a_learned_style_that_cannot_be_used_is_marked(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLE_A_VIDEO_STYLES", str(tmp_path))
    (tmp_path / "mine.safetensors").write_bytes(b"nothing")
    shipped, own, broken = doctor.learned_styles()
    assert shipped.startswith("shipped: ") and "scream" in shipped
    assert own == "your own: mine" and broken.startswith("! ") and "mine.safetensors" in broken


def test_a_device_that_is_not_there_is_a_line():
    (line,) = doctor.within(60, lambda: doctor.devices("tpu"))
    assert line.startswith("! StyleAVideoError: There is no device 'tpu' here")


def test_a_codec_that_pyav_lacks_is_marked(monkeypatch):
    import av

    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx265"})
    said = list(doctor.video())
    assert "! cannot write: hevc (install PyAV from PyPI)" in said
    assert not any(line.startswith("writes") and "hevc" in line for line in said)


def test_comfyui_is_found_where_it_is(elsewhere, monkeypatch):
    assert list(doctor.comfyui()) == ["not found; COMFYUI_PATH says where it is"]
    install(elsewhere / "comfy" / "ComfyUI", pack="style-a-video")
    named = install(elsewhere / "other", "__version__ = '0.25.9'\n")
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    old, marked, new = doctor.comfyui()
    assert old == f"! 0.25.9 in {Path('~/other')}, without this pack"
    assert marked == "! this pack wants 0.26 or later"
    assert new == f"0.26.2 in {Path('~/comfy/ComfyUI')}, with this pack as style-a-video"


def test_a_newer_comfyui_is_no_problem(elsewhere):
    install(elsewhere / "ComfyUI", '__version__ = "1.3.0"\n')
    assert not any(line.startswith("!") for line in doctor.comfyui())


def test_little_room_is_marked(monkeypatch):
    monkeypatch.setattr(doctor, "memory", lambda: (10**9, 8 * 10**9))
    assert next(doctor.room()) == "! memory: 1.0 GB free of 8.0 GB"
    monkeypatch.setattr(doctor, "memory", lambda: (None, None))
    assert next(doctor.room()) == "memory: the system does not say"


def test_memory_is_read_where_psutil_is_missing(tmp_path):
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       24684800 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n")
    assert doctor._memory_of_linux(file) == (1024 * 1024, 24684800 * 1024)
    assert doctor._memory_of_linux(tmp_path / "none") == (None, None)


def test_the_user_s_name_is_left_out(elsewhere):
    assert doctor.private(elsewhere / "films" / "a.mp4") == str(Path("~/films/a.mp4"))
