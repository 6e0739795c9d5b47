"""Two pictures of like content, each in the other's look: Deep Image Analogy (Liao et al. 2017).

A : A' :: B : B'. Known are A and B', of like things in different looks; wanted are A', which has
the things of A and the look of B', and B, the other way round. A' lies where A does, and B where B'
does: so a patch of A can be compared with B, of the same look, and at the same places A' with B'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .patchmatch import (
    Similarity,
    better,
    identity,
    matched,
    places,
    size_of,
    upsampled,
    voted,
)
from .perceptual import LAYERS, PerceptualEncoder

COARSE_TO_FINE = tuple(reversed(LAYERS))
FINEST = LAYERS[0]
PATCHES = dict(zip(COARSE_TO_FINE, (3, 3, 3, 5, 5), strict=True))
RADII = dict(zip(COARSE_TO_FINE, (None, 6, 6, 4, 4), strict=True))  # px; None: the longest side
BLENDING = {  # α of relu4_1, relu3_1, relu2_1, relu1_1: the article's three weights of content
    1: (0.7, 0.6, 0.5, 0.0),
    2: (0.8, 0.7, 0.6, 0.1),
    3: (0.9, 0.8, 0.7, 0.2),
}
LEADS = dict(zip(COARSE_TO_FINE, (0.0, 0.0, 0.0, 0.03, 0.03), strict=True))
"""By how much a match must be more like than the one that the coarser level brought: features of
few channels find something like themselves everywhere."""

PICTURE = "picture"  # beside `LAYERS`: where a picture itself stands among its features
OPTIMISED = 100  # iterations of L-BFGS at most

ITERATIONS = 6  # the authors' code: 10; nothing is seen to change after these
KAPPA, TAU = 300.0, 0.01  # of the sigmoid: how steep, from which response on. The article's τ is
# 0.05, for a VGG-19; the responses of ours have a longer tail, and half the picture would lie below
JUDGED, FOUND = "relu5_1", 0.3  # where, and from which likeness on a patch has found a match
SMALLEST = 1e-5  # of a deviation: a blank picture has none


@dataclass(frozen=True)
class Analogy:
    """What was found.

    Attributes:
        to_b, to_a: fields (`patchmatch.py`) of the places of A in B', and of those of B' in A.
        b: features (C,H',W') of B at relu1_1.
        found: (h,w) in {0,1}, where patches of A have found a match.
    """

    to_b: Tensor
    to_a: Tensor
    b: Tensor
    found: Tensor


def analogy(
    a: Mapping[str, Tensor],
    b_prime: Mapping[str, Tensor],
    content: int = 2,
    iterations: int = ITERATIONS,
    seed: int = 0,
    found_level: Callable[[], object] = lambda: None,
    at_work: Callable[[], object] = lambda: None,
    encoder: PerceptualEncoder | None = None,
) -> Analogy:
    """The fields between A and B', from coarse to fine (section 4).

    Args:
        a, b_prime: features (1,C,h,w) of A and B', of all `LAYERS`; with an encoder the pictures
            (1,3,H,W) too, as `PICTURE`.
        content: 1, 2 or 3: how much of what it shows each picture keeps.
        iterations: of PatchMatch at each level.
        found_level: called after each of the five.
        at_work: called every second or so; what it raises ends the run.
        encoder: where features come over from a level to the next by `reconstructed`. None: they
            are those of the other picture, warped.
    """
    generator = torch.Generator().manual_seed(seed)
    to_b = to_a = found = torch.empty(0)
    for layer, alpha in zip(COARSE_TO_FINE, (None, *BLENDING[content]), strict=True):
        f_a, f_b_prime = (features[layer][0].float() for features in (a, b_prime))
        size_a, size_b, patch = size_of(f_a), size_of(f_b_prime), PATCHES[layer]
        if alpha is None:  # what things are is all that is left here: looks are alike
            to_b = identity(size_a, size_b, f_a.device)
            to_a = identity(size_b, size_a, f_a.device)
            f_a_prime, f_b = f_a, f_b_prime
        else:
            coarse_b, coarse_a = to_b, to_a
            to_b, to_a = upsampled(to_b, size_a, size_b), upsampled(to_a, size_b, size_a)
            if encoder is None:
                r_a, r_b = voted(f_b_prime, to_b, patch), voted(f_a, to_a, patch)
            else:
                r_a = reconstructed(encoder, layer, coarse_b, a, b_prime, at_work)
                r_b = reconstructed(encoder, layer, coarse_a, b_prime, a, at_work)
            f_a_prime, f_b = blended(f_a, r_a, alpha), blended(f_b_prime, r_b, alpha)
        both_a, both_b = paired(f_a, f_a_prime), paired(f_b, f_b_prime)
        radius = RADII[layer] or max(*size_a, *size_b)
        search = radius, iterations, generator, LEADS[layer], at_work
        to_b, likeness = matched(Similarity(both_a, both_b, patch), to_b, *search)
        to_a, _ = matched(Similarity(both_b, both_a, patch), to_a, *search)
        if layer == JUDGED:
            found = (likeness >= FOUND).float()
        found_level()
    return Analogy(to_b, to_a, f_b, found)


def reconstructed(
    encoder: PerceptualEncoder,
    layer: str,
    field: Tensor,
    own: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    at_work: Callable[[], object] = lambda: None,
) -> Tensor:
    """R (C,H,W) of a layer: what the encoder turns into the other picture's features of the coarser
    layer, warped (equation 4). As in the authors' code it comes from the next finer layer, or from
    the picture, which is begun with as warped and optimised by L-BFGS.

    Args:
        field: of the coarser layer.
        own, other: features (1,C,h,w) of both pictures, all `LAYERS` and `PICTURE`.
        at_work: called before each evaluation; what it raises ends the run.
    """
    level = LAYERS.index(layer)
    coarser, finer = LAYERS[level + 1], LAYERS[level - 1] if level else PICTURE
    with torch.inference_mode(False), torch.enable_grad():
        target = voted(other[coarser][0].clone(), field.clone(), PATCHES[coarser])[None]
        finest = upsampled(field.clone(), size_of(own[finer]), size_of(other[finer]))
        x = voted(other[finer][0].clone(), finest, PATCHES.get(finer, 3))[None]
        x = x.contiguous().requires_grad_()
        unit = target.square().mean().clamp(min=SMALLEST**2)
        steps = torch.optim.LBFGS(
            [x], max_iter=OPTIMISED, history_size=8, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            at_work()
            steps.zero_grad()
            found = encoder.deeper(encoder.deeper(x, level), level + 1)
            lost = (found - target).square().sum() / unit
            lost.backward()
            return lost

        steps.step(loss)
        return encoder.deeper(x.detach(), level)[0]


def refined(
    f_a: Tensor,
    f_b: Tensor,
    f_b_prime: Tensor,
    to_b: Tensor,
    rival: Tensor | None = None,
    lead: Tensor | float = 0.0,
    content: int = 2,
    iterations: int = 1,
    seed: int = 0,
    at_work: Callable[[], object] = lambda: None,
) -> Tensor:
    """A field brought to another frame of a video, searched on at relu1_1, where B stays the same.

    Args:
        f_a, f_b, f_b_prime: features (C,H,W) at relu1_1 of the frame, of B and of B'.
        to_b: the field to start from.
        rival: another one, whose matches may be better.
        lead: by how much others must be more like than the match in `to_b`; (H,W) or one for all.
        at_work: as of `matched`.
    """
    f_a_prime = blended(f_a, voted(f_b_prime, to_b, PATCHES[FINEST]), BLENDING[content][-1])
    both_a, both_b = paired(f_a, f_a_prime), paired(f_b, f_b_prime)
    similarity = Similarity(both_a, both_b, PATCHES[FINEST])
    if rival is not None:
        best = similarity(to_b[None])[0] + lead
        kept = to_b
        to_b, _ = better(similarity, to_b, best, rival[None])
        lead = lead * (to_b == kept).all(0)
    generator = torch.Generator().manual_seed(seed)
    radius = RADII[FINEST]
    assert radius is not None
    return matched(similarity, to_b, radius, iterations, generator, lead, at_work)[0]


def paired(f: Tensor, f_prime: Tensor) -> Tensor:
    """Both looks of a picture, (C,H,W) each → (2C,H,W) of the norm 1. The product of two such is
    the mean of the cosines of A with B and A' with B' (equation 4 up to constants).

    Beyond the article, features are of mean 0 and deviation 1 first: what all places of a picture
    have in common tells its look, not its things.
    """
    both = []
    for one in (f, f_prime):
        deviation, mean = torch.std_mean(one, (1, 2), correction=0, keepdim=True)
        both.append(normalize((one - mean) / (deviation + SMALLEST), dim=0))
    return torch.cat(both) / 2**0.5


def blended(f: Tensor, warped: Tensor, alpha: float) -> Tensor:
    """F' = W F + (1 - W) R with W = α / (1 + exp(-κ (|F|² - τ))), |F|² brought to [0,1] (equations
    3 and 5): the picture's own features where it shows something, else those of the other look.
    """
    response = f.square().sum(0)
    low, high = response.aminmax()
    response = (response - low) / (high - low).clamp(min=SMALLEST)
    return torch.lerp(warped, f, alpha * torch.sigmoid(KAPPA * (response - TAU)))


def flow_of(field: Tensor) -> Tensor:
    """A field as (1,2,H,W) px, from each place to its match."""
    return (field - places(size_of(field), field.device)).float()[None]


def flow_picture(flow: Tensor) -> Tensor:
    """A flow (1,2,H,W) as colours (3,H,W) in [0,1]: the hue is the direction, red to the right; the
    longer the way the less white, the longest has none.
    """
    x, y = flow[0]
    length, sixths = torch.hypot(x, y), torch.atan2(y, x) * 3 / torch.pi
    saturation = length / length.max().clamp(min=1)
    turned = (sixths + torch.tensor([0.0, 4.0, 2.0]).to(flow).view(3, 1, 1)) % 6
    return 1 - saturation * (1 - ((turned - 3).abs() - 1).clamp(0, 1))
