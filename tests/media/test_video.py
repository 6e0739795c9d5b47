"""Reading and writing of video files: what a user's clip must not lose on the way."""

from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Frame, VideoWriter, probe, read_frames

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))


def write(target, source, **options):
    """The source's frames through the writer."""
    info = probe(source)
    options = {"frame_rate": info.frame_rate, "time_base": info.time_base} | options
    with VideoWriter(target, **options) as writer:
        for frame in read_frames(source):
            writer.write(frame)
    return writer


# what is read


def test_frames_are_rgb_between_0_and_1_with_times(tmp_path):
    path = clips.encode(tmp_path / "a.mp4", [clips.quadrants()] * 3, rate=10)
    info = probe(path)
    assert (info.width, info.height, info.frames, info.has_audio) == (64, 48, 3, False)
    assert (info.frame_rate, info.duration, info.rotation) == (10, Fraction(3, 10), 0)
    frames = list(read_frames(path))
    assert [frame.pts for frame in frames] == [0, Fraction(1, 10), Fraction(2, 10)]
    assert [frame.duration for frame in frames] == [Fraction(1, 10)] * 3
    image = frames[0].image
    assert image.shape == (3, 48, 64) and image.dtype == torch.float32
    assert 0 <= image.min() and image.max() <= 1
    assert clips.near(clips.corners(image), [clips.RED, clips.GREEN, clips.BLUE, clips.WHITE])


@pytest.mark.parametrize(
    ("rotation", "stated", "expected"),
    [
        ((90,), 90, [clips.GREEN, clips.WHITE, clips.RED, clips.BLUE]),  # anticlockwise
        ((180,), 180, [clips.WHITE, clips.BLUE, clips.GREEN, clips.RED]),
        ((-90,), 270, [clips.BLUE, clips.RED, clips.WHITE, clips.GREEN]),
        # a selfie camera's mirror
        ((0, True, False), None, [clips.GREEN, clips.RED, clips.WHITE, clips.BLUE]),
    ],
)
def test_rotation_metadata_is_applied(tmp_path, rotation, stated, expected):
    path = clips.encode(tmp_path / "a.mp4", [clips.quadrants()] * 2, rotation=rotation)
    info, frame = probe(path), next(read_frames(path))
    turned = rotation[0] in (90, -90)
    assert (info.width, info.height) == ((48, 64) if turned else (64, 48))
    assert info.aspect == (Fraction(3, 4) if turned else Fraction(4, 3))
    assert frame.image.shape == (3, info.height, info.width)
    assert clips.near(clips.corners(frame.image), expected)
    assert stated is None or info.rotation == stated
    # at a given size, which is that of the upright picture
    assert next(read_frames(path, size=(32, 40))).image.shape == (3, 40, 32)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [("libx264", "yuv420p10le", ".mp4"), ("ffv1", "yuv420p10le", ".mkv")],
)
def test_ten_bits_keep_their_colours_and_steps(tmp_path, codec, pix_fmt, suffix):
    deep = [clips.quadrants().astype(np.uint16) * 257] * 2
    path = clips.encode(tmp_path / f"a{suffix}", deep, codec=codec, pix_fmt=pix_fmt)
    frame = next(read_frames(path))
    assert probe(path).bits == 10
    assert clips.near(clips.corners(frame.image), [clips.RED, clips.GREEN, clips.BLUE, clips.WHITE])
    # a ramp finer than 8 bits: 8-bit conversion would leave at most 16 grey levels
    fine = np.repeat(np.linspace(0.4, 0.46, 64) * 65535, 3).astype(np.uint16)
    image = np.broadcast_to(fine.reshape(1, 64, 3), (48, 64, 3)).copy()
    path = clips.encode(
        tmp_path / f"b{suffix}", [image], codec=codec, pix_fmt=pix_fmt, options={"qp": "0"}
    )
    levels = next(read_frames(path)).image[1, 24].mul(65535).round().unique()
    assert len(levels) > 30


