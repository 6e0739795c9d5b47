"""A feed-forward generator of one style that somebody trained and exported to ONNX."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StyleAVideoError
from ..files import read_bounded
from .kinds import Engine, EngineKind, Loaded
from .options import Options, option
from .style import Style

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch
    from torch import Tensor

LARGEST = 512 * 2**20  # bytes of a file
RANGES = {"0-1": (1.0, 0.0), "0-255": (255.0, 0.0), "signed": (2.0, -1.0)}
"""Scale and offset from [0,1]; signed is -1 to 1."""

IMAGENET = "0.485,0.456,0.406/0.229,0.224,0.225"
TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


@dataclass(frozen=True)
class OnnxOptions(Options):
    network: str = option("", "file of the exported network; it has the style", metavar="FILE.onnx")
    input_name: str = option("", "the network's input (its only one)", metavar="NAME")
    output_name: str = option("", "the network's output (its first)", metavar="NAME")
    input_range: str = option("0-1", "of the values that it takes; signed: -1 to 1", choices=RANGES)
    output_range: str = option(
        "0-1", "of the values that it gives; signed: -1 to 1", choices=RANGES
    )
    normalize: str = option(
        "",
        "imagenet, or R,G,B/R,G,B: a mean of colours in 0 to 1 that is taken off before the range, "
        "and a deviation that divides them",
        metavar="MEAN/DEVIATION",
    )
    multiple: int = option(
        4, "frames are padded to multiples of so many px", low=1, high=512, metavar="N"
    )

    def check(self) -> None:
        super().check()
        _normalizing(self.normalize)


class Onnx:
    """Implements `kinds.Loaded`: the network, frame by frame, whatever batch it was exported for.

    Its input has four dimensions, one of 3 colours (R,G,B), before the sides or after.
    """

    side = 512  # px
    bytes_per_pixel = 2048  # of common ones: a few maps of 32 channels at the full size

    def __init__(self, options: OnnxOptions, device: torch.device) -> None:
        import torch

        self.options, self.path = options, Path(options.network)
        data = _read(self.path)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.session, on_gpu = _session(self.path, data, device)
        self.device = device if on_gpu else torch.device("cpu")
        self.input = self._found(self.session.get_inputs(), options.input_name, "input")
        self.output = self._found(self.session.get_outputs(), options.output_name, "output")
        if others := {i.name for i in self.session.get_inputs()} - {self.input.name}:
            raise self._refused(f"wants {', '.join(sorted(others))} beside the frames")
        self.last = self._colours_last(self.input)
        self.last_made = self._colours_last(self.output)
        batch = self.input.shape[0]
        if isinstance(batch, int) and batch != 1:
            raise self._refused(f"takes {batch} frames at once: export it for one")
        self.dtype = getattr(torch, TYPES[self.input.type])

    def remarks(self, style: Style) -> list[str]:
        return []

    def identity(self) -> dict[str, Any]:
        return {**self.options.as_dict(), "network": self.sha256}

    def engine(self, style: Style) -> Engine:
        def stylize(frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
            import torch

            return torch.cat([self.stylize(frame) for frame in frames.split(1)])

        return stylize

    def stylize(self, frame: Tensor) -> Tensor:
        """(1,3,H,W) in [0,1] → the same size."""
        import torch
        from torch.nn.functional import pad

        height, width = frame.shape[-2:]
        scale, offset = RANGES[self.options.input_range]
        mean, deviation = (
            torch.tensor(values).view(1, 3, 1, 1) for values in _normalizing(self.options.normalize)
        )
        shown = scale * (frame.cpu().float() - mean) / deviation + offset
        n = self.options.multiple
        shown = pad(shown, (0, -width % n, 0, -height % n), mode="replicate")
        made = self._run(shown)[..., :height, :width]
        scale, offset = RANGES[self.options.output_range]
        return ((made - offset) / scale).clamp(0, 1)

    def _run(self, shown: Tensor) -> Tensor:
        """(1,3,H,W) as the network wants its values → (1,3,H,W) as it gives them."""
        import torch

        size = list(shown.shape[-2:])
        values = shown.movedim(1, -1) if self.last else shown
        for fixed, here in zip(self.input.shape, values.shape, strict=True):
            if isinstance(fixed, int) and fixed != here:
                wanted = self.input.shape[1:3] if self.last else self.input.shape[2:]
                raise self._refused(f"takes frames of {_size(wanted)} alone, not {_size(size)}")
        given = {self.input.name: values.contiguous().to(self.dtype).numpy()}
        try:
            (found,) = self.session.run([self.output.name], given)
        except Exception as error:  # onnxruntime's have no other base
            raise self._refused(
                f"fails at frames of {_size(size)} ({_line(error)}): try another size or multiple"
            ) from error
        if found.ndim != 4:
            raise self._refused(f"makes {found.ndim} dimensions, not pictures (1,3,H,W)")
        made = torch.from_numpy(found).float()
        made = made.movedim(-1, 1) if self.last_made else made
        if made.shape != shown.shape:
            raise self._refused(
                f"makes {_size(made.shape[-2:])} of frames of {_size(size)}: try a larger multiple"
            )
        return made

    def _found(self, ports: Sequence[Any], name: str, what: str) -> Any:
        """The input or output of that name, or the first."""
        names = [port.name for port in ports]
        if not names:
            raise self._refused(f"has no {what}")
        if name and name not in names:
            raise self._refused(f"has no {what} {name!r}, but {', '.join(names)}")
        port = ports[names.index(name) if name else 0]
        if port.type not in TYPES:
            raise self._refused(f"has an {what} {port.name} of {port.type}, not of floats")
        return port

    def _colours_last(self, port: Any) -> bool:
        """Whether an input or output is (1,H,W,3), not (1,3,H,W)."""
        shape = port.shape
        if len(shape) == 4 and shape[1] == 3:
            return False
        if len(shape) == 4 and shape[3] == 3:
            return True
        if len(shape) == 4 and not isinstance(shape[1], int) and not isinstance(shape[3], int):
            return False  # it does not tell
        raise self._refused(f"is for {shape} at {port.name}, not for pictures (1,3,H,W)")

    def _refused(self, why: str) -> StyleAVideoError:
        return StyleAVideoError(f"The network {self.path.name} {why}.")


def _normalizing(text: str) -> tuple[list[float], list[float]]:
    """Mean and deviation, R,G,B each."""
    if not text:
        return [0.0] * 3, [1.0] * 3
    text = IMAGENET if text == "imagenet" else text
    try:
        mean, deviation = ([float(x) for x in part.split(",")] for part in text.split("/"))
    except ValueError:
        mean, deviation = [], []
    if (
        len(mean) != 3
        or len(deviation) != 3
        or not all(math.isfinite(x) for x in mean + deviation)
        or min(deviation) <= 0
    ):
        raise StyleAVideoError(
            f"normalize must be imagenet, or a mean and a deviation as R,G,B/R,G,B, not {text!r}."
        )
    return mean, deviation


def _read(path: Path) -> bytes:
    """The bytes of a network that lies in one regular file."""
    if not os.fspath(path) or path == Path():
        raise StyleAVideoError("The engine onnx needs a network: the file of one exported to ONNX.")
    data = read_bounded(path, LARGEST)
    try:
        outside = any(_outside(data))
    except (ValueError, IndexError, RecursionError):
        raise StyleAVideoError(f"{path} is no network in ONNX's format, or damaged.") from None
    if outside:
        raise StyleAVideoError(
            f"The weights of {path} are in other files: save it as one file (onnx.save_model "
            "without save_as_external_data)."
        )
    return data


def _session(path: Path, data: bytes, device: torch.device) -> tuple[Any, bool]:
    """onnxruntime's session, and whether it runs on the GPU."""
    try:
        import onnxruntime
    except ImportError:
        raise StyleAVideoError(
            "The engine onnx needs onnxruntime, which is not installed: pip install onnxruntime"
        ) from None
    import torch

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what it says is told by its errors
    settings.intra_op_num_threads = torch.get_num_threads()
    gpu = "CUDAExecutionProvider"
    on_gpu = device.type == "cuda" and gpu in onnxruntime.get_available_providers()
    providers = [*([gpu] if on_gpu else []), "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(data, settings, providers)
        return session, gpu in session.get_providers()
    except Exception as error:  # onnxruntime's have no other base
        raise StyleAVideoError(
            f"The network {path.name} cannot be loaded: {_line(error)}."
        ) from error


def _line(error: Exception) -> str:
    """What onnxruntime says, on one line without its codes."""
    return str(error).split(" : ")[-1].splitlines()[0].strip().rstrip(".")


def _size(sides: Sequence[Any]) -> str:
    height, width = sides
    return f"{width}x{height}"


# the file's format (Protocol Buffers), as far as it can name other files

_WITHIN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
EXTERNAL_DATA = 13  # of a tensor: where its values are, when they are elsewhere


def _outside(data: bytes | memoryview, kind: str = "model") -> Iterator[bool]:
    """True for each tensor of a message whose values lie in another file.

    onnxruntime would read that file, wherever it is.
    """
    data = memoryview(data)
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 1:
            at += 8
        elif wire == 5:
            at += 4
        elif wire == 2:
            length, at = _varint(data, at)
            part, at = data[at : at + length], at + length
            if kind == "tensor" and number == EXTERNAL_DATA:
                yield True
            elif inner := _WITHIN.get(kind, {}).get(number):
                yield from _outside(part, inner)
        else:
            raise ValueError(f"wire type {wire}")
    if at > len(data):
        raise ValueError("cut short")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at this place, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def load(options: OnnxOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return Onnx(options, device)


KIND = EngineKind(
    name="onnx",
    what="a feed-forward network of one style, exported to ONNX by whoever trained it",
    takes=frozenset(),
    speed="the network's",
    licence="the network's own",
    options=OnnxOptions,
    load=load,
)
