"""Odd files through the whole way, with an engine that changes nothing: what must come out as it
went in is counted, timed to 1 ms, and compared byte by byte."""

import io
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from style_a_video.pipelines.cli.words import WORDS
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import NORMAL, QUALITIES, Part, probe, read_frames
from style_a_video.pipelines.run.stylize import stylize_video

odd = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "odd.py")))

MS = Fraction(1, 1000)
LINES = [(0.1, 0.2, "one"), (0.4, 0.3, "two")]


def same(images, indices):
    return images


@dataclass
class Odd:
    """A file as `odd.make` makes it, and where it goes.

    `size` as shown; `codec` of the target; `left_out`: kinds of tracks the target cannot hold, and
    `note` what is said of it; `shift`: the target moves all tracks together, so that none begins
    before 0.
    """

    name: str
    target: str
    made: dict = field(default_factory=dict)
    size: tuple = (64, 48)
    codec: str | None = None
    left_out: tuple = ()
    note: str = ""
    shift: bool = False


VFR = {"pts": [0, 20, 50, 60, 180, 200, 450, 460], "time_base": Fraction(1, 600)}
SOUND = [{}]
HLG = {"colorspace": 9, "color_trc": 18, "color_primaries": 9, "color_range": 1}
BT2020 = {"colorspace": 9, "color_range": 1}
X265 = {"x265-params": "log-level=none"}
CONVERTS_HDR = int(av.__version__.split(".")[0]) >= 18