def test_the_colour_matrix_of_the_file_is_used(tmp_path):
    """BT.709 and BT.601 differ by tens of levels in saturated green."""
    for tag in (1, 5):
        path = clips.encode(tmp_path / f"{tag}.mp4", [clips.quadrants()] * 2, tag=tag)
        assert clips.near(
            clips.corners(next(read_frames(path)).image),
            [clips.RED, clips.GREEN, clips.BLUE, clips.WHITE],
        )


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = clips.encode(tmp_path / "a.mp4", [clips.quadrants()] * 2, sample=Fraction(2))
    info = probe(path)
    assert (info.width, info.height, info.aspect) == (128, 48, Fraction(8, 3))
    assert next(read_frames(path)).image.shape == (3, 48, 128)


def test_ranges_begin_and_end_at_the_frames_asked_for(tmp_path):
    # One key frame only, and B frames: seeking must still land on the frame shown at the time.
    path = clips.encode(
        tmp_path / "a.mp4", clips.ramp(12), rate=10, options={"g": "100", "bf": "2"}
    )
    every = list(read_frames(path))
    part = list(read_frames(path, start=0.5, end=0.8))
    assert [frame.pts for frame in part] == [Fraction(n, 10) for n in (5, 6, 7)]
    for frame, same in zip(part, every[5:8], strict=True):
        assert torch.equal(frame.image, same.image)
    assert len(list(read_frames(path, max_frames=4))) == 4
    assert [f.pts for f in read_frames(path, start=1, max_frames=1)] == [1]
    assert list(read_frames(path, start=7)) == []


def test_reading_is_lazy(tmp_path):
    path = clips.encode(tmp_path / "a.mp4", clips.ramp(12))
    stream = read_frames(path)
    assert next(stream).pts == 0
    stream.close()  # and leaves nothing open that deleting the file would mind
    path.unlink()


# what is written


def test_timestamps_survive_a_variable_frame_rate(tmp_path):
    base = Fraction(1, 600)
    pts = [0, 20, 50, 60, 180, 200, 450]
    source = clips.encode(tmp_path / "a.mp4", clips.ramp(7), pts=pts, time_base=base)
    for suffix in (".mp4", ".mov"):
        write(tmp_path / f"out{suffix}", source)
        assert clips.times(tmp_path / f"out{suffix}") == [n * base for n in pts]
    write(tmp_path / "out.mkv", source)  # milliseconds there
    for written, wanted in zip(clips.times(tmp_path / "out.mkv"), pts, strict=True):
        assert abs(written - wanted * base) <= Fraction(1, 1000)


def test_a_late_first_frame_stays_late(tmp_path):
    base = Fraction(1, 11456)
    pts = [378 + 384 * i for i in range(5)]
    source = clips.encode(tmp_path / "a.mp4", clips.ramp(5), pts=pts, time_base=base)
    began = clips.times(source)
    write(tmp_path / "out.mp4", source)
    assert began[0] > 0 and clips.times(tmp_path / "out.mp4") == began


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_one_frame_is_a_video_of_its_duration(tmp_path, suffix):
    source = clips.encode(tmp_path / "a.mp4", [clips.quadrants()], rate=4)
    target = tmp_path / f"out{suffix}"
    write(target, source)
    info, (frame,) = probe(target), read_frames(target)
    assert info.frames == 1 and abs(info.duration - Fraction(1, 4)) < Fraction(1, 500)
    assert clips.near(clips.corners(frame.image), [clips.RED, clips.GREEN, clips.BLUE, clips.WHITE])


def test_written_colours_are_tagged_and_right(tmp_path):
    source = clips.encode(tmp_path / "a.mp4", [clips.quadrants()] * 2)
    write(tmp_path / "out.mp4", source)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        tags = frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range
        assert tags == (1, 1, 1, 1)
        assert container.streams.video[0].codec_context.name == "h264"
    assert clips.near(
        clips.corners(next(read_frames(tmp_path / "out.mp4")).image),
        [clips.RED, clips.GREEN, clips.BLUE, clips.WHITE],
    )


