"""Odd files that tests make for themselves, and what the tracks of a file hold.

Like clips.py: `runpy.run_path` this file.
"""

from fractions import Fraction

import av
import numpy as np

ASS = (
    "[Script Info]\r\nScriptType: v4.00+\r\n\r\n"
    "[V4+ Styles]\r\nFormat: Name, Fontname, Fontsize\r\n"
    "Style: Default,Sans,20\r\n\r\n[Events]\r\nFormat: Layer, Start, End, Style, Text\r\n"
)


def scene(i, width=64, height=48):
    """A picture (H,W,3) with a soft ramp and a bright square that moves."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 180 / width, y * 180 / height, np.full_like(x, 90)], -1)
    image[8:24, (4 + 3 * i) % width : (20 + 3 * i) % (width + 20)] = (230, 220, 60)
    return image.astype(np.uint8)


def make(
    path,
    *,
    frames=8,
    size=(64, 48),
    codec="libx264",
    pix_fmt="yuv420p",
    rate=10,
    pts=None,
    time_base=None,
    rotation=None,
    sample=None,
    tags=None,
    options=None,
    container_options=None,
    alpha=False,
    audio=(),
    subtitles=(),
    attachment=None,
    chapters=(),
    metadata=None,
    interlaced=False,
):
    """A file of `frames` pictures of a scene.

    `pts` in units of `time_base`; `tags` attributes of the codec (color_range, ...); `audio` a dict
    a track (codec, seconds, start, language); `subtitles` a dict a track (codec, lines (start,
    duration, text)); `chapters` (start, end, title) in seconds.
    """
    rate = Fraction(rate)
    time_base = time_base or 1 / rate
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        if chapters:
            container.set_chapters(
                [
                    {
                        "id": i + 1,
                        "start": round(start * 1000),
                        "end": round(end * 1000),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for i, (start, end, title) in enumerate(chapters)
                ]
            )
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        if sample is not None:
            stream.codec_context.sample_aspect_ratio = sample
        if rotation is not None:
            stream.set_display_rotation(*rotation)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        sounds = [add_audio(container, **track) for track in audio]
        words = [_add_subtitles(container, **track) for track in subtitles]
        if attachment is not None:
            container.add_attachment("font.ttf", "font/ttf", attachment)
        packets = []
        for i in range(frames):
            frame = _picture(i, size, pix_fmt, alpha, tags or {})
            frame.pts = pts[i] if pts else round(i / rate / time_base)
            frame.time_base = time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in packets:
            packet.duration = packet.duration or round(1 / rate / time_base)
        for packet in sorted([*packets, *sum(sounds + words, [])], key=when):
            container.mux(packet)
    return path


def when(packet):
    return packet.dts * packet.time_base


def _picture(i, size, pix_fmt, alpha, tags):
    image = scene(i, *size)
    if alpha:
        cover = np.full((*image.shape[:2], 1), 255, np.uint8)
        cover[:, : size[0] // 2] = 64
        frame = av.VideoFrame.from_ndarray(np.concatenate([image, cover], -1), format="rgba")
    else:
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    colours = {}
    if not frame.format.name == pix_fmt:
        spaces = {1: 1, 5: 5, 6: 5, 9: 9}
        colours["dst_colorspace"] = spaces.get(tags.get("colorspace"), 5)
        colours["dst_color_range"] = tags.get("color_range", 1)
    return frame.reformat(format=pix_fmt, **colours)


def add_audio(container, codec="aac", seconds=0.8, start=0.0, language=None, rate=8000):
    """The track's packets."""
    stream = container.add_stream(codec, rate=rate, layout="mono")
    if language:
        stream.metadata["language"] = language
    form = {"pcm_s16le": "s16", "libopus": "s16", "flac": "s16", "libmp3lame": "s16p"}.get(
        codec, "fltp"
    )
    tone = np.sin(np.arange(int(rate * seconds)) / 4) * 0.5
    tone = (tone * 32767).astype(np.int16) if form.startswith("s16") else tone.astype(np.float32)
    packets, block = [], 400
    for at in range(0, len(tone), block):
        frame = av.AudioFrame.from_ndarray(tone[None, at : at + block], format=form, layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + at
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _add_subtitles(container, codec="subrip", lines=(), language=None):
    stream = container.add_stream(codec)
    stream.codec_context.subtitle_header = ASS.encode()
    if codec == "ass":
        stream.codec_context.extradata = ASS.encode()
    stream.time_base = Fraction(1, 1000)
    if language:
        stream.metadata["language"] = language
    packets = []
    for start, duration, text in lines:
        data = text.encode()
        if codec == "mov_text":
            data = len(data).to_bytes(2, "big") + data
        packet = av.Packet(data)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round(duration * 1000)
        packets.append(packet)
    return packets


def origin(path):
    """The container time (s) that is 0: the start, where a clock begins anywhere."""
    with av.open(str(path)) as container:
        if container.format.name in ("mpegts", "mpeg"):
            return Fraction(container.start_time, av.time_base)
    return Fraction(0)


def times(path):
    """When each decoded picture is shown (s)."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def packets(path, kind):
    """Of every track of a kind: its packets as (time, duration, bytes), times in s."""
    zero = origin(path)
    with av.open(str(path)) as container:
        tracks = [s for s in container.streams if s.type == kind]
        found = {stream.index: [] for stream in tracks}
        for packet in container.demux(tracks) if tracks else ():
            if packet.size:
                time = (packet.dts if packet.pts is None else packet.pts) * packet.time_base
                length = (packet.duration or 0) * packet.time_base
                found[packet.stream.index].append((time - zero, length, bytes(packet)))
    return list(found.values())
