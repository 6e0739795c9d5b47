import torch
from style_a_video.training.train_sctnet import Losses
from style_a_video.weights.perceptual_encoder import load_encoder


def test_coherence_is_lost_where_the_result_is_another_picture():
    """And its heads learn along with what made the result, while the photos take no gradient."""
    torch.manual_seed(0)
    photos = torch.rand(2, 3, 64, 64)
    losses = Losses(load_encoder(), "art", photos)
    assert list(losses.heads) == ["relu2_1", "relu3_1", "relu4_1"]
    result = (0.8 * photos + 0.1).requires_grad_()
    near, far = (losses.coherence(x, photos.requires_grad_()) for x in (result, photos.flip(0)))
    assert near < far
    near.backward()
    assert result.grad.abs().max() > 0 and photos.grad is None
    assert all(p.grad is not None for p in losses.heads.parameters())
