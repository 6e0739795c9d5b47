"""style-a-video info --check: what an issue needs to know of this machine, in less than a minute.

A section is a function that gives lines. One that fails or hangs says so and stops no other: what
is broken is what a reader is looking for. Lines that need attention begin with "!".
"""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from ..errors import StyleAVideoError

if TYPE_CHECKING:
    import torch

    from ..engines.kinds import CarryingEngine, Engine, EngineKind
    from ..engines.style import Style

SECONDS = 30.0  # a section that has done nothing for so long hangs
LONGEST = 10  # times that, for one that is at work: a busy machine must not look broken
PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "accelerate", "safetensors", "numpy"),
    *("av", "pillow", "opencv-python", "opencv-python-headless", "opencv-contrib-python"),
    *("opencv-contrib-python-headless", "onnxruntime", "onnxruntime-gpu", "ray"),
)
TIMED = 0.2  # s of each precision
LITTLE = 2.0  # GB
OURS = "embedded"  # the model that comes with the package; others would be downloaded
SECTION = "section of the check"  # the name of its thread
WORKING = 0.01  # s of processor time
SIDE = 32  # px of the frame that each engine is tried with
COMFYUI = (0, 26)
DECODERS = ("h264", "hevc", "av1", "libdav1d", "vp9", "prores", "mpeg4", "mjpeg")
ROOT = Path(__file__).resolve().parents[2]


def check(device: str) -> Iterator[str]:
    """The lines of the report, section by section."""
    from ..engines.registry import KINDS

    sections: dict[str, Callable[[], Iterable[str]]] = {  # the quick ones first
        "versions": versions,
        "room": room,
        "ComfyUI": comfyui,
        "device": partial(devices, device),
        "video": video,
        "learned styles": learned_styles,
        **{f"engine {kind.name}": partial(engine, kind, device) for kind in KINDS if kind.takes},
    }
    problems = 0
    for name, section in sections.items():
        yield f"{name}:"
        for line in within(SECONDS, section):
            problems += line.startswith("!")
            yield f"  {line}"
    yield "No problem was found." if not problems else f"To look at, marked with !: {problems}."


def within(seconds: float, section: Callable[[], Iterable[str]]) -> list[str]:
    """The lines of a section; what it said so far and why it ended, where it fails or hangs."""
    said: list[str] = []

    def work() -> None:
        try:
            for line in section():
                said.append(line)
        except Exception as error:  # any: the report goes on, and this is a part of it
            said.append(f"! {type(error).__name__}: {private(error)}")

    thread = Thread(target=work, name=SECTION, daemon=True)
    began = time.monotonic()
    thread.start()
    _wait(thread, seconds)
    took = time.monotonic() - began
    return [*said, f"! no answer within {took:.0f} s{busy()}"] if thread.is_alive() else said


def _wait(thread: Thread, seconds: float) -> None:
    """Until it ends, or nothing has been at work here for so long; LONGEST times that at most."""
    began = at_work = time.monotonic()
    used = time.process_time()
    while thread.is_alive() and time.monotonic() - began < LONGEST * seconds:
        thread.join(min(1.0, seconds / 4))
        if time.process_time() - used > WORKING:
            at_work, used = time.monotonic(), time.process_time()
        elif time.monotonic() - at_work > seconds:
            return


def leave() -> None:
    """End the process where a section still hangs: Python's own end would crash in its thread."""
    if any(thread.name == SECTION for thread in threading.enumerate()):
        sys.stdout.flush()
        os._exit(0)


def busy() -> str:
    """Where more programs want to run than there are cores, that is why it takes long."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= cores:
        return ""
    return f": {load:.0f} programs want to run on {cores} cores; ask again when fewer do"


def private(text: object) -> str:
    """Without the user's name, which the home folder has."""
    return str(text).replace(str(Path.home()), "~")


# sections


