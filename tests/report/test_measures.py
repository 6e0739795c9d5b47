"""Whole clips as streams: equal to the whole at once, in bounded memory, and what is refused."""

import math
import re
import sys
import weakref
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines import flow
from style_a_video.pipelines.core import measures as core
from style_a_video.pipelines.core.flow import visible_before
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Frame
from style_a_video.pipelines.report import judges
from style_a_video.pipelines.report.judges import (
    ClipNetwork,
    Judges,
    clip_of_folder,
    clip_of_pipeline,
)
from style_a_video.pipelines.report.measures import WINDOW, measure, measure_videos, names_of
from style_a_video.pipelines.report.words import MEASURES

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))
H, W, B = 24, 32, 0.02


def no_motion(this, other):
    return torch.zeros(2, *this.shape[-2:])


def pan(this, other):
    """The exact flow of `panned`: a picture names its time in its corner."""
    by = 2 * round(((other[0, 0, 0] - this[0, 0, 0]) * 100).item())
    return torch.tensor([-by, 0.0])[:, None, None].expand(2, *this.shape[-2:])


def away(this, other):
    """A flow that leads out of every picture."""
    return torch.full((2, *this.shape[-2:]), 1000.0)


def frames_of(images, rate=10):
    return [Frame(image, Fraction(i, rate), Fraction(1, rate)) for i, image in enumerate(images)]


def texture():
    return torch.rand(3, H, W + 100, generator=torch.Generator().manual_seed(0))


def panned(count):
    images = [texture()[..., 2 * i : 2 * i + W].clone() for i in range(count)]
    for i, image in enumerate(images):
        image[0, 0, 0] = i / 100
    return images


def still(count):
    return [texture()[..., :W]] * count


def brightening(count):
    return [0.5 * image + B * i for i, image in enumerate(still(count))]


def embed(images):
    """A CLIP that sees mean colour."""
    return images.mean((-2, -1))


FAKE = ClipNetwork("fake", embed, lambda words: torch.tensor([[1.0, 0.0, 0.0]]))


def test_the_unedited_clip_is_the_first_row_and_differs_from_itself_in_nothing():
    found = measure(frames_of(still(12)), [frames_of(still(12))], ["a", "b"], flow=no_motion)
    source, result = found.clips
    assert [source.name, result.name] == ["a", "b"]
    for clip in found.clips:
        assert clip.means["strength"] == clip.means["flicker"] == 0
        for key in ("warping", "pair", "temporal_10"):
            assert clip.means[key] < 1e-6  # grid_sample finds its pixels in float32
        assert clip.means["agreement"] == 1
        assert clip.means["ratio"] is None  # of nothing
        assert clip.means["style"] is None and clip.means["lpips_source"] is None
    assert source.means["sharpness"] == result.means["sharpness"] > 0
    assert (found.width, found.height, found.flow) == (W, H, "no_motion")
    assert found.times == [i / 10 for i in range(12)]


def test_a_clip_that_brightens_step_by_step():
    count = 14
    found = measure(frames_of(still(count)), [frames_of(brightening(count))], "xy", flow=no_motion)
    means, series = found.clips[1].means, found.clips[1].series
    assert means["warping"] == pytest.approx(B**2, rel=1e-3)
    assert means["temporal_1"] == pytest.approx(B, rel=1e-3)
    assert means["temporal_10"] == pytest.approx(10 * B, rel=1e-3)
    assert means["flicker"] == pytest.approx(B, rel=1e-3)
    for n in range(1, count):  # to the first frame and to the one before
        assert series["pair"][n] == pytest.approx(n * B + B, rel=1e-3)
    assert series["temporal_10"][:10] == [None] * 10 and None not in series["temporal_10"][10:]
    assert series["warping"][0] is None and None not in series["warping"][1:]
    assert None not in series["strength"]


