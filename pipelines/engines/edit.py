"""Image-editing models of diffusers, frame by frame: SDXL InstructPix2Pix, Flux Kontext."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StyleAVideoError
from .kinds import WORDS, Engine, EngineKind, Loaded
from .options import ALIGN, Options, option
from .style import Style, parse_picture

if TYPE_CHECKING:  # torch and diffusers take seconds to import: not for --help
    import torch
    from torch import Tensor

GRID = 16  # px: frames are padded to multiples of it; Flux sees patches of 16
SMALLEST = 64  # px a side


@dataclass(frozen=True)
class EditOptions(Options):
    """None is the pipeline's own value."""

    model: str = option(
        "diffusers/sdxl-instructpix2pix-768",
        "a folder or hub id of an SDXL InstructPix2Pix or a Flux Kontext, in diffusers format",
        metavar="OWNER/NAME|FOLDER",
    )
    text_scale: float | None = option(None, "how strong the words", high=100, metavar="X")
    frame_scale: float | None = option(
        None, "how faithful to the frame; InstructPix2Pix alone", high=100, metavar="X"
    )
    steps: int | None = option(None, "sampling steps", low=1, high=1000, metavar="N")
    seed: int = option(0, "of the noise, which is that of every frame", high=2**63 - 1, metavar="N")
    lora: str = option("", "a LoRA and its weight (1)", metavar="FILE.safetensors[:WEIGHT]")
    offload: str = option(
        "none",
        "what of the model waits in the machine's memory, for a GPU with less: all but the part at "
        "work, or all but the layer",
        choices=("none", "model", "layer"),
    )
    align: bool = option(False, ALIGN)


