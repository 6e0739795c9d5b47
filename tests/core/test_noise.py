import pytest
import torch
from style_a_video.pipelines.core import noise

SHAPE = (4, 16, 24)


def test_a_frames_noise_does_not_depend_on_its_batch():
    whole = noise.frame_noise(SHAPE, 5, range(6))
    parts = [noise.frame_noise(SHAPE, 5, i) for i in ([4], [0, 1], [5, 3, 2])]
    assert torch.equal(torch.cat(parts), whole[[4, 0, 1, 5, 3, 2]])


@pytest.mark.parametrize("mode", noise.MODES)
def test_noise_is_standard_normal(mode):
    n = noise.frame_noise((4, 64, 64), 1, range(40), mode, blend=0.3)
    n = n[:1] if mode == "shared" else n
    assert abs(n.mean()) < 0.03
    assert abs(n.std() - 1) < 0.03
    assert abs((n**4).mean() - 3) < 0.3  # kurtosis of a normal


def test_frames_are_independent_in_their_own_mode_and_equal_in_the_shared_one():
    own = noise.frame_noise((4, 64, 64), 1, range(3)).flatten(1)
    assert torch.corrcoef(own).triu(1).abs().max() < 0.03
    shared = noise.frame_noise(SHAPE, 1, [0, 7, 10**9], "shared")
    assert torch.equal(shared[0], shared[1]) and torch.equal(shared[0], shared[2])


def test_blended_noise_correlates_by_its_blend():
    blended = noise.frame_noise((4, 64, 64), 1, range(2), "blended", blend=0.4).flatten(1)
    assert abs(torch.corrcoef(blended)[0, 1] - 0.4) < 0.03
    for blend, mode in ((0.0, "per-frame"), (1.0, "shared")):
        end = noise.frame_noise(SHAPE, 1, range(3), "blended", blend=blend)
        torch.testing.assert_close(end, noise.frame_noise(SHAPE, 1, range(3), mode))


def test_seeds_differ_and_shared_noise_is_no_frames_own():
    first = noise.frame_noise(SHAPE, 1, [0])
    assert not torch.allclose(first, noise.frame_noise(SHAPE, 2, [0]))
    assert not torch.allclose(first, noise.frame_noise(SHAPE, 1, [0], "shared"))


def test_keys_of_one_seed_never_collide():
    keys = {noise.frame_key(3, frame) for frame in range(200_000)}  # a 32-bit hash loses about 5
    assert len(keys) == 200_000
    assert all(0 <= key < 2**32 for key in keys)


def test_any_integer_is_a_seed():
    seeds = (0, -1, 2**31, 2**63, 2**64 + 5)
    drawn = [noise.frame_noise((1, 2, 2), s, [0]) for s in seeds]
    assert len({tuple(n.flatten().tolist()) for n in drawn}) == len(seeds)


def test_dtype_is_only_a_rounding():
    half = noise.frame_noise(SHAPE, 1, range(2), dtype=torch.float16)
    assert torch.equal(half, noise.frame_noise(SHAPE, 1, range(2)).half())


def test_golden_values():
    """A video made today must come out the same after an update of this package.

    Keys by the formulas of SplitMix64 and MurmurHash3 in integers; noise by
    torch.Generator().manual_seed(key) and torch.randn of PyTorch 2.13 on the CPU.
    """
    assert noise.frame_key(7, 0) == 514579933
    assert noise.frame_key(7, None) == 180198427
    golden = [-0.23428, 0.48063, -0.16268, -1.84336, 0.07974, -0.66281, -0.19731, 0.87304]
    n = noise.frame_noise((1, 2, 2), 7, [0, 12])
    torch.testing.assert_close(n.flatten(), torch.tensor(golden), atol=1e-5, rtol=0)


def test_step_generators_belong_to_frames_too():
    def draw(generators):
        return [torch.randn(4, generator=g) for g in generators]

    whole = draw(noise.frame_generators(1, range(3)))
    assert torch.equal(draw(noise.frame_generators(1, [2]))[0], whole[2])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], noise.frame_noise((1, 2, 2), 1, [0]).flatten())
    same = draw(noise.frame_generators(1, range(2), "shared"))
    assert torch.equal(same[0], same[1])


def test_bad_modes_and_blends_are_refused():
    with pytest.raises(ValueError, match="no noise mode 'white'; the modes are: shared, per-frame"):
        noise.frame_noise(SHAPE, 0, [0], "white")
    with pytest.raises(ValueError, match="blend must lie between 0 and 1, not 1.5"):
        noise.frame_noise(SHAPE, 0, [0], "blended", blend=1.5)
