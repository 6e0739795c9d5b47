"""What an item of the U-Net's training asks for, and what it is led to, belong together."""

from types import SimpleNamespace

import pytest
import torch
from style_a_video.training import train_unet
from style_a_video.training.train_unet import Batches, pictured_text

STYLES, PICTURES = 3, 2
PHOTO, AFTER = 100.0, 200.0


def constant(value):
    return torch.full((32, 12, 12), value)


@pytest.fixture
def batches():
    """Latents that say what they are: photo p 100 + p, its style s 100 + p + 10 s, after picture n
    200 + 10 p + n; statistics of a picture hold the same number.
    """
    latents = [
        torch.stack([constant(PHOTO + p + 10 * s) for s in range(1 + STYLES)]) for p in range(2)
    ]
    after = [torch.stack([constant(AFTER + 10 * p + n) for n in range(PICTURES)]) for p in range(2)]
    pictured = SimpleNamespace(
        seen=torch.tensor([[[AFTER + 10 * p + n] for n in range(PICTURES)] for p in range(2)]),
        own=torch.tensor([[[10.0 * s] for s in range(1 + STYLES)] for _ in range(2)]),
    )
    weights = torch.eye(STYLES + 1)[:STYLES]  # captions of one style each
    texts = SimpleNamespace(
        weights=weights,
        hidden=torch.arange(1.0, 1 + STYLES)[:, None, None],
        pooled=torch.arange(1.0, 1 + STYLES)[:, None],
        null_hidden=torch.zeros(1, 1, 1),
        null_pooled=torch.zeros(1, 1),
    )
    return Batches(latents, after, pictured, texts, seed=0)


def test_words_and_pictures_lead_to_what_they_show(batches, monkeypatch):
    monkeypatch.setattr(train_unet, "CASES", {"frame_text": 1.0})
    drawn = batches.draw(torch.full((400,), 500), 8, 8)
    kinds = set()
    for i in range(400):
        target, share = float(drawn["target"][i].mean()), float(drawn["share"][i])
        photo = float(drawn["image"][i].mean())
        if share == 0:
            kinds.add("words")
            assert target == photo + 10 * float(drawn["hidden"][i])
        elif share == 1 and float(drawn["seen"][i]) < PHOTO:
            kinds.add("own")
            assert target == photo + float(drawn["seen"][i])
        elif share == 1:
            kinds.add("picture")
            assert target == float(drawn["seen"][i])
        else:
            kinds.add("mixed")
            ends = sorted((photo + 10 * float(drawn["hidden"][i]), float(drawn["seen"][i])))
            assert ends[0] < target < ends[1]
    assert kinds == {"words", "own", "picture", "mixed"}


def test_near_noise_a_frame_alone_leads_to_itself_and_below_to_what_is_held(batches, monkeypatch):
    monkeypatch.setattr(train_unet, "CASES", {"frame": 1.0})
    near = batches.draw(torch.full((100,), 900), 8, 8)
    assert torch.equal(near["target"], near["image"]) and (near["share"] == 0).all()
    below = batches.draw(torch.full((100,), 300), 8, 8)
    torch.testing.assert_close(below["target"], below["held"])
    assert (below["image"] >= AFTER).any() and (below["image"] < AFTER).any()  # in other colours


def test_a_picture_takes_the_place_of_words_by_its_share():
    torch.manual_seed(0)
    batch = {
        "hidden": torch.zeros(3, 5, 128),
        "pooled": torch.zeros(3, 128),
        "seen": torch.randn(3, train_unet.StyleProjection().mean.numel()),
        "share": torch.tensor([0.0, 0.5, 1.0]),
    }
    made = pictured_text(batch, train_unet.StyleProjection())
    size = made["hidden"].detach().abs().sum((1, 2))
    assert size[0] == 0 and size[1] > 0 and size[2] > 0
    assert (made["hidden"][2] == made["hidden"][2, :1]).all()
