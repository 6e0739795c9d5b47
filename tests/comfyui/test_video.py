"""Clips through Load Video Frames and Frames to Video, and through ComfyUI's own checks."""

from __future__ import annotations

import asyncio
import io as streams
import runpy
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from style_a_video.nodes import video as blocks
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import probe

clips = runpy.run_path(str(Path(__file__).parents[1] / "clips.py"))
encode, ramp, quadrants, corners, near = (
    clips[name] for name in ("encode", "ramp", "quadrants", "corners", "near")
)
COLOURS = [clips[name] for name in ("RED", "GREEN", "BLUE", "WHITE")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """ComfyUI's input folder, empty, beside its temp folder."""
    import folder_paths

    (tmp_path / "input").mkdir()
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path / "input"


def load(file="", part=False, **settings):
    defaults = {
        "start": 0.0,
        "end": 0.0,
        "every_nth": 1,
        "max_frames": 0,
        "first_frame_only": False,
        "resize": {"resize": "none"},
        "fit": "pad",
        "multiple": 8,
    }
    given = blocks.LoadFrames.execute(file=file, **{**defaults, **settings}).args
    return given[4] if part else given[:4]


def save(path, images, info, audio=None, restore_size=True):
    (made,) = blocks.FramesToVideo.execute(images, info, restore_size, audio).args
    made.save_to(str(path))
    return probe(path)


def levels(frames):
    """Which picture of `ramp` each frame is."""
    return [round((255 * frame.mean().item() - 20) / 18) for frame in frames]


@pytest.mark.parametrize(
    ("settings", "numbers", "fps"),
    [
        ({}, list(range(12)), 10),
        ({"start": 0.5}, list(range(5, 12)), 10),
        ({"start": 0.3, "end": 0.7}, [3, 4, 5, 6], 10),
        ({"every_nth": 3}, [0, 3, 6, 9], 10 / 3),
        ({"start": 0.2, "every_nth": 4}, [2, 6, 10], 2.5),
        ({"max_frames": 4}, [0, 1, 2, 3], 10),
        ({"start": 0.1, "every_nth": 2, "max_frames": 3}, [1, 3, 5], 5),
        ({"max_frames": 40}, list(range(12)), 10),
        ({"start": 0.4, "first_frame_only": True}, [4], 10),
    ],
)
def test_the_frames_asked_for_come_with_their_rate_and_numbers(folder, settings, numbers, fps):
    encode(folder / "a.mp4", ramp(12))
    frames, audio, rate, info = load("a.mp4", **settings)
    assert levels(frames) == numbers
    assert list(info.indices) == numbers
    assert info.count == len(numbers)
    assert rate == pytest.approx(fps)
    assert info.start == Fraction(numbers[0], 10)
    assert audio is None
    assert frames.shape == (len(numbers), 48, 64, 3)
    assert frames.dtype == torch.float32
    assert frames.min() >= 0
    assert frames.max() <= 1


def test_numbers_count_pictures_where_the_frame_rate_varies(folder):
    pts = [0, 1, 2, 10, 11, 30, 31, 32]
    encode(folder / "a.mkv", ramp(8), pts=pts, time_base=Fraction(1, 10))
    frames, _, _, info = load("a.mkv", start=1.05)
    assert list(info.indices) == levels(frames) == [4, 5, 6, 7]


def test_the_rate_stays_an_exact_fraction(folder):
    encode(
        folder / "a.mp4",
        ramp(6),
        rate=Fraction(30000, 1001),
        pts=range(6),
        time_base=Fraction(1001, 30000),
    )
    info = load("a.mp4", every_nth=2)[3]
    assert info.frame_rate == Fraction(15000, 1001)


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize(
    ("resize", "scaled"),
    [
        ({"resize": "none"}, (70, 46)),
        ({"resize": "max side", "max_side": 40}, (40, 26)),
        ({"resize": "max side", "max_side": 400}, (70, 46)),
        ({"resize": "area", "area": 12880}, (140, 92)),
    ],
)
def test_sizes_are_multiples_and_keep_the_shape(folder, resize, scaled, fit):
    encode(folder / "a.mp4", [quadrants(70, 46)])
    frames, _, _, info = load("a.mp4", resize=resize, fit=fit)
    step = 8 if fit == "pad" else 0
    width, height = (side if side % 8 == 0 else side // 8 * 8 + step for side in scaled)
    assert info.source_size == (70, 46)
    assert info.scaled_size == scaled
    assert info.frame_size == (width, height)
    assert frames.shape == (1, height, width, 3)


def test_padding_repeats_the_edge_and_cropping_keeps_the_centre():
    image = torch.arange(5 * 7).reshape(1, 5, 7).expand(3, 5, 7).float()
    padded = blocks.fit_image(image, (8, 8))
    torch.testing.assert_close(padded[:, :5, :7], image)
    assert (padded[:, :, 7] == padded[:, :, 6]).all()
    assert (padded[:, 5:] == padded[:, 4:5]).all()
    assert torch.equal(blocks.fit_image(image, (4, 4)), image[:, :4, 1:5])
    assert blocks.fitted_size((5, 70), "crop", 8) == (8, 64)
    assert blocks.fit_image(image, (4, 8)).shape == (3, 8, 4)


@pytest.mark.parametrize(
    ("resize", "fit", "size"),
    [
        ({"resize": "none"}, "pad", (70, 46)),
        ({"resize": "max side", "max_side": 40}, "pad", (70, 46)),
        ({"resize": "area", "area": 20000}, "pad", (70, 46)),
        ({"resize": "none"}, "crop", (64, 40)),
        ({"resize": "area", "area": 12880}, "crop", (68, 44)),  # 136x88 of 140x92
    ],
)
def test_a_round_trip_gives_the_clips_size_rate_and_sound(folder, tmp_path, resize, fit, size):
    source = [quadrants(70, 46)] * 15
    encode(folder / "a.mp4", source, rate=25, audio=0.6)
    frames, audio, _, info = load("a.mp4", resize=resize, fit=fit)
    made = save(tmp_path / "made.mp4", frames, info, audio)
    assert (made.width, made.height) == size
    assert made.frame_rate == 25
    assert made.frames == 15
    assert audio["waveform"].shape == (1, 1, 4800)
    with av.open(str(tmp_path / "made.mp4")) as container:
        seconds = sum(f.samples for f in container.decode(audio=0)) / 8000
    assert seconds == pytest.approx(0.6, abs=0.3)  # AAC rounds up to its blocks of 1024
    again = load(
        str(tmp_path / "made.mp4"), video=InputImpl.VideoFromFile(str(tmp_path / "made.mp4"))
    )[0]
    assert near(corners(again[0].movedim(-1, 0)[:, : size[1], : size[0]]), COLOURS, 12)


def test_nothing_is_resampled_where_the_size_was_kept(folder):
    encode(folder / "a.mp4", [quadrants(70, 46)])
    frames, _, _, info = load("a.mp4")
    assert torch.equal(blocks.restore(frames, info), frames[:, :46, :70])


def test_frames_enlarged_on_the_way_lose_their_padding_too(folder):
    encode(folder / "a.mp4", [quadrants(70, 46)])
    frames, _, _, info = load("a.mp4")
    twice = frames.repeat_interleave(2, 1).repeat_interleave(2, 2)
    restored = blocks.restore(twice, info)
    assert restored.shape == (1, 46, 70, 3)
    torch.testing.assert_close(restored, frames[:, :46, :70], atol=0.15, rtol=0)


def test_size_is_left_alone_on_request(folder, tmp_path):
    encode(folder / "a.mp4", ramp(2, 70, 46))
    frames, _, _, info = load("a.mp4")
    made = save(tmp_path / "made.mp4", frames, info, restore_size=False)
    assert (made.width, made.height) == (72, 48)


def test_odd_sizes_can_be_saved(folder, tmp_path):
    encode(folder / "a.mkv", [quadrants(71, 47)], codec="ffv1", pix_fmt="bgr0")
    frames, _, _, info = load("a.mkv")
    assert info.source_size == (71, 47)
    assert frames.shape == (1, 48, 72, 3)
    made = save(tmp_path / "made.mp4", frames, info)
    assert (made.width, made.height) == (72, 48)


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_turned_clips_come_upright_and_go_back_upright(folder, tmp_path, angle):
    stored = np.ascontiguousarray(np.rot90(quadrants(64, 48), k=-angle // 90))
    encode(folder / "a.mp4", [stored] * 3, rotation=(angle,))
    frames, _, _, info = load("a.mp4", resize={"resize": "max side", "max_side": 48})
    assert info.source_size == (64, 48)
    assert near(corners(frames[0, :36, :48].movedim(-1, 0)), COLOURS, 12)
    made = save(tmp_path / "made.mp4", frames, info)
    assert (made.width, made.height, made.rotation) == (64, 48, 0)


def test_sound_is_of_the_time_of_the_frames(folder):
    encode(folder / "a.mkv", ramp(12), audio=1.2, audio_codec="pcm_s16le")
    whole = load("a.mkv")[1]
    part = load("a.mkv", start=0.5, every_nth=2, max_frames=2)[1]
    assert whole["sample_rate"] == part["sample_rate"] == 8000
    tone = torch.from_numpy((np.sin(np.arange(9600) / 4) * 0.5).astype(np.float32))
    torch.testing.assert_close(whole["waveform"][0, 0], tone, atol=1e-4, rtol=0)
    torch.testing.assert_close(part["waveform"][0, 0], tone[4000:7200], atol=1e-4, rtol=0)


def test_sound_that_ends_early_is_silence_from_there(folder):
    encode(folder / "a.mkv", ramp(12), audio=0.5, audio_codec="pcm_s16le")
    waveform = load("a.mkv")[1]["waveform"][0, 0]
    assert len(waveform) == 9600
    assert waveform[:4000].abs().max() > 0.4
    assert not waveform[4000:].any()


def test_a_connected_video_is_used_instead_of_the_file(folder):
    encode(folder / "a.mp4", ramp(2))
    encode(folder / "b.mp4", ramp(5))
    video = InputImpl.VideoFromFile(str(folder / "b.mp4"))
    assert len(load("a.mp4", video=video)[0]) == 5
    assert len(load("", video=video)[0]) == 5


def test_a_trimmed_video_counts_from_its_trim(folder):
    encode(folder / "a.mp4", ramp(12))
    video = InputImpl.VideoFromFile(str(folder / "a.mp4"), start_time=0.3, duration=0.6)
    assert list(load(video=video)[3].indices) == [3, 4, 5, 6, 7, 8]
    assert list(load(video=video, start=0.2, end=0.4)[3].indices) == [5, 6]


def test_a_video_in_memory_needs_no_file_of_the_user(folder, tmp_path):
    encode(folder / "a.mp4", ramp(6), audio=0.6)
    video = InputImpl.VideoFromFile(streams.BytesIO((folder / "a.mp4").read_bytes()))
    frames, audio, _, info = load(video=video, start=0.2)
    assert levels(frames) == list(info.indices) == [2, 3, 4, 5]
    assert audio["waveform"].shape[-1] == 3200
    assert not list((tmp_path / "temp").iterdir())


def test_the_part_is_handed_on_as_a_video(folder):
    """From a file, one in memory, a trimmed one, and one of images: every frame of the part."""
    encode(folder / "a.mp4", ramp(12), audio=1.2)
    whole = load("a.mp4", part=True)
    assert whole.get_stream_source() == str(folder / "a.mp4")
    assert whole.get_active_trim_window() == (0, 0)
    trimmed = InputImpl.VideoFromFile(str(folder / "a.mp4"), start_time=0.1, duration=0.9)
    memory = InputImpl.VideoFromFile(streams.BytesIO((folder / "a.mp4").read_bytes()))
    images = InputImpl.VideoFromComponents(whole.get_components())
    for settings, first, last in (
        ({"file": "a.mp4"}, 3, 5),
        ({"video": memory}, 3, 5),
        ({"video": images}, 3, 5),
        ({"video": trimmed}, 4, 6),
    ):
        kept = {"first_frame_only": True, "every_nth": 2, "part": True}
        part = load(start=0.3, end=0.6, **kept, **settings)
        assert levels(load(video=part)[0]) == list(range(first, last + 1))
    end = load(video=trimmed, start=0.3, part=True)
    assert levels(load(video=end)[0]) == [4, 5, 6, 7, 8, 9]


def test_a_video_of_images_gives_these_images(folder):
    images = torch.rand(8, 16, 24, 3)
    audio = {"waveform": torch.rand(1, 2, 800), "sample_rate": 1000}
    video = InputImpl.VideoFromComponents(
        Types.VideoComponents(images=images, audio=audio, frame_rate=Fraction(10))
    )
    frames, sound, rate, info = load(video=video, start=0.2, end=0.7, every_nth=2)
    assert torch.equal(frames, images[2:7:2])
    assert list(info.indices) == [2, 4, 6]
    assert rate == 5
    assert torch.equal(sound["waveform"], audio["waveform"][..., 200:800])


def test_the_rest_of_a_long_clip_is_not_decoded(folder, monkeypatch):
    encode(folder / "a.mp4", ramp(12) * 20)
    read = blocks.files.read_frames
    seen = []

    def counted(*args, **kwargs):
        for frame in read(*args, **kwargs):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(blocks.files, "read_frames", counted)
    load("a.mp4", start=2, every_nth=3, max_frames=4)
    assert len(seen) == 10


def test_many_trials_of_one_frame_make_a_video(folder, tmp_path):
    encode(folder / "a.mp4", ramp(5))
    frames, _, _, info = load("a.mp4", first_frame_only=True)
    assert save(tmp_path / "made.mp4", frames.repeat(4, 1, 1, 1), info).frames == 4


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"start": 2.0, "end": 1.0}, r"end \(1 s\) must be later than start \(2 s\)"),
        ({"start": float("nan")}, "start must be a finite number, not nan"),
        ({"end": float("inf")}, "end must be a finite number, not inf"),
        ({"start": 9.0}, r"no frame from 9 s on, it ends at 1\.20 s"),
        ({"start": 0.11, "end": 0.12}, r"no frame from 0\.11 s on to 0\.12 s"),
    ],
)
def test_a_part_without_frames_is_refused(folder, settings, text):
    encode(folder / "a.mp4", ramp(12))
    with pytest.raises(StyleAVideoError, match=text):
        load("a.mp4", **settings)