FILES = {
    "variable rate": Odd("a.mp4", "o.mp4", VFR),
    "variable rate in Matroska": Odd("a.mkv", "o.mkv", VFR),
    "variable rate to HEVC": Odd("a.mp4", "o.mp4", VFR, codec="hevc"),
    "variable rate to AV1": Odd("a.mp4", "o.mp4", VFR, codec="av1"),
    "variable rate to VP9": Odd("a.mp4", "o.webm", VFR),
    "variable rate to ProRes": Odd("a.mp4", "o.mov", VFR, codec="prores"),
    "turned by 90 degrees": Odd("a.mp4", "o.mp4", {"rotation": (90,)}, (48, 64)),
    "turned by 180 degrees": Odd("a.mp4", "o.mp4", {"rotation": (180,)}),
    "turned by 270 degrees": Odd("a.mov", "o.mov", {"rotation": (-90,)}, (48, 64)),
    "mirrored": Odd("a.mp4", "o.mp4", {"rotation": (0, True, False)}),
    "10 bits": Odd("a.mp4", "o.mp4", {"pix_fmt": "yuv420p10le"}, codec="hevc"),
    "10 bits, 4:2:2": Odd(
        "a.mov", "o.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, codec="prores"
    ),
    "anamorphic": Odd("a.mp4", "o.mp4", {"sample": Fraction(2)}, (128, 48)),
    "anamorphic, narrow": Odd("a.mkv", "o.mkv", {"sample": Fraction(1, 2)}, (64, 96)),
    "odd sides": Odd(
        "a.mkv", "o.mp4", {"codec": "ffv1", "pix_fmt": "bgr0", "size": (63, 47)}, (63, 47)
    ),
    "late start in an edit list": Odd(
        "a.mp4",
        "o.mp4",
        {"pts": [378 + 384 * i for i in range(8)], "time_base": Fraction(1, 11456)},
    ),
    "transport stream": Odd("a.ts", "o.mp4", {"audio": SOUND}),
    "transport stream with B frames to Matroska": Odd(
        "a.ts", "o.mkv", {"rate": 25, "options": {"bf": "3"}, "audio": SOUND}
    ),
    "programme stream": Odd(
        "a.mpg",
        "o.mkv",
        {"codec": "mpeg2video", "rate": 25, "audio": [{"codec": "mp2", "rate": 32000}]},
    ),
    "two languages": Odd(
        "a.mkv",
        "o.mkv",
        {"audio": [{"language": "eng"}, {"codec": "libopus", "rate": 48000, "language": "jpn"}]},
    ),
    "two languages in mp4": Odd(
        "a.mp4", "o.mp4", {"audio": [{"language": "eng"}, {"language": "jpn", "seconds": 0.6}]}
    ),
    "subtitles": Odd("a.mkv", "o.mkv", {"audio": SOUND, "subtitles": [{"lines": LINES}] * 2}),
    "styled subtitles with their font": Odd(
        "a.mkv",
        "o.mkv",
        {
            "subtitles": [{"codec": "ass", "lines": [(0.1, 0.2, "0,0,Default,hi")]}],
            "attachment": b"x",
        },
    ),
    "subtitles of mp4": Odd(
        "a.mp4", "o.mp4", {"subtitles": [{"codec": "mov_text", "lines": LINES}]}
    ),
    "subtitles of WebM": Odd(
        "a.webm",
        "o.webm",
        {"codec": "libvpx-vp9", "subtitles": [{"codec": "webvtt", "lines": LINES}]},
    ),
    "subtitles that mp4 cannot hold": Odd(
        "a.mkv",
        "o.mp4",
        {"subtitles": [{"lines": LINES}]},
        left_out=("subtitle",),
        note="subtitles .subrip. cannot go into .mp4",
    ),
    "23.976": Odd("a.mp4", "o.mp4", {"rate": Fraction(24000, 1001), "frames": 30}),
    "29.97 with sound": Odd("a.mp4", "o.mp4", {"rate": Fraction(30000, 1001), "audio": SOUND}),
    "29.97 to Matroska": Odd("a.mp4", "o.mkv", {"rate": Fraction(30000, 1001), "frames": 40}),
    "120 a second": Odd("a.mp4", "o.mp4", {"rate": 120, "frames": 24}),
    "one frame": Odd("a.mp4", "o.mp4", {"frames": 1}),
    "no sound": Odd("a.mkv", "o.webm"),
    "sound longer than the pictures": Odd("a.mp4", "o.mp4", {"audio": [{"seconds": 2.5}]}),
    "sound that starts late": Odd("a.mp4", "o.mp4", {"audio": [{"start": 0.5, "seconds": 0.4}]}),
    "sound before the pictures, to Matroska": Odd("a.mp4", "o.mkv", {"audio": SOUND}, shift=True),
    "BT.2020": Odd(
        "a.mp4",
        "o.mp4",
        {"codec": "libx265", "pix_fmt": "yuv420p10le", "tags": BT2020, "options": X265},
    ),
    "HDR": Odd(
        "a.mp4",
        "o.mp4",
        {"codec": "libx265", "pix_fmt": "yuv420p10le", "tags": HLG, "options": X265},
        note="is HDR .HLG. and becomes SDR" if CONVERTS_HDR else "HDR or wide-gamut colours",
    ),
    "full range": Odd("a.mp4", "o.mp4", {"pix_fmt": "yuvj420p", "tags": {"color_range": 2}}),
    "Motion JPEG": Odd(
        "a.avi", "o.mp4", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "tags": {"color_range": 2}}
    ),
    "alpha in ProRes": Odd(
        "a.mov",
        "o.mov",
        {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "alpha": True},
        codec="prores",
    ),
    "alpha in FFV1": Odd(
        "a.mkv", "o.mkv", {"codec": "ffv1", "pix_fmt": "bgra", "alpha": True}, codec="ffv1"
    ),
    "alpha in PNG, to WebP": Odd(
        "a.mov", "o.webp", {"codec": "png", "pix_fmt": "rgba", "alpha": True}
    ),
    "alpha that mp4 cannot hold": Odd(
        "a.mov",
        "o.mp4",
        {"codec": "png", "pix_fmt": "rgba", "alpha": True},
        note="Transparency cannot go into .mp4",
    ),
    "AVI with MP3": Odd(
        "a.avi", "o.mp4", {"codec": "mpeg4", "audio": [{"codec": "libmp3lame", "rate": 48000}]}
    ),
    "B frames and an edit list": Odd("a.mp4", "o.mp4", {"frames": 20, "options": {"bf": "3"}}),
    "interlaced": Odd(
        "a.mp4",
        "o.mp4",
        {"options": {"flags": "+ilme+ildct", "x264-params": "tff=1"}},
        note="is interlaced",
    ),
    "PCM that mp4 cannot hold": Odd(
        "a.mov",
        "o.mp4",
        {"audio": [{"codec": "pcm_s16le"}]},
        left_out=("audio",),
        note="audio .pcm_s16le. cannot go into .mp4",
    ),
    "PCM in a QuickTime file": Odd("a.mov", "o.mov", {"audio": [{"codec": "pcm_s16le"}]}),
    "Opus": Odd(
        "a.webm", "o.webm", {"codec": "libvpx-vp9", "audio": [{"codec": "libopus", "rate": 48000}]}
    ),
    "FLAC": Odd("a.mkv", "o.mkv", {"audio": [{"codec": "flac"}]}),
    "a clock of microseconds": Odd(
        "a.mp4", "o.mp4", {"pts": [33_367 * i for i in range(8)], "time_base": Fraction(1, 10**6)}
    ),
}


