"""Tiny clips that tests encode for themselves, and how they look at the results.

pytest's importlib mode gives tests no siblings to import: `runpy.run_path` this file.
"""

from fractions import Fraction

import av
import numpy as np


def quadrants(width=64, height=48):
    """An RGB picture (H,W,3) that shows every turn and flip: red, green, blue, white quarters."""
    image = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    image[:h, :w], image[:h, w:] = (200, 30, 30), (30, 200, 30)
    image[h:, :w], image[h:, w:] = (30, 30, 200), (220, 220, 220)
    return image


def encode(
    path,
    images,
    *,
    codec="libx264",
    pix_fmt="yuv420p",
    rate=10,
    pts=None,
    time_base=None,
    rotation=None,
    sample=None,
    audio=0.0,
    audio_codec="aac",
    tag=None,
    options=None,
):
    """A clip from RGB pictures; `pts` in units of `time_base`; `audio` seconds of a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if sample is not None:
            stream.codec_context.sample_aspect_ratio = sample
        if rotation is not None:
            stream.set_display_rotation(*rotation)
        if tag is not None:
            stream.codec_context.colorspace = tag
        sound = container.add_stream(audio_codec, rate=8000, layout="mono") if audio else None
        for i, image in enumerate(images):
            deep = image.dtype == np.uint16
            frame = av.VideoFrame.from_ndarray(image, format="rgb48le" if deep else "rgb24")
            space = {"dst_colorspace": tag} if tag is not None else {}
            frame = frame.reformat(format=pix_fmt, **space)
            if pts is not None:
                frame.pts, frame.time_base = pts[i], time_base
            else:
                frame.pts, frame.time_base = i, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            count = int(8000 * audio)
            tone = (np.sin(np.arange(count) / 4) * 0.5).astype(np.float32)[None]
            if audio_codec.startswith("pcm"):
                tone = (tone * 32767).astype(np.int16)
            layout = "s16" if audio_codec.startswith("pcm") else "fltp"
            frame = av.AudioFrame.from_ndarray(tone, format=layout, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def ramp(count, width=64, height=48):
    """Pictures that can be told apart: one brighter than the next."""
    return [np.full((height, width, 3), 20 + 18 * i, np.uint8) for i in range(count)]


def pan(seed, count, step=2, width=128, height=96):
    """Pictures of a camera that goes right over something with detail, as photos have it."""
    rng = np.random.default_rng(seed)
    wide = np.zeros((height, width + step * count, 3))
    for cell in (4, 8, 16, 32):
        small = rng.random((height // cell + 2, wide.shape[1] // cell + 2, 3))
        wide += np.kron(small, np.ones((cell, cell, 1)))[:height, : wide.shape[1]] * cell**0.5
    wide = (255 * (wide - wide.min()) / np.ptp(wide)).astype(np.uint8)
    return [np.ascontiguousarray(wide[:, step * i : step * i + width]) for i in range(count)]


def times(path):
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def audio_packets(path):
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(audio=0)
            if packet.pts is not None and packet.size
        ]


def corners(image):
    """Colours (0..255) inside the quarters: top left, top right, bottom left, bottom right."""
    h, w = image.shape[1:]
    parts = [image[:, y : y + 6, x : x + 6] for y in (6, h - 12) for x in (6, w - 12)]
    return [(255 * part.mean((1, 2))).round().int().tolist() for part in parts]


def near(a, b, within=6):
    return np.abs(np.array(a) - np.array(b)).max() <= within


RED, GREEN, BLUE, WHITE = (200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 220)
