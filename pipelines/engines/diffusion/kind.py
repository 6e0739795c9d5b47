"""A model made ready as the command line says, and the engines it gives."""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch and diffusers take seconds to import: not for --help
    import torch

    from ...run.segments import Engine
    from ...run.shots import Shot
    from .pipeline import StyleAVideoPipeline

# What --preset stands for, beneath what is given explicitly; "fast" is the model's own few steps.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    "instruct-pix2pix": {"preset": "instruct-pix2pix"},
    # Huang et al. 2023: all four conditions, 30 steps.
    "paper": {"preset": "paper", "num_inference_steps": 30, "attention_scale": 0.5},
}
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}


class Loaded:
    """A model made ready as the arguments say, and the engines it gives."""

    def __init__(self, args: argparse.Namespace) -> None:
        from ...device import pick_device, pick_dtype

        self.args = args
        self.device: torch.device = pick_device(args.device)
        self.dtype: torch.dtype = pick_dtype(args.dtype, self.device)
        given = {
            "num_inference_steps": args.steps,
            "text_scale": args.text_scale,
            "frame_scale": args.frame_scale,
            "attention_scale": args.attention_scale,
            "correction": args.correction,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        self.settings = PRESETS[args.preset] | chosen
        self.pipeline = self._load()

    def _load(self) -> StyleAVideoPipeline:
        import diffusers

        from ....weights.loading import load

        load_quietly()
        pipeline = load(self.args.model, dtype=self.dtype, device=self.device)
        pipeline.set_progress_bar_config(disable=True)
        if self.args.scheduler is not None:
            scheduler = getattr(diffusers, SCHEDULERS[self.args.scheduler])
            pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
        return pipeline

    def engine(self, prompt: str) -> Engine:
        def stylize(frames: torch.Tensor, frame_indices: Sequence[int]) -> torch.Tensor:
            (stylized,) = self.pipeline(
                frames,
                prompt,
                self.args.negative,
                seed=self.args.seed,
                frame_indices=frame_indices,
                output_type="pt",
                return_dict=False,
                **self.settings,
            )
            return stylized

        return stylize

    def engine_of_shots(self, prompt: str, begins: Sequence[Shot] | None) -> Engine:
        """An engine with a prompt for each shot; `prompt` where a shot has none."""
        if begins is None:
            return self.engine(prompt)
        texts = {prompt, *(shot.prompt or prompt for shot in begins)}
        engines = {text: self.engine(text) for text in texts}
        starts = [shot.start for shot in begins]

        def stylize(frames: torch.Tensor, frame_indices: Sequence[int]) -> torch.Tensor:
            shot = begins[bisect_right(starts, frame_indices[0]) - 1]
            return engines[shot.prompt or prompt](frames, frame_indices)

        return stylize

    @cached_property
    def weights(self) -> str:
        """SHA-256 of the model's weights: read once, however many videos there are."""
        from ...run.job import fingerprint

        return fingerprint(self.pipeline)

    def describe(self, prompt: str) -> dict[str, Any]:
        """Everything that decides the engine's pixels."""
        from .settings import Settings

        resolved = Settings.resolve(self.pipeline.config.defaults, **self.settings)
        return {
            "prompt": prompt,
            "negative": self.args.negative,
            "model": self.args.model,
            "weights": self.weights,
            "seed": self.args.seed,
            "scheduler": type(self.pipeline.scheduler).__name__,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            **asdict(resolved),
        }

    def place(self, prompt: str) -> list[str]:
        """Says where the built-in model sees a prompt that names none of its styles."""
        if self.args.model != "embedded" or not lists_styles():
            return []
        from ....weights import styles

        nearest = styles.nearest(prompt, self.pipeline)
        if styles.is_known(prompt, self.pipeline):
            first, _ = nearest[0]
            named = styles.is_named(first, prompt)
            return [] if named else [f"The built-in model takes {prompt!r} for {first}."]
        words = ", ".join(f"{name} ({similarity:.2f})" for name, similarity in nearest)
        return [
            f"The built-in model cannot place the style {prompt!r}; the nearest it knows, with "
            f"their similarity: {words}."
        ]


def load_quietly() -> None:
    """Without the libraries' own progress bars."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def lists_styles() -> bool:
    from ....weights import styles

    return (styles.EMBEDDED / "styles.json").is_file()
