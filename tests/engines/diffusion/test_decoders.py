"""Latents become the pictures that the autoencoder itself would make of them."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderTiny
from style_a_video.pipelines.engines.diffusion import decoders


def tiny(last_blocks: int) -> AutoencoderTiny:
    """With 0 blocks at full size it ends with two convolutions, as the built-in one does."""
    torch.manual_seed(0)
    sizes = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
    blocks = {"num_encoder_blocks": (0, 1, 1), "num_decoder_blocks": (1, 1, last_blocks)}
    return AutoencoderTiny(latent_channels=4, **sizes, **blocks).eval()


@pytest.mark.parametrize("last_blocks, joined", [(0, True), (1, False)])
def test_the_same_as_the_autoencoders_own_call(monkeypatch, last_blocks, joined):
    vae, calls = tiny(last_blocks), []
    z = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = vae.decode(z / vae.config.scaling_factor).sample / 2 + 0.5
        own = decoders.upsampled
        monkeypatch.setattr(decoders, "upsampled", lambda *a: calls.append(1) or own(*a))
        torch.testing.assert_close(decoders.decode(vae, z), expected)
    assert bool(calls) == joined


def test_an_autoencoder_that_works_in_tiles_or_is_offloaded_is_called_itself():
    vae = tiny(0)
    vae.enable_tiling()
    assert not decoders._ends_linearly(vae)
    vae.disable_tiling()
    assert decoders._ends_linearly(vae)
    vae._hf_hook = object()
    assert not decoders._ends_linearly(vae)