def shift_of(case, source, target):
    """By how much all tracks of the target are later (s)."""
    if not case.shift:
        return Fraction(0)
    shift = odd.packets(target, "audio")[0][0][0] - odd.packets(source, "audio")[0][0][0]
    assert 0 <= shift < Fraction(1, 5)
    return shift


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_what_must_come_out_as_it_went_in(tmp_path, case):
    source = odd.make(tmp_path / case.name, **case.made)
    target = tmp_path / case.target
    report = stylize_video(source, target, same, codec=case.codec)
    given, info = probe(source), probe(target)

    assert (given.width, given.height) == case.size
    assert abs(info.aspect / given.aspect - 1) < 0.02
    shift = shift_of(case, source, target)
    want = [time - given.origin for time in odd.times(source)]
    got = [frame.pts - shift for frame in read_frames(target)]
    assert report.frames == len(got) == len(want) == case.made.get("frames", 8)
    assert max(abs(a - b) for a, b in zip(got, want, strict=True)) <= MS
    assert abs(info.duration - given.duration) <= MS

    for kind in ("audio", "subtitle"):
        check_tracks(kind, case, odd.packets(source, kind), odd.packets(target, kind), shift)
    if case.note:
        assert (
            len(
                [
                    note
                    for note in report.notes
                    if case.note in note.replace("(", ".").replace(")", ".")
                ]
            )
            == 1
        )
    else:
        assert report.notes == []
    if "HDR" in case.note:
        return  # the conversion takes seconds to begin, and has a test of its own
    # the picture itself, through two encoders
    first, second = next(read_frames(source)), next(read_frames(target))
    size = first.image.shape[-2:]
    assert (first.image - second.image[:, : size[0], : size[1]]).abs().mean() < 0.02


def check_tracks(kind, case, given, written, shift):
    if kind in case.left_out:
        assert given and not written
        return
    assert len(given) == len(written)
    for a, b in zip(given, written, strict=True):
        assert [strip(data) for *_, data in a] == [data for *_, data in b]
        for (time, length, _), (new_time, new_length, _) in zip(a, b, strict=True):
            assert abs(new_time - shift - time) <= MS
            assert kind == "audio" or abs(new_length - length) <= MS


def strip(data):
    """AAC without the 7 bytes that a transport stream puts before each packet (ADTS)."""
    return data[7:] if data[:2] in (b"\xff\xf1", b"\xff\xf9") else data


# what is cut short