def test_a_pan_has_no_error_along_its_exact_flow():
    images = panned(13)
    negative = [1 - image for image in images]
    means = measure(frames_of(images), [frames_of(negative)], "xy", flow=pan).clips[1].means
    # but for the one pixel that tells the time
    assert means["warping"] < 1e-4 and means["temporal_10"] < 1e-3
    assert means["agreement"] == pytest.approx(1, abs=1e-3)
    assert means["sharpness"] == pytest.approx(core.sharpness(torch.stack(images)).mean().item())


def test_streams_give_what_the_whole_gives():
    """All frames at once through the pure functions, against one at a time."""
    torch.manual_seed(1)
    x = torch.stack(panned(15))
    y = (x.flip(1) + 0.1 * torch.rand_like(x)).clamp(0, 1)
    found = measure(frames_of(x), [frames_of(y)], "xy", flow=pan, judges=Judges(FAKE, "red")).clips[
        1
    ]

    def pairs(d, of):
        flow = torch.stack([pan(x[n], x[n - d]) for n in range(d, 15)])
        return of(y[d:], y[:-d], flow, visible_before(flow, -flow))

    expected = {
        "strength": core.strength(y, x),
        "sharpness": core.sharpness(y),
        "warping": pairs(1, core.warping_error),
        "temporal_1": pairs(1, core.pair_error),
        "temporal_10": pairs(10, core.pair_error),
        "agreement": core.difference_agreement(x[:-1], x[1:], y[:-1], y[1:]),
        "content": torch.cosine_similarity(embed(y), embed(x)),
        "style": embed(y)[:, 0] / embed(y).norm(dim=1),
        "consecutive": torch.cosine_similarity(embed(y)[1:], embed(y)[:-1]),
    }
    for key, numbers in expected.items():
        late = [None] * (15 - len(numbers))
        assert found.series[key][: len(late)] == late
        assert found.series[key][len(late) :] == pytest.approx(numbers.tolist(), rel=1e-4), key
        assert found.means[key] == pytest.approx(numbers.mean().item(), rel=1e-4)


def test_several_results_are_measured_as_each_alone():
    x, results = panned(4), [panned(4)[::-1], still(4)]
    alone = [measure(frames_of(x), [frames_of(y)], "xy", flow=pan).clips[1] for y in results]
    together = measure(frames_of(x), [frames_of(y) for y in results], "xab", flow=pan)
    for one, same in zip(alone, together.clips[1:], strict=True):
        for key, numbers in one.series.items():
            for a, b in zip(numbers, same.series[key], strict=True):
                assert (a is None) == (b is None) and (
                    a is None or math.isclose(a, b, abs_tol=1e-6)
                )


def test_only_ten_frames_and_the_first_are_held(monkeypatch):
    """Batches of all clips are what is kept: count those that live after each frame."""
    batches, held, stack = [], [], torch.stack

    def watched(tensors, *args):
        batch = stack(tensors, *args)
        if batch.shape[1:] == (3, H, W):
            batches.append(weakref.ref(batch))
        return batch

    def count(done, total):
        held.append(sum(batch() is not None for batch in batches))

    monkeypatch.setattr(torch, "stack", watched)
    stream = (frame for frame in frames_of(still(40)))
    measure(stream, [frames_of(still(40))], "xy", flow=no_motion, progress=count)
    assert len(batches) == 40
    assert max(held) == WINDOW + 1  # the last ten and the first


def test_a_flow_or_judge_is_asked_once_for_all_results():
    calls = []

    def counted(this, other):
        calls.append(1)
        return no_motion(this, other)

    streams = [frames_of(still(3)) for _ in range(4)]
    measure(streams[0], streams[1:], "xabc", flow=counted)
    assert len(calls) == 2 * 2 * 2  # two frames: to the one before and to the first, both ways


def shot(seed, count):
    return [torch.from_numpy(x).permute(2, 0, 1) / 255 for x in clips.pan(seed, count)]


