"""Video files, pictures and folders from a stranger."""

import os
import struct
import zlib
from fractions import Fraction
from functools import cache

import av
import pytest
from PIL import Image

HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-VERSION:3\n"
PLAYLISTS = {
    "self.m3u8": HEAD + "#EXT-X-STREAM-INF:BANDWIDTH=1\nself.m3u8\n" * 50,
    "live.m3u8": HEAD + "#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nnone.ts\n",
    "pipe.m3u8": HEAD + "#EXTINF:1,\npipe\n#EXT-X-ENDLIST\n",
    "pipe.ffconcat": "ffconcat version 1.0\nfile pipe\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic"/>',
    "a.srt": "1\n00:00:00,000 --> 00:00:01,000\nwords\n",
    "a.txt": "words\n" * 100,
}


@pytest.mark.parametrize("suffix", ["", ".mp4"])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_refused_and_nothing_of_it_opened(tmp_path, nursery, name, suffix):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / f"{name}{suffix}").write_text(PLAYLISTS[name])
    done = nursery.run("shots", str(tmp_path / f"{name}{suffix}"), memory=1 << 30, seconds=10)
    assert done["rc"] == 2 and "is not a video" in done["err"], done


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (os.mkfifo, "is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: path.symlink_to("/dev/stdin"), "is a "),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.mkdir(), "without PNG or JPEG"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".webp", ".png"])
def test_what_is_no_file_is_not_read(tmp_path, nursery, make, told, suffix):
    make(tmp_path / f"a{suffix}")
    done = nursery.run("shots", str(tmp_path / f"a{suffix}"), memory=1 << 30, seconds=10)
    assert done["rc"] == 2 and told in done["err"], done


def test_a_folder_with_pipes_among_its_pictures(tmp_path, nursery):
    for name in ("1.png", "2.png"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / name)
    os.mkfifo(tmp_path / "3.png")
    (tmp_path / "4.png").symlink_to("/dev/zero")
    assert nursery.run("shots", str(tmp_path), seconds=10)["rc"] == 0


def test_a_name_with_a_pattern_shows_its_own_picture(tmp_path):
    """The demuxer of numbered pictures would show another."""
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a%01d.png")
    (tmp_path / "a1.png").write_bytes(b"none")
    from style_a_video.pipelines.media.stills import _read_picture

    shown = _read_picture(tmp_path / "a%01d.png").to_ndarray(format="rgb24")
    assert shown[..., 0].min() == 255


# bombs


def gif(path, width, height, frames=1):
    """One colour each; LZW in 9-bit codes with a clear code before each pixel row would be long, so
    only the first pixels are given: decoders leave the rest as it is."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    control = b"\x21\xf9\x04\x01\x02\x00\x00\x00"
    path.write_bytes(head + (control + image) * frames + b"\x3b")
    return path


def full_gif(path, width, height):
    Image.new("P", (width, height)).save(path, optimize=False)
    return path


def webp(path, width, height, frames=1):
    images = [Image.new("RGBA", (width, height), (i, 0, 0, 255)) for i in range(frames)]
    images[0].save(
        path, "WEBP", save_all=True, append_images=images[1:], duration=40, lossless=True, method=0
    )
    return path


def png(path, width, height):
    """Rows of zeros, compressed twice as zeros are: without the picture in memory."""

    def chunk(kind, data):
        tail = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", tail)

    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(bytes(width * 3 + 1)) for _ in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


BOMBS = {
    "16384 gif": (lambda p: full_gif(p / "a.gif", 16384, 8192), "at most 67,108,864 pixels"),
    "65535 gif": (lambda p: gif(p / "a.gif", 65535, 65535), "at most 67,108,864 pixels"),
    "8192 gif": (lambda p: full_gif(p / "a.gif", 8192, 8192), None),
    "gif of 2000": (lambda p: gif(p / "a.gif", 4096, 4096, 2000), None),
    "16000 webp": (lambda p: webp(p / "a.webp", 16000, 2200), "at most 33,554,432 pixels"),
    "8192 webp": (lambda p: webp(p / "a.webp", 8190, 4090, 2), None),
    "12000 png": (lambda p: png(p / "a.png", 12000, 12000), "pixels"),
    "8192 png": (lambda p: png(p / "a.png", 8192, 8192), None),
}


@pytest.mark.parametrize("name", BOMBS)
def test_opening_and_probing_cost_no_more_than_a_working_frame(tmp_path, nursery, name):
    """Of 8192 x 8192, with four bytes a pixel: the decoder's, its copy, and the imports."""
    make, told = BOMBS[name]
    path = make(tmp_path)
    if path.suffix == ".png":
        path = tmp_path
    done = nursery.run("shots", str(path), "--end", "0.04", seconds=60)
    print(name, done)
    assert done["rc"] == (2 if told else 0), done
    assert (told or "") in done["err"]
    assert done["peak"] < 2500


def test_a_webp_that_states_more_than_it_holds(tmp_path, nursery):
    data = bytearray(webp(tmp_path / "a.webp", 64, 64, 2).read_bytes())
    data[24:30] = b"\xff\x3f\x00\xff\x3f\x00"
    (tmp_path / "a.webp").write_bytes(data)
    done = nursery.run("shots", str(tmp_path / "a.webp"), seconds=10)
    assert done["rc"] == 2 and "16384x16384" in done["err"] and done["peak"] < 1200, done


def box(kind, *data):
    data = b"".join(data)
    return struct.pack(">I", 8 + len(data)) + kind + data


def samples_mp4(path, count, size):
    """Five hundred bytes that state `count` pictures of one chunk."""
    rows = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    rate = struct.pack(">IH", 0x10000, 0x100)
    times = struct.pack(">5I", 0, 0, 0, 1000, 1000)
    moved = bytes(10) + rows + bytes(24) + struct.pack(">I", 2)
    track = struct.pack(">6I", 3, 0, 0, 1, 0, 1000) + bytes(16) + rows
    picture = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HH", 64, 48)
    picture += struct.pack(">IIIH", 0x480000, 0x480000, 0, 1) + bytes(32) + b"\0\x18\xff\xff"
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), box(b"mjpg", picture)),
        box(b"stts", struct.pack(">4I", 0, 1, count, 1)),
        box(b"stsc", struct.pack(">5I", 0, 1, 1, count, 1)),
        box(b"stsz", struct.pack(">3I", 0, size, count)),
        box(b"stco", struct.pack(">3I", 0, 1, 40)),
    )
    media = box(
        b"mdia",
        box(b"mdhd", times, bytes(4)),
        box(b"hdlr", bytes(8), b"vide", bytes(13)),
        box(b"minf", box(b"vmhd", bytes(12)), table),
    )
    tracks = box(b"trak", box(b"tkhd", track, struct.pack(">II", 64 << 16, 48 << 16)), media)
    moov = box(b"moov", box(b"mvhd", times, rate, moved), tracks)
    path.write_bytes(box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", bytes(64)) + moov)
    return path


def test_an_mp4_that_states_more_pictures_than_bytes(tmp_path, nursery):
    path = samples_mp4(tmp_path / "a.mp4", 100_000_000, 0xFFFF)
    done = nursery.run("shots", str(path))
    assert done["rc"] == 2 and "states 100,000,000 pictures" in done["err"], done
    assert done["peak"] < 400
    done = nursery.run("shots", str(samples_mp4(tmp_path / "b.mp4", 1000, 0xFFFF)))
    assert done["rc"] == 2 and "pictures in" not in done["err"], done


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def zeros(size):
    pack = zlib.compressobj(1)
    return b"".join(pack.compress(bytes(1 << 20)) for _ in range(size >> 20)) + pack.flush()


def packed_png(kind, size, after):
    """A picture of 64x48 with a text or profile of `size` zeros, before or after its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(193 * 48)))
    extra = chunk(kind, b"a\0\0" + zeros(size))
    body = pixels + extra if after else extra + pixels
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("where", ["a.png", "folder", "a.mov", "late.mov"])
@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
@pytest.mark.parametrize("after", [False, True])
def test_texts_that_unpack_to_gigabytes(tmp_path, nursery, where, kind, after):
    bomb, plain = packed_png(kind, 600 << 20, after), packed_png(kind, 1 << 20, after)
    path = tmp_path / where
    if where == "folder":
        path.mkdir()
        (path / "a.png").write_bytes(bomb)
    elif where == "a.png":
        path.write_bytes(bomb)
    else:
        images = [plain] * (30 if where == "late.mov" else 0) + [bomb, plain]
        with av.open(str(path), "w") as container:
            stream = container.add_mux_stream("png", rate=10, width=64, height=48)
            stream.time_base = Fraction(1, 1000)
            for i, data in enumerate(images):
                packet = av.Packet(data)
                packet.stream, packet.pts, packet.dts = stream, 100 * i, 100 * i
                packet.time_base, packet.duration = stream.time_base, 100
                container.mux(packet)
    done = nursery.run("shots", str(path), seconds=30)
    assert done["rc"] == 2 and done["peak"] < 600, done
    assert "unpacks to more" in done["err"] or "not a picture that can be read" in done["err"]