def noisy(path, container_options=None):
    """24 frames whose data is large beside the index, with sound."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "4", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = odd.add_audio(container, seconds=2.4)
        packets = []
        for i in range(24):
            image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            packets += stream.encode(frame)
        for packet in sorted([*packets, *stream.encode(None), *sound], key=odd.when):
            container.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_broken_tail_is_refused_or_what_is_there_is_taken(tmp_path, suffix):
    whole = noisy(
        tmp_path / f"whole{suffix}", {"movflags": "+faststart"} if suffix == ".mp4" else {}
    )
    source, target = tmp_path / f"cut{suffix}", tmp_path / f"out{suffix}"
    source.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    with pytest.raises(StyleAVideoError, match="cut short.*partial=True") as told:
        stylize_video(source, target, same)
    assert told.value.worded(WORDS).endswith(", or take what can be decoded (--partial).")
    assert not target.exists()

    report = stylize_video(probe(source, partial=True), target, same)
    assert [note for note in report.notes if "cut short" in note] == report.notes[:1]
    want, got = odd.times(whole), [frame.pts for frame in read_frames(target)]
    assert 10 < len(got) < 20 and report.frames == len(got)
    assert all(abs(a - b) <= MS for a, b in zip(got, want[: len(got)], strict=True))
    (given,), (written,) = odd.packets(whole, "audio"), odd.packets(target, "audio")
    assert 5 < len(written) < len(given)
    assert [data for *_, data in written] == [data for *_, data in given[: len(written)]]


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".nut", ".mp4", ".mov", ".flv"])
def test_a_whole_file_that_begins_late_is_not_cut_short(tmp_path, suffix):
    """What such files state as their length counts from 0 in some formats, else from the start."""
    codec = {".webm": "libvpx", ".nut": "ffv1"}.get(suffix, "libx264")
    late = {"pts": range(50, 74), "time_base": Fraction(1, 10)}
    source = odd.make(tmp_path / f"late{suffix}", frames=24, codec=codec, **late)
    info = probe(source)
    assert (info.start, info.frames, info.notes) == (5, 24, ())
    assert len(list(read_frames(source))) == 24
    if suffix == ".mkv":
        source.write_bytes(source.read_bytes()[: int(source.stat().st_size * 0.6)])
        with pytest.raises(StyleAVideoError, match="cut short"):
            probe(source)


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_a_hole_in_the_data_is_refused_or_passed_over(tmp_path, suffix):
    source = noisy(tmp_path / f"a{suffix}")
    want = [time - odd.origin(source) for time in odd.times(source)]
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    source.write_bytes(data)
    target = tmp_path / "out.mp4"
    with pytest.raises(StyleAVideoError, match="is damaged.* near 1.*partial=True") as told:
        stylize_video(source, target, same)
    assert told.value.worded(WORDS).endswith(", or take what can be decoded (--partial).")
    assert not target.exists()
    report = stylize_video(probe(source, partial=True), target, same)
    assert 18 <= report.frames < 24
    for frame in read_frames(target):
        assert min(abs(frame.pts - time) for time in want) <= MS


# pictures that are no video


def numbered(folder, count=12, rate_of_change=15, mode="RGB", size=(64, 48)):
    folder.mkdir()
    for i in range(count):
        colour = (20 + rate_of_change * i,) * 3 + ((128,) if mode == "RGBA" else ())
        Image.new(mode, size, colour).save(folder / f"frame{i + 8}.png")  # 8, 9, 10: natural order
    return folder


def levels(path):
    return [round(255 * frame.image.mean().item()) for frame in read_frames(path)]


def test_a_folder_of_pictures_in_its_natural_order(tmp_path):
    folder, target = numbered(tmp_path / "in"), tmp_path / "out.mp4"
    info = probe(folder, rate=Fraction(30000, 1001))
    assert (info.frames, info.duration) == (12, 12 * Fraction(1001, 30000))
    report = stylize_video(info, target, same)
    assert report.notes == [] and report.frames == 12
    assert odd.times(target) == [i * Fraction(1001, 30000) for i in range(12)]
    assert np.allclose(levels(target), [20 + 15 * i for i in range(12)], atol=2)
    assert probe(folder).frame_rate == 25
    assert [frame.pts for frame in read_frames(folder, 0.1, 0.2)] == [
        Fraction(3, 25),
        Fraction(4, 25),
    ]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_folder_of_pictures_out(tmp_path, mode):
    folder, target = numbered(tmp_path / "in", mode=mode), tmp_path / "50% out"
    stylize_video(folder, target, same)
    names = sorted(path.name for path in target.iterdir())
    assert names == [f"{i:06d}.png" for i in range(1, 13)]
    for i, name in enumerate(names):
        with Image.open(target / name) as image:
            assert image.mode == mode and image.getpixel((5, 5))[0] == 20 + 15 * i
            assert mode == "RGB" or image.getpixel((5, 5))[3] == 128
    assert sorted(path.name for path in tmp_path.iterdir()) == ["50% out", "in"]
    with pytest.raises(StyleAVideoError, match="not empty"):
        stylize_video(folder, target, same)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_photos_are_turned_upright_as_their_exif_says(tmp_path, suffix):
    """All eight: four turns, and these mirrored."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo = tmp_path / str(orientation) / f"a{suffix}"
        photo.parent.mkdir()
        Image.fromarray(odd.scene(0)).save(photo, exif=exif, quality=95)
        with Image.open(photo) as image:
            upright = np.array(ImageOps.exif_transpose(image))
        info, (frame,) = probe(photo.parent), read_frames(photo.parent)
        assert (info.height, info.width) == upright.shape[:2]
        shown = 255 * frame.image.permute(1, 2, 0).numpy()
        assert np.abs(shown - upright).mean() < (0.01 if suffix == ".png" else 3)
    assert info.height == 64 and info.width == 48