def test_another_number_of_images_is_refused(folder):
    encode(folder / "a.mp4", ramp(5))
    frames, _, _, info = load("a.mp4")
    with pytest.raises(StyleAVideoError, match="3 images and frame_info is about 5 frames"):
        blocks.FramesToVideo.execute(frames[:3], info, True)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("", "choose a file, or connect a video"),
        ("gone.mp4", "gone.mp4 is not in ComfyUI's folder"),
        ("../secret.mp4", "outside ComfyUI's folders"),
        ("/etc/passwd", "outside ComfyUI's folders"),
        ("sub/../../secret.mp4 [output]", "outside ComfyUI's folders"),
    ],
)
def test_only_files_in_comfyuis_folders_are_read(folder, file, text):
    encode(folder.parent / "secret.mp4", ramp(1))
    with pytest.raises(StyleAVideoError, match=text):
        load(file)


# Through ComfyUI


@pytest.fixture
def host(folder, monkeypatch):
    """Checks and runs a prompt as the server does; gives the errors, in words."""
    import execution
    from comfy_extras.nodes_video import LoadVideo, SaveVideo

    import nodes

    known = [blocks.LoadFrames, blocks.FramesToVideo, LoadVideo, SaveVideo]
    for node in known:
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, node.GET_SCHEMA().node_id, node)

    class Server:
        client_id = last_node_id = last_prompt_id = None
        sockets_metadata: dict = {}

        def send_sync(self, *_):
            pass

    executor = execution.PromptExecutor(
        Server(), cache_args={"ram": 0.0, "ram_inactive": 0.0, "lru": 0}
    )

    def run(prompt):
        ok, _, outputs, errors = asyncio.run(execution.validate_prompt("1", prompt, None))
        if not ok:
            return [e["details"] for node in errors.values() for e in node["errors"]]
        executor.execute(prompt, "1", execute_outputs=outputs)
        return [
            m[1]["exception_message"] for m in executor.status_messages if m[0] == "execution_error"
        ]

    return run