def test_frames_of_different_shots_are_not_compared():
    x = [*shot(0, 12), *shot(7, 13)]
    judges = Judges(FAKE, lpips=lambda a, b: (a - b).abs().mean((1, 2, 3)))
    found = measure(
        frames_of(x), [frames_of([0.9 * y for y in x])], "xy", flow=no_motion, judges=judges
    )
    assert [note.en for note in found.notes][0].startswith("The source has 2 shots")
    assert "原片有 2 个镜头" in found.notes[0].zh
    to_last = "warping", "temporal_1", "pair", "agreement", "consecutive", "lpips_consecutive"
    for clip in found.clips:
        for key in to_last:
            undefined = [n for n, number in enumerate(clip.series[key]) if number is None]
            assert undefined == [0, 12], key
        late = [n for n, number in enumerate(clip.series["temporal_10"]) if number is None]
        assert late == [*range(10), *range(12, 22)]
        # The first frame that E_pair looks back to is the shot's.
        assert clip.series["pair"][13] == pytest.approx(2 * clip.series["temporal_1"][13])


def test_cuts_are_the_source_s_not_the_result_s():
    flashing = [shot(n, 1)[0] for n in range(12)]
    found = measure(frames_of(shot(0, 12)), [frames_of(flashing)], "xy", flow=no_motion)
    assert not [note for note in found.notes if "shots" in note.en]
    assert None not in found.clips[1].series["warping"][1:]


def test_a_result_of_something_else_and_the_source_itself_are_told_of():
    x = shot(0, 11)
    other = [torch.from_numpy(clips.quadrants(128, 96)).permute(2, 0, 1) / 255] * 11
    drawn = [(0.7 * (1 - image) + 0.2).clamp(0, 1) for image in x]
    black = [torch.zeros_like(image) for image in x]
    streams = [frames_of(y) for y in (other, x, drawn, black)]
    found = measure(frames_of(x), streams, "sosdb", flow=no_motion)
    told = [note for note in found.notes if "source" in note.en]
    assert [note.en[:14] for note in told] == ["o shows someth", "s is the sourc"]
    assert "对不上" in told[0].zh and "就是原片" in told[1].zh
    late = measure(frames_of(x), [frames_of([*other[:10], drawn[10]])], "xy", flow=no_motion)
    assert not late.notes


def test_notes_say_what_is_not_defined():
    found = measure(frames_of(still(3)), [frames_of(brightening(3))], "xy", flow=no_motion)
    assert ["more than 10 frames" in note.en for note in found.notes] == [True]
    found = measure(frames_of(still(1)), [frames_of(brightening(1))], "xy", flow=no_motion)
    assert [note.en[:35] for note in found.notes] == ["No shot has more than one frame: no"]
    lost = measure(frames_of(still(12)), [frames_of(brightening(12))], "xy", flow=away)
    assert [note.en[:37] for note in lost.notes] == ["Nothing of the source can be followed"]
    blinking = [image * (0.5 + 0.5 * (i % 2)) for i, image in enumerate(still(12))]
    duller = [0.9 * image for image in blinking]
    found = measure(frames_of(blinking), [frames_of(duller)], "xy", flow=no_motion)
    assert "stands still" in found.notes[0].en and found.clips[1].means["flicker"] is None
    deaf = ClipNetwork("deaf", embed, None)
    found = measure(
        frames_of(still(12)),
        [frames_of(still(12))],
        "xy",
        flow=no_motion,
        judges=Judges(deaf, "oil"),
    )
    assert found.clips[0].means["style"] is None
    assert any("no text encoder" in note.en for note in found.notes)
    assert all(note.zh and not note.zh.isascii() for note in found.notes)


def test_the_built_in_clip_is_told_from_a_folder_of_its_name(
    tiny_pipeline, clip_folder, monkeypatch
):
    monkeypatch.setattr("style_a_video.weights.loading.load", lambda *_, **__: tiny_pipeline)
    folder, _ = clip_folder
    other = judges.load_clip(folder.rename(folder.with_name("embedded")))
    for network, told in ((other, 0), (judges.load_clip("embedded"), 1)):
        assert network.name == "embedded"
        x, y = frames_of(still(2)), frames_of(still(2))
        notes = measure(x, [y], "xy", flow=no_motion, judges=Judges(network)).notes
        assert [note.en.startswith("CLIP is the built-in") for note in notes].count(True) == told