def test_pictures_before_the_start_are_not_read(tmp_path):
    """A segment on a cluster would read all of the folder otherwise."""
    folder = numbered(tmp_path / "in")
    (folder / "frame8.png").write_bytes(b"no picture")
    frames = list(read_frames(folder, start=Fraction(1, 50)))
    assert [frame.pts for frame in frames] == [Fraction(i, 25) for i in range(1, 12)]
    assert round(255 * frames[0].image.mean().item()) == 35


def test_folders_that_cannot_be_shown(tmp_path):
    folder = numbered(tmp_path / "in", 2)
    Image.new("RGB", (32, 32)).save(folder / "z.png")
    with pytest.raises(StyleAVideoError, match="z.png is 32x32 and frame8.png 64x48"):
        probe(folder)
    (folder / "z.png").write_bytes(b"no picture")
    with pytest.raises(StyleAVideoError, match="z.png is not a picture"):
        probe(folder)
    with pytest.raises(StyleAVideoError, match="frame rate of its own"):
        probe(odd.make(tmp_path / "a.mp4"), rate=30)


DELAYS = [100, 40, 700, 70, 30]  # ms


def animation(path, transparent=False):
    mode = "RGBA" if transparent else "RGB"
    pictures = []
    for i in range(5):
        image = Image.fromarray(odd.scene(4 * i)).convert(mode)
        if transparent:
            image.paste((0, 0, 0, 0), (0, 0, 20, 48))
        pictures.append(image)
    options = {"lossless": True} if path.suffix == ".webp" else {"disposal": 2}
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=DELAYS, loop=0, **options
    )
    return path


@pytest.mark.parametrize("given", [".gif", ".webp"])
@pytest.mark.parametrize("wanted", [".gif", ".webp", ".mp4", ".webm"])
def test_animated_pictures_keep_their_timing(tmp_path, given, wanted):
    source, target = animation(tmp_path / f"a{given}"), tmp_path / f"out{wanted}"
    report = stylize_video(source, target, same)
    assert report.notes == []
    want = [sum(DELAYS[:i]) * MS for i in range(6)]
    frames = list(read_frames(target))
    assert all(abs(f.pts - t) <= MS for f, t in zip(frames, want[:5], strict=True))
    assert abs(frames[-1].pts + frames[-1].duration - want[5]) <= MS
    first = next(read_frames(source)).image
    assert (frames[0].image - first).abs().mean() < 0.03
    if wanted in (".gif", ".webp"):
        with Image.open(target) as image:
            shown = []
            for i in range(image.n_frames):
                image.seek(i)
                image.load()
                shown.append(image.info["duration"])
        assert shown == DELAYS


