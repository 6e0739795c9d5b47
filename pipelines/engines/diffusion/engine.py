"""A diffusion model made ready as its options say, and the engines it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import diffusers
import torch
from torch import Tensor

from ....weights import styles
from ....weights.loading import load, load_quietly
from ....weights.style_projection import picture_networks, picture_text
from ...errors import Remedy, StyleAVideoError
from ..kinds import Engine
from ..style import Style
from . import PRESETS, SCHEDULERS, DiffusionOptions
from .conditions import Text
from .pipeline import StyleAVideoPipeline
from .settings import Settings
from .speeds import SPEEDS


def is_built_in(options: DiffusionOptions) -> bool:
    return options.model == "embedded" and styles.are_listed()


def refuse_without_style(
    prompt: str, options: DiffusionOptions, pipeline: StyleAVideoPipeline
) -> None:
    """Refuse words about what is in the picture, styles that the built-in model never saw, and
    misspelt ones that it would take for others.
    """
    if options.anyway or not is_built_in(options):
        return
    meant = styles.nearly_named(prompt)
    if meant is not None and styles.nearest(prompt, pipeline, 1)[0][0] != meant:
        raise StyleAVideoError(
            f"The built-in model would take {prompt!r:.200} for another style than {meant!r}: "
            "correct the spelling if that is meant",
            Remedy.ANYWAY,
        )
    if styles.is_known(prompt, pipeline):
        return
    if beyond := pipeline.beyond(prompt, 1):
        raise StyleAVideoError(
            "The built-in model takes the style from the first "
            f"{pipeline.tokenizer.model_max_length - 2} tokens of a prompt, about twenty words, "
            f"not from {beyond!r:.200}, and knows none in them: name the style first",
            Remedy.ANYWAY,
        )
    known = ", ".join(style.name for style in styles.styles())
    raise StyleAVideoError(
        "The built-in model changes the style, not what is in the picture, and knows no style in "
        f"{prompt!r:.200}: name one ({known}), one of {len(styles.words())} artists and media that "
        "it knows from pictures, use an InstructPix2Pix checkpoint, or give a picture of the style",
        Remedy.ANYWAY,
    )


class Diffusion:
    """Implements `kinds.Loaded`."""

    side = 512  # px; Huang et al. 2023 report 512x256, Stable Diffusion 1.5 was trained at 512
    bytes_per_pixel = 4096  # Stable Diffusion 1.5 in fp16 with four conditions: its decoder

    def __init__(self, options: DiffusionOptions, device: torch.device, dtype: torch.dtype) -> None:
        self.options, self.device, self.dtype = options, device, dtype
        self.pipeline = self._load()
        self.settings = self._chosen()
        speed = SPEEDS[options.speed].saved(self._resolved())
        scheduler = options.scheduler or speed.scheduler
        self.settings |= speed.settings
        if scheduler is not None:
            made = getattr(diffusers, SCHEDULERS[scheduler])
            self.pipeline.scheduler = made.from_config(self.pipeline.scheduler.config)

    def _chosen(self) -> dict[str, Any]:
        """What is given, beneath it the preset as the model has it, beneath that the preset."""
        options, preset = self.options, PRESETS[self.options.preset]
        given = {
            "num_inference_steps": options.steps,
            "text_scale": options.text_scale,
            "frame_scale": options.frame_scale,
            "attention_scale": options.attention_scale,
            "correction": options.correction,
            "start_level": options.start_level,
        }
        own = self.pipeline.config.defaults.get(preset.get("preset", ""), {})
        return {**preset, **own, **{k: v for k, v in given.items() if v is not None}}

    def _resolved(self) -> Settings:
        return Settings.resolve(self.pipeline.config.defaults, **self.settings)

    def _load(self) -> StyleAVideoPipeline:
        load_quietly()
        pipeline = load(self.options.model, dtype=self.dtype, device=self.device)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def engine(self, style: Style) -> Engine:
        self.options.check_style(style)
        if style.text:
            refuse_without_style(style.text, self.options, self.pipeline)
        prompt = self._text(style) if style.pictures else style.text

        def stylize(frames: Tensor, frame_indices: Sequence[int]) -> Tensor:
            (stylized,) = self.pipeline(
                frames,
                prompt,
                self.options.negative,
                seed=self.options.seed,
                frame_indices=frame_indices,
                output_type="pt",
                return_dict=False,
                **self.settings,
            )
            return stylized

        return stylize

    def _text(self, style: Style) -> Text:
        """The pictures as a text condition; beside words, a mean of both."""
        text = Text(*picture_text([one.image for one in style.pictures], style.shares))
        if not style.text:
            return text
        words = self.pipeline.encode_prompt(style.text)
        return words.lerp(text.to(words.hidden), self.options.picture_share)

    @cached_property
    def weights(self) -> str:
        """SHA-256 of the model's weights: read once, however many videos there are."""
        from ....weights.fingerprint import fingerprint

        of_pictures = picture_networks() if is_built_in(self.options) else {}
        return fingerprint({**self.pipeline.components, **of_pictures})

    def identity(self) -> dict[str, Any]:
        return {
            "negative": self.options.negative,
            "model": self.options.model,
            "weights": self.weights,
            "seed": self.options.seed,
            "picture_share": self.options.picture_share,
            "scheduler": type(self.pipeline.scheduler).__name__,
            **asdict(self._resolved()),
        }

    def remarks(self, style: Style) -> list[str]:
        """Says what the built-in model takes a prompt for that names none of its styles."""
        if not (style.text and is_built_in(self.options)):
            return []
        prompt = style.text
        if not styles.is_known(prompt, self.pipeline):
            if not self.options.anyway:
                return []  # it is refused, which says more
            return [f"The built-in model knows no style in {prompt!r:.200}: little will change."]
        first, _ = styles.nearest(prompt, self.pipeline, 1)[0]
        named = styles.is_named(first, prompt)
        return [] if named else [f"The built-in model takes {prompt!r:.200} for {first}."]
