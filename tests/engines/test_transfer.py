"""Style from pictures through the engines that ship: mixing, regions, what is carried, sizes."""

import pytest
import torch
from style_a_video.pipelines.core.gram import style_distance
from style_a_video.pipelines.device import pick_device
from style_a_video.pipelines.engines import sctnet
from style_a_video.pipelines.engines.kinds import CarryingEngine
from style_a_video.pipelines.engines.registry import kind_named
from style_a_video.pipelines.engines.style import Style, StylePicture, read_style_picture
from style_a_video.weights.paintings import PAINTINGS
from style_a_video.weights.perceptual_encoder import load_encoder
from torch.nn.functional import interpolate

CPU = pick_device("cpu")
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
FRAME_BY_FRAME = {
    "adain": {"statistics": "frame"},
    "wct": {"statistics": "frame"},
    "sctnet": {"mode": "art"},
}
PHOTO = "sctnet, photo"
EVERY = pytest.mark.parametrize("name", [*FRAME_BY_FRAME, PHOTO])
EVERY_WITH_FRAME_BY_FRAME = pytest.mark.parametrize("name", FRAME_BY_FRAME)


def loaded(name, **options):
    if name == PHOTO:
        name, options = "sctnet", {"mode": "photo", **options}
    kind = kind_named(name)
    return kind.load(kind.options(style_size=128, **options), CPU, torch.float32)


def stylized(name, style, frames, **options):
    engine = loaded(name, **options).engine(style)
    if isinstance(engine, CarryingEngine):
        return engine.carry(frames, range(len(frames)), None)[0]
    return engine(frames, range(len(frames)))


@pytest.fixture(scope="module")
def pictures():
    return [read_style_picture(one.path) for one in PAINTINGS[:2]]


@pytest.fixture(scope="module")
def frames():
    """(4,3,70,90): two moving discs on a slanting ground, no side a multiple of 16."""
    y, x = torch.meshgrid(torch.arange(70.0), torch.arange(90.0), indexing="ij")
    shown = []
    for t in range(4):
        ground = torch.stack([x / 90, y / 70, 0.5 + 0 * x])
        near = ((x - 30 - 3 * t).square() + (y - 30).square()).sqrt() < 14
        far = ((x - 60).square() + (y - 45 - 2 * t).square()).sqrt() < 9
        ground[:, near] = torch.tensor([0.9, 0.2, 0.1])[:, None]
        ground[:, far] = torch.tensor([0.1, 0.3, 0.8])[:, None]
        shown.append(ground)
    return torch.stack(shown)


@EVERY
def test_frames_come_nearer_to_the_picture_in_style(name, frames, pictures):
    encoder = load_encoder()
    wanted = encoder(pictures[0].image[None], LAYERS)
    found = stylized(name, Style(pictures=(pictures[0],)), frames)
    assert found.shape == frames.shape and found.min() >= 0 and found.max() <= 1
    far = style_distance(encoder(frames[:1], LAYERS), wanted)
    near = style_distance(encoder(found[:1], LAYERS), wanted)
    assert near < 0.7 * far


@EVERY
def test_the_strength_goes_from_the_frame_to_the_picture(name, pictures):
    """The frame as its decoders give it back."""
    frame, style = pictures[1].image[None, :, :160, :192], Style(pictures=(pictures[0],))
    made = [stylized(name, style, frame, style_strength=s) for s in (0.0, 0.5, 1.0)]
    far = [float((found - frame).abs().mean()) for found in made]
    assert far[0] < 0.1 and far[0] < far[1] < far[2]


@pytest.mark.parametrize("name", ["adain", "sctnet", PHOTO])
def test_a_shot_that_fades_in_from_black_does_not_blow_up(name, frames, pictures):
    """Its first frame has next to no deviation, which the running mean begins from."""
    style, shown = Style(pictures=(pictures[0],)), frames[:1].repeat(4, 1, 1, 1)
    fading = shown * torch.tensor([0.0, 0.3, 0.6, 1.0]).view(4, 1, 1, 1)
    found, whole = (stylized(name, style, x)[-1] for x in (fading, shown))
    saturated = [((x < 0.01) | (x > 0.99)).float().mean() for x in (found, whole)]
    assert saturated[0] < saturated[1] + 0.25


