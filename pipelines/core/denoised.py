"""The denoised prediction x0 behind a U-Net's output, whatever parameterisation and sampler."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def alpha_bar(scheduler: Any, t: Tensor) -> float:
    """ᾱ_t of the scheduler's step: z_t = sqrt(ᾱ_t) x0 + sqrt(1-ᾱ_t) ε (Ho et al. 2020, eq. 4).

    Samplers that work on sigmas may stand between two training steps: ᾱ = 1 / (σ² + 1) (Karras et
    al. 2022, table 1, VP). The others say ᾱ_t at the integer t.
    """
    if hasattr(scheduler, "sigmas"):
        index = scheduler.step_index
        if index is None:
            index = scheduler.index_for_timestep(t)
        return float(1 / (scheduler.sigmas[index] ** 2 + 1))
    return float(scheduler.alphas_cumprod[int(t)])


def denoised(prediction_type: str, output: Tensor, z: Tensor, alpha_bar: float) -> Tensor:
    """x0 from the U-Net's output at z_t.

    For ε it is (z - sqrt(1-ᾱ) ε) / sqrt(ᾱ) (Song et al. 2021, DDIM, eq. 9), for v it is
    sqrt(ᾱ) z - sqrt(1-ᾱ) v (Salimans and Ho 2022, appendix D), which at ᾱ = 0, the first step of
    zero terminal SNR, is -v.

    Raises:
        ValueError: an unknown prediction type.
    """
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    if prediction_type == "epsilon":
        return (z - noise * output) / signal
    if prediction_type == "v_prediction":
        return signal * z - noise * output
    if prediction_type == "sample":
        return output
    raise ValueError(f"There is no x0 for the prediction type {prediction_type!r}.")


def predict_denoised(scheduler: Any, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """x0 from the U-Net's output at its input z = scheduler.scale_model_input(sample, t).

    In that scaling all samplers of diffusers agree (variance preserving), so that one formula
    serves DDIM, DPM-Solver++ and UniPC, whose samples need no scaling, and Euler and Heun, whose
    samples do.
    """
    return denoised(scheduler.config.prediction_type, output, z, alpha_bar(scheduler, t))
