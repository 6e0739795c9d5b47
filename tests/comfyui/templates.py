"""The scripts of the folder workflows, and the videos that workflows make."""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
from server import ROOT

FOLDER = ROOT / "workflows"


def load_script(name: str) -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location(f"workflow_{name}", FOLDER / f"{name}.py")
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(FOLDER))


def decoded(path: Path) -> tuple[np.ndarray, Fraction]:
    """Frames (T,H,W,3) uint8 and rate."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(frames), rate