def test_flat_ground_is_drawn_with_fewer_cracks(pictures, monkeypatch):
    """By sctnet, than with all of the picture at the layer that draws them."""
    style, ground = Style(pictures=(pictures[1],)), torch.full((1, 3, 96, 128), 0.6)
    ground[..., 48:, :] = 0.2
    ground[:, 0, :, 64:] += 0.1
    found = [stylized("sctnet", style, ground)]
    for share in ("SHIFTED", "SPREAD"):
        monkeypatch.setattr(sctnet, share, 1.0)
    found.append(stylized("sctnet", style, ground))
    fewer, all_of_it = (x[..., 8:40, 12:52].diff(dim=-1).abs().mean() for x in found)
    assert fewer < 0.9 * all_of_it


@EVERY
def test_one_picture_given_twice_is_that_picture(name, frames, pictures):
    once = stylized(name, Style(pictures=(pictures[0],)), frames)
    twice = Style(pictures=tuple(StylePicture(pictures[0].image, w) for w in (3.0, 1.0)))
    torch.testing.assert_close(stylized(name, twice, frames), once, rtol=0, atol=2e-3)


@EVERY
def test_a_weight_of_zero_does_not_count(name, frames, pictures):
    alone = stylized(name, Style(pictures=(pictures[1],)), frames)
    nothing = StylePicture(pictures[0].image, 0.0)
    both = stylized(name, Style(pictures=(nothing, pictures[1])), frames)
    torch.testing.assert_close(both, alone, rtol=0, atol=2e-3)


@EVERY
def test_a_picture_counts_in_its_region(name, frames, pictures):
    frames = interpolate(frames[:2], (140, 240))
    left = torch.zeros(1, 140, 240)
    left[..., :120] = 1
    masks = (left, 1 - left)
    both = Style(
        pictures=tuple(StylePicture(p.image, mask=m) for p, m in zip(pictures, masks, strict=True))
    )
    found = stylized(name, both, frames)
    halves = (slice(0, 120), slice(120, 240))
    inner = (slice(0, 80), slice(-80, None))  # beyond what convolutions see of the border
    for k, (half, part) in enumerate(zip(halves, inner, strict=True)):
        own, other = (
            stylized(name, Style(pictures=(pictures[n],)), frames[..., half]) for n in (k, 1 - k)
        )
        gaps = [(found[..., half] - one)[..., part].abs().mean() for one in (own, other)]
        assert gaps[0] < 0.2 * gaps[1]


@pytest.fixture(scope="module")
def fading():
    """(1,140,240): 1 at the left, 0 at the right, and a ramp of 60 px between."""
    return ((150 - torch.arange(240.0)) / 60).clamp(0, 1).expand(1, 140, 240)


def mean_gap(found, wanted):
    """On the ramp of `fading`, of its middle."""
    return float((found - wanted)[..., 105:135].abs().mean())


@EVERY
def test_two_pictures_fade_into_each_other(name, frames, pictures, fading):
    """No third look between them: where both count by half, as far from each as they are."""
    frames = interpolate(frames[:1], (140, 240))
    both = Style(
        pictures=tuple(
            StylePicture(p.image, mask=m)
            for p, m in zip(pictures, (fading, 1 - fading), strict=True)
        )
    )
    alone = [stylized(name, Style(pictures=(p,)), frames) for p in pictures]
    between = alone[1].lerp(alone[0], fading)
    assert mean_gap(stylized(name, both, frames), between) < mean_gap(*alone)