def test_a_clip_at_other_times_is_told_of():
    x, y = still(12), brightening(12)
    slower = measure(frames_of(x, 10), [frames_of(y, 8), frames_of(y)], "xyz", flow=no_motion)
    assert [note.en[:22] for note in slower.notes] == ["y shows its frames at "]
    assert "不同步" in slower.notes[0].zh
    later = [Frame(f.image, f.pts + 3, f.duration) for f in frames_of(y)]
    found = measure(frames_of(x), [later], "xy", flow=no_motion)
    assert [clip.begin for clip in found.clips] == [0, 3] and not found.notes


def test_a_clip_that_tells_no_times_goes_at_its_rate():
    timeless = [Frame(f.image, Fraction(0), f.duration) for f in frames_of(still(12))]
    found = measure(timeless, [frames_of(brightening(12))], "xy", flow=no_motion)
    assert found.times == pytest.approx([i / 10 for i in range(12)]) and not found.notes


def test_frames_that_are_no_numbers_are_counted():
    y = [image.clone() for image in still(12)]
    y[3][0, 5, 5], y[7][:] = math.nan, math.inf
    found = measure(frames_of(still(12)), [frames_of(y)], "xy", flow=no_motion)
    assert [note.en[:18] for note in found.notes] == ["2 frames of y with"]
    assert "y 有 2 帧" in found.notes[0].zh
    assert found.clips[1].series["strength"][3] is None


# what is refused


@pytest.mark.parametrize(
    ("lengths", "message"),
    [((4, 3), "y ends after 3 frames but x goes on"), ((3, 4), "x ends after 3 frames but y")],
)
def test_clips_of_other_lengths(lengths, message):
    x, y = (frames_of(still(n)) for n in lengths)
    with pytest.raises(StyleAVideoError, match=message):
        measure(x, [y], "xy", flow=no_motion)


def test_clips_of_other_sizes_none_and_empty():
    small = [image[..., :20] for image in still(2)]
    with pytest.raises(StyleAVideoError, match="b is 20x24 and a is 32x24: compare clips of one"):
        measure(frames_of(still(2)), [frames_of(still(2)), frames_of(small)], "xab", flow=no_motion)
    with pytest.raises(StyleAVideoError, match="at least one result"):
        measure(frames_of(still(2)), [], "x")
    with pytest.raises(StyleAVideoError, match="x has no frame"):
        measure([], [[]], "xy")
    with pytest.raises(StyleAVideoError, match="y has no frame"):
        measure(frames_of(still(2)), [[]], "xy")


# files


