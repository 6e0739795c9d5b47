"""The named speeds save what they say, and nothing where there is nothing to save."""

from __future__ import annotations

import pytest
import torch
from style_a_video.pipelines.engines.diffusion import DiffusionOptions
from style_a_video.pipelines.engines.diffusion.engine import Diffusion
from style_a_video.pipelines.engines.diffusion.settings import Settings
from style_a_video.pipelines.engines.diffusion.speeds import SPEEDS
from style_a_video.pipelines.engines.style import Style

OUTER = 0.66
"""Share of the built-in U-Net's products that its outermost level has, as benchmarks/speed.py
counts."""


def evaluations(settings: Settings) -> float:
    """Pictures through the U-Net a frame; without its inner levels they count as so much less."""
    assert settings.evaluate_every == 1
    whole = -(-settings.num_inference_steps // settings.inner_every)
    steps = whole + OUTER * (settings.num_inference_steps - whole)
    return steps * len(settings.weights(0.0))


@pytest.mark.parametrize("name, most", [("exact", 120), ("balanced", 40), ("fast", 20)])
def test_evaluations_of_the_papers_guidance(name, most):
    paper = {"preset": "paper", "num_inference_steps": 30, "attention_scale": 0.5}
    saved = SPEEDS[name].saved(Settings(**paper)).settings
    assert evaluations(Settings(**paper | saved)) <= most


def test_exact_and_one_step_stay_as_they_are():
    for speed in SPEEDS.values():
        assert speed.saved(Settings(num_inference_steps=1)) == ({}, None)
    assert SPEEDS["exact"].saved(Settings()) == ({}, None)


def test_of_few_steps_three_are_left():
    for steps, left in ((2, 2), (3, 3), (10, 3), (20, 4)):
        saved = SPEEDS["fast"].saved(Settings(num_inference_steps=steps)).settings
        assert saved == {"num_inference_steps": left, "inner_every": 2}


def test_no_speed_falls_below_the_steps_that_its_start_needs():
    late = Settings(num_inference_steps=10, start_level=0.8)
    for speed in SPEEDS.values():
        Settings(**{"num_inference_steps": 10, "start_level": 0.8} | speed.saved(late).settings)


def test_the_engine_runs_at_the_speed_that_is_chosen(monkeypatch, tiny_pipeline, clip):
    monkeypatch.setattr(Diffusion, "_load", lambda self: tiny_pipeline)
    own = tiny_pipeline.scheduler
    try:
        made = {
            name: Diffusion(
                DiffusionOptions(preset="paper", speed=name, anyway=True),
                torch.device("cpu"),
                torch.float32,
            )
            for name in ("fast", "exact")
        }
        assert made["fast"].settings["num_inference_steps"] == 6
        seen = []
        hook = tiny_pipeline.unet.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        frames = made["fast"].engine(Style("oil"))(clip, range(3))
        hook.remove()
        assert frames.isfinite().all()
        # The probe; every other of six steps with four conditions, the first text and nothing once.
        assert sum(map(len, seen)) == 3 + (2 * 3 + 2) + 2 * 12
        kinds = {name: one.identity() for name, one in made.items()}
        assert (kinds["fast"]["num_inference_steps"], kinds["exact"]["num_inference_steps"]) == (
            6,
            30,
        )
    finally:
        tiny_pipeline.scheduler = own