def versions() -> Iterator[str]:
    from ... import __version__

    yield f"style-a-video {__version__}, in {private(ROOT)}"
    yield f"Python {platform.python_version()}, {platform.platform()}, {platform.machine()}"
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def devices(name: str) -> Iterator[str]:
    import torch

    from ..device import DTYPES, hardware, pick_device, pick_dtype

    device = pick_device(name)
    chosen = pick_dtype("auto", device)
    yield f"{device}: {hardware(device)}; torch {torch.__version__}"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        yield "! There is an NVIDIA GPU, which this torch does not use: install a torch for CUDA."
    for dtype in DTYPES.values():
        used = ", the one in use" if dtype == chosen else ""
        yield f"{str(dtype).removeprefix('torch.')}: {speed(device, dtype)}{used}"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        yield f"memory of the GPU: {gigabytes(free)} free of {gigabytes(total)}"


def speed(device: torch.device, dtype: torch.dtype) -> str:
    """Of a convolution such as the networks are made of."""
    import torch

    count, channels, side = (1 if device.type == "cpu" else 64), 64, 32
    operations = 2 * 9 * channels**2 * side**2 * count

    def once() -> float:
        began = time.perf_counter()
        torch.nn.functional.conv2d(x, weight, padding=1).sum().item()  # waits for a GPU
        return time.perf_counter() - began

    try:
        x = torch.randn(count, channels, side, side, device=device).to(dtype)
        weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
        prepared = once()
        if device.type == "cpu" and prepared > TIMED:
            return "too slow to use"
        took: list[float] = []
        while sum(took) < TIMED:
            took.append(once())
    except (RuntimeError, TypeError) as error:
        return f"not to be had ({str(error).splitlines()[0]})"
    return f"{operations * len(took) / sum(took) / 1e9:,.0f} GFLOP/s"


def video() -> Iterator[str]:
    import av

    from ..media import CODECS, VideoWriter, read_frames
    from ..media.frames import Frame

    yield f"FFmpeg {av.ffmpeg_version_info} of PyAV {av.__version__}"
    there = [name for name, codec in CODECS.items() if codec.encoder in av.codecs_available]
    yield f"writes: {', '.join(there)}"
    if missing := [name for name in CODECS if name not in there]:
        yield f"! cannot write: {', '.join(missing)} (install PyAV from PyPI)"
    yield f"reads: {', '.join(name for name in DECODERS if name in av.codecs_available)}"
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path, rate = Path(folder, "a.mp4"), Fraction(10)
        with VideoWriter(path, frame_rate=rate) as writer:
            for i in range(3):
                writer.write(Frame(torch.full((3, 64, 64), 0.5), i / rate, 1 / rate))
        grey = [frame.image.mean().item() for frame in read_frames(path)]
    fine = len(grey) == 3 and all(abs(value - 0.5) < 0.02 for value in grey)
    yield "an mp4 was written and read" if fine else f"! an mp4 came back as {grey}"
    from ..flow import check_flow

    check_flow("dis")
    yield "optical flow is there"


def room() -> Iterator[str]:
    yield from _enough("memory", *memory())
    for what, folder in (("this folder", Path.cwd()), ("temporary files", tempfile.gettempdir())):
        usage = shutil.disk_usage(folder)
        yield from _enough(f"disk, {what} ({private(folder)})", usage.free, usage.total)


def _enough(what: str, free: int | None, total: int | None) -> Iterator[str]:
    if free is None or total is None:
        yield f"{what}: the system does not say"
        return
    mark = "! " if free < LITTLE * 1e9 else ""
    yield f"{mark}{what}: {gigabytes(free)} free of {gigabytes(total)}"


def memory() -> tuple[int | None, int | None]:
    """Bytes that are free and that there are."""
    try:
        import psutil
    except ImportError:
        return _memory_of_linux(Path("/proc/meminfo"))
    return psutil.virtual_memory().available, psutil.virtual_memory().total


