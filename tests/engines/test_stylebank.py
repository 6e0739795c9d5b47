"""Learned styles through the engine that ships."""

import pytest
import torch
from style_a_video.pipelines.device import pick_device
from style_a_video.pipelines.engines.registry import default_for, kind_named
from style_a_video.pipelines.engines.style import (
    LearnedStyle,
    Style,
    StylePicture,
    read_learned_style,
)
from style_a_video.pipelines.errors import StyleAVideoError

CPU = pick_device("cpu")


def loaded(**options):
    kind = kind_named("stylebank")
    return kind.load(kind.options(**options), CPU, torch.float32)


def stylized(style, frames, **options):
    return loaded(**options).engine(style)(frames, range(len(frames)))


def learned(*names, **more):
    return Style(learned=tuple(read_learned_style(name, **more) for name in names))


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


def test_a_learned_style_is_made_by_it_and_pictures_are_not():
    assert default_for(learned("scream")).name == "stylebank"
    picture = Style(pictures=(StylePicture(torch.rand(3, 32, 32)),))
    with pytest.raises(StyleAVideoError, match="stylebank takes learned styles, no pictures"):
        kind_named("stylebank").check(picture)
    with pytest.raises(StyleAVideoError, match="sctnet takes pictures, no learned styles"):
        kind_named("sctnet").check(learned("scream"))
    with pytest.raises(StyleAVideoError, match="of pictures or of learned styles, not of both"):
        Style("", picture.pictures, learned("scream").learned)


def test_frames_keep_their_shape_and_styles_differ(frames):
    one, other = (stylized(learned(name), frames) for name in ("scream", "great_wave"))
    assert one.shape == frames.shape and one.min() >= 0 and one.max() <= 1
    assert float((one - other).abs().mean()) > 0.05


def test_chunks_of_any_size_give_the_same(frames):
    engine = loaded().engine(learned("scream"))
    whole = engine(frames, range(3))
    parts = [engine(frames[i : i + 1], [i]) for i in range(3)]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-4, rtol=0)


def test_the_strength_goes_from_the_frame_on(frames):
    far = [
        float((stylized(learned("scream"), frames, style_strength=s) - frames).abs().mean())
        for s in (0.0, 0.5, 1.0)
    ]
    assert far[0] == 0 < far[1] < far[2]


def test_styles_mix_by_their_weights(frames):
    one, other = read_learned_style("scream"), read_learned_style("great_wave", weight=3)
    mixed = LearnedStyle(0.25 * one.filters + 0.75 * other.filters)
    found = stylized(Style(learned=(one, other)), frames)
    torch.testing.assert_close(found, stylized(Style(learned=(mixed,)), frames), atol=1e-3, rtol=0)


def test_styles_follow_one_another_by_the_frames_own_numbers(frames):
    engine = loaded(fade_frames=10).engine(learned("scream", "great_wave"))
    first, last = (stylized(learned(name), frames[:1]) for name in ("scream", "great_wave"))
    torch.testing.assert_close(engine(frames[:1], [0]), first, atol=1e-4, rtol=0)
    torch.testing.assert_close(engine(frames[:1], [10]), last, atol=1e-4, rtol=0)
    between = engine(frames[:1], [5])
    assert not torch.equal(between, first) and not torch.equal(between, last)


def test_a_mask_leaves_the_rest_of_the_frame_alone(frames):
    mask = torch.zeros(1, 50, 70)
    mask[..., :35] = 1
    found = stylized(Style(learned=(read_learned_style("scream"),)), frames)
    style = Style(learned=(LearnedStyle(read_learned_style("scream").filters, mask=mask),))
    part = stylized(style, frames)
    assert torch.equal(part[..., 40:], frames[..., 40:])
    assert float((part[..., :30] - frames[..., :30]).abs().mean()) > 0.05
    assert not torch.equal(part, found)


def test_several_styles_of_one_clip_share_the_encoder(frames, monkeypatch):
    one = loaded()
    calls, encode = [], one.network.encode
    monkeypatch.setattr(one.network, "encode", lambda x: calls.append(x) or encode(x))
    for name in ("scream", "great_wave", "udnie"):
        one.engine(learned(name))(frames, range(3))
    one.engine(learned("scream"))(frames.clone(), range(3))
    assert len(calls) == 2


def test_the_colours_of_the_video_can_stay(frames):
    found = stylized(learned("scream"), frames, keep_colour=True)
    loose = stylized(learned("scream"), frames)
    chroma = [x - x.mean(1, keepdim=True) for x in (found, loose, frames)]
    assert (chroma[0] - chroma[2]).abs().mean() < 0.3 * (chroma[1] - chroma[2]).abs().mean()


def test_what_decides_the_pixels_is_the_identity():
    styles = [learned("scream"), learned("great_wave"), learned("scream", weight=2)]
    assert len({style.key for style in styles}) == 3
    assert learned("scream").key == styles[0].key
    assert loaded().identity() != loaded(fade_frames=3).identity()
