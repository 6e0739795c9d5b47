"""Runs the tests of this folder with ComfyUI, or says loudly why it does not.

ComfyUI is looked for at COMFYUI_PATH, else at ~/comfy/ComfyUI. The Python is COMFYUI_PYTHON, else
ComfyUI's own .venv or venv where that has all that the tests need, else .venv-comfyui here, which
is set up from ComfyUI's requirements with the torch that COMFYUI_TORCH names. After --fuzz the
rest is for fuzz.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-comfyui"
TORCH = "torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0"
TOOLS = {
    "pytest": "pytest>=8",
    "skimage": "scikit-image",
    "playwright": "playwright",
}
"""What the tests import beyond the two requirements.txt → its package."""
NEEDED = (*TOOLS, "diffusers", "einops", "accelerate", "cv2", "matplotlib")


def main() -> int:
    comfyui = Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI")).absolute()
    if not (comfyui / "main.py").is_file():
        line = f"COMFYUI'S TESTS WERE NOT RUN: there is no ComfyUI at {comfyui}; set COMFYUI_PATH."
        print("", "!" * len(line), line, "!" * len(line), "", sep="\n", file=sys.stderr)
        return 0
    python = find_python(comfyui)
    if sys.argv[1:2] == ["--fuzz"]:
        command = [python, "tests/comfyui/fuzz.py", *sys.argv[2:]]
    else:
        command = [python, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider"]
        command += sys.argv[1:] or ["tests/comfyui"]
    return subprocess.call(
        command,
        cwd=ROOT,
        env={**os.environ, "COMFYUI_PATH": str(comfyui), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def find_python(comfyui: Path) -> Path:
    if "COMFYUI_PYTHON" in os.environ:
        return Path(os.environ["COMFYUI_PYTHON"])
    owns = [comfyui / folder / "bin" / "python" for folder in (".venv", "venv")]
    return next(filter(has_all, owns), None) or set_up(comfyui)


def has_all(python: Path) -> bool:
    check = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
    return python.is_file() and not subprocess.call([python, "-c", check, *NEEDED])


def set_up(comfyui: Path) -> Path:
    """The Python of .venv-comfyui; installs where what it should hold has changed."""
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed.txt"
    files = [comfyui / "requirements.txt", ROOT / "requirements.txt"]
    packages = [*os.environ.get("COMFYUI_TORCH", TORCH).split(), *TOOLS.values()]
    wanted = "\n".join([*packages, *(file.read_text("utf-8") for file in files)])
    if done.is_file() and done.read_text("utf-8") == wanted:
        return python
    print(f"Setting up {ENVIRONMENT} for ComfyUI's tests: some minutes, once.", flush=True)
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    options = [option for file in files for option in ("-r", file)]
    install = [python, "-m", "pip", "install", "--quiet", *packages, *options]
    if subprocess.call(install):
        sys.exit(f"{ENVIRONMENT} could not be set up: pip's reason is above.")
    done.write_text(wanted, "utf-8")
    return python


if __name__ == "__main__":
    sys.exit(main())