def test_files_with_the_source_scaled_to_the_result(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    monkeypatch.setitem(sys.modules, "lpips", None)
    large = [clips.quadrants(128, 96)] * 3
    source = clips.encode(tmp_path / "in.mp4", large)
    result = clips.encode(tmp_path / "out.mp4", [clips.quadrants(64, 48)] * 3)
    told = []
    found = measure_videos(
        source, [result], judges=judges.judges_here(), progress=lambda *at: told.append(at)
    )
    assert (found.width, found.height, found.flow) == (64, 48, "dis")
    assert found.clips[1].means["strength"] < 0.02 and found.clips[1].means["warping"] < 1e-3
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert any("needs the package lpips" in note.en for note in found.notes)
    longer = clips.encode(tmp_path / "long.mp4", [clips.quadrants(64, 48)] * 5)
    with pytest.raises(StyleAVideoError, match="in.mp4 ends after 3 frames but long.mp4 goes on"):
        measure_videos(source, [longer])


@pytest.mark.parametrize(
    ("size", "told"), [((64, 48), 0), ((56, 40), 0), ((66, 48), 0), ((48, 48), 1), ((96, 48), 1)]
)
def test_a_source_of_another_shape_is_told_of(size, told, tmp_path):
    pytest.importorskip("cv2")
    source = clips.encode(tmp_path / "in.mp4", [clips.quadrants(128, 96)] * 11)
    result = clips.encode(tmp_path / "out.mp4", [clips.quadrants(*size)] * 11)
    notes = measure_videos(source, [result]).notes
    assert [note.en.startswith("in.mp4 has another shape") for note in notes] == [True] * told


def test_a_size_that_was_asked_for_keeps_the_shape_in_its_file(tmp_path):
    """`stylize --size` writes the source's shape as that of the pixels."""
    pytest.importorskip("cv2")
    source = clips.encode(tmp_path / "in.mp4", [clips.quadrants(128, 96)] * 11)
    square = clips.encode(
        tmp_path / "out.mp4", [clips.quadrants(48, 48)] * 11, sample=Fraction(4, 3)
    )
    assert not measure_videos(source, [square]).notes


def test_names():
    assert names_of([Path("a/x.mp4"), Path("b/y.mp4")]) == ["x.mp4", "y.mp4"]
    same = [Path("a/x.mp4"), Path("b/x.mp4")]
    assert names_of(same) == [str(path) for path in same]
    assert names_of([Path("a\x1b[31m.mp4")]) == ["a\ufffd[31m.mp4"]


# judges


def test_the_pipelines_own_clip(tiny_pipeline, clip):
    judge = clip_of_pipeline(tiny_pipeline, "tiny")
    embeds, words = judge.encode_image(clip), judge.encode_text("oil")
    assert embeds.shape == (3, 16) and words.shape == (1, 16)
    assert not embeds.requires_grad and not words.requires_grad
    torch.testing.assert_close(embeds, tiny_pipeline.encode_images(clip).detach())


def test_a_pipeline_without_image_encoder(sd15_pipeline):
    with pytest.raises(StyleAVideoError, match="sd15 has no image encoder"):
        clip_of_pipeline(sd15_pipeline, "sd15")


@pytest.fixture
def clip_folder(tiny_tokenizer, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "projection_dim": 8}
    ids = {
        "bos_token_id": tiny_tokenizer.bos_token_id,
        "eos_token_id": tiny_tokenizer.eos_token_id,
        "pad_token_id": tiny_tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config={**small, **heads, **ids, "vocab_size": len(tiny_tokenizer)},
        vision_config={**small, **heads, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path / "clip")
    tiny_tokenizer.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip", model


def test_a_folder_of_transformers(clip_folder, clip, tiny_tokenizer):
    from transformers import CLIPImageProcessor

    folder, model = clip_folder
    judge = clip_of_folder(folder)
    assert judge.name == "clip"
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    pixels = processor([x.permute(1, 2, 0).numpy() for x in clip], do_rescale=False)["pixel_values"]
    pixels = torch.stack([torch.as_tensor(p) for p in pixels]).float()
    tokens = tiny_tokenizer(["an oil"], padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=pixels, input_ids=tokens.input_ids)
    image, text = judge.encode_image(clip), judge.encode_text("an oil")
    # transformers rounds to 8 bits in between
    assert torch.cosine_similarity(image, output.image_embeds).min() > 0.999
    torch.testing.assert_close(
        torch.nn.functional.normalize(text), output.text_embeds, atol=1e-5, rtol=1e-5
    )


def test_folders_without_clip(tmp_path):
    with pytest.raises(StyleAVideoError, match="There is no folder"):
        judges.load_clip(tmp_path / "none")
    with pytest.raises(StyleAVideoError, match="holds no CLIP that can be loaded"):
        judges.load_clip(tmp_path)


def without_vision(folder):
    path = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(path).items() if not k.startswith("vision_model")}
    save_file(kept, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "damage",
    [
        without_vision,
        lambda f: (f / "model.safetensors").write_bytes(b"0" * 100),
        lambda f: (f / "preprocessor_config.json").write_text("{"),
        lambda f: (f / "config.json").write_text(
            (f / "config.json").read_text().replace('"projection_dim": 8', '"projection_dim": 4')
        ),
    ],
)
def test_a_damaged_clip_is_refused(clip_folder, damage):
    folder, _ = clip_folder
    damage(folder)
    with pytest.raises(StyleAVideoError, match="holds no CLIP that can be loaded"):
        judges.load_clip(folder)


def lpips_package(monkeypatch, home):
    """Stand-ins for the two packages, which need not be here."""

    class LPIPS(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, a, b, normalize):
            assert normalize and min(a.shape[-2:]) >= 64
            return (a - b).abs().mean((1, 2, 3), keepdim=True)

    url = "https://example.org/alexnet-1234.pth"
    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=url))
    models = SimpleNamespace(AlexNet_Weights=weights, alexnet=lambda: torch.nn.Linear(1, 1))
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=LPIPS))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(home))
    return home / "checkpoints" / "alexnet-1234.pth"


