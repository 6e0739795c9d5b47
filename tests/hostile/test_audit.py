"""What a run opens: its input, its output, the libraries' own files, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))
ROOT = Path(__file__).resolve().parents[2]

WATCH = """
import json, os, runpy, sys
seen = []
def hook(event, args):
    if event in ("open", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree", "os.mkdir"):
        for name in args[: 2 if event == "os.rename" else 1]:
            if isinstance(name, (str, bytes, os.PathLike)):
                write = event != "open" or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR) != 0
                handle = args[1] if event in ("os.remove", "os.rmdir") else -1
                base = os.readlink(f"/proc/self/fd/{handle}") if handle > 0 else ""
                seen.append([os.path.realpath(os.path.join(base, os.fsdecode(name))), bool(write)])
    elif event in ("socket.connect", "subprocess.Popen", "os.system", "os.exec"):
        seen.append([f"{event}: {args!r:.200}", True])
if "style_a_video" not in sys.modules:
    runpy.run_path(sys.argv[1])
sys.addaudithook(hook)
from style_a_video.pipelines.cli import main as cli
code = cli.main(sys.argv[3:])
listed = list(seen)
with open(sys.argv[2], "w") as file:
    json.dump(listed, file)
sys.exit(code)
"""


@pytest.mark.parametrize("command", ["stylize", "report"])
def test_nothing_is_opened_outside_the_named_places(tmp_path, command):
    work, temp = tmp_path / "work", tmp_path / "temp"
    work.mkdir(), temp.mkdir()
    source = clips.encode(work / "a.mp4", clips.pan(0, 3, 2, 64, 48))
    argv = {
        "stylize": [str(source), str(work / "o.mp4"), "--prompt", "oil", "--frames", "2"],
        "report": [str(source), str(source), "--json", str(work / "o.json")],
    }[command]
    conftest = Path(__file__).parents[1] / "conftest.py"
    # torch tells its own children here where its caches are: this child finds its own.
    inherited = {k: v for k, v in os.environ.items() if not k.endswith("_CACHE_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(conftest), str(tmp_path / "seen"), command, *argv],
        capture_output=True,
        text=True,
        env=inherited | {"TMPDIR": str(temp), "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen").read_text())
    libraries = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, ROOT, *sys.path) if p}
    cache = os.path.realpath(Path.home() / ".cache")
    system = ["/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/opt"]
    write = [str(work), str(temp), cache, "/dev/null"]
    read = [*write, *libraries, *system]

    def inside(path, places):
        return any(path == place or path.startswith(f"{place}/") for place in places)

    outside = [path for path, written in seen if not inside(path, write if written else read)]
    assert outside == []
    assert any(path == str(source) for path, _ in seen) or command == "report"