def _memory_of_linux(meminfo: Path) -> tuple[int | None, int | None]:
    try:
        text = meminfo.read_text(encoding="ascii")
    except OSError:
        return None, None
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    free, total = (found.get(key) for key in ("MemAvailable", "MemTotal"))
    return free and int(free) << 10, total and int(total) << 10


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def comfyui() -> Iterator[str]:
    found = [folder for folder in places() if (folder / "comfyui_version.py").is_file()]
    if not found:
        yield "not found; COMFYUI_PATH says where it is"
    for folder in found:
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8", errors="replace")
        stated = re.search(r"""^__version__ = ["']((\d+)\.(\d+)[^"']*)""", text, re.MULTILINE)
        name = stated[1] if stated else "of a version that it does not say"
        old = stated is not None and (int(stated[2]), int(stated[3])) < COMFYUI
        pack = pack_in(folder)
        with_it = "without this pack" if pack is None else f"with this pack as {pack}"
        yield f"{'! ' if old else ''}{name} in {private(folder)}, {with_it}"
        if old:
            yield f"! this pack wants {'.'.join(map(str, COMFYUI))} or later"


def places() -> list[Path]:
    """Where ComfyUI may be: named, around this pack, around here, where its installer puts it."""
    named = [Path(os.environ["COMFYUI_PATH"])] if os.environ.get("COMFYUI_PATH") else []
    around = [ROOT.parents[1]] if ROOT.parent.name == "custom_nodes" else []
    usual = [Path.home() / "comfy" / "ComfyUI", Path.home() / "ComfyUI", Path.cwd() / "ComfyUI"]
    unique = {folder.resolve(): folder for folder in (*named, *around, Path.cwd(), *usual)}
    return list(unique)


def pack_in(comfyui: Path) -> str | None:
    """The name of this pack's folder there; of any copy of it."""
    packs = comfyui / "custom_nodes"
    folders = sorted(packs.iterdir()) if packs.is_dir() else []
    marked = (folder for folder in folders if (folder / "pipelines/style_a_video.py").is_file())
    return next((folder.name for folder in marked), None)


def learned_styles() -> Iterator[str]:
    from ...weights.stylebank import SHIPPED, find_style, own_styles, read_style, style_names

    for whose, folder in (("shipped", SHIPPED), ("your own", own_styles())):
        names = style_names([folder])
        yield f"{whose}: {', '.join(names) or 'none'}"
        for name in names:
            try:
                read_style(find_style(name, [folder]))
            except StyleAVideoError as error:
                yield f"! {private(error)}"


def engine(kind: EngineKind, name: str) -> Iterator[str]:
    """A small picture through it, in a style that is there."""
    from ...weights.paintings import PAINTINGS
    from ..device import pick_device, pick_dtype
    from ..engines.style import SIDES
    from ..media import read_still

    options = kind.options()
    model = getattr(options, "model", OURS)
    if model != OURS:
        yield f"not tried: {model} is not in the package"
        return
    device = pick_device(name)
    picture = read_still(PAINTINGS[0].path, SIDES, SIDE)
    began = time.perf_counter()
    try:
        loaded = kind.load(options, device, pick_dtype("auto", device))
        stylize = loaded.engine(_style(kind, picture))
    except StyleAVideoError as error:  # weights that are missing or damaged, a package
        yield f"! {private(error)}"
        return
    ready = time.perf_counter()
    result = _once(stylize, picture[None])
    took = time.perf_counter() - ready
    right = len(result) == 1 and bool(result.isfinite().all())
    mark = "" if right else "! what it gives is no picture: "
    yield f"{mark}loaded in {ready - began:.1f} s, a frame of {SIDE} px in {took:.1f} s"


def _once(stylize: Engine | CarryingEngine, frames: torch.Tensor) -> torch.Tensor:
    from ..engines.kinds import CarryingEngine

    logging.disable(logging.WARNING)  # what an engine says of frames this small
    try:
        if isinstance(stylize, CarryingEngine):
            return stylize.carry(frames, [0], None)[0]
        return stylize(frames, [0])
    finally:
        logging.disable(logging.NOTSET)


def _style(kind: EngineKind, picture: torch.Tensor) -> Style:
    """One that it takes; of pictures this."""
    from ...weights.stylebank import BASE
    from ..engines.kinds import PICTURES, WORDS
    from ..engines.style import Style, StylePicture, read_learned_style

    words = "watercolour" if WORDS in kind.takes else ""
    pictures = (StylePicture(picture),) if PICTURES in kind.takes else ()
    if words or pictures:
        return Style(words, pictures)
    return Style(learned=(read_learned_style(BASE[0].name),))
