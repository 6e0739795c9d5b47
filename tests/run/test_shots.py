"""Shots and segments: where cuts are found, what a plan covers, and which shots files are read."""

import json
from fractions import Fraction
from itertools import islice
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.engines.diffusion.engine import Diffusion
from style_a_video.pipelines.engines.style import Style
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Frame, read_frames
from style_a_video.pipelines.run import shots
from style_a_video.pipelines.run.shots import Begin, Plan, Segment, Shot, Together, plan, read_shots
from style_a_video.pipelines.run.stylize import stylize_video

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

CUTS = (0, 7, 12, 30)  # of `film`, 35 frames in all


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four shots of moving pictures at a variable frame rate."""
    lengths = [b - a for a, b in zip(CUTS, (*CUTS[1:], 35), strict=True)]
    images = [image for seed, n in enumerate(lengths) for image in clips.pan(seed, n)]
    pts = [i * 100 + (i % 3) * 20 for i in range(len(images))]
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return clips.encode(path, images, pts=pts, time_base=Fraction(1, 1000))


def frames_at(times):
    """Grey frames that are shown at these times (s)."""
    return [Frame(torch.full((3, 16, 16), 0.5), Fraction(t), Fraction(1, 10)) for t in times]


def check(found, count, length):
    """Every frame is in one segment of one shot."""
    covered = [f for s in found.segments for f in range(s.start, s.end)]
    assert covered == list(range(count)) == [f for s in found.shots for f in range(s.start, s.end)]
    assert all(1 <= len(segment) <= length for segment in found.segments)
    for segment in found.segments:
        shot = found.shots[segment.shot]
        assert shot.start <= segment.start and segment.end <= shot.end
    assert found.frames == count


@pytest.mark.parametrize("length", [1, 4, 16])
def test_cuts_are_found_where_they_are(film, length):
    pytest.importorskip("cv2")
    told = []
    found = plan(read_frames(film), length, told=told.append)
    assert tuple(shot.start for shot in found.shots) == CUTS
    check(found, 35, length)
    times = clips.times(film)
    assert all(shot.time == times[shot.start] for shot in found.shots)
    assert all(segment.time == times[segment.start] for segment in found.segments)
    assert told == [*range(1, 36)]


def moving(seed, light=1.0):
    """A shot of 6 frames (3,H,W)."""
    images = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in clips.pan(seed, 6)]
    return [light * image for image in images]


def flat(*colour):
    picture = torch.tensor(colour, dtype=torch.float32)[:, None, None]
    return 6 * [picture.expand(3, 96, 128)]


@pytest.mark.parametrize(
    "before, after",
    [
        (flat(0, 0, 0), moving(0)),
        (moving(0), flat(1, 1, 1)),
        (flat(0.8, 0, 0), flat(0, 0, 0.8)),
        (moving(0, 0.05), moving(1, 0.05)),
    ],
    ids=["after black", "to white", "plain grounds", "dark"],
)
def test_flat_and_dark_pictures_cut_too(before, after):
    pytest.importorskip("cv2")
    cuts = shots.Cuts()
    assert [f for f, image in enumerate([*before, *after]) if cuts(image)] in ([6], [0, 6])


def test_noise_water_a_fade_and_a_flat_shot_are_no_cut():
    pytest.importorskip("cv2")
    generator = torch.Generator().manual_seed(0)
    noise = [0.02 * torch.rand(3, 48, 64, generator=generator) for _ in range(4)]  # black, grainy
    ramp = torch.linspace(0, 1, 128)
    water = [0.7 * ramp + 0.3 * moving(seed)[0] for seed in range(4)]  # no flow follows that
    fade = [share * moving(0)[0] for share in torch.linspace(0, 1, 12)]
    for images in (noise, water, fade, flat(0.2, 0.4, 0.6)):
        cuts = shots.Cuts()
        assert not any([cuts(image) for image in images][1:])


def test_segments_follow_each_other_within_a_shot_only(film):
    begins = [Begin(start) for start in CUTS]
    found = plan(read_frames(film), 4, begins)
    follows = [b.follows(a) for a, b in zip(found.segments, found.segments[1:], strict=False)]
    assert follows == [b.start not in CUTS for b in found.segments[1:]]


def test_given_shots_are_obeyed_and_no_cut_is_looked_for(film, monkeypatch):
    monkeypatch.setattr(shots.Cuts, "__call__", lambda self, image: pytest.fail("looked"))
    begins = [Begin(0, Style("oil")), Begin(3), Begin(33)]
    found = plan(read_frames(film), 16, begins)
    assert [(shot.start, shot.end) for shot in found.shots] == [(0, 3), (3, 33), (33, 35)]
    assert [len(segment) for segment in found.segments] == [3, 16, 14, 2]
    check(found, 35, 16)


def test_a_shot_beyond_the_end_is_refused(film):
    begins = [Begin(start) for start in (0, 35, 99)]
    with pytest.raises(StyleAVideoError, match="a shot at frame 35, and there are 35 frames"):
        plan(read_frames(film), 16, begins)


def test_of_a_part_shots_beyond_it_are_left_out(film):
    begins = [Begin(start) for start in CUTS]
    found = plan(islice(read_frames(film), 9), 16, begins, trimmed=True)
    assert [(shot.start, shot.end) for shot in found.shots] == [(0, 7), (7, 9)]


def test_shots_of_another_part_are_refused():
    """They are counted from the first frame that is stylized."""
    begins = [Begin(0, time=0.0), Begin(2, time=2.0)]
    assert len(plan(frames_at([0.1, 1, 2]), 16, begins).shots) == 2
    with pytest.raises(StyleAVideoError, match="begins at 0 s of the clip.* at 5 s: write it"):
        plan(frames_at([5, 6, 7]), 16, begins)
    assert len(plan(frames_at([5, 6, 7]), 16, [Begin(0), Begin(2)]).shots) == 2


def test_no_frame_no_plan():
    assert plan([]) == Plan((), ()) and plan([]).frames == 0


def test_frames_that_repeat_a_time_are_not_looked_for_by_it():
    begins = [Begin(0)]
    found = plan(frames_at([0, 1, 1, 1, 2, 3]), 2, begins)
    assert [(s.start, s.time) for s in found.segments] == [(0, 0), (2, None), (4, 2)]
    found = plan(frames_at([0] * 40), 16, begins)  # memory is bounded all the same
    check(found, 40, 16)
    found = plan(frames_at([0, 1, 2, 0, 1, 2]), 2, begins)
    assert [segment.time for segment in found.segments] == [None] * 3


def test_a_plan_is_read_as_it_was_written(film):
    begins = [Begin(0, Style("oil")), Begin(9)]
    for frames in (read_frames(film), frames_at([*range(20), 0])):
        found = plan(frames, 4, begins)
        assert Plan.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_segments_are_shorter_where_frames_are_large():
    assert shots.segment_length(512, 288) == shots.SEGMENT
    assert 1 <= shots.segment_length(3840, 2160) < 4
    assert shots.segment_length(8192, 8192) == 1


# shots files


def test_a_shots_file_is_what_shots_writes(film, tmp_path):
    found = [Shot(0, 7, Fraction(0)), Shot(7, 12, Fraction(7, 10)), Shot(12, 35, Fraction(2))]
    path = tmp_path / "shots.json"
    path.write_text(shots.as_text(found), encoding="utf-8")
    assert read_shots(path) == [Begin(0), Begin(7), Begin(12)]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert [shot["prompt"] for shot in written["shots"]] == [None] * 3
    written["shots"][1]["prompt"] = "水彩画"
    path.write_text(json.dumps(written), encoding="utf-8")
    assert [(s.start, s.style and s.style.text) for s in read_shots(path)] == [
        (0, None),
        (7, "水彩画"),
        (12, None),
    ]


NO_SHOTS = r"shots.json is not a shots file: write {\"shots\""
NO_STARTS = "must start at frame 0 and each after the one before"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", NO_SHOTS),
        ("\ufeff{", NO_SHOTS),
        ("shots: 0", NO_SHOTS),
        ("[]", NO_SHOTS),
        ("{}", NO_SHOTS),
        ("7", NO_SHOTS),
        ("[" * 200_000, NO_SHOTS),
        ('{"shots": 7}', NO_SHOTS),
        ('{"shots": null}', NO_SHOTS),
        ('{"shots": [0, 5]}', NO_SHOTS),
        ('{"shots": [[0]]}', NO_SHOTS),
        ('{"shots": {"start": 0}}', NO_SHOTS),
        ('{"shots": [{"begin": 0}]}', NO_SHOTS),
        ('{"shots": [{"start": %s}]}' % ("9" * 5000), NO_SHOTS),
        ('{"shots": [{"start": 0, "time": "soon"}]}', NO_SHOTS),
        ('{"shots": [{"start": 0, "time": 1e999}]}', NO_SHOTS),
        ('{"shots": [{"start": 0, "time": []}]}', NO_SHOTS),
        ('{"shots": []}', NO_STARTS),
        ('{"shots": [{"start": 1}]}', NO_STARTS),
        ('{"shots": [{"start": -1}, {"start": 0}]}', NO_STARTS),
        ('{"shots": [{"start": 0}, {"start": 0}]}', NO_STARTS),
        ('{"shots": [{"start": 0}, {"start": 9}, {"start": 4}]}', NO_STARTS),
        ('{"shots": [{"start": false}, {"start": true}]}', NO_STARTS),
        ('{"shots": [{"start": 0.0}]}', NO_STARTS),
        ('{"shots": [{"start": 0}, {"start": NaN}]}', NO_STARTS),
        ('{"shots": [{"start": "0"}]}', NO_STARTS),
        ('{"shots": [{"start": null}]}', NO_STARTS),
        ('{"shots": [{"start": [0]}]}', NO_STARTS),
        ('{"shots": [{"start": 0, "prompt": " "}]}', "shot at frame 0 is empty"),
        ('{"shots": [{"start": 0, "prompt": 7}]}', "shot at frame 0 must be text, not int"),
        ('{"shots": [{"start": 0, "prompt": ["oil"]}]}', "must be text, not list"),
        ('{"shots": [{"start": 0, "prompt": "%s"}]}' % ("a" * 2001), "2,001 characters"),
    ],
)
def test_other_files_are_refused_in_a_sentence(text, message, tmp_path):
    path = tmp_path / "shots.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StyleAVideoError, match=message) as refusal:
        read_shots(path)
    assert len(str(refusal.value)) < 400 and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '{"shots": [{"start": 0}, {"start": 9, "promt": "oil"}]}',
            r"The shot at frame 9 of .*shots.json has 'promt', which means nothing here; known are "
            "start, prompt, pictures, styles, end, time.$",
        ),
        (
            '{"shots": [{"start": 0}], "engine": "wct"}',
            "shots.json has 'engine'.*known are shots.$",
        ),
        (
            '{"shots": [{"start": 0, "styles": [{"name": "scream", "wieght": 2}]}]}',
            "A style of the shot at frame 0 has 'wieght'.*known are name, weight, mask.$",
        ),
        (
            '{"shots": [{"start": 0, "pictures": [{"path": "a.png", "%s": 2}]}]}' % ("x" * 999),
            "A picture of the shot at frame 0 has 'xxx.*known are path, weight, mask.$",
        ),
    ],
)
def test_what_a_shots_file_says_in_vain_is_refused(text, told, tmp_path):
    path = tmp_path / "shots.json"
    path.write_text(text)
    with pytest.raises(StyleAVideoError, match=told) as refusal:
        read_shots(path)
    assert len(str(refusal.value)) < 400


def test_files_of_any_size_and_kind_are_refused(tmp_path):
    path = tmp_path / "shots.json"
    with pytest.raises(StyleAVideoError, match="There is no file .*shots.json"):
        read_shots(path)
    with pytest.raises(StyleAVideoError, match="is a folder, not a file"):
        read_shots(tmp_path)
    path.write_bytes(b'{"shots": [' + b'{"start": 0},' * ((20 << 20) // 13) + b"]}")
    with pytest.raises(StyleAVideoError, match="shots.json is larger than the 16,777,216 bytes"):
        read_shots(path)
    path.write_bytes(b"\xff\xfe\xfd" * 99)
    with pytest.raises(StyleAVideoError, match=NO_SHOTS):
        read_shots(path)


# with pictures


@pytest.fixture
def painting(tmp_path):
    Image.new("RGB", (32, 32), (255, 0, 0)).save(tmp_path / "painting.png")
    Image.new("L", (16, 16), 255).save(tmp_path / "mask.png")
    return tmp_path / "painting.png"


def with_pictures(folder, pictures, **more):
    path = folder / "shots.json"
    path.write_text(json.dumps({"shots": [{"start": 0, "pictures": pictures, **more}]}))
    return path


def test_a_shot_may_have_pictures(painting, tmp_path, monkeypatch):
    """Their paths are from where the shots file is, wherever one works."""
    monkeypatch.chdir("/")
    given = [
        {"path": "painting.png"},
        {"path": str(painting), "weight": 2, "mask": "mask.png"},
    ]
    (begin,) = read_shots(with_pictures(tmp_path, given, prompt="oil"))
    assert begin.style.text == "oil"
    one, other = begin.style.pictures
    assert (one.weight, one.mask, one.name) == (1, None, "painting.png")
    assert other.weight == 2 and other.mask.shape == (1, 16, 16)
    assert torch.equal(one.image, other.image) and one.image.shape == (3, 32, 32)
    (begin,) = read_shots(with_pictures(tmp_path, given[:1]))
    assert begin.style.text == "" and len(begin.style.pictures) == 1
    for nothing in (None, []):
        assert read_shots(with_pictures(tmp_path, nothing)) == [Begin(0)]


def test_a_shot_may_have_learned_styles(tmp_path):
    path = tmp_path / "shots.json"
    given = [{"name": "scream"}, {"name": "great_wave", "weight": 2}]
    path.write_text(json.dumps({"shots": [{"start": 0, "styles": given}]}))
    (begin,) = read_shots(path)
    assert [(one.name, one.weight) for one in begin.style.learned] == [
        ("scream", 1),
        ("great_wave", 2),
    ]


@pytest.mark.parametrize(
    ("styles", "told"),
    [
        ("scream", r'The styles of the shot at frame 0 cannot be read: write \[{"name": "scream"'),
        ([{"path": "scream"}], "The styles of the shot at frame 0 cannot be read"),
        ([{"name": "nobody"}], "There is no learned style 'nobody'; there are: "),
        ([{"name": "scream", "weight": 0}], "The weights of the learned styles are all 0."),
    ],
)
def test_learned_styles_that_cannot_be_used_are_refused(styles, told, tmp_path):
    path = tmp_path / "shots.json"
    path.write_text(json.dumps({"shots": [{"start": 0, "styles": styles}]}))
    with pytest.raises(StyleAVideoError, match=told):
        read_shots(path)


HINT = (
    "The pictures of the shot at frame 0 cannot be read: write "
    '[{"path": "painting.jpg", "weight": 1}].'
)


@pytest.mark.parametrize(
    "pictures",
    [
        *(7, "painting.png", True, {"path": "painting.png"}, ["painting.png"], [7], [None], [{}]),
        *([{"path": value}] for value in (None, 7, [], {})),
        *([{"path": "painting.png", "weight": value}] for value in ("heavy", None, [], {})),
        *([{"path": "painting.png", "mask": value}] for value in (7, [], {})),
    ],
)
def test_pictures_of_another_form_are_refused(pictures, painting, tmp_path):
    with pytest.raises(StyleAVideoError) as refusal:
        read_shots(with_pictures(tmp_path, pictures))
    assert str(refusal.value) == HINT


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        ({"path": "none.png"}, "There is no picture .*/none.png: give a PNG, JPEG or WebP file.$"),
        ({"path": "shots.json"}, "shots.json is not a picture that can be read"),
        ({"path": "\0"}, "is no path .it holds a zero byte"),
        ({"path": "painting.png", "mask": "none.png"}, "There is no picture .*/none.png"),
        ({"path": "painting.png", "weight": -1}, "picture painting.png must be 0 or more, not -1"),
        ({"path": "painting.png", "weight": float("nan")}, "must be 0 or more, not nan"),
        ({"path": "painting.png", "weight": 0}, "weights of the style pictures are all 0"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(picture, told, painting, tmp_path):
    with pytest.raises(StyleAVideoError, match=told):
        read_shots(with_pictures(tmp_path, [picture]))


# through the engine and the command line


def test_chunks_never_hold_frames_of_two_shots(film, tmp_path):
    begins = [Begin(start) for start in CUTS]
    calls = []

    def engine(images, indices):
        calls.append(list(indices))
        return images

    report = stylize_video(film, tmp_path / "out.mp4", engine, begins=begins, chunk_size=8)
    assert [f for call in calls for f in call] == list(range(35))
    assert set(CUTS) <= {call[0] for call in calls}
    times = clips.times(film)
    assert report.shots == [
        {"start": a, "end": b, "time": str(times[a])}
        for a, b in zip(CUTS, (*CUTS[1:], 35), strict=True)
    ]


@pytest.fixture
def told(monkeypatch, tiny_pipeline):
    """Which prompt each frame was stylized by; no model's own work."""
    told = {}

    def engine(self, style):
        def stylize(images, indices):
            told.update(dict.fromkeys(indices, style.text))
            return images

        return stylize

    monkeypatch.setattr(Diffusion, "_load", lambda self: tiny_pipeline)
    monkeypatch.setattr(Diffusion, "engine", engine)
    monkeypatch.setattr(Diffusion, "remarks", lambda self, style: [])
    return told


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_the_command_lists_shots_and_obeys_their_prompts(film, tmp_path, told, capsys):
    pytest.importorskip("cv2")
    path, target, report = (tmp_path / name for name in ("shots.json", "out.mp4", "report.json"))
    assert run("shots", film, "--json", path) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == ["2", "0.720", "s", "frames", "7", "to", "11"]
    assert len(out) == 5 and out[-1] == str(path)

    written = json.loads(path.read_text(encoding="utf-8"))
    assert [shot["start"] for shot in written["shots"]] == list(CUTS)
    written["shots"][1]["prompt"] = "水彩画"
    written["shots"][3]["prompt"] = "pencil"
    path.write_text(json.dumps(written), encoding="utf-8")
    more = ("--no-refine", "--device", "cpu", "--chunk", 8, "--report", report)
    assert run("stylize", film, target, "--prompt", "oil", "--shots", path, *more) == 0
    spans = [("oil", 7), ("水彩画", 5), ("oil", 18), ("pencil", 5)]
    assert [told[i] for i in range(35)] == [prompt for prompt, n in spans for _ in range(n)]
    listed = json.loads(report.read_text(encoding="utf-8"))["shots"]
    assert [shot.get("prompt") for shot in listed] == [None, "水彩画", None, "pencil"]
    assert [shot["start"] for shot in listed] == list(CUTS)