def test_odd_sizes_get_a_replicated_edge_and_keep_the_shape(tmp_path):
    image = torch.from_numpy(clips.quadrants(63, 47)).permute(2, 0, 1) / 255
    with VideoWriter(tmp_path / "a.mp4", frame_rate=Fraction(5), aspect=Fraction(63, 47)) as writer:
        writer.write(Frame(image, Fraction(0), Fraction(1, 5)))
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert frame.shape == (48, 64, 3)
    assert probe(tmp_path / "a.mp4").aspect == Fraction(63, 47)
    assert clips.near(frame[-1, 5], clips.BLUE, 12) and clips.near(frame[5, -1], clips.GREEN, 12)


def test_the_shape_is_kept_when_the_size_does_not_allow_it(tmp_path):
    source = clips.encode(tmp_path / "a.mp4", [clips.quadrants()])
    write(tmp_path / "out.mp4", source, aspect=Fraction(16, 9))
    assert probe(tmp_path / "out.mp4").aspect == Fraction(16, 9)


def test_a_shape_that_webm_cannot_keep_is_said(tmp_path):
    source = clips.encode(tmp_path / "a.mp4", [clips.quadrants()])
    assert write(tmp_path / "same.webm", source, aspect=Fraction(4, 3)).notes == []
    (note,) = write(tmp_path / "wide.webm", source, aspect=Fraction(16, 9)).notes
    assert "64x48" in note and "1.778:1" in note


# audio


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_audio_packets_are_copied_untouched(tmp_path, suffix):
    source = clips.encode(tmp_path / "a.mp4", clips.ramp(10), audio=1.0)
    target = tmp_path / f"out{suffix}"
    writer = write(target, source, tracks_from=source)
    assert writer.notes == []
    given, copied = clips.audio_packets(source), clips.audio_packets(target)
    assert len(given) > 5 and [data for _, data in copied] == [data for _, data in given]
    for (time, _), (expected, _) in zip(copied, given, strict=True):
        # Matroska counts milliseconds from the first packet, which here begins before 0
        assert abs(time - copied[0][0] - (expected - given[0][0])) <= Fraction(1, 999)
    if suffix != ".mkv":
        assert [time for time, _ in copied] == [time for time, _ in given]


def test_audio_is_trimmed_with_the_pictures(tmp_path):
    source = clips.encode(tmp_path / "a.mkv", clips.ramp(12), audio=1.2)
    info = probe(source)
    with VideoWriter(
        tmp_path / "out.mkv",
        frame_rate=info.frame_rate,
        time_base=info.time_base,
        tracks_from=source,
        since=Fraction(1, 2),
        trimmed=True,
    ) as writer:
        for frame in read_frames(source, 0.5, 0.9):
            writer.write(frame)
    given = [(time, data) for time, data in clips.audio_packets(source)]
    kept = clips.audio_packets(tmp_path / "out.mkv")
    assert [data for _, data in kept] == [data for t, data in given if 0.5 <= t < Fraction(9, 10)]
    assert [time for time, _ in kept] == [t - Fraction(1, 2) for t, _ in given if 0.5 <= t < 0.9]
    assert clips.times(tmp_path / "out.mkv") == [
        0,
        Fraction(1, 10),
        Fraction(2, 10),
        Fraction(3, 10),
    ]


def test_audio_that_a_container_cannot_hold_is_said(tmp_path):
    source = clips.encode(tmp_path / "a.mkv", clips.ramp(4), audio=0.4, audio_codec="pcm_s16le")
    writer = write(tmp_path / "out.mp4", source, tracks_from=source)
    assert len(writer.notes) == 1
    assert "pcm_s16le" in writer.notes[0] and ".mkv" in writer.notes[0]
    assert not probe(tmp_path / "out.mp4").has_audio
    assert write(tmp_path / "out.mov", source, tracks_from=source).notes == []
    assert probe(tmp_path / "out.mov").audio == ("pcm_s16le",)


# never a half-written file