@EVERY
def test_a_picture_fades_into_the_frame(name, frames, pictures, fading):
    frames = interpolate(frames[:1], (140, 240))
    style = Style(pictures=(StylePicture(pictures[0].image, mask=fading),))
    whole = stylized(name, Style(pictures=(pictures[0],)), frames)
    between = frames.lerp(whole, fading)
    assert mean_gap(stylized(name, style, frames), between) < 0.5 * mean_gap(whole, frames)


@EVERY
def test_what_no_region_covers_stays_as_it_is(name, frames, pictures):
    right = torch.zeros(1, 70, 90)
    right[..., 60:] = 1
    found = stylized(name, Style(pictures=(StylePicture(pictures[0].image, mask=right),)), frames)
    torch.testing.assert_close(found[..., :60], frames[..., :60])
    assert (found - frames)[..., 64:].abs().mean() > 0.05


@EVERY
def test_a_weight_of_zero_does_not_count_in_its_region_either(name, frames, pictures):
    left = torch.zeros(1, 70, 90)
    left[..., :45] = 1
    nothing = StylePicture(pictures[0].image, 0.0, left)
    both = stylized(name, Style(pictures=(nothing, pictures[1])), frames)
    alone = stylized(name, Style(pictures=(pictures[1],)), frames)
    torch.testing.assert_close(both, alone, rtol=0, atol=2e-3)


@EVERY
def test_colours_are_kept_where_asked(name, frames, pictures):
    found = stylized(name, Style(pictures=(pictures[0],)), frames, keep_colour=True)
    unit = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    inside = (found > 0.01).all(1, keepdim=True) & (found < 0.99).all(1, keepdim=True)
    gap = (found - frames) - ((found - frames) * unit).sum(1, keepdim=True)
    assert (gap.abs() * inside).max() < 1e-5


@EVERY
@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_of_any_size_give_the_same_frames(name, chunk, frames, pictures):
    engine = loaded(name).engine(Style(pictures=(pictures[0],)))
    whole, _ = engine.carry(frames, range(4), None)
    carried, found = None, []
    for i in range(0, 4, chunk):
        part = frames[i : i + chunk]
        images, carried = engine.carry(part, range(i, i + len(part)), carried)
        found.append(images)
    torch.testing.assert_close(torch.cat(found), whole, rtol=0, atol=1e-3)


@EVERY_WITH_FRAME_BY_FRAME
def test_what_comes_into_view_changes_the_rest_less_along_a_shot(name, frames, pictures):
    """A bright sheet covers half of the last frame: the other half holds still."""
    shown = frames[:1].repeat(2, 1, 1, 1)
    shown[1, :, :, 45:] = 1.0
    moved = {}
    for way, options in {"shot": {}, "frame": FRAME_BY_FRAME[name]}.items():
        found = stylized(name, Style(pictures=(pictures[0],)), shown, **options)
        moved[way] = (found[1] - found[0])[..., :24].abs().mean()
    assert moved["shot"] < 0.5 * moved["frame"]


@EVERY_WITH_FRAME_BY_FRAME
def test_each_frame_s_own_statistics_carry_nothing(name, frames, pictures):
    engine = loaded(name, **FRAME_BY_FRAME[name]).engine(Style(pictures=(pictures[0],)))
    assert not isinstance(engine, CarryingEngine)
    torch.testing.assert_close(
        engine(frames, range(4))[2:], engine(frames[2:], [2, 3]), rtol=0, atol=1e-3
    )


@EVERY
def test_the_smallest_frames_and_pictures_are_taken(name, pictures):
    tiny = torch.rand(1, 3, 16, 17, generator=torch.Generator().manual_seed(0))
    thin = StylePicture(pictures[0].image[:, :16, :400])
    for picture in (pictures[0], thin):
        assert stylized(name, Style(pictures=(picture,)), tiny).shape == tiny.shape


@EVERY
def test_identity_tells_options_and_weights(name):
    ours, others = loaded(name).identity(), loaded(name, keep_colour=True).identity()
    assert ours["weights"] == others["weights"] and len(ours["weights"]) == 64
    assert ours != others