@pytest.mark.parametrize("part", [("--frames", 9), ("--end", "0.9")])
def test_shots_with_a_part_of_the_clip(film, tmp_path, told, capsys, part):
    path, report = tmp_path / "shots.json", tmp_path / "report.json"
    listed = [{"start": start, "prompt": f"oil {start}"} for start in CUTS]
    path.write_text(json.dumps({"shots": listed}))
    target = tmp_path / "out.mp4"
    call = ("stylize", film, target, "--shots", path, "--no-refine", "--report", report, *part)
    assert run(*call) == 0, capsys.readouterr().err
    assert [told[i] for i in range(9)] == 7 * ["oil 0"] + 2 * ["oil 7"]
    assert len(told) == 9
    made = json.loads(report.read_text(encoding="utf-8"))["shots"]
    assert [(shot["end"], shot["prompt"]) for shot in made] == [(7, "oil 0"), (9, "oil 7")]


def test_a_shot_without_a_style_is_named(film, tmp_path, told, capsys):
    path = tmp_path / "shots.json"
    listed = [{"start": start, "prompt": "oil"} for start in CUTS[:3]] + [{"start": CUTS[3]}]
    path.write_text(json.dumps({"shots": listed}))
    call = ("stylize", film, tmp_path / "out.mp4", "--shots", path, "--no-refine")
    assert run(*call) == 2 and told == {}
    assert "The shot at frame 30 has no style: give it one in the" in capsys.readouterr().err
    assert run(*call, "--frames", 30) == 0  # which does not come to it
    assert len(told) == 30


