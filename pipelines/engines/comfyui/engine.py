"""Frames through a workflow, on one server or several."""

from __future__ import annotations

import hashlib
import io
import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from fractions import Fraction
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...core import alignment
from ...errors import Remedy, StyleAVideoError
from ..kinds import Engine
from ..style import Style
from .server import Server, ServerMemoryError, Stopped, urls
from .workflow import read_workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import ComfyUIOptions

AT_ONCE = 2  # prompts a server: one is sent while the other is worked on
LONGEST = 8192  # px a side of what comes back


class Seat(NamedTuple):
    """A place in a server's queue, with a file there that is written again and again."""

    server: Server
    file: str


class ComfyUI:
    """Implements `kinds.Loaded`: the networks are the server's.

    Where the workflow loads a picture, every frame is a prompt of its own: what a user tried with
    one picture is what each frame gets, whatever chunk it came in. Where it loads a video, a
    chunk is one prompt, and the workflow sees its frames together.
    """

    side = 1024  # px, of most models of today
    bytes_per_pixel = 64  # here: the frame, its file, what comes back
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, options: ComfyUIOptions) -> None:
        self.options = options
        self.workflow = read_workflow(Path(options.workflow), options.in_, options.out)
        self.servers = [Server(url, options.timeout) for url in urls(options.server)]
        self.versions = sorted({server.version() for server in self.servers})
        self.pictures = {name: self._sha256(name) for name in self.workflow.pictures}
        token, suffix = uuid.uuid4().hex[:8], "mkv" if self.workflow.takes_video else "png"
        self.seats: SimpleQueue[Seat] = SimpleQueue()
        for k, server in enumerate(AT_ONCE * self.servers):
            self.seats.put(Seat(server, f"style_a_video_{token}_{k}.{suffix}"))
        self.marks = (f"{token}_{n}" for n in count())

    def _sha256(self, name: str) -> str | None:
        data = self.servers[0].content_of(name)
        return None if data is None else hashlib.sha256(data).hexdigest()

    def remarks(self, style: Style) -> list[str]:
        return []

    def identity(self) -> dict[str, Any]:
        return {
            "workflow": self.workflow.sha256,
            "pictures": self.pictures,
            "multiple": self.options.multiple,
            "align": self.options.align,
            "comfyui": self.versions,
        }

    def engine(self, style: Style) -> Engine:
        return self.stylize

    def stylize(self, frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
        """(T,3,H,W) in [0,1] → (T,3,H',W'), rounded to 8 bits on both ways.

        Raises:
            StyleAVideoError: what the server says, in a sentence.
            MemoryError: it has too little memory for so many frames at once.
        """
        height, width = frames.shape[-2:]
        n = self.options.multiple
        shown = pad(frames.cpu().float(), (0, -width % n, 0, -height % n), mode="replicate")
        parts = len(self.servers) if self.workflow.takes_video else len(frames)
        try:
            made = self._all(list(shown.tensor_split(min(parts, len(frames)))))
        except ServerMemoryError as error:
            if self.workflow.takes_video and len(frames) > 1:
                raise MemoryError(str(error)) from error
            raise StyleAVideoError(
                f"The server has too little memory for a frame of {width}x{height}: use a smaller ",
                Remedy.SMALLER,
            ) from error
        # Padding is taken off in proportion: frames may come back enlarged.
        rows, columns = (
            max(1, round(made.shape[k] * frames.shape[k] / shown.shape[k])) for k in (-2, -1)
        )
        made = made[..., :rows, :columns]
        return alignment.in_place(frames, made) if self.options.align else made

    def _all(self, groups: Sequence[Tensor]) -> Tensor:
        """Each group of frames as a prompt; one that fails ends the others."""
        stop = Event()
        with ThreadPoolExecutor(AT_ONCE * len(self.servers)) as pool:
            futures: list[Future[Tensor]] = [
                pool.submit(self._one, group, next(self.marks), stop) for group in groups
            ]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
        made = [future.result() for future in futures]
        sizes = {tuple(pictures.shape[-2:]) for pictures in made}
        if len(sizes) > 1:
            raise StyleAVideoError(
                "The workflow gives pictures of different sizes "
                f"({', '.join(f'{w}x{h}' for h, w in sorted(sizes))}): all must have one size."
            )
        return torch.cat(made)

    def _one(self, frames: Tensor, mark: str, stop: Event) -> Tensor:
        """Some frames (T,3,H,W) as one prompt."""
        with self._seat() as (server, file):
            if stop.is_set():
                raise Stopped
            data = video_of(frames) if self.workflow.takes_video else png_of(frames[0])
            name = server.upload(file, data)
            run = server.queue(self.workflow.prompt(name, mark))
            entry = server.wait(run, stop)
            files = server.pictures(entry, self.workflow.out)
            if len(files) != len(frames):
                server.forget(run, files)
                raise StyleAVideoError(
                    f"The workflow gives {len(files)} pictures for {len(frames)} "
                    f"frame{'s' * (len(frames) > 1)}: it must give as many."
                )
            pictures = [self._picture(server, one) for one in files]
            server.forget(run, files)
        if len({picture.shape for picture in pictures}) > 1:
            raise StyleAVideoError("The workflow gives pictures of different sizes.")
        return torch.stack(pictures)

    @contextmanager
    def _seat(self) -> Iterator[Seat]:
        seat = self.seats.get()
        try:
            yield seat
        finally:
            self.seats.put(seat)

    def _picture(self, server: Server, file: dict[str, str]) -> Tensor:
        """(3,H,W) in [0,1] of a file that the server made."""
        from ...media import read_still

        data = server.fetch(file)
        with tempfile.TemporaryDirectory(prefix="style-a-video-") as folder:
            path = Path(folder, "picture")
            path.write_bytes(data)
            try:
                return read_still(path, (1, LONGEST), LONGEST)
            except StyleAVideoError as error:
                raise StyleAVideoError(
                    f"The server {server.url} gave a file that is no picture, or one with a side "
                    f"of more than {LONGEST:,} px."
                ) from error


def png_of(frame: Tensor) -> bytes:
    """(3,H,W) in [0,1] as a PNG of 8 bits."""
    from PIL import Image

    file = io.BytesIO()
    values = frame.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    Image.fromarray(values.numpy()).save(file, "PNG", compress_level=1)
    return file.getvalue()


def video_of(frames: Tensor) -> bytes:
    """(T,3,H,W) in [0,1] as a Matroska file of FFV1, 8 bits, without loss."""
    import av

    from ...media import to_picture

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25, options={"level": "3", "g": "1"})
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt = "bgr0"
        for n, frame in enumerate(frames):
            picture = to_picture(frame, "bgr0")
            picture.pts, picture.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()