def test_lpips_is_used_where_it_is_and_never_downloaded(tmp_path, monkeypatch):
    file = lpips_package(monkeypatch, tmp_path)
    with pytest.raises(StyleAVideoError, match="download https://.*alexnet-1234.pth to .*check"):
        judges.load_lpips()
    file.parent.mkdir()
    file.write_text("<!DOCTYPE html>")
    with pytest.raises(StyleAVideoError, match="1234.pth holds no weights of torchvision's AlexN"):
        judges.load_lpips()
    torch.save(torch.nn.Linear(1, 1).state_dict(), file)
    lpips = judges.load_lpips()
    assert lpips(torch.zeros(2, 3, 24, 32), torch.ones(2, 3, 24, 32)).tolist() == [1, 1]
    x, y = still(3), brightening(3)
    found = measure(
        frames_of(x), [frames_of(y)], "xy", flow=no_motion, judges=Judges(lpips=lpips)
    ).clips[1]
    assert found.series["lpips_consecutive"][0] is None
    assert found.means["lpips_consecutive"] == pytest.approx(B, rel=1e-3)
    assert found.means["lpips_source"] == pytest.approx(found.means["strength"], rel=0.05)
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(StyleAVideoError, match="LPIPS needs the package lpips and a torchvision"):
        judges.load_lpips()


def torchvision_package(monkeypatch, home):
    """A stand-in whose Inception shows 5 (2x - 1), by weights that it does not have at first."""

    class Inception(torch.nn.Module):
        def __init__(self, init_weights):
            super().__init__()
            assert not init_weights  # a minute's work for nothing
            self.Conv2d_1a_3x3 = torch.nn.Conv2d(3, 3, 1, bias=False)
            self.Conv2d_2a_3x3 = self.Conv2d_2b_3x3 = torch.nn.Identity()
            self.Conv2d_3b_1x1 = torch.nn.Conv2d(1, 1, 1)  # behind, and of no account

    url = "https://example.org/inception-1234.pth"
    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=url))
    models = SimpleNamespace(Inception_V3_Weights=weights, inception_v3=Inception)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(home))
    inception = Inception(False)
    inception.Conv2d_1a_3x3.weight.data = 5 * torch.eye(3)[..., None, None]
    return inception.state_dict(), home / "checkpoints" / "inception-1234.pth"


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("a weights file was obeyed",))