@pytest.mark.parametrize(
    ("text", "message"), [("[]", "is not a shots file"), ('{"shots": []}', "must start at frame 0")]
)
def test_a_bad_shots_file_is_refused_before_the_model_is_loaded(
    film, tmp_path, capsys, monkeypatch, text, message
):
    monkeypatch.setattr(Diffusion, "_load", lambda self: pytest.fail("loaded"))
    path = tmp_path / "shots.json"
    path.write_text(text)
    assert run("stylize", film, tmp_path / "out.mp4", "--prompt", "oil", "--shots", path) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["shots.json"]


def test_a_shot_beyond_the_end_leaves_nothing_but_can_be_mended(film, tmp_path, told, capsys):
    path, target = tmp_path / "shots.json", tmp_path / "out.mp4"
    path.write_text('{"shots": [{"start": 0}, {"start": 99}]}')
    call = ("stylize", film, target, "--prompt", "oil", "--no-refine", "--shots", path)
    assert run(*call) == 2
    assert "a shot at frame 99, and there are 35 frames" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path] and told == {}
    path.write_text('{"shots": [{"start": 0}, {"start": 9}]}')
    assert run(*call) == 0, capsys.readouterr().err


def test_segments_know_their_neighbours():
    first, second = Segment(0, 4, Fraction(0), 0), Segment(4, 6, Fraction(1), 0)
    assert second.follows(first) and not first.follows(second)
    assert not Segment(4, 6, Fraction(1), 1).follows(first)


