"""Runs the tests of this folder with ComfyUI's own Python, or says loudly why it does not.

ComfyUI is looked for at COMFYUI_PATH, else at ~/comfy/ComfyUI; its Python at COMFYUI_PYTHON, else
in its folder as .venv or venv.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = ("pytest", "diffusers", "einops", "accelerate", "skimage")


def main() -> int:
    comfyui = Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI"))
    if not (comfyui / "main.py").is_file():
        return absent(f"there is no ComfyUI at {comfyui}; set COMFYUI_PATH")
    pythons = [comfyui / folder / "bin" / "python" for folder in (".venv", "venv")]
    if "COMFYUI_PYTHON" in os.environ:
        pythons = [Path(os.environ["COMFYUI_PYTHON"])]
    python = next((p for p in pythons if p.is_file()), None)
    if python is None:
        return absent(f"{comfyui} has no .venv; set COMFYUI_PYTHON")
    check = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
    if subprocess.call([python, "-c", check, *NEEDED]):
        return absent(f"{python} lacks one of {', '.join(NEEDED)}; install them there")
    command = [python, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider"]
    return subprocess.call(
        [*command, *(sys.argv[1:] or ["tests/comfyui"])],
        cwd=ROOT,
        env={**os.environ, "COMFYUI_PATH": str(comfyui), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def absent(reason: str) -> int:
    line = f"COMFYUI'S TESTS WERE NOT RUN: {reason}."
    print("", "!" * len(line), line, "!" * len(line), "", sep="\n", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
