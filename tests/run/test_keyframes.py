"""Keyframes in a run: the same bytes however it goes; and keyframes that were painted by hand."""

from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import WHOLE, Part, probe, read_frames
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.refine.keyframes import Keyframes
from style_a_video.pipelines.run import shots
from style_a_video.pipelines.run.painted import read_painted
from style_a_video.pipelines.run.stylize import Kept, stylize_video

pytest.importorskip("cv2")
clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

SECOND, FRAMES = 11, 18  # two shots, of 11 and 7 frames
EVERY = 4  # segments of 8 frames: 8 3, 7


class Counting:
    """A `CarryingEngine`: every frame shows how many were asked for before it in the shot."""

    def __init__(self, fail=None):
        self.fail, self.asked, self.began = fail, [], []

    def carry(self, frames, frame_indices, carried):
        if self.fail in frame_indices:
            raise RuntimeError("failed")
        if carried is None:
            self.began.append(frame_indices[0])
        self.asked += frame_indices
        before = 0 if carried is None else int(carried["count"])
        light = torch.arange(before, before + len(frames)).view(-1, 1, 1, 1) / 20
        return (1 - frames) * (1 - light), {"count": torch.tensor(before + len(frames))}


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(shots, "SEGMENT", 2 * EVERY)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    images = [*clips.pan(0, SECOND, 2, 64, 48), *clips.pan(1, FRAMES - SECOND, 2, 64, 48)]
    path = tmp_path_factory.mktemp("source") / "a.mkv"
    return clips.encode(path, images, codec="ffv1", pix_fmt="bgr0")