def test_frames_that_an_engine_needs_together():
    """Video models: a latent of one frame, then of four each; the last takes what is left."""
    begins = [Begin(0), Begin(12), Begin(13)]
    found = plan(frames_at(range(20)), 16, begins, together=Together(4, first=1, last=2))
    cut = [(s.start, s.end, s.shot) for s in found.segments]
    assert cut == [(0, 5, 0), (5, 9, 0), (9, 12, 0), (12, 13, 1), (13, 20, 2)]
    assert max(map(len, found.segments)) <= Together(4, first=1, last=2).most
    assert Plan.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_the_longest_window_is_a_segment_that_a_job_can_keep():
    together = Together(shots.MOST - 1 - 16, first=1, last=16)
    found = plan(frames_at(range(shots.MOST)), begins=[Begin(0)], together=together)
    assert [*map(len, found.segments)] == [shots.MOST] == [together.most]
    assert Plan.from_dict(found.as_dict()) == found


@pytest.mark.parametrize("more", [{"first": 2}, {"last": 17}, {"frames": shots.MOST}])
def test_a_window_that_no_job_could_keep_is_refused(more):
    given = {"frames": shots.MOST - 1 - 16, "first": 1, "last": 16, **more}
    with pytest.raises(StyleAVideoError, match=r"at most 513 frames, and \d+ are to be together"):
        Together(**given)