@pytest.mark.parametrize("given", [".gif", ".webp"])
@pytest.mark.parametrize("wanted", [".gif", ".webp", ".mkv"])
def test_animated_pictures_keep_their_transparency(tmp_path, given, wanted):
    source, target = animation(tmp_path / f"a{given}", True), tmp_path / f"out{wanted}"
    assert probe(source).alpha
    stylize_video(source, target, same, codec="ffv1" if wanted == ".mkv" else None)
    for frame in read_frames(target):
        assert frame.alpha[:, :18].max() < 0.02 and frame.alpha[:, 22:].min() > 0.98


def test_a_gif_is_as_fast_as_viewers_show_it(tmp_path):
    source = odd.make(tmp_path / "a.mp4", rate=120, frames=60)
    target = tmp_path / "out.gif"
    report = stylize_video(source, target, same)
    assert "50 pictures/s" in report.notes[0]
    frames = list(read_frames(target))
    assert 20 < len(frames) <= 26 and min(frame.duration for frame in frames) >= Fraction(1, 50)
    assert abs(frames[-1].pts + frames[-1].duration - Fraction(1, 2)) < Fraction(1, 50)


# alpha, tags, chapters


@pytest.mark.parametrize(
    ("target", "codec"), [("o.mov", "prores"), ("o.mkv", "ffv1"), ("o.webp", None)]
)
def test_alpha_is_put_back(tmp_path, target, codec):
    source = odd.make(tmp_path / "a.mov", codec="png", pix_fmt="rgba", alpha=True)
    stylize_video(source, tmp_path / target, lambda x, i: 1 - x[..., ::2, ::2], codec=codec)
    for frame in read_frames(tmp_path / target):
        assert frame.alpha.shape == (24, 32)
        assert (frame.alpha[:, :14] - 64 / 255).abs().max() < 0.02
        assert (frame.alpha[:, 18:] - 1).abs().max() < 0.02


