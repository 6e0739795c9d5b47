"""The networks behind styles from pictures do what their card says."""

import sys
from types import SimpleNamespace

import pytest
import torch
from style_a_video.pipelines.core.perceptual import LAYERS
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import perceptual_encoder as weights
from torch import nn
from torch.nn import functional as F


def scene(height=96, width=128):
    """A picture with edges, ramps and texture, (1,3,H,W)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    disc = ((x - 0.4).square() + (y - 0.5).square() < 0.08).float()
    waves = 0.5 + 0.3 * torch.sin(40 * x + 10 * y)
    return torch.stack([0.2 + 0.6 * disc, 0.8 * y + 0.1, waves * (1 - 0.5 * disc)])[None]


def test_the_encoder_is_small_frozen_and_ready():
    encoder = weights.load_encoder()
    assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert (weights.FOLDER / "encoder.safetensors").stat().st_size <= 4e6
    assert (weights.FOLDER / "decoders.safetensors").stat().st_size <= 6e6
    features = encoder(scene(), LAYERS)
    for x in features.values():
        assert x.isfinite().all() and 0.05 < x.mean() < 20


@pytest.mark.parametrize("level, near", [(1, 0.08), (2, 0.09), (3, 0.17), (4, 0.2)])
def test_a_decoder_gives_the_picture_back(level, near):
    images, name = scene(), LAYERS[level - 1]
    found = weights.load_decoder(level)(weights.load_encoder()(images, (name,))[name])
    assert F.mse_loss(found, images).sqrt() < near


def test_an_encoder_that_is_none_is_refused():
    with pytest.raises(StyleAVideoError, match="no encoder 'vgg16'.*slim, vgg19"):
        weights.load_encoder("vgg16")


class VGG19(nn.Module):
    """A stand-in for torchvision's: its layers without the classifier."""

    def __init__(self):
        super().__init__()
        layers, before = [], 3
        for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)


def torchvision_package(monkeypatch, home):
    models = SimpleNamespace(vgg19=VGG19)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(home))
    return home / "checkpoints" / weights.VGG19.rsplit("/", 1)[-1]


def test_the_user_s_vgg19_is_used_where_it_is_and_never_downloaded(tmp_path, monkeypatch):
    file = torchvision_package(monkeypatch, tmp_path)
    with pytest.raises(StyleAVideoError, match="VGG-19: download https://.* choose the encoder"):
        weights.load_encoder("vgg19")
    file.parent.mkdir()
    torch.manual_seed(0)
    theirs = VGG19()
    torch.save(theirs.state_dict(), file)
    encoder = weights.load_encoder("vgg19")
    assert list(encoder.widths.values()) == [64, 128, 256, 512, 512]
    images = torch.rand(1, 3, 80, 80)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in weights.IMAGENET)
    with torch.no_grad():
        wanted = theirs.features[:21]((images - mean) / deviation)[:, :, 5, 5]  # relu4_1, inside
    found = encoder(images, ("relu4_1",))["relu4_1"][:, :, 5, 5]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-3)


def test_vgg19_without_torchvision_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(StyleAVideoError, match="vgg19 needs torchvision made for torch"):
        weights.load_encoder("vgg19")