class Edit:
    """Implements `kinds.Loaded`."""

    side = 1024  # px
    bytes_per_pixel = 8192  # a decoder of 128 channels in float32, and what is beside it

    def __init__(self, options: EditOptions, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        from ...weights.edit import load_editor
        from ...weights.fingerprint import fingerprint
        from ...weights.loading import load_quietly

        if options.offload != "none" and device.type == "cpu":
            raise StyleAVideoError("offload is for GPUs: leave it out on a CPU.")
        load_quietly()
        self.options, self.device, self.dtype = options, device, dtype
        self.pipeline = load_editor(options.model, dtype)
        self.kind = KINDS[type(self.pipeline).__name__]
        if dtype == torch.float16 and self.kind.overflows:
            self.dtype = torch.bfloat16
            self.pipeline.to(torch.bfloat16)
        if options.frame_scale is not None and not self.kind.frame_scale:
            raise StyleAVideoError(
                f"frame_scale is not for a {type(self.pipeline).__name__}, which has no such "
                "guidance: leave it out."
            )
        self.weights = fingerprint(self.pipeline.components)  # before it is put anywhere
        self.lora = self._add_lora() if options.lora else None
        if options.offload == "model":
            self.pipeline.enable_model_cpu_offload(device=device)
        elif options.offload == "layer":
            self.pipeline.enable_sequential_cpu_offload(device=device)
        else:
            self.pipeline.to(device)
        self._try()

    def _try(self) -> None:
        """Refuse parts that fit their weights but not each other: by a small frame in two steps."""
        import torch

        from ...weights.building import unloadable

        try:
            with torch.no_grad():
                words = self.kind.words(self.pipeline, "a")
                self._stylize(torch.full((1, 3, SMALLEST, SMALLEST), 0.5), words, steps=2)
        except (StyleAVideoError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:  # whatever their layers say of each other's shapes
            raise unloadable(Path(self.options.model), error) from error

    def _add_lora(self) -> str:
        """Puts it in → the SHA-256 of its tensors, with its weight."""
        from ...weights.edit import read_lora

        path, weight = parse_picture(self.options.lora, "LoRA")
        state = read_lora(path)
        found = hashlib.sha256(f"{weight}".encode())
        for key, tensor in sorted(state.items()):
            found.update(key.encode() + tensor.float().numpy().tobytes())
        try:
            self.pipeline.load_lora_weights(state, adapter_name="style")
            self.pipeline.set_adapters(["style"], [weight])
        except (ImportError, ValueError) as error:
            if "PEFT" in str(error):
                raise StyleAVideoError("A LoRA needs peft: pip install peft") from error
            raise _misfit(path, error) from error
        except Exception as error:  # diffusers and peft agree on no class for what does not fit
            raise _misfit(path, error) from error
        return found.hexdigest()

    def identity(self) -> dict[str, Any]:
        given = self.options.as_dict()
        return {
            **{k: given[k] for k in ("text_scale", "frame_scale", "steps", "seed", "align")},
            "kind": type(self.pipeline).__name__,
            "weights": self.weights,
            "lora": self.lora,
        }

    def remarks(self, style: Style) -> list[str]:
        import torch

        if self.kind.overflows and self.dtype == torch.bfloat16 and self.device.type != "cpu":
            return ["This model is worked with in bf16: in fp16 it overflows."]
        return []

    def engine(self, style: Style) -> Engine:
        words = self.kind.words(self.pipeline, style.text)

        def stylize(frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
            import torch

            from ..core import alignment

            with torch.no_grad():
                made = torch.cat([self._stylize(frame, words) for frame in frames.split(1)])
                return alignment.in_place(frames, made) if self.options.align else made

        return stylize

    def _stylize(self, frame: Tensor, words: dict[str, Any], steps: int | None = None) -> Tensor:
        """(1,3,H,W) in [0,1] → the same size."""
        import torch
        from torch.nn.functional import pad

        height, width = frame.shape[-2:]
        wide, high = (max(SMALLEST, side + -side % GRID) for side in (width, height))
        shown = pad(frame.float(), (0, wide - width, 0, high - height), mode="replicate")
        given = {
            "num_inference_steps": steps or self.options.steps,
            "guidance_scale": self.options.text_scale,
            "image_guidance_scale": self.options.frame_scale,
        }
        made = self.pipeline(
            image=shown,
            height=high,
            width=wide,
            generator=torch.Generator("cpu").manual_seed(self.options.seed),
            output_type="pt",
            **words,
            **self.kind.given(high, wide),
            **{name: value for name, value in given.items() if value is not None},
        ).images
        return made[..., :height, :width].float().clamp(0, 1)


@dataclass(frozen=True)
class Kind:
    """What a pipeline wants of its own.

    Attributes:
        words: (pipeline, text) → its arguments for the words, made once for all frames.
        given: (height, width) → more arguments.
        frame_scale: whether it is guided by the frame.
        overflows: in fp16.
    """

    words: Callable[[Any, str], dict[str, Any]]
    given: Callable[[int, int], dict[str, Any]]
    frame_scale: bool
    overflows: bool


def _pix2pix_words(pipeline: Any, text: str) -> dict[str, Any]:
    return {"prompt": text}


def _kontext_words(pipeline: Any, text: str) -> dict[str, Any]:
    import torch

    with torch.no_grad():
        embeds, pooled, _ = pipeline.encode_prompt(prompt=text, prompt_2=None)
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


KINDS = {
    "StableDiffusionXLInstructPix2PixPipeline": Kind(
        _pix2pix_words, lambda height, width: {}, frame_scale=True, overflows=False
    ),
    # It would bring every frame to one of its own sizes of about 1024 x 1024.
    "FluxKontextPipeline": Kind(
        _kontext_words,
        lambda height, width: {"max_area": height * width, "_auto_resize": False},
        frame_scale=False,
        overflows=True,
    ),
}


def _misfit(path: Path, error: Exception) -> StyleAVideoError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return StyleAVideoError(f"The LoRA {path.name} is not for this model ({reason}).")


def load(options: EditOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return Edit(options, device, dtype)


KIND = EngineKind(
    name="edit",
    what="image-editing models of diffusers: SDXL InstructPix2Pix, Flux Kontext",
    takes=frozenset({WORDS}),
    speed="seconds a frame, on a GPU",
    licence="the model's own; Flux Kontext dev is not for commercial use",
    options=EditOptions,
    load=load,
)