def test_alpha_in_webm(tmp_path):
    """Beside the pictures there, as browsers read it; and back."""
    source = odd.make(tmp_path / "a.mov", codec="png", pix_fmt="rgba", alpha=True)
    stylize_video(source, tmp_path / "o.webm", same)
    info = probe(tmp_path / "o.webm")
    assert info.alpha and info.codec == "vp9"
    with av.open(str(tmp_path / "o.webm")) as container:
        assert container.streams.video[0].metadata["alpha_mode"] == "1"
    stylize_video(tmp_path / "o.webm", tmp_path / "o.mkv", same, codec="ffv1", part=Part.of(0.3))
    for path, start, count in (("o.webm", 0.3, 5), ("o.mkv", None, 5)):
        frames = list(read_frames(tmp_path / path, start))
        assert len(frames) == count
        for frame in frames:
            assert (frame.alpha[:, :30] - 64 / 255).abs().max() < 0.03
            assert (frame.alpha[:, 34:] - 1).abs().max() < 0.03


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_tags_chapters_and_languages_are_kept(tmp_path, suffix):
    source = odd.make(
        tmp_path / f"a{suffix}",
        chapters=[(0, 0.4, "one"), (0.4, 0.8, "two")],
        metadata={"title": "A clip", "artist": "somebody"},
        audio=[{"language": "eng"}, {"language": "jpn"}],
    )
    target = tmp_path / f"out{suffix}"
    assert stylize_video(source, target, same).notes == []
    with av.open(str(target)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        assert (tags["title"], tags["artist"]) == ("A clip", "somebody")
        assert [s.metadata["language"] for s in container.streams.audio] == ["eng", "jpn"]
        assert [s.disposition for s in container.streams.audio] == [
            s.disposition for s in av.open(str(source)).streams.audio
        ]
        assert [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
            for c in container.chapters()
        ] == [(0, Fraction(2, 5), "one"), (Fraction(2, 5), Fraction(4, 5), "two")]


def test_a_font_goes_with_its_subtitles(tmp_path):
    lines = [{"codec": "ass", "lines": [(0.1, 0.2, "0,0,Default,hi")]}]
    source = odd.make(tmp_path / "a.mkv", subtitles=lines, attachment=b"a font")
    stylize_video(source, tmp_path / "out.mkv", same)
    with av.open(str(tmp_path / "out.mkv")) as container:
        (font,) = container.streams.attachments
        assert (font.name, font.mimetype, font.data) == ("font.ttf", "font/ttf", b"a font")


def test_a_part_of_a_clip_has_the_words_that_are_shown_in_it(tmp_path):
    lines = [{"lines": [(0.1, 0.3, "before"), (0.4, 0.3, "in"), (0.9, 0.1, "after")]}]
    chapters = [(0, 0.4, "one"), (0.4, 1.2, "two")]
    source = odd.make(tmp_path / "a.mkv", frames=12, subtitles=lines, chapters=chapters)
    report = stylize_video(source, tmp_path / "out.mkv", same, part=Part.of(0.3, 0.8))
    assert "Chapters" in report.notes[0]
    (words,) = odd.packets(tmp_path / "out.mkv", "subtitle")
    assert words == [(0, MS * 100, b"before"), (MS * 100, MS * 300, b"in")]
    stylize_video(source, tmp_path / "rest.mkv", same, part=Part.of(0.3))
    with av.open(str(tmp_path / "rest.mkv")) as container:
        starts = [chapter["start"] * chapter["time_base"] for chapter in container.chapters()]
    assert starts == [0, Fraction(1, 10)]


# colours


@pytest.mark.parametrize(
    ("curve", "white", "note"),
    [(18, 0.75, "is HDR (HLG)"), (16, 0.58, "is HDR (PQ)"), (14, 1, "the colours of BT.2020")],
)
@pytest.mark.skipif(not CONVERTS_HDR, reason="PyAV 17 cannot convert HDR")
def test_reference_white_is_white(tmp_path, curve, white, note):
    """As a share of the code values: BT.2408, table 1."""
    image = np.full((48, 64, 3), round(white * 65535), np.uint16)
    frame = av.VideoFrame.from_ndarray(image, format="rgb48le")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        for name, value in (HLG | {"color_trc": curve}).items():
            setattr(stream.codec_context, name, value)
        frame = frame.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=1)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert note in probe(tmp_path / "a.mkv").notes[0]
    assert next(read_frames(tmp_path / "a.mkv")).image.mean() > 0.97


# every codec


CODECS = [
    ("o.mp4", "h264"),
    ("o.mp4", "hevc"),
    ("o.mp4", "av1"),
    ("o.mov", "prores"),
    ("o.mkv", "ffv1"),
    ("o.mkv", "av1"),
    ("o.webm", "vp9"),
    ("o.gif", "gif"),
    ("o.webp", "webp"),
]


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_the_same_frames_give_the_same_bytes_on_any_number_of_cores(tmp_path, name, codec):
    source = odd.make(tmp_path / "a.mkv", size=(256, 144), frames=10, audio=SOUND)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    written = set()
    for some in (cores, cores, set(list(cores)[:1])):
        try:
            if some:
                os.sched_setaffinity(0, some)
            stylize_video(source, tmp_path / name, same, codec=codec)
        finally:
            if cores:
                os.sched_setaffinity(0, cores)
        written.add((tmp_path / name).read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("name", "codec", "message"),
    [
        ("o.webm", "hevc", "holds vp9 or av1, not hevc.*write to a .mp4, .m4v, .mov, .mkv file"),
        ("o.mp4", "mpeg2", "no codec 'mpeg2'; choose one of: h264"),
        ("o.mp4", "png", "folder, a name without a suffix"),
        ("o", "h264", "folder of pictures holds png"),
        ("o.avi", None, "no suffix that can be written"),
    ],
)
def test_codecs_that_do_not_go_with_the_suffix(tmp_path, name, codec, message):
    source = odd.make(tmp_path / "a.mp4")
    with pytest.raises(StyleAVideoError, match=message):
        stylize_video(source, tmp_path / name, same, codec=codec)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


