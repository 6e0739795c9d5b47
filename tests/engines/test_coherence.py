"""Engines that go on from the frame before, inside (Chen et al. 2017), by the weights that ship."""

import pytest
import torch
from safetensors.torch import load, save
from style_a_video.pipelines.device import pick_device
from style_a_video.pipelines.engines.kinds import CarryingEngine
from style_a_video.pipelines.engines.registry import kind_named
from style_a_video.pipelines.engines.style import Style, read_learned_style, read_style_picture
from style_a_video.weights.paintings import PAINTINGS

CPU = pick_device("cpu")
LEVELS = ("input", "features", "output")
ALONE = {"sctnet": {"mode": "art"}, "adain": {"statistics": "frame"}}  # nothing else is carried
EVERY = pytest.mark.parametrize(
    ("name", "level"),
    [*(("stylebank", x) for x in LEVELS), *(("sctnet", x) for x in LEVELS), ("adain", "features")],
)
FEATURES = pytest.mark.parametrize("name", ["stylebank", "sctnet", "adain"])


def engine_of(name, level, alone=True, **options):
    kind = kind_named(name)
    style = Style(pictures=(read_style_picture(PAINTINGS[0].path),))
    if name == "stylebank":
        style = Style(learned=(read_learned_style("great_wave"),))
    else:
        options = {"style_size": 128, **(ALONE[name] if alone else {}), **options}
    return kind.load(kind.options(coherence=level, **options), CPU, torch.float32).engine(style)


def carried(engine, frames, chunks, kept=None, through=lambda kept: kept):
    found, first = [], 0
    for count in chunks:
        some, kept = engine.carry(frames[first : first + count], range(first, first + count), kept)
        kept = through(kept)
        found.append(some)
        first += count
    return torch.cat(found)


def stylized(engine, frames):
    if isinstance(engine, CarryingEngine):
        return carried(engine, frames, [1], None)
    return engine(frames, range(len(frames)))


@pytest.fixture(scope="module")
def frames():
    """(3,3,50,70): a disc that moves over a slanting ground, no side a multiple of 4."""
    y, x = torch.meshgrid(torch.arange(50.0), torch.arange(70.0), indexing="ij")
    shown = []
    for t in range(3):
        ground = torch.stack([x / 70, y / 50, 0.5 + 0 * x])
        disc = ((x - 25 - 4 * t).square() + (y - 25).square()).sqrt() < 12
        ground[:, disc] = torch.tensor([0.9, 0.2, 0.1])[:, None]
        shown.append(ground)
    return torch.stack(shown)


@pytest.fixture(scope="module")
def noisy(frames):
    noise = 0.04 * torch.randn(4, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    return (frames[:1] + noise).clamp(0, 1)


@EVERY
def test_a_shot_begins_as_without_it_and_then_goes_on(name, level, noisy):
    plain = stylized(engine_of(name, "none"), noisy)
    calm = carried(engine_of(name, level), noisy, [4])
    torch.testing.assert_close(calm[0], plain[0], atol=1e-3, rtol=0)
    for t in (1, 2, 3):  # it goes on from what was composed, not from what was drawn
        moves = [float((x[t] - x[t - 1]).abs().mean()) for x in (calm, plain)]
        assert moves[0] < 0.7 * moves[1]


@FEATURES
def test_chunks_of_any_size_and_a_job_s_file_give_the_same_bits(name, frames):
    """With the statistics carried too, where an engine has such."""
    engine = engine_of(name, "features", alone=False)

    def through_a_file(kept):
        return load(save({k: v.contiguous() for k, v in kept.items()}))

    whole = carried(engine, frames, [3])
    assert torch.equal(carried(engine, frames, [1, 2], through=through_a_file), whole)
    assert torch.equal(carried(engine, frames, [2, 1]), whole)


@FEATURES
def test_what_is_new_is_drawn_as_it_is(name, frames):
    """Little of the scene before is left in another one, even where no cut is found."""
    other = 1 - frames[:1].flip(2)
    after = carried(engine_of(name, "features"), torch.cat([frames[:1], other]), [2])[1]
    before, alone = (stylized(engine_of(name, "none"), x)[0] for x in (frames[:1], other))
    left = (after - alone).abs().mean() / (before - alone).abs().mean()
    assert float(left) < 0.4


@pytest.mark.parametrize("name", ["sctnet", "adain"])
def test_its_networks_are_loaded_and_told_where_it_is_asked_for_alone(name):
    kind = kind_named(name)
    plain, coherent = (
        kind.load(kind.options(coherence=level), CPU, torch.float32) for level in ("none", "input")
    )
    assert "traced" in coherent.networks and "traced" not in plain.networks
    assert coherent.identity()["weights"] != plain.identity()["weights"]
