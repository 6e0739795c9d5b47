"""The refiners on moving pictures whose motion is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from style_a_video.pipelines import flow as estimators
from style_a_video.pipelines.core import flow, refiner
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.refine.frames import (
    METHODS,
    InOrder,
    Past,
    Refining,
    refine,
    refine_frames,
)
from style_a_video.training import motion
from style_a_video.weights.refiner import load_refiner
from torch.nn import functional as F

pytest.importorskip("cv2")
HEIGHT, WIDTH = 96, 128


def smooth(seed: int, height: int, width: int) -> torch.Tensor:
    """(3,h,w): a picture with detail at all scales, like a photo."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        F.interpolate(
            torch.rand(1, 3, max(2, height // k), max(2, width // k), generator=generator),
            (height, width),
            mode="bicubic",
        )
        * k**0.5
        for k in (4, 8, 16, 32)
    ]
    picture = sum(layers)[0]
    return ((picture - picture.min()) / (picture.max() - picture.min())).clamp(0, 1)


def pan(seed: int = 0, count: int = 8, step: int = 2) -> torch.Tensor:
    """(T,3,H,W): a camera that goes right by `step` px a frame."""
    wide = smooth(seed, HEIGHT, WIDTH + step * count)
    return torch.stack([wide[..., step * i : step * i + WIDTH] for i in range(count)])


def styled(frames: torch.Tensor, noise: float = 0.06) -> torch.Tensor:
    """Another look, with flicker: every frame has its own grain and its own light."""
    generator = torch.Generator().manual_seed(5)
    grain = noise * torch.randn(frames.shape, generator=generator)
    light = 0.5 * noise * torch.randn(len(frames), 3, 1, 1, generator=generator)
    return (1 - frames.flip(1) ** 2 + grain + light).clamp(0, 1)


def moved_error(frames: torch.Tensor, step: int = 2) -> float:
    """Mean squared difference between frames along the known pan."""
    a, b = frames[1:, ..., 8 : -8 - step], frames[:-1, ..., 8 + step : -8]
    return float((a - b).square().mean())


def refined(x: torch.Tensor, y: torch.Tensor, settings: Refining) -> torch.Tensor:
    return torch.stack(list(refine_frames(zip(x, y, strict=True), settings)))


@pytest.mark.parametrize("method", METHODS)
def test_flicker_goes_and_the_picture_stays(method):
    x, clean = pan(), styled(pan(), 0)
    y = styled(x)
    out = refined(x, y, Refining(method=method))
    assert moved_error(out) < 0.5 * moved_error(y)
    assert (out - clean).square().mean() < (y - clean).square().mean()
    assert out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_strength_0_is_the_identity_and_the_rest_lies_between(method):
    x, y = pan(), styled(pan())
    assert torch.equal(refined(x, y, Refining(0.0, method)), y)
    errors = [moved_error(refined(x, y, Refining(s, method))) for s in (0, 0.3, 0.6, 1)]
    assert errors == sorted(errors, reverse=True)
    near = refined(x, y, Refining(1e-4, method))
    assert (near - y).abs().max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_a_streamed_run_is_a_whole_run(method):
    x, y = pan(), styled(pan())
    settings = Refining(method=method)
    whole = refined(x, y, settings)
    engine = InOrder(lambda frames, indices: y[list(indices)], settings)
    chunks = [engine(x[i : i + 3], range(i, min(i + 3, len(x)))) for i in range(0, len(x), 3)]
    assert torch.equal(torch.cat(chunks), whole)


def test_a_frame_out_of_order_begins_anew():
    x, y = pan(), styled(pan())
    engine = InOrder(lambda frames, indices: y[list(indices)], Refining())
    engine(x[:3], range(3))
    assert torch.equal(engine(x[5:6], [5])[0], y[5])


