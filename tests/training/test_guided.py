"""The sum that stage 5b trains is the preset's, and its steps are the sampler's."""

import json
from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines.core import guidance
from style_a_video.training import architecture
from style_a_video.training.train_guided import STEP, Sum, step_of_the_sum
from style_a_video.weights.styles import EMBEDDED

PHOTO, STYLE = 1.0, 3.0
COUNT, SIDE = 2, 4
SCHEDULER = architecture.scheduler()
ALPHAS = SCHEDULER.alphas_cumprod


def knowing(z, t, text, class_labels):
    """v of a U-Net that leads words to the style, and everything else to the photo."""
    a = ALPHAS[t][:, None, None, None]
    z = z[:, :32]
    x0 = torch.where(text[:, :1, :1, None] > 0, STYLE, PHOTO)
    return SimpleNamespace(sample=(a.sqrt() * z - x0) / (1 - a).sqrt())


def sum_of(scales, unet, photos=None):
    photos = torch.full((COUNT, 32, SIDE, SIDE), PHOTO) if photos is None else photos
    asked = {"hidden": torch.ones(COUNT, 77, 8), "pooled": torch.ones(COUNT, 8)}
    nothing = {key: torch.zeros_like(x) for key, x in asked.items()}
    masks = torch.ones(COUNT, 1, SIDE, SIDE)
    masks[..., 0] = 0
    return photos, Sum(unet, photos, masks, asked, nothing, torch.tensor(scales))


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_what_words_lead_to_is_what_the_sum_leads_to(steps):
    photos, guided = sum_of([1.0, 1.0], knowing)
    x0 = step_of_the_sum(guided, photos, 500, steps, ALPHAS)
    torch.testing.assert_close(x0, torch.full_like(x0, STYLE), atol=0.05, rtol=0)


def test_a_scale_of_the_text_goes_so_far_beyond():
    photos, guided = sum_of([1.0, 3.0], knowing)
    x0 = step_of_the_sum(guided, photos, 500, 0, ALPHAS)
    for x, scale in zip(x0, (1, 3), strict=True):
        wanted = torch.full_like(x, PHOTO + scale * (STYLE - PHOTO))
        torch.testing.assert_close(x, wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize("steps", [0, 3])
def test_the_steps_are_diffusers(steps):
    """Its DDIM scheduler at the same times, with a v that hangs on z_t and on t."""

    def bending(z, t, text, class_labels):
        return SimpleNamespace(sample=torch.sin(z[:, :32]) * t[:, None, None, None] / 1000)

    photos, guided = sum_of([1.0, 1.0], bending, torch.randn(COUNT, 32, SIDE, SIDE))
    torch.manual_seed(0)
    x0 = step_of_the_sum(guided, photos, 499, steps, ALPHAS)
    torch.manual_seed(0)
    SCHEDULER.set_timesteps(1000 // STEP)
    z = SCHEDULER.add_noise(photos, torch.randn_like(photos), torch.tensor([499]))
    for i in range(steps + 1):
        t = 499 - i * STEP
        step = SCHEDULER.step(guided.v(z, torch.full((COUNT,), t)), t, z)
        z = step.prev_sample
    torch.testing.assert_close(x0, step.pred_original_sample, atol=1e-4, rtol=1e-4)


def test_the_weights_are_those_of_the_preset():
    """Those that ship. Each evaluation alone is a number of its own: no two can change places."""
    shipped = json.loads((EMBEDDED / "model_index.json").read_text())["defaults"]["paper"]
    alone = {"null": 2.0, "frame": 30.0, "text": 400.0, "attention": 5000.0}

    def numbered(z, t, text, class_labels):
        image = z[:, 32:]
        masked = (image[..., 0] == 0).all((1, 2)) & (image[..., 1] != 0).all((1, 2))
        kinds = zip(text[:, 0, 0] > 0, masked, image.amax((1, 2, 3)) > 0, strict=True)
        names = [
            "text" if words else "attention" if hidden else "frame" if shown else "null"
            for words, hidden, shown in kinds
        ]
        v = torch.tensor([alone[name] for name in names])
        return SimpleNamespace(sample=v[:, None, None, None].expand(-1, 32, SIDE, SIDE))

    _, guided = sum_of([1.0, 2.5], numbered)
    z, t = torch.zeros(COUNT, 32, SIDE, SIDE), torch.full((COUNT,), 500)
    for v, scale in zip(guided.v(z, t), (1.0, 2.5), strict=True):
        weights = guidance.paper(shipped["frame_scale"], scale, shipped["attention_scale"])
        wanted = sum(weights[name] * alone[name] for name in alone)
        torch.testing.assert_close(v.mean(), torch.tensor(wanted))
