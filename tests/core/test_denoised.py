import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from style_a_video.pipelines.core.denoised import denoised, predict_denoised

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def sample_and_output(scheduler):
    generator = torch.Generator().manual_seed(0)
    sample = scheduler.init_noise_sigma * torch.randn(2, 4, 6, 5, generator=generator)
    return sample, torch.randn(2, 4, 6, 5, generator=generator)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler_class", [DDIMScheduler, EulerDiscreteScheduler])
def test_x0_is_the_schedulers_own(scheduler_class, prediction_type):
    clip = {"clip_sample": False} if scheduler_class is DDIMScheduler else {}
    scheduler = scheduler_class(**BETAS, prediction_type=prediction_type, **clip)
    scheduler.set_timesteps(7)
    sample, output = sample_and_output(scheduler)
    for t in scheduler.timesteps:
        z = scheduler.scale_model_input(sample, t)
        x0 = predict_denoised(scheduler, output, z, t)
        step = scheduler.step(output, t, sample)
        torch.testing.assert_close(x0, step.pred_original_sample, atol=1e-4, rtol=1e-4)
        sample = step.prev_sample


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler_class", [DPMSolverMultistepScheduler, UniPCMultistepScheduler])
def test_x0_is_what_the_multistep_solvers_use(scheduler_class, prediction_type):
    scheduler = scheduler_class(**BETAS, prediction_type=prediction_type)
    scheduler.set_timesteps(5)
    sample, output = sample_and_output(scheduler)
    for t in scheduler.timesteps:
        x0 = predict_denoised(scheduler, output, scheduler.scale_model_input(sample, t), t)
        following = scheduler.step(output, t, sample).prev_sample
        torch.testing.assert_close(x0, scheduler.model_outputs[-1], atol=1e-4, rtol=1e-4)
        sample = following


def test_zero_terminal_snr_starts_at_minus_v():
    scheduler = DDIMScheduler(
        **BETAS,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(4)
    sample, v = sample_and_output(scheduler)
    assert torch.equal(predict_denoised(scheduler, v, sample, scheduler.timesteps[0]), -v)


def test_a_prediction_of_x0_is_itself():
    sample, output = torch.zeros(1), torch.ones(1)
    assert denoised("sample", output, sample, 0.3) is output


def test_an_unknown_parameterisation_is_refused():
    with pytest.raises(ValueError, match="prediction type 'flow'"):
        denoised("flow", torch.ones(1), torch.ones(1), 0.5)
