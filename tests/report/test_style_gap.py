"""How much is left of the way to a picture of a style, by the features that ship."""

import json
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.core.adain import adain, statistics
from style_a_video.pipelines.media import Frame, read_frames
from style_a_video.pipelines.report import report
from style_a_video.pipelines.report.judges import Judges, load_encoder
from style_a_video.pipelines.report.measures import SEEN, measure

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))
GAPS = ("gap_gram", "gap_frechet")


def frames_of(images):
    return [Frame(image, Fraction(i, 10), Fraction(1, 10)) for i, image in enumerate(images)]


def no_motion(this, other):
    return torch.zeros(2, *this.shape[-2:])


def noise(seed, *size):
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


def smooth(seed):
    return torch.nn.functional.interpolate(noise(seed, 4, 6)[None], (64, 96), mode="bicubic")[
        0
    ].clamp(0, 1)


def gaps(results, style, source=None, encoder=None):
    """Measured on one frame: a clip a result."""
    judges = Judges(encoder=encoder or load_encoder(), style_image=style, style_name="style")
    source = frames_of([smooth(0) if source is None else source])
    given = [frames_of([image]) for image in results]
    names = [str(k) for k in range(len(results) + 1)]
    return measure(source, given, names, flow=no_motion, judges=judges)


def test_the_source_is_all_the_way_off_and_the_picture_itself_not_at_all():
    style = noise(1, 64, 96)
    found = gaps([style, smooth(0), style.flip(2)], style)
    assert found.style_image == "style"
    for key in GAPS:
        source, own, unedited, mirrored = (clip.means[key] for clip in found.clips)
        assert (source, own, unedited) == (1, pytest.approx(0, abs=1e-6), 1)
        assert mirrored < 0.05  # statistics know no places, but filters know left from right


def test_a_frame_that_goes_half_the_way_lies_between_and_a_stranger_farther_off():
    source, style = smooth(0), 0.5 + 0.2 * noise(1, 64, 96)
    half = (source + style) / 2
    toned = adain(source[None], *statistics(style[None]))[0].clamp(0, 1)  # its colours alone
    for key in GAPS:
        _, near, colours = (c.means[key] for c in gaps([half, toned], style).clips)
        assert 0.001 < near < 1 and 0.001 < colours < 1
    assert gaps([noise(2, 64, 96)], style=smooth(3)).clips[1].means["gap_gram"] > 1


def test_a_source_that_is_the_picture_has_no_way_to_go():
    style = noise(1, 64, 96)
    found = gaps([smooth(0)], style, source=style)
    assert [clip.means[key] for clip in found.clips for key in GAPS] == [None] * 4


@pytest.mark.parametrize("size", [(16, 16), (300, 700), (17, 400)])
def test_large_frames_are_seen_smaller_and_the_picture_once(size):
    sides = []

    def encoder(frames):
        sides.append(max(frames.shape[-2:]))
        return load_encoder()(frames)

    found = gaps([noise(1, *size)], noise(2, 800, 800), noise(0, *size), encoder)
    assert max(sides) <= SEEN and len(sides) == 2
    assert all(0 < found.clips[1].means[key] < 10 for key in GAPS)


def test_without_a_picture_there_is_none():
    judges = Judges(encoder=load_encoder())
    x = frames_of([smooth(0)] * 2)
    found = measure(x, [x], "xy", flow=no_motion, judges=judges)
    assert all(clip.means[key] is None for clip in found.clips for key in GAPS)
    assert "gap" not in report.table(found)


def test_the_command_tells_it_of_any_picture_that_stylize_takes(tmp_path, capsys):
    source = clips.encode(tmp_path / "in.mp4", clips.ramp(3))
    drawn = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    result = clips.encode(tmp_path / "out.mp4", [drawn.repeat(4, 0).repeat(4, 1)] * 3)
    seen = next(iter(read_frames(result))).image
    picture = Image.fromarray((255 * seen.permute(1, 2, 0)).round().byte().numpy())
    for name, mode in (("a.webp", "RGB"), ("b.tiff", "CMYK"), ("c.png", "RGBA")):
        picture.convert(mode).save(tmp_path / name, **({"lossless": True} if mode == "RGB" else {}))
        told = tmp_path / "told.json"
        options = ("--style-image", tmp_path / name, "--json", told, "--clip", "none")
        arguments = ["report", source, result, *options, "--device", "cpu"]
        assert cli.main([str(a) for a in arguments]) == 0
        heads = [line for line in capsys.readouterr().out.splitlines() if "style gap" in line]
        assert len(heads) == 1 and "FD gap" in heads[0]
        one, two = json.loads(told.read_text(encoding="utf-8"))["clips"]
        for key in GAPS:
            assert one["series"][key] == [1] * 3 and max(two["series"][key]) < 0.2
    (tmp_path / "d.png").write_bytes(b"no picture")
    arguments[arguments.index("--style-image") + 1] = tmp_path / "d.png"
    assert cli.main([str(a) for a in arguments]) == 2
    assert "is not a picture that can be read" in capsys.readouterr().err
