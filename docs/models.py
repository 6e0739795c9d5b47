"""docs/models.md: which edit models see a frame, how, and how exactly.

    COMFYUI_PATH=... COMFYUI_PYTHON docs/models.py

Run it with ComfyUI's Python (tests/comfyui/run.py sets one up as .venv-comfyui). Every model is
ComfyUI's own class, small, with random weights; nothing is loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1] / "tests" / "comfyui"
sys.path.insert(0, str(TESTS))
import conftest  # noqa: E402, F401 - ComfyUI's modules, and the pack

HEAD = """# Edit models, frame by frame

Frame Condition, with the model connected to it, puts each frame where that model takes it. The
models of one class look alike: of a class, those named here have learned what to do with the frame.

*Error* is the greatest relative difference between {frames} frames by Frame Condition and Style
Guider, all at once or one or two at a time, and each frame alone by ComfyUI's own blocks and
CFGGuider, after {steps} steps. The classes are ComfyUI {version}'s, small, with random weights: it
says that the frames arrive; how well a model paints, its weights decide.

| Model | Weights | Licence | Class | Frame goes to | as | Error |
| --- | --- | --- | --- | --- | --- | --- |
"""
TAIL = """
Not supported, and refused by name by Frame Condition where they are connected to it: models that
take no frame (Stable Diffusion 1.5, SDXL, SD 3, Chroma) or were not tried (Z-Image, LongCat-Image,
Boogu); those that fill in or follow a map (Flux Fill, Canny, Depth), which have blocks of their
own; video models but Bernini (VACE, image to video, HunyuanVideo, LTX); HiDream-O1, which sees one
picture for all frames. ControlNet works with any model that has one.

Bernini as a video model: Bernini Conditioning with Style Guider's presets (see its help).

This page is written by `docs/models.py`.
"""


def main() -> None:
    import comfyui_version
    from edit_models import FRAMES, MODELS, STEPS, error, ours, stock

    torch.set_num_threads(1)
    rows = []
    for one in MODELS:
        model = one.build()
        known = stock(one, model)
        worst = max(error(ours(one, model, chunk), known) for chunk in (0, 1, 2))
        name = type(model.model).__name__
        cells = (one.name, one.weights, one.licence, f"`{name}`", f"`{one.place}`", one.told)
        rows.append("| " + " | ".join([*cells, f"{worst:.0e}"]) + " |")
        print(rows[-1], flush=True)
    version = comfyui_version.__version__
    head = HEAD.format(frames=FRAMES, steps=STEPS, version=version)
    page = head + "\n".join(rows) + "\n" + TAIL
    (Path(__file__).parent / "models.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
