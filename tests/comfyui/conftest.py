"""Runs inside ComfyUI's own Python (tests/comfyui/run.py starts it there)."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI"))


def _start_host() -> None:
    """ComfyUI's modules on the CPU, without a server."""
    sys.path.insert(0, str(COMFYUI))
    sys.argv = sys.argv[:1]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True
    args.fp32_text_enc = True


def _load_pack() -> None:
    """The repository root as `style_a_video`; ComfyUI itself names it by its path."""
    spec = importlib.util.spec_from_file_location(
        "style_a_video", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["style_a_video"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


_start_host()
# Learned styles of who runs the tests are neither seen nor touched; blocks list them when loaded.
os.environ["STYLE_A_VIDEO_STYLES"] = (_NO_STYLES := tempfile.TemporaryDirectory()).name
_load_pack()
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """ComfyUI's folder."""
    return COMFYUI


@pytest.fixture(scope="session")
def server(comfyui, tmp_path_factory):
    """A running ComfyUI with the pack, shared by all tests."""
    from server import Server

    running = Server(comfyui, tmp_path_factory.mktemp("comfyui"))
    yield running
    running.stop()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """ComfyUI's folders, in tmp_path, for blocks that are run in this process."""
    import folder_paths  # a module of ComfyUI's own folder

    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))


# Not for the session: playwright keeps an event loop running, and other tests start their own.
@pytest.fixture(scope="module")
def browser():
    from chromium import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture
def complaints():
    """What the console and the server said against this pack."""
    from frontend import Complaints

    return Complaints()


@pytest.fixture
def language() -> str:
    return "en"


@pytest.fixture
def page(browser, server, complaints, language):
    """ComfyUI's front end."""
    from frontend import opened

    with opened(browser, server, complaints, language) as page:
        yield page


@pytest.fixture
def shoot(page, tmp_path):
    """Takes a picture of the page under a name."""
    from frontend import take_picture

    return lambda name: take_picture(page, name, tmp_path)
