"""Style-A-Video as an engine: latent diffusion guided by the frame, the words and attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import StyleAVideoError
from ..kinds import PICTURES, WORDS, EngineKind, Loaded
from ..options import Options, option
from ..style import Style
from .speeds import SPEEDS

if TYPE_CHECKING:  # torch and diffusers take seconds to import: not for --help
    import torch

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {},
    "instruct-pix2pix": {"preset": "instruct-pix2pix"},
    # Huang et al. 2023: all four conditions, 30 steps.
    "paper": {"preset": "paper", "num_inference_steps": 30, "attention_scale": 0.5},
}
"""What an option `preset` stands for, beneath what is given explicitly; fast: the model's own.

Their formulas: `core.guidance.FORMULAS`."""

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}
"""Names of diffusers' classes."""


@dataclass(frozen=True)
class DiffusionOptions(Options):
    """None is the model's own value."""

    model: str = option(
        "embedded",
        "the built-in model, or another (see style-a-video info)",
        metavar="embedded|HUB_ID|FOLDER|FILE",
    )
    picture_share: float = option(
        0.5, "of the pictures beside the words, where both are given", low=0, high=1, metavar="X"
    )
    negative: str = option("", "what the style is not", metavar="TEXT")
    preset: str = option("fast", "guidance; fast: the model's own", choices=PRESETS)
    text_scale: float | None = option(None, "how strong the style, s_T", metavar="X")
    frame_scale: float | None = option(None, "how faithful to the frame, s_I", metavar="X")
    attention_scale: float | None = option(
        None, "how much more so where the model attends, s_M", metavar="X"
    )
    correction: float | None = option(
        None, "pull towards the frame's content, lambda; 0.2 is normal", metavar="X"
    )
    steps: int | None = option(None, "sampling steps", low=1, high=1000, metavar="N")
    start_level: float | None = option(
        None,
        "where sampling starts: 1 noise, below it the frame noised so far; keeps content",
        low=0.05,
        high=1,
        metavar="X",
    )
    speed: str = option("exact", "evaluations saved where there are several steps", choices=SPEEDS)
    scheduler: str | None = option(None, "sampler", choices=SCHEDULERS)
    seed: int = option(0, "of the noise", high=2**63 - 1, metavar="N")
    anyway: bool = option(False, "take words in which the built-in model knows no style")

    def check_style(self, style: Style) -> None:
        if style.pictures and self.model != "embedded":
            raise StyleAVideoError(
                "The built-in model alone takes a picture in the place of words: leave the picture "
                "out, or choose another engine."
            )
        if any(picture.mask is not None for picture in style.pictures):
            raise StyleAVideoError(
                "The engine diffusion puts a picture's style on the whole frame: leave the mask "
                "out, or choose another engine."
            )


def load(options: DiffusionOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    from .engine import Diffusion

    return Diffusion(options, device, dtype)


KIND = EngineKind(
    name="diffusion",
    what="Style-A-Video: latent diffusion guided by words, pictures or both (Huang et al. 2023)",
    takes=frozenset({WORDS, PICTURES}),
    speed="4 frames/s at 512x256 on two cores, built-in model",
    licence="Apache-2.0; of other models their own",
    options=DiffusionOptions,
    load=load,
)
