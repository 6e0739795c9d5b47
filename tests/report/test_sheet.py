"""Contact sheets: words in any script, samples of streams of any length."""

import sys
from fractions import Fraction

import pytest
import torch
from PIL import Image, ImageFont
from style_a_video.pipelines.media import Frame
from style_a_video.pipelines.report import sheet


def test_words_no_font_can_draw_are_numbered(monkeypatch):
    own = ImageFont.load_default(20)
    assert sheet.has_glyphs(own, "watercolour, 1890") and not sheet.has_glyphs(own, "水彩画")
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert sheet.pen_for("水彩画", 20, fonts=()) is None
    monkeypatch.setattr(sheet, "pen_for", lambda text, size: None)
    assert sheet.written("水彩画", 3, 20)[0] == "prompt 3"


def test_chinese_is_drawn_where_opencv_5_is(monkeypatch):
    cv2 = pytest.importorskip("cv2", minversion="5")
    assert hasattr(cv2, "FontFace")
    pen = sheet.pen_for("水彩画", 20, fonts=())
    drawn = []
    for text in ("水", "彩"):
        image = Image.new("RGB", (40, 32), "white")
        pen.write(image, (4, 4), text, (0, 0, 0))
        drawn.append(bytes(image.tobytes()))
    blank = Image.new("RGB", (40, 32), "white").tobytes()
    assert len({*drawn, blank}) == 3 and pen.width("水彩画") > pen.width("水")


def test_long_words_are_wrapped_and_never_lost():
    pen = sheet.pen_for("words", 20)
    text = "in the style of Van Gogh, thick paint and Donaudampfschifffahrtsgesellschaft"
    lines = sheet.wrap(text, pen, 160, 99)
    assert all(pen.width(line) <= 160 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(sheet.wrap(text, pen, 160, 2)) == 2 and sheet.wrap(text, pen, 160, 2)[1][-1] == "…"
    wide = sheet.wrap("水彩画风格的城市" * 4, pen, 100, 99)
    assert len(wide) > 1 and "".join(wide) == "水彩画风格的城市" * 4


def test_samples_spread_over_a_stream_of_any_length():
    for length in (1, 3, 5, 37, 500):
        sampled = sheet.Sampled(5)
        for i in range(length):
            frame = Frame(torch.full((3, 2, 2), float(i)), Fraction(i), Fraction(1))
            sampled(frame, frame)
        (_, before), (_, after) = sampled.rows(["source", "x"])
        at = [int(image[0, 0, 0]) for image in before]
        assert len(at) == len(after) == min(5, length) and at == sorted(set(at))
        assert at[0] == 0 and at[-1] >= 0.75 * (length - 1)