LOSSY = [(name, codec) for name, codec in CODECS if codec not in ("prores", "ffv1", "gif")]


@pytest.mark.parametrize(("name", "codec"), LOSSY)
def test_a_higher_quality_is_larger_and_nearer_to_the_frames(tmp_path, name, codec):
    source = odd.make(tmp_path / "a.mkv", size=(256, 144), frames=4)
    frames = [frame.image for frame in read_frames(source)]
    sizes, errors, written = [], [], []
    for quality in (*QUALITIES, None):
        stylize_video(source, tmp_path / name, same, codec=codec, quality=quality)
        images = [frame.image for frame in read_frames(tmp_path / name)]
        pairs = zip(frames, images, strict=True)
        errors.append(sum((a - b).square().mean().item() for a, b in pairs))
        sizes.append((tmp_path / name).stat().st_size)
        written.append((tmp_path / name).read_bytes())
    assert sizes[0] > sizes[1] > sizes[2]
    assert errors[0] < errors[2]
    assert written[3] == written[QUALITIES.index(NORMAL)]


@pytest.mark.parametrize(
    ("name", "codec", "quality", "message"),
    [
        ("o.mkv", "ffv1", "high", "With ffv1 there is no quality.*h264, hevc, av1, vp9, webp"),
        ("o.gif", None, "low", "With gif there is no quality"),
        ("o", None, "normal", "With png there is no quality"),
        ("o.mp4", None, "20", "no quality '20'; choose one of: high, normal, low"),
    ],
)
def test_qualities_that_there_are_not(tmp_path, name, codec, quality, message):
    source = odd.make(tmp_path / "a.mp4")
    with pytest.raises(StyleAVideoError, match=message):
        stylize_video(source, tmp_path / name, same, codec=codec, quality=quality)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


# what means harm, or nothing


def test_pictures_that_do_not_fit_into_memory_are_refused(tmp_path):
    """A few bytes can state any size."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_mux_stream("mjpeg", rate=10, width=20000, height=10000)
        stream.time_base = Fraction(1, 1000)
        packet = av.Packet(b"\xff\xd8\xff\xd9")
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        packet.time_base = stream.time_base
        container.mux(packet)
    with pytest.raises(StyleAVideoError, match="20000x10000"):
        probe(tmp_path / "a.mkv")


def test_pictures_that_change_their_size_are_brought_to_one(tmp_path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_mux_stream("mjpeg", rate=10, width=64, height=48)
        stream.time_base = Fraction(1, 1000)
        for i, size in enumerate([(64, 48), (64, 48), (32, 24), (128, 96)]):
            file = io.BytesIO()
            Image.fromarray(odd.scene(i, *size)).save(file, "JPEG", quality=95)
            packet = av.Packet(file.getvalue())
            packet.stream, packet.pts, packet.dts = stream, 100 * i, 100 * i
            packet.time_base, packet.duration = stream.time_base, 100
            container.mux(packet)
    stylize_video(source, tmp_path / "o.mp4", same)
    frames = list(read_frames(tmp_path / "o.mp4"))
    assert [tuple(frame.image.shape) for frame in frames] == [(3, 48, 64)] * 4


def test_a_start_is_found_where_the_index_is_wrong(tmp_path):
    """MPEG-TS has no index, and a long group of pictures lies before the wanted frame."""
    path = tmp_path / "a.ts"
    odd.make(path, frames=12, options={"g": "12"})
    whole = list(read_frames(path))
    late = list(read_frames(path, start=whole[7].pts))
    assert [frame.pts for frame in late] == [frame.pts for frame in whole[7:]]
    assert all(torch.equal(a.image, b.image) for a, b in zip(late, whole[7:], strict=True))
