"""The bar of a run on a terminal: from 0, or what a former run kept, to the frames asked for."""

import io
import re
from contextlib import redirect_stderr, suppress
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
from style_a_video.pipelines.cli.progress import Bars
from style_a_video.pipelines.media import WHOLE, Part
from style_a_video.pipelines.run import shots
from style_a_video.pipelines.run.stylize import Kept, stylize_video

pytest.importorskip("cv2")
clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

PTS = [*range(10), 30, 50, 70, 90]  # tenths of a second: fast, then slow


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def lines(self):
        return re.split(r"[\r\n]+", self.getvalue())


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(shots, "SEGMENT", 4)
    images = clips.pan(0, len(PTS), 2, 64, 48)
    return clips.encode(
        tmp_path / "in.mkv",
        images,
        codec="ffv1",
        pix_fmt="bgr0",
        pts=PTS,
        time_base=Fraction(1, 10),
    )


def run(source, part=WHOLE, engine=lambda frames, indices: frames):
    """What a terminal shows, line by line."""
    terminal = Terminal()
    with redirect_stderr(terminal), suppress(KeyboardInterrupt), Bars() as bars:
        stylize_video(
            source,
            source.with_name("out.mkv"),
            engine,
            part=part,
            chunk_size=2,
            job=Kept(source.with_name("job")),
            planned=bars.planned,
            keeping=bars.kept,
            progress=bars,
        )
    terminal.write("said after it")
    *lines, last = terminal.lines()
    assert last == "said after it"
    return lines


@pytest.mark.parametrize(
    ("part", "frames"),
    [
        (WHOLE, 14),
        (Part.of(frames=5), 5),
        (Part.of(2.0), 4),  # of a constant rate it would be 11
        (Part.of(0.2, 3.5, frames=9), 9),
        (Part.of(2.0, frames=3), 3),
    ],
)
def test_every_stage_ends_at_the_frames_asked_for(source, part, frames):
    last = {line.split()[0]: line for line in run(source, part) if line.strip()}
    assert [*last] == ["shots", "stylize", "write"]
    for line in last.values():
        assert " 100% |" in line and f" {frames}/{frames}" in line, line
    assert f"{frames}/{frames}, {frames} kept" in last["stylize"]


def test_a_stopped_run_says_what_is_kept_and_goes_on_from_there(source):
    def engine(frames, indices):
        if indices[0] == 10:
            raise KeyboardInterrupt
        return frames

    assert "10/14, 8 kept" in run(source, engine=engine)[-1]
    shown = [line for line in run(source) if line.startswith("stylize")]
    assert " 8/14" in shown[0] and "14/14, 14 kept" in shown[-1]
