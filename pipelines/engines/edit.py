"""Image-editing models of diffusers, frame by frame: those of KINDS."""

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
        "a folder or hub id of an SDXL InstructPix2Pix, a Flux Kontext, a Flux 2 klein or a "
        "Qwen-Image-Edit, in diffusers format",
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
        self.pipeline, self.configs = load_editor(options.model, dtype)
        self.kind = KINDS[type(self.pipeline).__name__]
        if dtype == torch.float16 and self.kind.overflows:
            self.dtype = torch.bfloat16
            self.pipeline.to(torch.bfloat16)
        self.distilled = bool(self.pipeline.config.get("is_distilled"))
        for name, given, has in (
            ("frame_scale", options.frame_scale, self.kind.frame_scale),
            ("text_scale", options.text_scale, not self.distilled),
        ):
            if given is not None and not has:
                raise StyleAVideoError(
                    f"{name} is not for {'a distilled ' if self.distilled else 'a '}"
                    f"{type(self.pipeline).__name__}, which has no such guidance: leave it out."
                )
        if options.steps == 1 and self.pipeline.scheduler.config.get("shift_terminal"):
            raise StyleAVideoError(
                f"steps is 1, and a {type(self.pipeline).__name__} takes 2 or more: its scheduler "
                "would divide by nothing."
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
            "configs": self.configs,
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
        from torch.nn.functional import interpolate, pad

        height, width = frame.shape[-2:]
        wide, high = (max(SMALLEST, side + -side % GRID) for side in (width, height))
        if max(wide, high) > self.kind.longest * min(wide, high):
            raise StyleAVideoError(
                f"Frames of {width}x{height} are too narrow for a {type(self.pipeline).__name__}, "
                f"which takes sides of 1 to {self.kind.longest}: crop them, or use another model."
            )
        shown = pad(frame.float(), (0, wide - width, 0, high - height), mode="replicate")
        given = {
            "num_inference_steps": steps or self.options.steps,
            self.kind.scale: self.options.text_scale,
            "image_guidance_scale": self.options.frame_scale,
        }
        made = self.pipeline(
            image=_picture(shown) if self.kind.picture else shown,
            generator=torch.Generator("cpu").manual_seed(self.options.seed),
            output_type="pt",
            **{
                **words,
                **self.kind.given(high, wide),
                **(DISTILLED if self.distilled else {}),
                **{name: value for name, value in given.items() if value is not None},
            },
        ).images.float()
        if made.shape[-2:] != shown.shape[-2:]:
            made = interpolate(made, shown.shape[-2:], mode="bicubic", antialias=True)
        return made[..., :height, :width].clamp(0, 1)


def _picture(frame: Tensor) -> Any:
    """(1,3,H,W) in [0,1] → as Pillow has it."""
    from PIL import Image

    return Image.fromarray((frame[0].movedim(0, -1) * 255).round().byte().cpu().numpy())


@dataclass(frozen=True)
class Kind:
    """What a pipeline wants of its own.

    Attributes:
        words: (pipeline, text) → its arguments for the words, made once for all frames.
        given: (height, width) → more arguments.
        frame_scale: whether it is guided by the frame.
        overflows: in fp16.
        picture: whether it takes frames as Pillow's alone, in 8 bits.
        scale: its argument for how strong the words are.
        longest: how many times the shorter side of a frame may be the longer one.
    """

    words: Callable[[Any, str], dict[str, Any]]
    given: Callable[[int, int], dict[str, Any]]
    frame_scale: bool = False
    overflows: bool = True
    picture: bool = False
    scale: str = "guidance_scale"
    longest: int = 1000


def _sized(height: int, width: int) -> dict[str, Any]:
    return {"height": height, "width": width}


def _pix2pix_words(pipeline: Any, text: str) -> dict[str, Any]:
    return {"prompt": text}


def _kontext_words(pipeline: Any, text: str) -> dict[str, Any]:
    import torch

    with torch.no_grad():
        embeds, pooled, _ = pipeline.encode_prompt(prompt=text, prompt_2=None)
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def _klein_words(pipeline: Any, text: str) -> dict[str, Any]:
    import torch

    with torch.no_grad():
        words, nothing = (pipeline.encode_prompt(prompt=t)[0] for t in (_plain(text), ""))
    return {"prompt_embeds": words, "negative_prompt_embeds": nothing}


def _qwen_words(pipeline: Any, text: str) -> dict[str, Any]:
    """They are read together with the frame, so for each anew."""
    return {"prompt": _plain(text), "negative_prompt": " "}


def _plain(text: str) -> str:
    """Without what its tokenizer would take for a sign of its own, such as <|im_end|>."""
    return text.replace("<|", "< |").replace("\0", " ")


DISTILLED = {"num_inference_steps": 4, "guidance_scale": 1.0}
"""What its authors ask for where steps and guidance were distilled."""
# Brings every frame to about 1024 x 1024 and gives it in that size, as it has learned.
_QWEN_EDIT = Kind(_qwen_words, lambda height, width: {}, picture=True, scale="true_cfg_scale")
KINDS = {
    "StableDiffusionXLInstructPix2PixPipeline": Kind(
        _pix2pix_words, _sized, frame_scale=True, overflows=False
    ),
    # It would bring every frame to one of its own sizes of about 1024 x 1024.
    "FluxKontextPipeline": Kind(
        _kontext_words,
        lambda height, width: {
            **_sized(height, width),
            "max_area": height * width,
            "_auto_resize": False,
        },
    ),
    "Flux2KleinPipeline": Kind(_klein_words, _sized, picture=True, longest=8),
    "QwenImageEditPipeline": _QWEN_EDIT,
    "QwenImageEditPlusPipeline": _QWEN_EDIT,
}


def _misfit(path: Path, error: Exception) -> StyleAVideoError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return StyleAVideoError(f"The LoRA {path.name} is not for this model ({reason}).")


def load(options: EditOptions, device: torch.device, dtype: torch.dtype) -> Loaded:
    return Edit(options, device, dtype)


KIND = EngineKind(
    name="edit",
    what="image-editing models of diffusers: SDXL InstructPix2Pix, Flux Kontext, Flux 2 klein, "
    "Qwen-Image-Edit",
    takes=frozenset({WORDS}),
    speed="seconds a frame, on a GPU",
    licence="the model's own; Flux Kontext dev is not for commercial use",
    options=EditOptions,
    load=load,
)
