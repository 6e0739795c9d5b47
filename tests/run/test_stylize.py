"""Video files through an engine: chunks, times, sizes, what is reported and what is refused."""

from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Part, fit, probe, read_frames
from style_a_video.pipelines.run import stylize
from style_a_video.pipelines.run.stylize import auto_chunk, stylize_video

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


class Invert:
    """An engine that remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, frames, frame_indices):
        self.calls.append((tuple(frames.shape), list(frame_indices)))
        return 1 - frames


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((1920, 1080), 512, (512, 288)),
        ((1080, 1920), 512, (288, 512)),
        ((640, 338), 512, (512, 270)),
        ((320, 240), 512, (320, 240)),  # never enlarged
        ((63, 47), 512, (64, 48)),  # even, which 4:2:0 needs
        ((4000, 10), 512, (512, 16)),
    ],
)
def test_the_default_size_keeps_the_shape(size, side, expected):
    assert fit(*size, side) == expected


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [
        ((854, 480), 8, (512, 288)),
        ((720, 1280), 8, (288, 512)),
        ((640, 338), 16, (512, 272)),
        ((4000, 10), 64, (512, 16)),
        ((63, 47), 1, (63, 47)),
    ],
)
def test_a_size_in_multiples(size, multiple, expected):
    assert fit(*size, 512, multiple) == expected


def test_the_chunk_follows_memory_and_frame_size(monkeypatch):
    cpu, pixel = torch.device("cpu"), 4096  # bytes
    monkeypatch.setattr(stylize, "memory_of", lambda device: 8 << 30)
    assert auto_chunk(512, 256, cpu, pixel) == 2  # an eighth, at 512 MiB a frame
    assert auto_chunk(4096, 4096, cpu, pixel) == 1
    monkeypatch.setattr(stylize, "memory_of", lambda device: 64 << 30)
    assert auto_chunk(512, 256, cpu, pixel) == 8
    assert auto_chunk(512, 256, cpu, 16 * pixel) == 1
    monkeypatch.undo()
    assert stylize.memory_of(cpu) > 0


def test_a_clip_keeps_its_times_shape_and_audio(tmp_path):
    source = clips.encode(tmp_path / "a.mp4", [clips.quadrants()] * 10, audio=1.0)
    engine, seen = Invert(), []
    report = stylize_video(
        source,
        tmp_path / "out.mp4",
        engine,
        chunk_size=4,
        planned=lambda plan: seen.append(("plan", plan.frames, len(plan.shots))),
        progress=lambda *told: seen.append(told),
    )
    assert [indices for _, indices in engine.calls] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert clips.times(tmp_path / "out.mp4") == clips.times(source)
    assert clips.audio_packets(tmp_path / "out.mp4") == clips.audio_packets(source)
    inverted = [[255 - v for v in colour] for colour in (clips.RED, clips.GREEN, clips.BLUE)]
    assert clips.near(clips.corners(next(read_frames(tmp_path / "out.mp4")).image)[:3], inverted)
    assert [told for told in seen if told[0] == "shots"][-1] == ("shots", 10, 10)
    assert seen[10] == ("plan", 10, 1)
    assert [done for stage, done, of in seen if stage == "stylize" and of == 10] == [0, 4, 8, 10]
    assert [done for stage, done, of in seen if stage == "write" and of == 10] == [*range(1, 11)]
    assert (report.frames, report.width, report.height, report.frame_rate) == (10, 64, 48, 10)
    assert report.chunk_size == 4 and report.notes == []
    parts = report.plan_seconds, report.engine_seconds, report.write_seconds
    assert all(part > 0 for part in parts) and sum(parts) <= report.seconds
    assert report.resumed == 0 and report.shots == [{"start": 0, "end": 10, "time": "0"}]
    assert report.peak_memory_mib > 10
    assert report.as_dict()["target"] == str(tmp_path / "out.mp4")


def test_rotated_and_odd_clips_come_out_upright_in_their_shape(tmp_path):
    picture = clips.quadrants(66, 48)[:, :63]
    source = clips.encode(
        tmp_path / "a.mkv", [picture[:47]] * 2, codec="ffv1", pix_fmt="bgr0", rotation=(90,)
    )
    report = stylize_video(source, tmp_path / "out.mp4", lambda x, i: x, chunk_size=1)
    given, info = probe(source), probe(tmp_path / "out.mp4")
    assert (report.width, report.height) == (48, 64) and info.rotation == 0
    assert info.aspect == given.aspect == Fraction(47, 63)
    assert clips.near(
        clips.corners(next(read_frames(tmp_path / "out.mp4")).image)[0], clips.GREEN, 8
    )


def test_a_size_is_obeyed_and_the_shape_is_kept(tmp_path):
    source = clips.encode(tmp_path / "a.mp4", [clips.quadrants()] * 2)
    engine = Invert()
    report = stylize_video(source, tmp_path / "out.mp4", engine, size=(32, 32), chunk_size=2)
    assert engine.calls[0][0] == (2, 3, 32, 32) and (report.width, report.height) == (32, 32)
    assert probe(tmp_path / "out.mp4").aspect == Fraction(4, 3)
    stylize_video(source, tmp_path / "out.mp4", engine, size=fit(64, 48, 32), chunk_size=2)
    assert engine.calls[-1][0] == (2, 3, 24, 32)


def test_an_engine_may_change_the_size(tmp_path):
    """A montage has a shape of its own, which the source's must not distort."""
    source = clips.encode(tmp_path / "a.mp4", [clips.quadrants()] * 2)
    stylize_video(source, tmp_path / "out.mp4", lambda x, i: torch.cat([x, x], 3), chunk_size=1)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.aspect) == (128, 48, Fraction(8, 3))


