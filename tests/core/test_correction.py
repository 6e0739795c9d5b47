import numpy as np
import PIL.Image
import pytest
import torch
from style_a_video.pipelines.core import correction


class Toy:
    """A denoiser, a decoder and an encoder small enough for finite differences, in float64."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.a = torch.randn(4, 4, generator=g, dtype=torch.float64)
        self.b = torch.randn(3, 4, generator=g, dtype=torch.float64)
        self.c = torch.randn(5, 12, generator=g, dtype=torch.float64)
        self.x = torch.randn(3, 4, 2, 2, generator=g, dtype=torch.float64)
        self.target = torch.randn(3, 5, generator=g, dtype=torch.float64)
        self.seen = []

    def denoise(self, z, part):
        self.seen.append(len(z))
        frame = torch.arange(3)[part][:, None, None, None]  # each frame has its own denoiser
        return torch.einsum("ij,tjhw->tihw", self.a, z).tanh() * (1 + frame)

    def decode(self, z):
        return torch.einsum("ij,tjhw->tihw", self.b, z)

    def encode(self, frames):
        return frames.flatten(1).sin() @ self.c.T

    def loss(self, x):
        embeds = self.encode(self.decode(self.denoise(x, slice(None))))
        return 1 - torch.nn.functional.cosine_similarity(self.target, embeds)

    def correct(self, strength, sigma=1.0, **kwargs):
        return correction.correct(
            self.x, self.denoise, self.decode, self.encode, self.target, strength, sigma, **kwargs
        )


def refuse(*args):
    raise AssertionError("evaluated")


def test_loss_is_zero_for_one_direction_and_two_for_the_opposite():
    a = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(correction.clip_loss(a, 2 * a), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(correction.clip_loss(a, -a), torch.full((3,), 2.0))


def test_strength_zero_gives_the_very_tensor_and_evaluates_nothing():
    x = torch.randn(2, 4, 2, 2)
    assert correction.correct(x, refuse, refuse, refuse, refuse, 0.0, 1.0) is x


def test_the_direction_is_the_gradient_by_finite_differences():
    toy, h = Toy(), 1e-6
    delta = toy.x - toy.correct(0.7)
    expected = torch.zeros_like(toy.x)
    for i in np.ndindex(*toy.x.shape):
        e = torch.zeros_like(toy.x)
        e[i] = h
        expected[i] = ((toy.loss(toy.x + e) - toy.loss(toy.x - e)) / (2 * h)).sum()
    for a, b in zip(delta, expected, strict=True):  # a frame each
        torch.testing.assert_close(a / a.norm(), b / b.norm(), atol=1e-5, rtol=1e-4)


def test_a_frame_moves_by_its_loss_in_units_of_the_noise():
    toy = Toy()
    moved = (toy.x - toy.correct(0.7, sigma=3.0)).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(moved, 0.7 * 3.0 * toy.loss(toy.x), atol=1e-5, rtol=1e-4)


def test_the_scaling_of_x_means_nothing():
    """A sampler that keeps x = z / c, with noise of σ / c, takes the same step."""
    toy, c = Toy(), 0.01
    expected = toy.correct(0.7, sigma=0.5)
    inner, toy.x = toy.denoise, toy.x / c
    toy.denoise = lambda x, part: inner(c * x, part)
    torch.testing.assert_close(c * toy.correct(0.7, sigma=0.5 / c), expected, atol=1e-6, rtol=1e-5)


def test_where_x0_does_not_depend_on_z_nothing_moves():
    toy = Toy()
    toy.denoise = lambda z, part: toy.x[part].clone()
    assert torch.equal(toy.correct(1.0), toy.x)
    toy.denoise = lambda z, part: 0 * z + toy.x[part]
    assert torch.equal(toy.correct(1.0), toy.x)


def test_frames_are_independent_so_chunks_change_nothing_and_bound_the_batch():
    toy = Toy()
    whole = toy.correct(0.5, chunk_size=3)
    assert toy.seen == [3]
    for size, batches in ((1, [1, 1, 1]), (2, [2, 1])):
        toy.seen = []
        torch.testing.assert_close(toy.correct(0.5, chunk_size=size), whole)
        assert toy.seen == batches


def test_it_works_where_gradients_are_off():
    toy = Toy()
    expected = toy.correct(0.5)
    with torch.no_grad():
        assert torch.equal(toy.correct(0.5), expected)
    with torch.inference_mode():
        toy.target = toy.target.float()  # an inference tensor, which autograd may not save
        toy.x = toy.x.clone()
        corrected = toy.correct(0.5)
    assert torch.equal(corrected, expected)
    assert not expected.requires_grad


def test_gradients_that_vanish_in_half_precision_survive():
    """Gradients of 1e-8, a cosine's by one pixel of a large frame, are zero in fp16."""
    x = torch.ones(1, 2, 1, 1, dtype=torch.float16)

    def encode(frames):
        return (frames.flatten(1) * 2.0**-24).float() + torch.tensor([[1.0, 2.0]])

    target = torch.tensor([[2.0, 1.0]])

    def step(x):
        return correction.correct(x, lambda z, part: z, lambda z: z, encode, target, 0.5, 1.0)

    full, half = step(x.float()), step(x)
    assert (full - 1).abs().min() > 1e-2
    torch.testing.assert_close(half.float(), full, atol=2e-3, rtol=0)


def test_the_linear_decoder_finds_a_linear_map():
    g = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 6, generator=g), torch.randn(3, generator=g)
    latents = torch.randn(2, 6, 5, 7, generator=g)
    colours = torch.einsum("ij,tjhw->tihw", weight, latents) + bias[:, None, None]
    frames = colours.repeat_interleave(4, 2).repeat_interleave(4, 3)
    found = correction.fit_linear_decoder(latents, frames)
    torch.testing.assert_close(found[0], weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], bias, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        correction.linear_decode(latents, *found), colours, atol=1e-4, rtol=1e-4
    )


def test_the_linear_decoder_averages_over_a_latents_area():
    frames = torch.rand(1, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    latents = torch.nn.functional.avg_pool2d(frames, 4)
    weight, bias = correction.fit_linear_decoder(latents, frames)
    torch.testing.assert_close(weight, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(bias, torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(50, 70), (70, 41), (20, 24)])
def test_preprocessing_is_that_of_transformers(shape):
    from transformers import CLIPImageProcessor

    g = np.random.default_rng(0)
    # away from 0 and 255, where the 8-bit reference clips the overshoot of the cubic filter
    image = g.integers(90, 160, (*shape, 3), dtype=np.uint8)
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    reference = processor(PIL.Image.fromarray(image), return_tensors="pt").pixel_values
    frames = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    ours = correction.clip_preprocess(frames, 32)
    # 8-bit rounding: half a level, for each of PIL's two passes, over the smallest deviation
    torch.testing.assert_close(ours, reference, atol=1.5 / 255 / min(correction.CLIP_STD), rtol=0)


def test_preprocessing_has_a_gradient_beyond_the_range_of_colours():
    frames = torch.full((1, 3, 40, 40), 1.7, requires_grad=True)
    (correction.clip_preprocess(frames, 16) ** 2).sum().backward()
    assert frames.grad is not None and (frames.grad != 0).all()
