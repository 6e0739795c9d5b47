"""The outermost level of a U-Net on what its inner levels gave."""

from __future__ import annotations

import pytest
import torch
from style_a_video.pipelines.core.inner import has_inner, outer, recorded


@pytest.mark.parametrize("kind", ["tiny_pipeline", "sd15_pipeline"])
@torch.no_grad()
def test_on_what_they_gave_for_the_same_input_it_is_the_unet_itself(request, kind):
    pipeline = request.getfixturevalue(kind)
    unet, text = pipeline.unet, pipeline.encode_prompt(["oil", "ink"])
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, unet.config.in_channels, 8, 12, generator=draw)
    t = torch.tensor(400)
    with recorded(unet) as found:
        whole = unet(x, t, text.hidden, class_labels=text.pooled).sample
    unet(x, t, text.hidden, class_labels=text.pooled)  # after the block nothing is recorded
    (inner,) = found
    assert torch.equal(outer(unet, x, t, text.hidden, text.pooled, inner), whole)
    other = outer(unet, x, t, text.hidden, text.pooled, torch.zeros_like(inner))
    assert (other - whole).abs().max() > 1e-3
    assert has_inner(unet)
