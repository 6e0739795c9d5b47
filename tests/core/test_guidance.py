import itertools
import math

import pytest
import torch
from style_a_video.pipelines.core import guidance

SCALES = (0.0, 0.3, 1.0, 1.5, 7.5)


def predictions(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 4, 6, 10, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("preset", guidance.FORMULAS)
def test_weights_of_a_preset_add_up_to_one(preset):
    for scales in itertools.product(SCALES, repeat=3):
        assert math.isclose(sum(guidance.FORMULAS[preset](*scales).values()), 1, abs_tol=1e-12)


def test_paper_weights_are_the_equation():
    assert guidance.paper(1.5, 2.0, 0.25) == {
        "null": 1 - 1.5 - 2.0 - 0.25,
        "frame": 1.5,
        "text": 2.0,
        "attention": 0.25,
    }


@pytest.mark.parametrize("preset", guidance.FORMULAS)
def test_without_scales_only_the_base_remains(preset):
    weights = guidance.FORMULAS[preset](0, 0, 0)
    preds = predictions(len(weights))
    assert list(weights)[0] == "null"
    assert torch.equal(guidance.combine(preds, list(weights.values())[1:]), preds[0])


def test_instruct_pix2pix_is_the_formula_of_diffusers():
    null, frame, frame_text = predictions(3)
    s_i, s_t = 1.5, 7.5
    # StableDiffusionInstructPix2PixPipeline.__call__, "perform guidance"
    expected = null + s_t * (frame_text - frame) + s_i * (frame - null)
    weights = guidance.instruct_pix2pix(s_i, s_t, 0)
    preds = {"null": null, "frame": frame, "frame_text": frame_text, "attention": null}
    names = list(weights)
    guided = guidance.combine([preds[n] for n in names], [weights[n] for n in names[1:]])
    torch.testing.assert_close(guided, expected)


def test_weights_that_add_up_to_one_hold_for_every_parameterisation():
    z, *eps = predictions(5)
    weights, a = [0.4, -2.0, 1.1], 0.3
    x0 = [(z - (1 - a) ** 0.5 * e) / a**0.5 for e in eps]
    v = [a**0.5 * e - (1 - a) ** 0.5 * x for e, x in zip(eps, x0, strict=True)]
    e, x = guidance.combine(eps, weights), guidance.combine(x0, weights)
    torch.testing.assert_close(x, (z - (1 - a) ** 0.5 * e) / a**0.5, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        guidance.combine(v, weights), a**0.5 * e - (1 - a) ** 0.5 * x, atol=1e-4, rtol=1e-4
    )


def test_a_mask_limits_a_condition_to_its_region():
    base, other = predictions(2)
    mask = torch.zeros(2, 1, 6, 10)
    mask[..., 5:] = 1
    guided = guidance.combine([base, other], [1.0], [mask])
    assert torch.equal(guided[..., :5], base[..., :5])
    torch.testing.assert_close(guided[..., 5:], other[..., 5:])


def test_half_covered_regions_share_their_weight():
    preds = predictions(3)
    half = torch.full((2, 1, 1, 1), 0.5)
    masked = guidance.combine(preds, [2.0, 3.0], [half, None])
    torch.testing.assert_close(masked, guidance.combine(preds, [1.0, 3.0]))


def test_a_weight_can_differ_by_frame():
    base, other = predictions(2)
    guided = guidance.combine([base, other], [torch.tensor([0.0, 1.0])[:, None, None, None]])
    assert torch.equal(guided[0], base[0])
    torch.testing.assert_close(guided[1], other[1])


def test_counts_must_match():
    with pytest.raises(ValueError, match="3 predictions need 2 weights and masks, not 1 and 2"):
        guidance.combine(predictions(3), [1.0])


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 0.5), (0.2, 0.5), (0.3, 0.75), (0.4, 1.0), (0.7, 1.0), (0.8, 3.0), (1, 3.0)],
)
def test_a_schedule_is_linear_between_points_and_constant_outside(percent, expected):
    points = [(0.2, 0.5), (0.4, 1.0), (0.8, 1.0), (0.8, 3.0)]
    assert guidance.at(points, percent) == pytest.approx(expected)


def test_a_number_is_a_constant_schedule():
    assert guidance.at(2, 0.9) == 2.0


@pytest.mark.parametrize("points", [[], [(0.5, 1.0), (0.2, 1.0)]])
def test_points_out_of_order_are_refused(points):
    with pytest.raises(ValueError, match="rising order of percent"):
        guidance.at(points, 0.5)


def published(cond, uncond, w, eta, r, beta, sums):
    """D(c) + (w - 1) ΔD of Sadat et al. 2024, arXiv 2410.02416, in the paper's own steps."""
    sums.append(cond - uncond + beta * (sums[-1] if sums else 0))
    delta = sums[-1].double()
    norm = delta.flatten(1).norm(dim=1)[:, None, None, None]
    delta = delta * torch.minimum(torch.ones_like(norm), r / norm) if r else delta
    unit = cond.double() / cond.double().flatten(1).norm(dim=1)[:, None, None, None]
    parallel = (delta * unit).sum((1, 2, 3), keepdim=True) * unit
    return cond + (w - 1) * (delta - parallel + eta * parallel).float()


@pytest.mark.parametrize("eta, r, beta", [(0.0, 0, 0), (0.5, 2.5, 0), (0.0, 15.0, -0.75)])
def test_projected_guidance_is_the_published_one(eta, r, beta):
    projection, known, sums = guidance.Projection(eta, r, beta), [], {}
    for seed in range(3):
        cond, uncond = predictions(2, seed)
        preds = {"null": uncond, "text": cond}
        terms = [(7.5, "text", "null")]
        guided, sums = guidance.combine_projected(preds, "null", terms, projection, sums)
        expected = published(cond, uncond, 7.5, eta, r, beta, known)
        torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)


def test_a_difference_is_projected_frame_by_frame_and_orthogonal_at_0():
    video, pred = torch.randn(2, 1, 4, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    projected = guidance.project(video, pred, 0.0, 5.0)
    for i in range(3):
        alone = guidance.project(video[:, :, i], pred[:, :, i], 0.0, 5.0)
        torch.testing.assert_close(projected[:, :, i], alone)
        assert alone.norm() <= 5.0 and abs((alone * pred[:, :, i]).sum()) < 1e-4


@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_a_scale_up_to_1_is_no_guidance_to_project(scale):
    cond, uncond = predictions(2)
    preds, terms = {"null": uncond, "text": cond}, [(scale, "text", "null")]
    guided, _ = guidance.combine_projected(
        preds, "null", terms, guidance.Projection(0.0, 1.0, -0.5), {}
    )
    torch.testing.assert_close(guided, uncond + scale * (cond - uncond))


@pytest.mark.parametrize("preset", guidance.TERMS)
def test_a_preset_is_the_sum_of_its_terms(preset):
    scales = {"frame": 1.5, "text": 7.5, "attention": 0.3}
    weights = guidance.weights_of(guidance.TERMS[preset], scales)
    preds = dict(zip(weights, predictions(len(weights)), strict=True))
    terms = [(scales[t.scale], t.of, t.against) for t in guidance.TERMS[preset]]
    summed, _ = guidance.combine_projected(preds, "null", terms, guidance.Projection(), {})
    flat = guidance.combine(list(preds.values()), list(weights.values())[1:])
    torch.testing.assert_close(summed, flat)
