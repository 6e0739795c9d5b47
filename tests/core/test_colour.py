"""Colours kept from the source."""

import torch
from style_a_video.pipelines.core.colour import LUMA, keep_colour


def light(frames):
    return (frames * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1)


def frames(seed):
    x = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(seed))
    return 0.3 + 0.4 * x  # far from the ends, where nothing is clamped


def test_the_light_is_the_stylized_one_and_the_colours_are_the_source_s():
    stylized, source = 0.5 * frames(0) + 0.25, frames(1)
    kept = keep_colour(stylized, source)
    torch.testing.assert_close(light(kept), light(stylized))
    chroma = [x - light(x)[:, None] for x in (kept, source)]
    torch.testing.assert_close(*chroma)


def test_the_source_itself_stays_as_it_is_and_results_lie_in_the_range():
    source = frames(2)
    torch.testing.assert_close(keep_colour(source, source), source)
    kept = keep_colour(torch.ones_like(source), torch.rand(2, 3, 8, 9))
    assert kept.min() >= 0 and kept.max() <= 1