@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_the_former_shot_survives_a_cut(method):
    x = torch.cat([pan(0), pan(1)])
    y = styled(x)
    out = refined(x, y, Refining(method=method))
    assert torch.equal(out[0], y[0]) and torch.equal(out[8], y[8])
    assert torch.equal(out[8:], refined(x[8:], y[8:], Refining(method=method)))


def test_a_still_or_fading_or_moving_shot_is_no_cut():
    x = pan()
    fading = x * torch.linspace(1, 0.3, len(x))[:, None, None, None]
    for clip in (x[:1].expand(4, -1, -1, -1), fading, pan(step=6)):
        y = styled(clip)
        out = refined(clip, y, Refining(method="blend"))
        assert all(not torch.equal(a, b) for a, b in zip(out[1:], y[1:], strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_sides_of_any_length_and_another_size_of_the_source(method):
    x, y = pan()[:3, :, :93, :122], styled(pan())[:3, :, :93, :122]
    assert refined(x, y, Refining(method=method)).shape == y.shape
    small = F.interpolate(x, (47, 61), mode="area")
    assert refined(small, y, Refining(method=method)).shape == y.shape
    *_, last = refine_frames([(x[0], y[0]), (x[1], y[1, :, :48])], Refining(method=method))
    assert torch.equal(last, y[1, :, :48])


def test_flicker_is_followed_and_another_shape_is_not():
    """The past holds a shape 8 px away from where it now is, as after many small errors of flow."""
    y = torch.full((1, 3, 48, 64), 0.3)
    y[..., 12:36, 16:40] = 0.7
    seen = refiner.Seen(y, y, y, y.roll(8, 3), torch.ones(1, 1, 48, 64))
    alike = refiner.same_structure(seen)[0, 0]
    assert alike[16:32, 18:22].max() < 0.01 and alike[16:32, 42:46].max() < 0.01
    assert alike[:, 56:].min() > 0.99 and alike[18:30, 29:35].min() > 0.99
    grain = y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    assert refiner.same_structure(replace(seen, refined_before=grain)).mean() > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_a_thin_line_left_behind_goes_and_other_light_stays(method):
    """The flow finds nothing that moved, so all of the past would be followed."""
    x = smooth(0, 48, 64)
    y = 0.5 + 0.1 * (x - 0.5)
    settings = Refining(method=method)

    def after(past: torch.Tensor) -> torch.Tensor:
        return refine(x, y, Past(x[None], past[None]), settings)[0]

    line = y.clone()
    line[:, 10:40, 32] -= 0.4
    ghost = (after(line) - after(y))[:, 14:36, 32].abs().max()
    assert ghost < 0.1  # 0.3 and more where nothing holds it
    lighter = (after(y + 0.05) - after(y))[:, 8:-8, 8:-8]
    assert lighter.min() > 0.03


def seen_still(past: torch.Tensor) -> refiner.Seen:
    """Nothing moves in the source; ŷ^{f-1} is 0.5 + `past`, y^f is 0.5."""
    x = smooth(0, 48, 64)[None]
    y = torch.full_like(x, 0.5)
    return refiner.Seen(x, y, x, y + past, torch.ones(1, 1, 48, 64))


def by(method: str, seen: refiner.Seen) -> torch.Tensor:
    with torch.no_grad():
        return refiner.blend(seen) if method == "blend" else load_refiner()(seen)


@pytest.mark.parametrize("method", METHODS)
def test_what_the_frame_before_does_not_show_is_not_followed(method):
    seen = seen_still(torch.tensor(0.05))
    seen.visible[..., :32] = 0
    change = by(method, seen) - seen.stylized
    assert change[..., 40:].min() > 0.03
    assert change[..., :24].abs().max() < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_a_large_shape_left_behind_is_not_followed(method):
    shape = torch.zeros(1, 3, 48, 64)
    shape[..., 16:32, 20:40] = 0.3
    change = by(method, seen_still(shape)) - 0.5
    assert change[..., 21:27, 25:35].abs().max() < 0.03


@pytest.mark.parametrize("method", METHODS)
def test_light_that_flickers_in_the_result_alone_goes(method):
    x = smooth(0, 48, 64).expand(8, -1, -1, -1)
    light = 0.02 * torch.tensor([1.0, -1.0] * 4)[:, None, None, None]
    y = 0.3 + 0.4 * x + light
    out = refined(x, y, Refining(method=method))
    assert out.mean((1, 2, 3)).diff().abs()[2:].max() < 0.3 * 0.04


def test_what_is_warped_again_and_again_stays_sharp():
    fine = F.interpolate(torch.rand(1, 3, 48, 80), scale_factor=2, mode="bicubic")
    past = refiner.see(*4 * [fine], *2 * [torch.zeros(1, 2, 96, 160)])
    half = torch.full((1, 2, 96, 160), 0.5)
    picture = fine
    for _ in range(6):  # half a pixel back and forth
        for flow_to_prev in (half, -half):
            y = flow.warp(picture, flow_to_prev, "bicubic")
            seen = refiner.see(fine, y, fine, picture, flow_to_prev, -flow_to_prev)
            picture = seen.refined_before
    kept = picture[..., 16:-16, 16:-16].std() / past.refined_before[..., 16:-16, 16:-16].std()
    assert kept > 0.85


@pytest.mark.parametrize("method", METHODS)
def test_a_screen_of_dots_stands_still_while_the_scene_moves_behind_it(method):
    x = pan()
    dots = ((torch.arange(HEIGHT)[:, None] // 4 + torch.arange(WIDTH) // 4) % 2).float()
    y = 0.2 + 0.6 * dots.expand_as(x) + 0.1 * (x - 0.5)
    out = refined(x, y, Refining(method=method))
    assert (out - y)[2:].abs().mean() < 0.03


@pytest.mark.parametrize("method", METHODS)
def test_the_rim_is_as_calm_as_the_rest(method):
    """A camera's noise makes the flow of a still picture point a hair out of it."""
    generator = torch.Generator().manual_seed(0)
    still = smooth(0, 96, 128).expand(10, -1, -1, -1)
    x = (still + 0.01 * torch.randn(still.shape, generator=generator)).clamp(0, 1)
    y = (1 - still + 0.05 * torch.randn(still.shape, generator=generator)).clamp(0, 1)
    out = refined(x, y, Refining(method=method))
    change = out[4:].diff(dim=0).abs().mean((0, 1))
    rim = torch.cat([change[0], change[-1], change[:, 0], change[:, -1]])
    assert rim.mean() < 2 * change[8:-8, 8:-8].mean()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("of", ("source", "stylized"))
def test_values_that_are_no_numbers_stay_in_their_frame(method, of):
    x, y = pan(), styled(pan())
    spoilt = {"source": x, "stylized": y}[of]
    spoilt[3, 1, 40, 50] = float("nan")
    out = refined(x, y, Refining(method=method))
    torch.testing.assert_close(out[3], y[3], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(out[4], y[4])
    assert torch.equal(out[4:], refined(x[4:], y[4:], Refining(method=method)))
    assert out[5:].isfinite().all()


def test_the_past_follows_the_light_that_both_show():
    darker = torch.full((1, 3, 48, 70), -0.1)  # sides that no block of the average divides
    visible = torch.ones(1, 1, 48, 70)

    def followed(source: float, stylized: float) -> float:
        change = refiner.light_change(darker * source, darker * stylized, visible)
        assert change.amax() - change.amin() < 5e-3
        return float(change.mean()) / -0.1

    assert followed(1, 1) == pytest.approx(0.9, rel=0.04)  # up to 0.01
    assert followed(1, 0.3) == pytest.approx(0.2, rel=0.05)  # a style that hardly shows it
    assert followed(0.2, 1) == pytest.approx(0.6, rel=0.04)
    assert followed(1, 0.09) == 0
    assert followed(0, 1) == 0 and followed(1, -1) == 0  # flicker
    grain = 0.1 * torch.randn(darker.shape, generator=torch.Generator().manual_seed(0))
    assert refiner.light_change(grain, grain, visible).abs().mean() < 0.1 * grain.abs().mean()
    hidden = visible.clone()
    hidden[..., 20:] = 0  # something has come in front
    covered = torch.where(hidden > 0, 0.0, darker)
    assert refiner.light_change(covered, covered, hidden).abs().max() < 1e-6


def test_a_fading_light_leaves_no_cloud():
    # A wall dims slowly, and so do its refined frames, all places at once.
    wall = torch.full((3, 48, 64), 0.6) + 0.02 * smooth(1, 48, 64)
    x = torch.stack([wall - 0.01 * f for f in range(16)])
    y = refined(x, x, Refining(method="blend"))
    assert (y - x).abs().max() < 0.025


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((1.5,), "strength of the refiner lies between 0 and 1, not 1.5"),
        ((1.0, "magic"), "no method 'magic' of the refiner: choose one of learned, blend"),
        ((1.0, "blend", "magic"), "no flow 'magic' of the refiner: choose one of dis, raft"),
    ],
)
def test_wrong_settings_are_refused(arguments, words):
    with pytest.raises(StyleAVideoError, match=words):
        Refining(*arguments)


def test_dis_finds_a_known_pan():
    x = pan(step=3)
    to_prev, back = estimators.both_ways(x[1], x[0])
    inner = to_prev[..., 12:-12, 12:-12]
    assert (inner[:, 0] - 3).abs().mean() < 0.2 and inner[:, 1].abs().mean() < 0.2
    assert flow.visible_before(to_prev, back)[..., 12:-12, 12:-12].float().mean() > 0.95


@pytest.mark.parametrize("size", [(8, 8), (8, 40), (15, 40), (40, 12), (1, 1), (16, 512)])
def test_dis_finds_a_flow_in_the_smallest_pictures(size):
    """OpenCV crashes on some of them."""
    this, prev = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    to_prev, _ = estimators.both_ways(this, prev)
    assert to_prev.shape == (1, 2, *size) and to_prev.isfinite().all()


def test_raft_without_its_weights_says_what_to_download(monkeypatch, tmp_path):
    estimators._raft.cache_clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(StyleAVideoError, match="download https://|RAFT needs a torchvision"):
        estimators.raft(*pan()[:2])


def test_synthetic_motion_is_exact():
    """What the learned refiner was trained with: the flow explains the frames where visible."""
    rng = np.random.default_rng(0)
    photos = [(smooth(s, 320, 448).permute(1, 2, 0) * 255).numpy().astype(np.uint8) for s in (1, 2)]
    calm = [c for c in (motion.clip(rng, photos) for _ in range(4)) if _steady_light(c)]
    assert calm
    for clip in calm:
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2) / 255
        for to, flows, seen in (
            (frames[:-1], clip.flow_to_prev, clip.visible_before),
            (frames[:1].expand(5, -1, -1, -1), clip.flow_to_first, clip.visible_first),
        ):
            moved = flow.warp(to, torch.from_numpy(flows).permute(0, 3, 1, 2), "bicubic")
            gap = (moved - frames[1:]).abs().mean(1)[torch.from_numpy(seen)]
            assert gap.mean() < 2.5 / 255


def _steady_light(clip: motion.Clip) -> bool:
    means = clip.frames.reshape(len(clip.frames), -1).mean(1)
    return bool(np.ptp(means) < 2)


def test_a_flow_does_not_depend_on_those_before():
    """OpenCV's estimator keeps what small pictures make of its settings."""
    x = pan(step=3)
    first = estimators.dis(x[1], x[0])
    for size in ((16, 16), (24, 32), (40, 40)):
        small = F.interpolate(x[:2], size, mode="area")
        flows = [estimators.dis(small[1], small[0]) for _ in range(3)]
        assert all(torch.equal(found, flows[0]) for found in flows)
        assert torch.equal(estimators.dis(x[1], x[0]), first)
