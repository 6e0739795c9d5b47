"""One segment: its frames found again in any file, chunks of any size, too little memory."""

import weakref
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from style_a_video.pipelines.cli.words import WORDS
from style_a_video.pipelines.device import fast_bf16
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Frame, probe, read_frames, to_picture
from style_a_video.pipelines.refine.frames import Refining
from style_a_video.pipelines.run import segments
from style_a_video.pipelines.run.segments import Work, finish, pack, read, stylize, unpack
from style_a_video.pipelines.run.shots import Begin, Segment, plan
from style_a_video.pipelines.run.stylize import Kept, stylize_video

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

WHOLE = [Begin(0)]


def work_on(path, chunk=4, **more):
    return Work(probe(path), (64, 48), chunk, "yuv420p", **more)


def some(count, start=0):
    """Frames that can be told apart, and their segment."""
    frames = [
        Frame(torch.full((3, 16, 16), (start + i) / 100), Fraction(start + i), Fraction(1))
        for i in range(count)
    ]
    return frames, Segment(start, start + count, Fraction(start), 0)


# reading


def written(path, images, codec, container=None, pts=None, rate=10, **options):
    """A file of any container, raw streams too, without an index where the container has none."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=stream.pix_fmt
            )
            frame.pts, frame.time_base = i, Fraction(1, rate)
            for packet in stream.encode(frame):
                output.mux(timed(packet, pts))
        for packet in stream.encode(None):
            output.mux(timed(packet, pts))
    return path


def timed(packet, pts):
    """With a time of our choice: only where packets come in the order of the frames."""
    if pts is not None:
        packet.pts = packet.dts = pts[packet.pts]
    return packet


def folder_of_pictures(path, images):
    path.mkdir()
    for i, image in enumerate(images):
        with av.open(str(path / f"{i:03d}.png"), "w", format="image2") as output:
            stream = output.add_stream("png", rate=1, options={})
            stream.height, stream.width = image.shape[:2]
            stream.pix_fmt = "rgb24"
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            output.mux(stream.encode(None))
    return path


def variable(path, images):
    pts = [i * 40 + 15 * (i % 3) + (900 if i > 12 else 0) for i in range(len(images))]
    return clips.encode(path, images, pts=pts, time_base=Fraction(1, 1000), options={"g": "7"})


def repeated(path, images):
    return written(path, images, "ffv1", pts=[i // 3 for i in range(len(images))])


def all_at_once(path, images):
    return written(path, images, "ffv1", pts=[0] * len(images))


SOURCES = {
    "mp4 with B-frames": lambda d, i: written(d / "a.mp4", i, "libx264", g="9", bf="3"),
    "variable rate": lambda d, i: variable(d / "a.mkv", i),
    "1 frame/s, open groups": lambda d, i: written(
        d / "a.mp4", i, "libx264", rate=1, bf="3", **{"x264-params": "open-gop=1:keyint=6"}
    ),
    "intra refresh": lambda d, i: written(
        d / "a.mkv", i, "libx264", rate=1, **{"x264-params": "intra-refresh=1:keyint=6"}
    ),
    "repeated times": lambda d, i: repeated(d / "a.mkv", i),
    "one time for all": lambda d, i: all_at_once(d / "a.mkv", i),
    "raw stream": lambda d, i: written(d / "a.h264", i, "libx264", "h264", g="9"),
    "MPEG-TS": lambda d, i: written(d / "a.ts", i, "libx264", g="9"),
    "AVI with B-frames": lambda d, i: written(d / "a.avi", i, "libx264", g="9", bf="2"),
    "pictures": lambda d, i: folder_of_pictures(d / "a", i),
}


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    images = [*clips.pan(0, 13, 2, 64, 48), *clips.pan(1, 9, 2, 64, 48)]
    return SOURCES[request.param](tmp_path, images)


def test_segments_are_found_again_in_any_file(source):
    whole = list(read_frames(probe(source), size=(64, 48)))
    found = plan(iter(whole), 4, WHOLE).segments
    work = work_on(source)
    for first in range(len(found)):
        at = found[first].start
        for segment, frames in zip(found[first:], read(work, found[first:]), strict=True):
            assert len(frames) == len(segment) and at == segment.start
            for frame, expected in zip(frames, whole[segment.start : segment.end], strict=True):
                assert frame.pts == expected.pts and torch.equal(frame.image, expected.image)
            at = segment.end
    skipping = found[1::2]
    for segment, frames in zip(skipping, read(work, skipping), strict=True):
        assert torch.equal(frames[0].image, whole[segment.start].image)


def test_any_file_resumes_to_the_same_result(source, tmp_path, monkeypatch):
    monkeypatch.setattr("style_a_video.pipelines.run.shots.SEGMENT", 4)

    def engine(images, indices):
        light = torch.tensor([0.1 * (index % 3) for index in indices])
        return (1 - images) * (0.8 + light[:, None, None, None])

    def broken(images, indices):
        if indices[0] >= 9:
            raise KeyboardInterrupt
        return engine(images, indices)

    common = {"refining": Refining(method="blend"), "begins": WHOLE, "chunk_size": 2}
    job = Kept(tmp_path / "job")
    stylize_video(source, tmp_path / "whole.mkv", engine, **common)
    with pytest.raises(KeyboardInterrupt):
        stylize_video(source, tmp_path / "out.mkv", broken, job=job, **common)
    report = stylize_video(source, tmp_path / "out.mkv", engine, job=job, **common)
    assert report.resumed == 8
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_a_range_is_counted_from_its_start(tmp_path):
    source = repeated(tmp_path / "a.mkv", clips.pan(0, 22, 2, 64, 48))
    start = Fraction(2, 10)
    whole = list(read_frames(source, start, size=(64, 48)))
    found = plan(iter(whole), 4, WHOLE).segments
    (frames,) = read(work_on(source, start=start), [found[2]])
    assert torch.equal(frames[0].image, whole[8].image)


def test_a_file_that_became_shorter_is_told(tmp_path):
    source = clips.encode(tmp_path / "a.mkv", clips.ramp(6))
    planned = [Segment(0, 4, Fraction(0), 0), Segment(4, 8, Fraction(4, 10), 0)]
    reader = read(work_on(source), planned)
    assert len(next(reader)) == 4
    with pytest.raises(StyleAVideoError, match=r"a.mkv ends before frame 8, .*fresh=True") as told:
        next(reader)
    assert told.value.worded(WORDS).endswith("has it changed? Start over with --fresh.")


# the engine: chunks, and too little memory


@pytest.mark.parametrize("chunk", [1, 3, 7, 8, 100])
def test_chunks_are_told_their_indices(chunk):
    frames, segment = some(7, 20)
    calls, told = [], []

    def engine(images, indices):
        calls.append(list(indices))
        return images

    work = Work(None, (16, 16), chunk, "yuv420p")
    images = stylize(work, engine, segment, frames, told=told.append).images
    assert calls == [list(range(27))[i : i + chunk] for i in range(20, 27, chunk)]
    assert told == [len(call) for call in calls]
    assert torch.equal(images, torch.stack([frame.image for frame in frames]))


def cuda(count):
    return torch.cuda.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {count} GiB")


def cpu(count):
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        f"you tried to allocate {count} bytes. Error code 12 (Cannot allocate memory)"
    )


def windows(count):
    return RuntimeError(f"DefaultCPUAllocator: not enough memory: you tried to allocate {count}")


def mac(count):
    return RuntimeError(f"MPS backend out of memory (MPS allocated: {count} GB)")


def cublas(count):
    return RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")


def python(count):
    return MemoryError()


OUT_OF_MEMORY = [cuda, cpu, windows, mac, cublas, python]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_too_large_chunks_are_halved(error, most):
    frames, segment = some(11, 5)
    served = []

    def engine(images, indices):
        if len(indices) > most:
            raise error(len(indices))
        served.extend(indices)
        return 1 - images

    work = Work(None, (16, 16), 8, "yuv420p")
    images = stylize(work, engine, segment, frames).images
    assert served == list(range(5, 16))
    assert torch.equal(images, 1 - torch.stack([frame.image for frame in frames]))


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_one_frame_that_does_not_fit_is_a_sentence(error):
    frames, segment = some(4)

    def engine(images, indices):
        raise error(9)

    with pytest.raises(StyleAVideoError, match="^There is too little memory for a frame of 16x16:"):
        stylize(Work(None, (16, 16), 4, "yuv420p"), engine, segment, frames)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("x"), KeyboardInterrupt()])
def test_other_errors_pass_through_at_once(error):
    frames, segment = some(4)
    calls = []

    def engine(images, indices):
        calls.append(list(indices))
        raise error

    with pytest.raises(type(error)) as passed:
        stylize(Work(None, (16, 16), 4, "yuv420p"), engine, segment, frames)
    assert passed.value is error and calls == [[0, 1, 2, 3]]


def test_what_a_failed_attempt_held_is_gone_before_the_next():
    frames, segment = some(4)
    held = []

    class Large:
        pass

    def engine(images, indices):
        assert not [large for large in held if large() is not None]
        if len(indices) > 1:
            large = Large()
            large.itself = large  # only the collector finds it
            held.append(weakref.ref(large))
            raise cpu(len(indices))
        return images

    stylize(Work(None, (16, 16), 4, "yuv420p"), engine, segment, frames)
    assert len(held) == 3


def test_wrong_results_of_an_engine():
    frames, segment = some(4)
    work = Work(None, (16, 16), 2, "yuv420p")
    with pytest.raises(ValueError, match="2 frames in, 1 out"):
        stylize(work, lambda images, indices: images[:1], segment, frames)
    with pytest.raises(StyleAVideoError, match="frames 2 to 3 is not finite"):
        stylize(work, lambda x, i: x / (torch.tensor(i) < 2)[:, None, None, None], segment, frames)


# pixels


def values(picture):
    """Of an av.VideoFrame, without the byte of bgr0 that stands for nothing."""
    return picture.reformat(
        format={"bgr0": "bgr24"}.get(picture.format.name, picture.format.name)
    ).to_ndarray()


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv422p10le", "bgr0", "bgra"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (16, 16)])
def test_packing_loses_nothing(pixels, size):
    rng = torch.Generator().manual_seed(0)
    pictures = [to_picture(torch.rand(3, *size, generator=rng), pixels) for _ in range(3)]
    before = [values(picture) for picture in pictures]
    for picture, expected in zip(unpack(pack(pictures)), before, strict=True):
        assert picture.format.name == pixels
        assert np.array_equal(values(picture), expected)


def test_the_refiner_goes_on_from_segment_to_segment():
    pytest.importorskip("cv2")
    images = [torch.from_numpy(i).permute(2, 0, 1) / 255 for i in clips.pan(0, 7)]
    frames = [Frame(image, Fraction(i), Fraction(1)) for i, image in enumerate(images)]
    rng = torch.Generator().manual_seed(0)
    styled = (1 - torch.stack(images) + 0.05 * torch.randn(7, 1, 1, 1, generator=rng)).clamp(0, 1)
    work = Work(None, (128, 96), 4, "bgr0", Refining())

    def through(*cuts):
        past, shown = None, []
        for a, b in zip((0, *cuts), (*cuts, 7), strict=True):
            given = segments.Stylized(styled[a:b], 0.0)
            done = finish(work, Segment(a, b, Fraction(a), 0), frames[a:b], given, past)
            past = done.state.past
            assert done.times == tuple((f.pts, f.duration) for f in frames[a:b])
            shown += [values(picture) for picture in unpack(done.video)]
        return np.stack(shown)

    whole = through()
    assert all(np.array_equal(through(*cuts), whole) for cuts in ((1,), (4,), (2, 5)))


# the real model


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request):
    from style_a_video.weights.loading import load

    folder = Path(segments.__file__).parents[2] / "weights" / "embedded"
    if not (folder / "model_index.json").is_file():
        pytest.skip("the built-in model is not in this checkout")
    pipeline = load("embedded", dtype=getattr(torch, request.param), device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_frames_do_not_depend_on_the_chunk(model, tmp_path):
    """A batch of one goes through other kernels of oneDNN than a larger one (docs/figures.md)."""
    pytest.importorskip("cv2")
    images = [*clips.pan(0, 18, 2, 96, 64), *clips.pan(1, 6, 2, 96, 64)]
    source = clips.encode(tmp_path / "a.mkv", images, codec="ffv1", pix_fmt="bgr0")

    def engine(frames, indices):
        return model(frames, "watercolour", seed=3, frame_indices=list(indices)).frames

    def frames(name, **settings):
        path = tmp_path / f"{name}.mkv"
        report = stylize_video(source, path, engine, codec="ffv1", refining=Refining(), **settings)
        assert report.frames == 24 and len(report.shots) == 2
        return 255 * torch.stack([frame.image for frame in read_frames(path)])

    auto = frames("auto")
    same = model.dtype is torch.bfloat16 and fast_bf16()  # on these processors, bit for bit
    for chunk in (1, 2, 4, 16):
        difference = (frames(str(chunk), chunk_size=chunk) - auto).abs()
        assert difference.max() < (0.5 if same and chunk > 1 else 1.5), chunk