def run(source, target, engine=None, chunk_size=3, **more):
    common = {
        "keyframes": Keyframes(EVERY),
        "refining": Refining(),
        "chunk_size": chunk_size,
        "codec": "ffv1",
    }
    return stylize_video(source, target, engine or Counting(), **common | more)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The result of a run that nothing came in the way of."""
    engine, target = Counting(), tmp_path_factory.mktemp("whole") / "whole.mkv"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shots, "SEGMENT", 2 * EVERY)
        report = run(source, target, engine)
    assert engine.asked == [0, 4, 7, 10, 11, 14, 17]
    assert engine.began == [0, SECOND]  # a cut ends what is carried
    assert (report.made, report.frames) == (7, FRAMES)
    return target.read_bytes()


@pytest.mark.parametrize("chunk", [1, 100])
def test_chunks_of_any_size_give_the_same_bytes(chunk, source, whole, tmp_path):
    run(source, tmp_path / "out.mkv", chunk_size=chunk)
    assert (tmp_path / "out.mkv").read_bytes() == whole


@pytest.mark.parametrize("at", [7, 10, 14])
def test_a_run_that_failed_goes_on_to_the_same_bytes(at, source, whole, tmp_path):
    job = Kept(tmp_path / "job")
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mkv", Counting(at), job=job)
    report = run(source, tmp_path / "out.mkv", job=job)
    assert report.resumed == {7: 0, 10: 8, 14: SECOND}[at] and report.made < 8
    assert (tmp_path / "out.mkv").read_bytes() == whole


def test_a_job_of_other_keyframes_is_refused(source, tmp_path):
    job = Kept(tmp_path / "job")
    with pytest.raises(RuntimeError, match="failed"):
        run(source, tmp_path / "out.mkv", Counting(14), job=job)
    with pytest.raises(StyleAVideoError, match="keyframes every was 4 and is 8"):
        run(source, tmp_path / "out.mkv", job=job, keyframes=Keyframes(8))


def test_a_cut_ends_what_is_carried(source, tmp_path):
    """The second shot is what it is alone."""
    run(source, tmp_path / "out.mkv")
    run(source, tmp_path / "part.mkv", part=Part.of(SECOND / 10))
    made, alone = (list(read_frames(tmp_path / name)) for name in ("out.mkv", "part.mkv"))
    assert len(alone) == FRAMES - SECOND
    for one, other in zip(made[SECOND:], alone, strict=True):
        assert torch.equal(one.image, other.image)


def test_a_still_clip_is_its_keyframe(tmp_path):
    picture = clips.pan(0, 1, 2, 64, 48)[0]
    source = clips.encode(tmp_path / "a.mkv", [picture] * 9, codec="ffv1", pix_fmt="bgr0")
    run(source, tmp_path / "out.mkv", lambda x, i: 1 - x, refining=None)
    for frame in read_frames(tmp_path / "out.mkv"):
        assert np.array_equal((255 * frame.image).round().byte().movedim(0, -1), 255 - picture)


@pytest.mark.parametrize(("size", "every"), [((512, 288), 8), ((3840, 2160), 5), ((64, 48), 3)])
def test_a_segment_ends_with_a_keyframe(size, every, monkeypatch):
    monkeypatch.undo()
    length = shots.segment_length(*size, Keyframes(every))
    assert length % every == 0 and length <= shots.SEGMENT
    assert shots.segment_length(*size, Keyframes(painted=(3,))) <= shots.LONGEST


def test_a_cluster_gives_the_same_bytes(source, whole, tmp_path):
    ray = pytest.importorskip("ray", reason="RAY IS MISSING: pip install ray")
    from style_a_video.pipelines.run.cluster import Cluster

    made = Counting
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with Cluster(lambda: made, 2) as workers:
            run(source, tmp_path / "out.mkv", workers.runner(lambda engine: engine()))
    finally:
        ray.shutdown()
    assert (tmp_path / "out.mkv").read_bytes() == whole


# painted by hand


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "painted"
    made.mkdir()
    return made


def paint(folder, frames, invert=True, size=(64, 48)):
    """Pictures of these frames (by index or name), inverted."""
    known = [*clips.pan(0, SECOND, 2, 64, 48), *clips.pan(1, FRAMES - SECOND, 2, 64, 48)]
    for frame in frames:
        index, name = frame if isinstance(frame, tuple) else (frame, f"{frame:04d}.png")
        Image.fromarray(255 - known[index]).resize(size).save(folder / name)


def by_hand(source, folder, target, part=WHOLE, **more):
    painted = read_painted(folder, probe(source), part)
    more = {"keyframes": painted.keyframes, "part": part, **more}
    return run(source, target, painted.engine(Style()), **more)


def test_painted_keyframes_are_shown_and_carried(source, folder, tmp_path):
    paint(folder, [2, (9, "frame_9.png"), 14])
    report = by_hand(source, folder, tmp_path / "out.mkv", refining=None)
    assert (report.made, report.frames) == (3, FRAMES)
    pairs = zip(read_frames(tmp_path / "out.mkv"), read_frames(source), strict=True)
    for n, (made, frame) in enumerate(pairs):
        gap = (made.image - (1 - frame.image))[..., 8:-8].abs()
        assert gap.max() < 1e-6 if n in (2, 9, 14) else gap.mean() < 0.01


def test_painted_at_the_size_of_the_video_they_are_shown_at_that_of_the_work(
    source, folder, tmp_path
):
    paint(folder, [0, 12], size=(128, 96))
    report = by_hand(source, folder, tmp_path / "out.mkv", size=(32, 24))
    assert (report.width, report.height) == (32, 24)


def test_painted_runs_go_on_to_the_same_bytes(source, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shots, "LONGEST", 6)
    paint(folder, [2, 9, 14])
    by_hand(source, folder, tmp_path / "whole.mkv")

    def stop(stage, done, total):
        if stage == "stylize" and done > 9:
            raise RuntimeError("stopped")

    job = Kept(tmp_path / "job")
    with pytest.raises(RuntimeError, match="stopped"):
        by_hand(source, folder, tmp_path / "out.mkv", job=job, progress=stop)
    assert by_hand(source, folder, tmp_path / "out.mkv", job=job).resumed
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_of_a_folder_of_pictures_painted_ones_have_their_names(folder, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    paint(pictures, [(i, f"shot_a{i + 100}.png") for i in range(6)])
    paint(folder, [(1, "shot_a101.png"), (4, "shot_a104.jpg")])
    info = probe(pictures, Fraction(10))
    assert read_painted(folder, info, WHOLE).keyframes.painted == (1, 4)
    assert read_painted(folder, info, Part.of(0.2)).keyframes.painted == (2,)
    paint(folder, [(2, "0002.png")])
    with pytest.raises(StyleAVideoError, match="0002.png has the name of no picture in .*pictures"):
        read_painted(folder, info, WHOLE)


@pytest.mark.parametrize(
    ("frames", "size", "said"),
    [
        ([], (64, 48), "holds no PNG or JPEG picture: put painted frames there, named by"),
        ([(0, "sketch.png")], (64, 48), "sketch.png is not named by the number of a frame: call"),
        ([0, (0, "0.png")], (64, 48), "0000.png are both of frame 0: take one out|0.png are both"),
        ([0], (64, 64), "0000.png is 64x64, and the frames are 64x48: paint on pictures of that"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(frames, size, said, source, folder):
    paint(folder, frames, size=size)
    with pytest.raises(StyleAVideoError, match=said) as refused:
        read_painted(folder, probe(source), WHOLE)
    assert str(refused.value).count(". ") == 0


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([0, 5], "^The shot of frames 11 to 17 has no painted keyframe: .* such as 0011.png"),
        ([0, 11, (4, "0040.png")], "^Frame 40 is painted, and there are frames 0 to 17: name"),
        ([8, 11], "^The first painted keyframe of the shot that begins with frame 0 comes too"),
    ],
)
def test_keyframes_that_do_not_do_are_refused(frames, said, source, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shots, "LONGEST", 6)
    paint(folder, frames)
    with pytest.raises(StyleAVideoError, match=said):
        by_hand(source, folder, tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_of_a_part_keyframes_behind_it_are_passed_over(source, folder, tmp_path):
    paint(folder, [0, 12])
    report = by_hand(source, folder, tmp_path / "out.mkv", part=Part.of(frames=5))
    assert (report.frames, report.made) == (5, 1)