def test_an_error_leaves_no_file_and_keeps_the_old_one(tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    frame = Frame(torch.zeros(3, 48, 64), Fraction(0), Fraction(1, 5))
    with pytest.raises(KeyboardInterrupt), VideoWriter(target, frame_rate=Fraction(5)) as writer:
        writer.write(frame)
        assert target.read_bytes() == b"old"  # nothing appears under the name while writing
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_without_a_frame_nothing_is_written(tmp_path):
    with pytest.raises(StyleAVideoError, match="no frame"):
        with VideoWriter(tmp_path / "out.mp4", frame_rate=Fraction(5)):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/out.mp4", "does not exist: create it"),
        ("out.xyz", "suffix"),
        ("file.txt/out.mp4", "does not exist"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_targets_that_cannot_be_written(tmp_path, name, message):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "folder.mp4").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StyleAVideoError, match=message):
        VideoWriter(tmp_path / name, frame_rate=Fraction(5))
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    # The tests may run as root, whom no permission stops.
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(StyleAVideoError, match="cannot be written .Permission denied"):
        VideoWriter(tmp_path / "out.mp4", frame_rate=Fraction(5))


# files that are no video


def bad_files(folder):
    good = clips.encode(folder / "good.mp4", clips.ramp(12), audio=1.2).read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    (folder / "text.txt").write_text("not a video\n" * 50)
    (folder / "text.mp4").write_text("not a video\n" * 50)
    (folder / "head.mp4").write_bytes(good[: len(good) // 2])  # the index is at the end
    with av.open(str(folder / "tone.m4a"), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.mp4", "does not exist"),
        ("", "is a folder"),
        ("empty.mp4", "0 bytes"),
        ("noise.mp4", "not a video"),
        ("text.txt", "not a video"),
        ("text.mp4", "not a video"),
        ("head.mp4", "cut short"),
        ("tone.m4a", "only audio"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path, name, message):
    path = bad_files(tmp_path) / name
    with pytest.raises(StyleAVideoError, match=message) as caught:
        probe(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_cut_off_in_its_data_is_refused(tmp_path, suffix):
    """With the index in front, such a file opens, plays, and ends early."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(12)]
    source = clips.encode(tmp_path / "a.mp4", noise)
    whole = tmp_path / f"whole{suffix}"
    write(whole, source)
    assert probe(whole).frames == 12
    data = whole.read_bytes()
    for share in (0.5, 0.9):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(StyleAVideoError, match="cut short"):
            probe(cut)


def test_a_chinese_file_name(tmp_path):
    source = clips.encode(tmp_path / "我的 视频.mp4", [clips.quadrants()] * 2)
    write(tmp_path / "水彩.mp4", source)
    assert probe(tmp_path / "水彩.mp4").frames == 2


def test_the_same_frames_give_the_same_file(tmp_path):
    generator = torch.Generator().manual_seed(0)
    scene = torch.nn.functional.interpolate(
        torch.rand(1, 3, 40, 70, generator=generator), (270, 480), mode="bicubic"
    )[0].clamp(0, 1)
    written = set()
    for run in range(4):
        path = tmp_path / f"{run}.mp4"
        with VideoWriter(path, frame_rate=Fraction(12)) as writer:
            for i in range(12):
                image = scene.roll(3 * i, -1)
                writer.write(Frame(image, Fraction(i, 12), Fraction(1, 12)))
        written.add(path.read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_frames_decoded_from_a_lossless_file_are_not_all_keyframes(tmp_path, suffix):
    with VideoWriter(tmp_path / "kept.mkv", frame_rate=25, codec="ffv1") as kept:
        for i in range(12):
            image = torch.linspace(0, 1, 64).roll(i).expand(3, 48, 64)
            kept.write(Frame(image, Fraction(i, 25), Fraction(1, 25)))
    target = tmp_path / f"made{suffix}"
    with av.open(tmp_path / "kept.mkv") as kept, VideoWriter(target, frame_rate=25) as made:
        for i, picture in enumerate(kept.decode(video=0)):
            picture = picture.reformat(format=made.kind.pixels)
            made.write_picture(picture, Fraction(i, 25), Fraction(1, 25))
    with av.open(target) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) == 1