def test_sifid_is_used_where_it_is_and_never_downloaded(tmp_path, monkeypatch):
    weights, file = torchvision_package(monkeypatch, tmp_path)
    with pytest.raises(StyleAVideoError, match="Inception v3: download https://.*1234.pth to .*ch"):
        judges.load_sifid()
    file.parent.mkdir()
    for damage in (b"", b"<!DOCTYPE html>", weights | {"more": torch.ones(1)}, [1], Harm()):
        file.write_bytes(damage) if isinstance(damage, bytes) else torch.save(damage, file)
        with pytest.raises(StyleAVideoError, match="1234.pth holds no weights .* download https"):
            judges.load_sifid()
    torch.save(weights, file)
    sifid = judges.load_sifid()
    mean, covariance = sifid(torch.stack(still(2)))
    assert mean.dtype == covariance.dtype == torch.float64
    assert (mean.shape, covariance.shape) == ((2, 3), (2, 3, 3))
    known = 5 * (2 * still(1)[0].flatten(1).double() - 1)
    torch.testing.assert_close(mean[0], known.mean(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance[0], torch.cov(known), atol=1e-4, rtol=0)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(StyleAVideoError, match="SIFID needs a torchvision made for torch"):
        judges.load_sifid()


def test_raft_with_damaged_weights_is_refused(tmp_path, monkeypatch):
    url = "https://example.org/raft-1234.pth"
    weights = SimpleNamespace(DEFAULT=SimpleNamespace(url=url))
    models = SimpleNamespace(Raft_Small_Weights=weights, raft_small=lambda: torch.nn.Linear(1, 1))
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", models)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(StyleAVideoError, match="RAFT needs .* download .* or choose the flow dis"):
        flow.check_flow("raft")
    file = tmp_path / "checkpoints" / "raft-1234.pth"
    file.parent.mkdir()
    torch.save(torch.nn.Linear(1, 1).state_dict(), file)
    good = file.read_bytes()
    for damage in (b"", b"<!DOCTYPE html>", b"\n\n<html>", b"\x80\x02}q", b"\x80\x02.", good[:300]):
        file.write_bytes(damage)
        with pytest.raises(StyleAVideoError, match="holds no weights .* again, or choose the flow"):
            flow.check_flow("raft")
    with pytest.raises(StyleAVideoError, match="no flow 'best'; choose one of: dis, raft"):
        flow.check_flow("best")


def test_sifid_is_of_the_textures_wherever_they_are(tmp_path, monkeypatch):
    weights, file = torchvision_package(monkeypatch, tmp_path)
    file.parent.mkdir()
    torch.save(weights, file)
    x = still(3)
    brighter, mirrored = [image + B for image in x], [image.flip(-1) for image in x]
    style = x[0].transpose(1, 2).contiguous()
    found = measure(
        frames_of(x),
        [frames_of(brighter), frames_of(mirrored)],
        "xyz",
        flow=no_motion,
        judges=Judges(sifid=judges.load_sifid(), style_image=style),
    )
    for key in ("sifid_source", "sifid_style"):  # the style has the source's pixels, turned
        source, brighter, mirrored = (clip.series[key] for clip in found.clips)
        assert source == pytest.approx([0] * 3, abs=1e-5)
        assert brighter == pytest.approx([3 * (10 * B) ** 2] * 3, rel=1e-3)
        assert mirrored == pytest.approx([0] * 3, abs=1e-5)
    assert found.clips[0].series["sifid_source"] == [0] * 3  # to itself not even rounding
    found = measure(
        frames_of(x), [frames_of(x)], "xy", flow=no_motion, judges=Judges(sifid=judges.load_sifid())
    )
    assert found.clips[1].means["sifid_style"] is None


@pytest.mark.parametrize(
    ("size", "seen"),
    [((24, 32), (24, 32)), ((12, 60), (12, 60)), ((96, 128), (24, 32)), ((16, 192), (8, 96))],
)
def test_the_style_image_is_seen_once_with_no_more_pixels_than_a_frame(size, seen):
    shapes = []

    def sifid(frames):
        shapes.append(tuple(frames.shape))
        return core.gaussian(frames.double())

    style = torch.rand(3, *size, generator=torch.Generator().manual_seed(3))
    x = still(3)
    measure(
        frames_of(x),
        [frames_of(x)],
        "xy",
        flow=no_motion,
        judges=Judges(sifid=sifid, style_image=style),
    )
    assert sorted(shapes) == sorted([(2, 3, H, W)] * 3 + [(1, 3, *seen)])


def test_every_measure_is_told_in_both_languages():
    for measure_ in MEASURES:
        assert not re.search("[\u4e00-\u9fff]", measure_.meaning.en)
        assert not measure_.meaning.zh.isascii()
