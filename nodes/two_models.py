"""Two models in one sampling: one at high noise, the other from there on (Wan 2.2, Bernini)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..pipelines.errors import StyleAVideoError

BOUNDARY = 0.875
"""Of Wan 2.2's text-to-video pair, by its authors, and so of Bernini's."""


class TwoModelGuider:
    """ComfyUI's GUIDER of two: `high` for the steps that begin at noise of `boundary` or more (1 is
    the most that the model knows), `low` for the others. The sampler is the same; one that looks
    back begins anew with the second model.
    """

    def __init__(self, high: Any, low: Any, boundary: float = BOUNDARY) -> None:
        self.high, self.low, self.boundary = high, low, boundary
        self.model_patcher = high.model_patcher  # whose latents the sampler's block looks at

    def changed(self, change: Callable[[Any], Any]) -> TwoModelGuider:
        """With both guiders changed; this one stays as it is."""
        return TwoModelGuider(change(self.high), change(self.low), self.boundary)

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """As CFGGuider's."""
        steps = len(sigmas) - 1
        first = steps_of_high(self.high.model_patcher, sigmas, self.boundary)

        def run(
            guider: Any, sampler: Any, sigmas: Tensor, begun: int = 0, seed: int | None = seed
        ) -> Tensor:
            def told(step: int, denoised: Tensor, x: Tensor, _: int) -> None:
                assert callback is not None
                callback(begun + step, denoised, x, steps)

            return guider.sample(
                noise,
                latent_image,
                sampler,
                sigmas,
                denoise_mask=denoise_mask,
                callback=None if callback is None else told,
                disable_pbar=disable_pbar,
                seed=seed,
            )

        if first == 0 or first >= steps:
            return run(self.low if first == 0 else self.high, sampler, sigmas)
        kept: list[Tensor] = []
        run(self.high, _handing(sampler, kept), sigmas[: first + 1])
        # Where the sampler draws noise, not the same once more.
        again = None if seed is None else seed + 1
        return run(self.low, _taking(sampler, kept), sigmas[first:], first, again)


def guiders_in(guider: Any) -> tuple[Any, ...]:
    """Those of a TwoModelGuider, in which there may be another; any other alone."""
    if not isinstance(guider, TwoModelGuider):
        return (guider,)
    return (*guiders_in(guider.high), *guiders_in(guider.low))


def steps_of_high(model: Any, sigmas: Tensor, boundary: float) -> int:
    """How many steps begin at noise of `boundary` or more."""
    sampling = model.get_model_object("model_sampling")
    levels = sampling.timestep(sigmas[:-1].float().cpu())
    most = sampling.timestep(torch.as_tensor(sampling.sigma_max).float().cpu().reshape(1))
    return int((levels >= boundary * most).sum())


def _handing(sampler: Any, kept: list[Tensor]) -> Any:
    """The sampler; where it ends, between the models, is kept as it is."""

    def sample(model: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kept.append(_function(sampler)(model, x, *args, **kwargs))
        return kept[-1]

    return _with_function(sampler, sample)


def _taking(sampler: Any, kept: list[Tensor]) -> Any:
    """The sampler, begun there. Noise and latents remain those of the whole: a mask needs them."""

    def sample(model: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _function(sampler)(model, kept.pop().to(x), *args, **kwargs)

    return _with_function(sampler, sample)


def _function(sampler: Any) -> Callable[..., Tensor]:
    """What a SAMPLER calls.

    Raises:
        StyleAVideoError: it is none of ComfyUI's kind.
    """
    if not isinstance(sampler, comfy.samplers.KSAMPLER):
        raise StyleAVideoError(
            f"A sampler of this kind ({type(sampler).__name__}) cannot go from one model to the "
            "other: use KSamplerSelect."
        )
    return sampler.sampler_function


def _with_function(sampler: Any, function: Callable[..., Tensor]) -> Any:
    _function(sampler)
    changed = copy.copy(sampler)
    changed.sampler_function = function
    return changed


class TwoModelGuiderNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAVideoTwoModelGuider",
            display_name="Two-model Guider",
            category="Style-A-Video/guidance",
            description=(
                "Two guiders as one, for models that come as a pair: one begins, the other "
                "finishes. Goes into SamplerCustomAdvanced or Stylize Video."
            ),
            search_aliases=["high noise low noise", "wan 2.2", "bernini 14b", "boundary"],
            inputs=[
                io.Guider.Input(
                    "high_noise", tooltip="The guider of the model that begins, at high noise."
                ),
                io.Guider.Input(
                    "low_noise", tooltip="The guider of the model that finishes, at low noise."
                ),
                io.Float.Input(
                    "boundary",
                    default=BOUNDARY,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip="Noise, from 0 to 1, below which the second model works: 0.875 for "
                    "Wan 2.2 and Bernini.",
                ),
            ],
            outputs=[io.Guider.Output(display_name="GUIDER")],
        )

    @classmethod
    def execute(cls, high_noise, low_noise, boundary) -> io.NodeOutput:
        formats = [
            type(g.model_patcher.model.latent_format).__name__ for g in (high_noise, low_noise)
        ]
        if formats[0] != formats[1]:
            raise StyleAVideoError(
                f"The two models have different latents ({formats[0]}, {formats[1]}): take the two "
                "of a pair."
            )
        return io.NodeOutput(TwoModelGuider(high_noise, low_noise, boundary))
