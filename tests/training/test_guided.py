"""The sum that the last stage trains is the preset's, and its steps are the sampler's."""

from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines.core import guidance
from style_a_video.training import architecture, train_guided
from style_a_video.training.train_guided import Sum, step_of_the_sum

PHOTO, STYLE = 1.0, 3.0
COUNT, SIDE = 2, 4
ALPHAS = architecture.scheduler().alphas_cumprod


def knowing(z, t, text, class_labels):
    """v of a U-Net that leads words to the style, and everything else to the photo."""
    a = ALPHAS[t][:, None, None, None]
    z = z[:, :32]
    x0 = torch.where(text[:, :1, :1, None] > 0, STYLE, PHOTO)
    return SimpleNamespace(sample=(a.sqrt() * z - x0) / (1 - a).sqrt())


def sum_of(scale, unet=knowing):
    photos = torch.full((COUNT, 32, SIDE, SIDE), PHOTO)
    asked = {"hidden": torch.ones(COUNT, 77, 8), "pooled": torch.ones(COUNT, 8)}
    nothing = {key: torch.zeros_like(x) for key, x in asked.items()}
    masks = torch.ones(COUNT, 1, SIDE, SIDE)
    return photos, Sum(unet, photos, masks, asked, nothing, torch.tensor(scale))


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_what_words_lead_to_is_what_the_sum_leads_to(steps):
    photos, guided = sum_of([1.0, 1.0])
    x0 = step_of_the_sum(guided, photos, 500, steps, ALPHAS)
    torch.testing.assert_close(x0, torch.full_like(x0, STYLE), atol=0.05, rtol=0)


def test_a_scale_of_the_text_goes_so_far_beyond():
    photos, guided = sum_of([1.0, 3.0])
    x0 = step_of_the_sum(guided, photos, 500, 0, ALPHAS)
    for x, scale in zip(x0, (1, 3), strict=True):
        wanted = torch.full_like(x, PHOTO + scale * (STYLE - PHOTO))
        torch.testing.assert_close(x, wanted, atol=0.05, rtol=0)


def test_the_weights_are_those_of_the_preset():
    """Each evaluation alone is a number of its own, so that no two can change places."""
    alone = {"null": 2.0, "frame": 30.0, "text": 400.0, "attention": 5000.0}

    def numbered(z, t, text, class_labels):
        seen = z[:, 32:].abs().amax((1, 2, 3)) > 0
        half = (z[:, 32:] == 0).flatten(1).any(1) & seen
        names = [
            "text" if words > 0 else "attention" if masked else "frame" if shown else "null"
            for words, masked, shown in zip(text[:, 0, 0], half, seen, strict=True)
        ]
        v = torch.tensor([alone[name] for name in names])
        return SimpleNamespace(sample=v[:, None, None, None].expand(-1, 32, SIDE, SIDE))

    _, guided = sum_of([1.0, 2.5], numbered)
    guided.batch["image"][3 * COUNT :, :, :1] = 0  # of the masked frame
    z, t = torch.zeros(COUNT, 32, SIDE, SIDE), torch.full((COUNT,), 500)
    for v, scale in zip(guided.v(z, t), (1.0, 2.5), strict=True):
        scales = (train_guided.FRAME_SCALE, scale, train_guided.ATTENTION_SCALE)
        weights = guidance.paper(*scales)
        wanted = sum(weights[name] * alone[name] for name in alone)
        torch.testing.assert_close(v.mean(), torch.tensor(wanted))