def prompt(**load_inputs):
    inputs = {
        "file": "",
        "start": 0,
        "end": 0,
        "every_nth": 1,
        "max_frames": 0,
        "first_frame_only": False,
        "resize": "max side",
        "resize.max_side": 32,
        "fit": "pad",
        "multiple": 8,
        **load_inputs,
    }
    return {
        "1": {"class_type": "StyleAVideoLoadFrames", "inputs": inputs},
        "2": {
            "class_type": "StyleAVideoFramesToVideo",
            "inputs": {"images": ["1", 0], "frame_info": ["1", 3], "audio": ["1", 1]}
            | {"restore_size": True},
        },
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": "made", "format": "mp4"}
            | {"codec": "auto"},
        },
    }


@pytest.mark.parametrize("audio", [0.0, 0.5])
def test_a_prompt_runs_with_and_without_sound(folder, host, audio):
    encode(folder / "a.mp4", ramp(5), audio=audio)
    assert host(prompt(file="a.mp4")) == []
    made = probe(next((folder.parent / "output").glob("*.mp4")))
    assert (made.width, made.height, made.frames) == (64, 48, 5)
    assert made.has_audio == bool(audio)


@pytest.mark.parametrize("file", ["", "gone.mp4"])
def test_a_prompt_with_a_connected_video_needs_no_file(folder, host, file):
    encode(folder / "a.mp4", ramp(5))
    loader = {"class_type": "LoadVideo", "inputs": {"file": "a.mp4"}}
    assert host(prompt(file=file, video=["4", 0]) | {"4": loader}) == []


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "choose a file, or connect a video"),
        ({"file": "gone.mp4"}, "gone.mp4 is not in ComfyUI's folder"),
        ({"file": "../a.mp4"}, "outside ComfyUI's folders"),
        ({"file": "a.mp4", "resize": "huge"}, "resize must be one of"),
        ({"file": "a.mp4", "resize.max_side": 1}, "resize.max_side"),
        ({"file": "a.mp4", "every_nth": 0}, "every_nth"),
        ({"file": "a.mp4", "fit": "stretch"}, "fit: 'stretch' not in"),
    ],
)
def test_a_wrong_prompt_is_refused_before_it_runs(folder, host, inputs, text):
    encode(folder / "a.mp4", ramp(5))
    assert any(text in error for error in host(prompt(**inputs)))


def test_a_file_that_changed_is_loaded_again(folder):
    import os

    encode(folder / "a.mp4", ramp(2))
    seen = blocks.LoadFrames.fingerprint_inputs(file="a.mp4", resize={"resize": "none"})
    os.utime(folder / "a.mp4", (1, 1))
    assert blocks.LoadFrames.fingerprint_inputs(file="a.mp4") != seen
    assert blocks.LoadFrames.fingerprint_inputs(file="", video=None) is None


def test_the_list_holds_the_videos_and_nothing_else(folder):
    encode(folder / "a.mp4", ramp(2))
    (folder / "notes.txt").write_text("no clip")
    assert blocks.LoadFrames.define_schema().inputs[0].options == ["example clip", "a.mp4"]


def test_every_input_explains_itself():
    for node in (blocks.LoadFrames, blocks.FramesToVideo):
        for top in node.define_schema().inputs:
            for each in top.get_all():
                assert each.tooltip
                assert each.tooltip.endswith(".")
