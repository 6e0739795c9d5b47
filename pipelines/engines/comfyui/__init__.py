"""A workflow of the user's own as an engine: frames through a running ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kinds import EngineKind, Loaded
from ..options import ALIGN, Options, option
from .server import DEFAULT, urls

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    import torch


@dataclass(frozen=True)
class ComfyUIOptions(Options):
    workflow: str = option(
        "", "a workflow, saved by File > Export (API); it has the style", metavar="FILE.json"
    )
    server: str = option(
        DEFAULT, "where it runs; several share the frames, with commas between", metavar="URL[,URL]"
    )
    in_: str = option(
        "", "where frames go in, such as 12.image (its only loader)", metavar="NODE.INPUT"
    )
    out: str = option(
        "", "the node that is given the results (its only output of pictures)", metavar="NODE"
    )
    multiple: int = option(
        8, "frames are padded to multiples of so many px", low=1, high=512, metavar="N"
    )
    timeout: float = option(
        1800, "seconds that one prompt may take, its wait in the queue included", low=1, metavar="S"
    )

    align: bool = option(False, ALIGN)

    def check(self) -> None:
        super().check()
        urls(self.server)


def load(options: ComfyUIOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    from .engine import ComfyUI

    return ComfyUI(options)


KIND = EngineKind(
    name="comfyui",
    what="a workflow of your own, by a running ComfyUI (docs/comfyui_server.md)",
    takes=frozenset(),
    speed="the workflow's",
    licence="of the workflow's models and nodes",
    options=ComfyUIOptions,
    load=load,
)