def test_a_range_begins_at_zero_with_its_own_audio(tmp_path):
    source = clips.encode(tmp_path / "a.mkv", clips.ramp(12), audio=1.2)
    report = stylize_video(
        source, tmp_path / "out.mkv", lambda x, i: x, part=Part.of(0.5, 0.9), chunk_size=4
    )
    assert report.frames == 4
    assert clips.times(tmp_path / "out.mkv") == [Fraction(i, 10) for i in range(4)]
    levels = [255 * f.image.mean().item() for f in read_frames(tmp_path / "out.mkv")]
    assert clips.near(levels, [20 + 18 * i for i in (5, 6, 7, 8)], 3)
    kept = [data for time, data in clips.audio_packets(source) if 0.5 <= time < Fraction(9, 10)]
    assert kept and [data for _, data in clips.audio_packets(tmp_path / "out.mkv")] == kept


def test_a_number_of_frames_ends_the_audio_too(tmp_path):
    source = clips.encode(tmp_path / "a.mkv", clips.ramp(12), audio=1.2)
    stylize_video(
        source, tmp_path / "out.mkv", lambda x, i: x, part=Part.of(frames=3), chunk_size=2
    )
    assert len(clips.times(tmp_path / "out.mkv")) == 3
    kept = [data for time, data in clips.audio_packets(source) if time < Fraction(3, 10)]
    assert [data for _, data in clips.audio_packets(tmp_path / "out.mkv")] == kept


def test_two_runs_give_the_same_frames(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(4)]
    source = clips.encode(tmp_path / "a.mp4", noise)
    for name, chunk in (("one.mp4", 1), ("two.mp4", 3)):
        stylize_video(source, tmp_path / name, Invert(), chunk_size=chunk)
    for one, two in zip(
        read_frames(tmp_path / "one.mp4"), read_frames(tmp_path / "two.mp4"), strict=True
    ):
        assert torch.equal(one.image, two.image)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"part": (0.4, 0.4)}, "is empty"),
        ({"part": (0.4, 0.2)}, "is empty"),
        ({"part": (None, 0)}, "is empty"),
        ({"part": (9,)}, "0.50 s long"),
        ({"part": (-1,)}, "0 s or later"),
        ({"part": (0.41, 0.42)}, "no frame between"),
        ({"part": (None, None, 0)}, "at least 1"),
        ({"chunk_size": 0}, "at least 1"),
    ],
)
def test_ranges_that_hold_nothing_are_refused(tmp_path, settings, message):
    source = clips.encode(tmp_path / "a.mp4", clips.ramp(5))
    engine = Invert()
    with pytest.raises(StyleAVideoError, match=message):
        if "part" in settings:
            settings = {"part": Part.of(*settings["part"])}
        stylize_video(source, tmp_path / "out.mp4", engine, **settings)
    assert engine.calls == [] and sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_the_input_is_never_the_output(tmp_path):
    source = clips.encode(tmp_path / "a.mp4", clips.ramp(2))
    before = source.read_bytes()
    with pytest.raises(StyleAVideoError, match="is the input itself"):
        stylize_video(source, tmp_path / "." / "a.mp4", Invert())
    assert source.read_bytes() == before


def test_an_engine_that_fails_half_way_leaves_nothing(tmp_path):
    source = clips.encode(tmp_path / "a.mp4", clips.ramp(6))

    def fail(images, indices):
        if indices[0] >= 4:
            raise RuntimeError("out of memory")
        return images

    with pytest.raises(RuntimeError):
        stylize_video(source, tmp_path / "out.mp4", fail, chunk_size=2)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
