"""The published path of the pipeline; it lives in `engines.diffusion`."""

from .engines.diffusion.pipeline import StyleAVideoOutput, StyleAVideoPipeline

__all__ = ["StyleAVideoOutput", "StyleAVideoPipeline"]
