"""What repeats in flat places, and what it costs."""

import numpy as np
import pytest
import torch
from style_a_video.training.mesh import fine, mesh_loss, repetition


def stripes(period, columns=slice(None)):
    """(1,3,96,128) with a line down every so many px, in some of the columns."""
    picture = torch.zeros(1, 3, 96, 128)
    picture[..., columns] = 0.5 * (torch.arange(128) % period == 0).float()[columns]
    return picture


def test_repetition_is_the_autocorrelation():
    """Held against numpy's, shift by shift, in flat places that leave holes."""
    torch.manual_seed(0)
    picture = torch.randn(1, 3, 64, 80) * 0.2
    flat = (torch.rand(1, 1, 64, 80) < 0.7).float()
    found = iter(repetition(picture, flat)[0])
    texture = fine(picture)[0, 0].double().numpy()
    holds = flat[0, 0].numpy() > 0
    variance = np.square(texture[holds]).mean() + 1e-4
    for down in range(33):
        for across in range(-32, 33):
            if down < 8 and abs(across) < 8:
                continue
            there = np.s_[down:, max(across, 0) : 80 + min(across, 0)]
            here = np.s_[: 64 - down, max(-across, 0) : 80 - max(across, 0)]
            both = holds[there] & holds[here]
            product = (texture[there] * texture[here])[both].sum() / both.sum()
            assert float(next(found)) == pytest.approx(product / variance, abs=1e-4)
    assert next(found, None) is None


@pytest.mark.parametrize("period", [8, 11, 16, 31])
def test_a_mesh_costs_where_the_photo_is_flat(period):
    photo = torch.zeros(1, 3, 96, 128)
    photo[..., 80:] = torch.rand(1, 3, 96, 48)
    left, right = stripes(period, slice(0, 72)), stripes(period, slice(88, 128))
    nothing = torch.zeros_like(photo)
    assert float(mesh_loss(left, nothing, photo)) > 0.5
    assert float(mesh_loss(right, nothing, photo)) < 0.01
    assert float(mesh_loss(left, left, photo)) == 0, "a mesh that is asked for costs nothing"
    dots = (torch.rand(1, 1, 96, 128) < 0.1).float().expand(-1, 3, -1, -1)
    assert float(mesh_loss(dots, nothing, photo)) < 0.15, "nor do dots without an order"
