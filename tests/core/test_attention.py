import pytest
import torch
from diffusers.models.attention_processor import Attention
from style_a_video.pipelines.core import attention
from torch.utils._python_dispatch import TorchDispatchMode

# dicts of torch.nn.Module that registering a hook changes
HOOKS = [
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
]


def queries_keys(b=2, heads=3, n=24, d=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, b, heads, n, d, generator=generator).unbind()


def dense(q, k):
    """Section 3.2 as written, with the N x N map."""
    a = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return a.mean(1).sum(1)


def self_attention(channels=16, heads=2):
    torch.manual_seed(0)
    return Attention(query_dim=channels, heads=heads, dim_head=channels // heads)


def state(module):
    return {name: dict(getattr(module, name)) for name in HOOKS}, set(module.__dict__)


@pytest.mark.parametrize("chunk_size", [1, 7, 24, 1024])
def test_received_is_the_map_of_the_paper_for_any_chunk(chunk_size):
    q, k = queries_keys()
    received = attention.attention_received(q, k, chunk_size=chunk_size)
    torch.testing.assert_close(received, dense(q, k), atol=1e-5, rtol=1e-5)


def test_received_has_mean_one():
    q, k = queries_keys()
    received = attention.attention_received(3 * q, k)
    torch.testing.assert_close(received.mean(1), torch.ones(2))


def test_a_key_that_all_queries_look_at_receives_everything():
    q, k = torch.ones(1, 1, 5, 4), torch.zeros(1, 1, 5, 4)
    k[:, :, 3] = 100.0
    received = attention.attention_received(q, k)
    torch.testing.assert_close(received, torch.tensor([[0.0, 0.0, 0.0, 5.0, 0.0]]))
    assert attention.attention_mask(received).tolist() == [[0.0, 0.0, 0.0, 1.0, 0.0]]


def test_half_precision_is_summed_in_float32():
    q, k = queries_keys(n=64)
    received = attention.attention_received(q.half(), k.half())
    assert received.dtype == torch.float32
    torch.testing.assert_close(received, dense(q, k), atol=2e-2, rtol=2e-2)


def test_memory_is_bounded_by_the_chunk():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.numel = max(self.numel, result.numel())
            return result

    q, k = queries_keys(b=3, heads=2, n=400, d=4)
    with Largest() as largest:
        attention.attention_received(q, k, chunk_size=50)
    assert 2 * 50 * 400 <= largest.numel < 2 * 100 * 400


def test_grid_is_in_row_order():
    grid = attention.to_grid(torch.arange(6.0)[None], 2, 3)
    assert grid.tolist() == [[[[0, 1, 2], [3, 4, 5]]]]


def test_resizing_keeps_a_mask_binary_and_comes_back():
    mask = (torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    large = attention.resize_to(mask, 24, 40)
    assert set(large.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(attention.resize_to(large, 3, 5), mask)


@pytest.mark.parametrize(
    ("positions", "latent", "expected"),
    [(60, (6, 10), (6, 10)), (15, (6, 10), (3, 5)), (6, (6, 10), (2, 3)), (21, (5, 13), (3, 7))],
)
def test_the_grid_of_a_level_is_found_for_any_shape(positions, latent, expected):
    assert attention.grid_of(positions, latent) == expected


def test_a_latent_without_such_a_level_is_refused():
    with pytest.raises(ValueError, match="14 positions are no level of a 6x10 latent"):
        attention.grid_of(14, (6, 10))


def test_the_recorder_sees_what_the_module_computes():
    module = self_attention()
    x = torch.randn(2, 15, 16, generator=torch.Generator().manual_seed(1))
    with attention.AttentionRecorder(module, (6, 10)) as recorder:
        module(x)
    q, k = (module.head_to_batch_dim(to(x)) for to in (module.to_q, module.to_k))
    probs = module.get_attention_scores(q, k)  # diffusers' own, (B·heads,N,N)
    expected = probs.unflatten(0, (2, 2)).mean(1).sum(1).reshape(2, 1, 3, 5)
    torch.testing.assert_close(recorder.received, expected)


def test_the_recorder_takes_the_part_of_the_batch_it_is_asked_for():
    module = self_attention()
    x = torch.randn(4, 15, 16, generator=torch.Generator().manual_seed(1))
    with attention.AttentionRecorder(module, (3, 5)) as everything:
        module(x)
    with attention.AttentionRecorder(module, (3, 5), batch=slice(1, 3)) as part:
        module(hidden_states=x)
    torch.testing.assert_close(part.received, everything.received[1:3])


def test_the_recorder_changes_no_output_and_leaves_no_trace():
    module = self_attention()
    x = torch.randn(1, 15, 16, generator=torch.Generator().manual_seed(1))
    plain, before = module(x), state(module)
    with attention.AttentionRecorder(module, (3, 5)):
        assert state(module) != before  # the comparison below can fail
        assert torch.equal(module(x), plain)
    assert state(module) == before


def test_a_pass_that_is_stopped_gives_the_same_map_and_runs_nothing_behind_it():
    module = self_attention()
    x = torch.randn(1, 15, 16, generator=torch.Generator().manual_seed(1))
    with attention.AttentionRecorder(module, (3, 5)) as whole:
        module(x)
    before, passed = state(module), []
    with attention.AttentionRecorder(module, (3, 5), stop=True) as recorder:
        module(x)
        passed.append("behind the module")
    assert torch.equal(recorder.received, whole.received)
    assert not passed and state(module) == before
    wrong = attention.AttentionRecorder(module, (7, 7), stop=True)
    with pytest.raises(ValueError, match="no level"), wrong:
        module(x)


def test_the_recorder_leaves_no_trace_after_an_error():
    module = self_attention()
    before = state(module)
    with pytest.raises(ValueError, match="no level"), attention.AttentionRecorder(module, (7, 7)):
        module(torch.randn(1, 15, 16))
    assert state(module) == before


def test_layers_are_listed_and_found(sd15_components):
    unet = sd15_components["unet"]
    layers = attention.attention_layers(unet)
    assert layers == [
        "mid",
        "down_blocks.0.attentions.0",
        "up_blocks.1.attentions.0",
        "up_blocks.1.attentions.1",
        "mid_block.attentions.0",
    ]
    found = [attention.self_attention(unet, layer) for layer in layers]
    assert found[0] is found[-1]
    assert len({id(module) for module in found}) == len(layers) - 1
    assert attention.self_attention(unet, "up_blocks.1") is found[2]


def test_an_unknown_layer_is_answered_with_the_known_ones(sd15_components):
    with pytest.raises(ValueError, match=r"layer 'down_blocks.1'; the layers are: mid, down_blo"):
        attention.self_attention(sd15_components["unet"], "down_blocks.1")
