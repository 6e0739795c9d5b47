"""Deep Image Analogy: a known field is found, and either picture gets the look of the other."""

import numpy as np
import pytest
import torch
from PIL import Image
from style_a_video.pipelines.core import analogy as core
from style_a_video.pipelines.core.flow import warp
from style_a_video.pipelines.core.patchmatch import (
    identity,
    places,
    size_of,
    upsampled,
    voted,
    within,
)
from style_a_video.weights.paintings import PAINTINGS
from style_a_video.weights.perceptual_encoder import load_encoder

RECOLOUR = torch.tensor([[0.3, 0.6, 0.1], [0.2, 0.2, 0.5], [0.7, 0.1, 0.1]])


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def painting(side=160):
    """(1,3,H,W): one with things everywhere."""
    (one,) = (one for one in PAINTINGS if "Kandinsky" in one.name)
    with Image.open(one.path) as image:
        image.thumbnail((side, side))
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).movedim(-1, 0)[None] / 255


def bend(h, w, by=4.0):
    """(1,2,H,W) px: a flow that changes slowly."""
    y, x = torch.meshgrid(torch.linspace(0, 4, h), torch.linspace(0, 5, w), indexing="ij")
    return by * torch.stack([y.sin(), x.cos()])[None]


def recoloured(picture):
    return torch.einsum("ij,tjhw->tihw", RECOLOUR, picture) ** 1.3


@pytest.fixture(scope="module")
def pair():
    """A, B' that is A bent and recoloured, the flow from B' to A, and what was found."""
    a = painting()
    flow = bend(*a.shape[-2:])
    b_prime = recoloured(warp(a, flow))
    with torch.no_grad():
        encoder = load_encoder()
        found = core.analogy(encoder(a), encoder(b_prime), content=3)
    return a, b_prime, flow, found


def near(found, wanted, inside, px=3):
    return ((found - wanted).norm(dim=1)[inside] <= px).float().mean()


def test_the_field_of_a_bent_and_recoloured_copy_is_found(pair):
    a, _, flow, found = pair
    ends = torch.tensor([a.shape[-1] - 1, a.shape[-2] - 1]).view(1, 2, 1, 1)
    target = places(a.shape[-2:], a.device) + flow
    inside = ((target >= 0) & (target <= ends)).all(1)
    assert near(core.flow_of(found.to_a), flow, inside) >= 0.9
    # The other way: what is met at the end of the way comes from here.
    way = core.flow_of(found.to_b)
    here = torch.ones_like(inside)
    here[:, :6], here[:, -6:], here[..., :6], here[..., -6:] = False, False, False, False
    assert near(way, -warp(flow, way), here) >= 0.9
    assert found.found.mean() > 0.95


def test_both_pictures_get_the_look_of_the_other(pair):
    a, b_prime, flow, found = pair
    a_prime, b = voted(b_prime[0], found.to_b, 3), voted(a[0], found.to_a, 3)
    assert (a_prime - recoloured(a)[0]).abs().mean() < 0.4 * (a - recoloured(a)).abs().mean()
    plain = warp(a, flow)[0]
    assert (b - plain).abs().mean() < 0.4 * (b_prime[0] - plain).abs().mean()


def test_pictures_of_other_things_are_told():
    with torch.no_grad():
        encoder = load_encoder()
        soft = torch.nn.functional.interpolate(noise(1, 3, 4, 5), (96, 112), mode="bilinear")
        found = core.analogy(encoder(painting(112)), encoder(soft), iterations=1)
    assert found.found.mean() < 0.3


def test_the_seed_decides():
    with torch.no_grad():
        encoder = load_encoder()
        a, b_prime = encoder(noise(1, 3, 40, 33)), encoder(noise(1, 3, 32, 48, seed=1))
    first, again, other = (
        core.analogy(a, b_prime, iterations=1, seed=seed).to_b for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (2, 40, 33)


def test_a_field_is_refined_where_nothing_leads(pair):
    a, b_prime, _, found = pair
    with torch.no_grad():
        encoder = load_encoder()
        f_a, f_b_prime = (encoder(x, [core.FINEST])[core.FINEST][0] for x in (a, b_prime))
    shifted = within(found.to_b + 3, size_of(b_prime))
    held = core.refined(f_a, found.b, f_b_prime, shifted, lead=2.0)
    assert torch.equal(held, shifted)
    rival = core.refined(f_a, found.b, f_b_prime, shifted, found.to_b, lead=0.0)
    back = ((rival - found.to_b).abs().amax(0) <= 1).float().mean()
    assert back > 0.6


def test_a_flow_is_shown_by_direction_and_length():
    flow = torch.tensor([[4.0, -4.0, 0.0], [0.0, 0.0, 2.0]]).view(1, 2, 1, 3)
    right, left, half_down = core.flow_picture(flow)[:, 0].T
    torch.testing.assert_close(right, torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(left, torch.tensor([0.0, 1.0, 1.0]))
    assert half_down.max() == 1 and half_down.min().item() == pytest.approx(0.5)
    assert (core.flow_picture(torch.zeros(1, 2, 2, 2)) == 1).all()


def test_own_features_stay_where_there_are_some():
    f, warped = torch.zeros(2, 4, 6), torch.ones(2, 4, 6)
    f[:, :, 3:] = 5.0
    found = core.blended(f, warped, 0.6)
    torch.testing.assert_close(found[..., 3:], torch.full((2, 4, 3), 0.6 * 5 + 0.4))
    weight = 0.6 / (1 + torch.tensor(core.KAPPA * core.TAU).exp())
    torch.testing.assert_close(found[..., :3], torch.full((2, 4, 3), (1 - weight).item()))


def test_two_looks_in_one_are_of_the_norm_1():
    both = core.paired(noise(5, 6, 7), 100 * noise(5, 6, 7, seed=1) + 3)
    torch.testing.assert_close(both.square().sum(0), torch.ones(6, 7))
    assert core.paired(torch.zeros(5, 6, 7), torch.zeros(5, 6, 7)).isfinite().all()


def test_features_are_brought_by_optimisation(pair):
    """Nearer to the coarser layer's warped features than those that are warped at the layer itself,
    at every layer."""
    a, b_prime, _, found = pair
    encoder = load_encoder()
    with torch.no_grad():
        own, other = ({core.PICTURE: x, **encoder(x)} for x in (a, b_prime))
        for level, layer in enumerate(core.LAYERS[:-1]):
            coarser = core.LAYERS[level + 1]
            size, other_size = size_of(own[coarser]), size_of(other[coarser])
            field = identity(size, other_size, a.device).roll(1, 2)
            r = core.reconstructed(encoder, layer, field, own, other)
            fine = upsampled(field, size_of(own[layer]), size_of(other[layer]))
            warped = voted(other[layer][0], fine, core.PATCHES[layer])
            target = voted(other[coarser][0], field, core.PATCHES[coarser])
            assert r.shape == own[layer][0].shape
            brought, left = (
                (encoder.deeper(x[None], level + 1)[0] - target).square().sum() for x in (r, warped)
            )
            assert brought < 0.5 * left
