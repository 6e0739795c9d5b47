"""What a report says and writes: table, JSON, picture, page; and the command behind it."""

import base64
import json
import re
import sys
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from style_a_video.pipelines.cli import main as cli
from style_a_video.pipelines.core.measures import gaussian
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import Frame, probe, probing
from style_a_video.pipelines.report import charts, report
from style_a_video.pipelines.report.measures import measure
from style_a_video.pipelines.report.words import MEASURES
from style_a_video.weights.checkpoints import FITTING

clips = SimpleNamespace(**run_path(str(Path(__file__).parents[1] / "clips.py")))

EVIL = "<script>alert(1)</script>&\"'.mp4"


def no_motion(this, other):
    return torch.zeros(2, *this.shape[-2:])


def frames(step, count=12):
    picture = 0.2 + 0.5 * torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    times = [Fraction(i, 10) for i in range(count)]
    return [Frame(picture + step * i, t, Fraction(1, 10)) for i, t in enumerate(times)]


def measured(*names, count=12, **kwargs):
    streams = [frames(0.01 * (k + 1), count) for k in range(len(names))]
    return measure(streams[0], streams[1:], names, flow=no_motion, **kwargs)


def write_page(measures, files, page):
    report.write_page(measures, [probe(file) for file in files], page)


class Page(HTMLParser):
    """Tags with their attributes, and what is readable in each language."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open = [], {"en": [], "zh": [], "": []}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input", "link", "br", "wbr"):
            self._open.append((tag, dict(attributes).get("class", "")))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        inside = [name for _, name in self._open]
        if data.strip() and self._open[-1][0] not in ("style", "script"):
            language = next((name for name in inside if name in ("en", "zh")), "")
            self.words[language].append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# table, JSON, picture


def test_the_table_has_a_row_a_clip_the_source_first():
    found = measured("in.mp4", "twice.mp4", "水彩画的一个非常长的文件名称.mp4")
    blocks = report.table(found).split("\n\n")
    for block in blocks:
        head, *rows = block.splitlines()
        assert [row.split()[0] for row in rows] == ["in.mp4", "twice.mp4", rows[2].split()[0]]
        assert rows[2].startswith("水彩画") and "…" in rows[2]
        assert {report._width(line) for line in (head, *rows)} == {report._width(head)}
        assert report._width(head) <= 80
    rows = [re.findall(".{9}", line[report.NAME :]) for line in blocks[0].splitlines()[:3]]
    head, source, twice = ([cell.strip() for cell in row] for row in rows)
    numbers = dict(zip(head, zip(source, twice, strict=True), strict=True))
    assert numbers["E_warp"] == ("0.0001", "0.0004") and numbers["x source"] == ("1", "4")
    assert "style" not in report.table(found) and "LPIPS" not in report.table(found)


def test_names_that_differ_at_their_end_are_told_apart():
    names = [
        "a_long_name_of_a_clip.mp4",
        "a_long_name_of_a_clip.calm.mp4",
        "一个名字很长很长的片段.精修.mp4",
    ]
    cut = [report._fixed(name, report.NAME) for name in names]
    assert len({*cut}) == 3 and all(report._width(name) == report.NAME for name in cut)
    assert cut[1].rstrip().endswith("calm.mp4") and "…" in cut[1]
    assert report._fixed("in.mp4", 8) == "in.mp4  "


@pytest.mark.parametrize("page", ["measures.md", "measures.zh-CN.md"])
def test_every_column_is_named_where_it_is_explained(page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    assert [m.short for m in MEASURES if f"`{m.short}`" not in text] == []


def test_a_number_is_narrower_than_its_column():
    numbers = (-1.234e-5, 1.234e-12, -0.001234, 123456.0, 0.1239, -0.0)
    assert max(len(report.number(x)) for x in numbers) <= 8
    assert report.number(-1.234e-5) == "-1.2e-05" and report.number(0.1239) == "0.124"


def test_no_two_columns_of_the_table_run_together():
    found = measured("in.mp4", "out.mp4")
    for clip in found.clips:
        clip.means = {m.key: 0.123 for m in MEASURES}
    heads = [block.splitlines()[0] for block in report.table(found).split("\n\n")]
    assert max(map(len, heads)) <= 80
    for m in MEASURES:
        assert any(f" {m.short}" in head for head in heads), m.short


def test_the_page_opens_with_a_verdict_a_result_in_both_languages(videos, page):
    found = measured("in.mp4", "pale.mp4")
    found.clips[1].means["strength"] = 0.001
    write_page(found, videos, page)
    shown = Page(page.read_text(encoding="utf-8"))
    order = [shown.words[""].index(name) for name in ("pale.mp4", "1×")]
    assert order == sorted(order)  # before the players
    assert "Next to nothing was changed: no style is to be seen." in shown.words["en"]
    assert "几乎没有改动：看不到风格。" in shown.words["zh"]
    classes = [attributes["class"] for attributes in shown.all("section")]
    assert classes == ["change"]
    assert report.said(found)[0].startswith("pale.mp4: Next to nothing was changed")


def test_the_table_of_the_page_has_a_column_a_clip(videos, page):
    write_page(measured("in.mp4", "out.mp4"), videos, page)
    shown = Page(page.read_text(encoding="utf-8"))
    rows = len([a for a in shown.all("th") if a["scope"] == "row"])
    assert len(shown.all("td")) == 2 * rows and rows > 5
    assert len([a for a in shown.all("th") if a["scope"] == "col"]) == 3


def test_json_holds_everything_and_no_nan():
    found = measured("in.mp4", "out.mp4")
    told = json.loads(json.dumps(report.as_dict(found), allow_nan=False))
    source, result = told["clips"]
    assert result["means"]["ratio"] == pytest.approx(4, rel=1e-3)
    assert set(source["series"]) == {m.key for m in MEASURES} - {"ratio"}
    assert result["series"]["warping"][0] is None and len(result["series"]["warping"]) == 12
    assert told["times"][1] == 0.1 and told["notes"] == [note.en for note in found.notes]
    assert told["verdicts"] == report.said(found) and len(told["verdicts"]) == 1


def test_the_plot_is_a_picture():
    pytest.importorskip("matplotlib")
    found = measured("in.mp4", "$\\frac$ _水彩.mp4")
    picture = charts.plot(found)
    assert picture.shape[:2] == (1, 3) and picture.shape[3] == charts.COLUMNS * charts.CELL[0]
    assert 0 <= picture.min() and picture.max() <= 1
    for k in range(2):  # each clip's colour is there: in the legend and in the curves
        rgb = [int(charts.colour(k)[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        near = (picture[0] - torch.tensor(rgb)[:, None, None]).abs().amax(0) < 0.02
        assert near[:60].sum() >= 60 and near[60:].sum() >= 60
    charts.plot(measured("in.mp4", "out.mp4", count=1))


def test_a_curve_is_drawn_where_the_page_puts_its_cursor():
    pytest.importorskip("matplotlib")
    drawn = charts.svg(measured("in.mp4", "out.mp4"), "strength")
    width, height = (float(x) for x in re.search(r'viewBox="0 0 (\S+) (\S+)"', drawn).groups())
    frame = re.search(r'<clipPath id="\w+">\s*<rect x="(\S+)" y="(\S+)" width="(\S+)"', drawn)
    left, top, wide = (float(x) for x in frame.groups())
    assert (left / width, wide / width) == pytest.approx((charts.AXES[0], charts.AXES[2]), abs=1e-3)
    assert top / height == pytest.approx(1 - charts.AXES[1] - charts.AXES[3], abs=1e-3)
    assert charts.colour(1) in drawn and "<script" not in drawn


def drawn(series):
    """One chart of these numbers, as SVG."""
    found = measured("in.mp4", "out.mp4", count=len(series))
    for clip in found.clips:
        clip.series["strength"] = series
    return charts.svg(found, "strength")


def test_a_number_without_neighbours_is_a_dot():
    pytest.importorskip("matplotlib")
    assert charts._alone([1, 2, 3]) == [] and charts._alone([1]) == [0]
    nan = float("nan")
    assert charts._alone([nan, 1, nan, 2, 2, nan, 3]) == [1, 6]
    colour = charts.colour(1)

    def dots(series):
        return len(re.findall(rf"<use [^>]*fill: {colour}", drawn(series)))

    assert [dots(s) for s in ([1.0, 2.0], [None, 1.0], [None, 1.0, None, 2.0], [1.0])] == [
        0,
        1,
        2,
        1,
    ]


@pytest.mark.parametrize(
    "numbers", [(1e-5, 1.2e-5), (0.99991, 0.99993), (2e6, 2.5e6), (-3e-7, 4e-7)]
)
def test_every_label_of_an_axis_is_a_whole_number(numbers):
    pytest.importorskip("matplotlib")
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", drawn(list(numbers) * 2))
    assert len(labels) > 6 and max(map(len, labels)) <= 8
    low, high = sorted(numbers)
    inside = [float(label) for label in labels[-3:]]
    assert all(low - (high - low) <= x <= high + (high - low) for x in inside)
    assert inside == sorted(set(inside))


def test_nothing_installed_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StyleAVideoError, match="Plots need matplotlib.*pip install matplotlib$"):
        charts.plot(measured("a", "b"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(StyleAVideoError, match="needs Jinja2.*pip install jinja2$"):
        report.check_page()


# the page


@pytest.fixture
def videos(tmp_path):
    names = ["in.mp4", EVIL.replace("/", "_")]
    return [clips.encode(tmp_path / name, clips.ramp(12)) for name in names]


@pytest.fixture
def page(tmp_path):
    pytest.importorskip("matplotlib")
    return tmp_path / "报告.html"


def test_the_page_is_one_file_that_needs_nothing_else(videos, page, tmp_path):
    before = set(tmp_path.iterdir())
    write_page(measured("in.mp4", "out.mp4"), videos, page)
    assert set(tmp_path.iterdir()) - before == {page}
    text = page.read_text(encoding="utf-8")
    shown = Page(text)
    sources = [video["src"] for video in shown.all("video")]
    assert [base64.b64decode(src.split(",")[1]) for src in sources] == [
        path.read_bytes() for path in videos
    ]
    links = [a[key] for _, a in shown.tags for key in ("src", "href") if key in a]
    assert links and all(link.startswith("data:") for link in links)
    assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+", re.sub(r"base64,[\w+/=]+", "", text))
    assert len(shown.all("img")) == len(charts.drawn(measured("in.mp4", "out.mp4")))


def test_every_word_of_the_page_is_there_in_both_languages(videos, page):
    write_page(measured("in.mp4", "out.mp4"), videos, page)
    words = Page(page.read_text(encoding="utf-8")).words
    assert len(words["en"]) == len(words["zh"]) > 40
    assert words["en"].count("lower is better") == words["zh"].count("越低越好") > 3
    # In one language only: names, numbers and signs.
    free = [word for word in words[""] if not re.fullmatch(r"[\d.e×½¼–‹›↑↓,\s-]*", word)]
    names = {"in.mp4", "out.mp4", "no_motion"}
    assert {word for word in free if word not in names and "·" not in word} == set()


def test_small_numbers_are_told_in_units_that_the_head_of_the_column_says(videos, page):
    found = measured("in.mp4", "out.mp4")
    for clip, error in zip(found.clips, (5.94e-5, 2.51e-4), strict=True):
        clip.means["warping"] = error
    write_page(found, videos, page)
    words = Page(page.read_text(encoding="utf-8")).words[""]
    assert words[words.index("-4") - 1] == "×10"
    assert "0.594" in words and "2.51" in words and "5.94e-05" not in words


def test_no_two_of_eighteen_results_are_drawn_alike(videos, page):
    lines = {(charts.colour(k), charts.dash(k)) for k in range(19)}
    assert len(lines) == 19
    found = measured("in.mp4", *(f"{k}.mp4" for k in range(1, 9)))
    write_page(found, [videos[0]] * 9, page)
    swatches = [a["style"] for _, a in Page(page.read_text("utf-8")).tags if "style" in a]
    assert len(swatches) == 8 + 3 * 9 and len({*swatches}) == 9  # players, table, curves
    assert swatches[8 + 7] == "border-top: 4px dashed #0072b2"
    assert "stroke-dasharray" in charts.svg(found, "strength")
    assert charts.plot(found).shape[1] == 3


def test_names_and_prompts_of_strangers_are_only_text(videos, page):
    found = measured("in.mp4", EVIL)
    found.prompt = "</b><img src=x onerror=alert(2)> {{ 7*7 }} 水彩画"
    write_page(found, videos, page)
    text = page.read_text(encoding="utf-8")
    shown = Page(text)
    assert len(shown.all("script")) == 1 and not any("onerror" in a for _, a in shown.tags)
    assert found.prompt in shown.words[""]
    assert EVIL in "".join(shown.words[""])  # in pieces: a line may end after its slash
    assert shown.all("video")[1]["aria-label"] == EVIL


def test_large_clips_lie_beside_the_page(videos, page, monkeypatch):
    monkeypatch.setattr(report, "EMBEDDED_MAX", 100)
    write_page(measured("in.mp4", EVIL), videos, page)
    shown = Page(page.read_text(encoding="utf-8"))
    links = [video["src"] for video in shown.all("video")]
    assert links == ["%E6%8A%A5%E5%91%8A_files/0.mp4", "%E6%8A%A5%E5%91%8A_files/1.mp4"]
    copies = [page.with_name("报告_files") / f"{k}.mp4" for k in range(2)]
    assert [c.read_bytes() for c in copies] == [v.read_bytes() for v in videos]
    assert any("报告_files" in word for word in shown.words["en"])
    assert any("报告_files" in word for word in shown.words["zh"])


def test_a_clip_that_browsers_may_not_play_is_converted(tmp_path, page):
    old = clips.encode(tmp_path / "old.mkv", clips.ramp(3), codec="mpeg4")
    new = clips.encode(tmp_path / "new.mp4", clips.ramp(3))
    write_page(measured("old.mkv", "new.mp4", count=3), [old, new], page)
    shown = Page(page.read_text(encoding="utf-8"))
    first = base64.b64decode(shown.all("video")[0]["src"].split(",")[1])
    (tmp_path / "shown.mp4").write_bytes(first)
    assert probe(tmp_path / "shown.mp4").codec == "h264"
    assert clips.times(tmp_path / "shown.mp4") == clips.times(old)
    assert any("Converted" in word and "old.mkv" in word for word in shown.words["en"])


@pytest.mark.parametrize(
    ("pixels", "as_it_is"),
    [("yuv420p", True), ("yuvj420p", True), ("yuv420p10le", False), ("yuv444p", False)],
)
def test_pixels_that_not_every_browser_shows_are_converted(pixels, as_it_is, tmp_path, page):
    ours = clips.encode(tmp_path / "in.mp4", clips.ramp(3))
    other = clips.encode(tmp_path / "out.mp4", clips.ramp(3), pix_fmt=pixels)
    write_page(measured("in.mp4", "out.mp4", count=3), [ours, other], page)
    shown = Page(page.read_text(encoding="utf-8"))
    second = base64.b64decode(shown.all("video")[1]["src"].split(",")[1])
    assert (second == other.read_bytes()) == as_it_is
    (tmp_path / "shown.mp4").write_bytes(second)
    assert probe(tmp_path / "shown.mp4").pixels in ("yuv420p", "yuvj420p")
    for language, told in (("en", "Converted"), ("zh", "转换成")):
        assert any(told in word for word in shown.words[language]) != as_it_is


def test_a_broken_file_is_shown_as_it_was_read(videos, page):
    found = measured("in.mp4", "out.mp4")
    report.write_page(found, [probe(videos[0]), probe(videos[1], partial=True)], page)
    embedded = [video["src"] for video in Page(page.read_text("utf-8")).all("video")]
    shown = [base64.b64decode(link.split(",")[1]) for link in embedded]
    assert shown[0] == videos[0].read_bytes() and shown[1] != videos[1].read_bytes()


def test_a_hundred_clips_are_all_there(videos, page):
    names = [f"{k}.mp4" for k in range(101)]
    write_page(measured(*names, count=1), videos[:1] * 101, page)
    shown = Page(page.read_text(encoding="utf-8"))
    assert [video["aria-label"] for video in shown.all("video")] == names


# the command


def run(*arguments):
    return cli.main([str(a) for a in arguments])


@pytest.fixture
def two(tmp_path):
    pytest.importorskip("cv2")
    source = clips.encode(tmp_path / "in.mp4", [clips.quadrants()] * 4)
    result = clips.encode(tmp_path / "油画.mp4", [255 - clips.quadrants()] * 4)
    return source, result


@pytest.fixture
def embedded(monkeypatch, tiny_pipeline):
    monkeypatch.setattr("style_a_video.weights.loading.load", lambda *_, **__: tiny_pipeline)


def test_the_command_prints_writes_and_says(two, page, tmp_path, embedded, capsys):
    numbers = tmp_path / "report.json"
    options = ("--html", page, "--json", numbers, "--prompt", "oil", "--device", "cpu")
    assert run("report", *two, *options) == 0
    out, err = capsys.readouterr()
    assert out.startswith(" ") and out.endswith(f"{numbers}\n{page}\n")
    assert "in.mp4" in out and "油画.mp4" in out and "style" in out
    assert "\n油画.mp4: The video was changed strongly" in out
    assert "LPIPS" in err and "No shot has more than 10 frames" in err
    told = json.loads(numbers.read_text(encoding="utf-8"))
    assert [clip["name"] for clip in told["clips"]] == ["in.mp4", "油画.mp4"]
    assert told["clips"][0]["means"]["content"] == pytest.approx(1, abs=1e-5)
    assert (told["prompt"], told["clip_network"], told["flow"]) == ("oil", "embedded", "dis")
    assert len(Page(page.read_text(encoding="utf-8")).all("video")) == 2


def test_a_file_is_looked_through_once(two, page, monkeypatch):
    scanned, scan = [], probing._scan
    monkeypatch.setattr(probing, "_scan", lambda path, *a: scanned.append(path) or scan(path, *a))
    assert run("report", *two, "--html", page, "--clip", "none", "--device", "cpu") == 0
    assert scanned == list(two)


@pytest.fixture
def style_image(tmp_path):
    path = tmp_path / "星空.png"
    Image.fromarray(clips.quadrants(128, 96)).save(path)
    return path


def test_the_command_says_what_sifid_lacks(two, style_image, page, embedded, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    options = ("--style-image", style_image, "--html", page, "--clip", "none", "--device", "cpu")
    assert run("report", *two, *options) == 0
    out, err = capsys.readouterr()
    missing = f"SIFID was not measured. SIFID needs a {FITTING}."
    assert missing in err.splitlines() and "SIFID" not in out
    words = Page(page.read_text(encoding="utf-8")).words
    assert missing in words["en"]
    assert [w for w in words["zh"] if "未测量 SIFID：需要 torchvision 包以及 Inception v3" in w]


def test_the_command_measures_towards_a_style_image(
    two, style_image, page, tmp_path, monkeypatch, capsys
):
    def load_sifid(device):
        return lambda frames: gaussian(frames.double())

    monkeypatch.setattr("style_a_video.pipelines.report.judges.load_sifid", load_sifid)
    numbers = tmp_path / "report.json"
    options = ("--html", page, "--json", numbers, "--clip", "none", "--device", "cpu")
    assert run("report", *two, "--style-image", style_image, *options) == 0
    out, err = capsys.readouterr()
    assert "SIFID style" in out and "SIFID" not in err
    told = json.loads(numbers.read_text(encoding="utf-8"))
    assert told["style_image"] == "星空.png"
    source, result = (clip["means"]["sifid_style"] for clip in told["clips"])
    assert source < 0.01 < result  # the source is the style image, but for its codec
    shown = Page(page.read_text(encoding="utf-8")).words
    assert "星空.png" in shown[""] and "SIFID 与风格图" in shown["zh"]
    assert run("report", *two, *options) == 0
    told = json.loads(numbers.read_text(encoding="utf-8"))
    assert told["style_image"] is told["clips"][1]["means"]["sifid_style"] is None
    assert told["clips"][1]["means"]["sifid_source"] > 0


def test_the_command_without_clip_needs_no_model(two, monkeypatch, capsys):
    def load(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("style_a_video.weights.loading.load", load)
    assert run("report", *two, "--clip", "none", "--device", "cpu") == 0
    assert "content" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompt", " "), "prompt is empty"),
        (("--prompt", "oil", "--clip", "none"), "The prompt is for CLIP, which --clip none leaves"),
        (("--html", "r.txt"), ".html"),
        (("--html", "nowhere/r.html"), "does not exist"),
        (("--json", "r.html"), ".json"),
        (("--flow", "best"), "There is no flow 'best'; choose one of: dis, raft."),
        (("--clip", "nowhere"), "There is no folder nowhere"),
        (
            ("--style-image", "none.png"),
            "There is no picture none.png: give a PNG, JPEG",
        ),
        (("--style-image", "in.mp4"), "in.mp4 is not a picture that can be read: give a PNG, JPEG"),
        (("none.mp4",), "none.mp4 does not exist"),
    ],
)
def test_bad_arguments(options, message, two, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run("report", *two, *options, "--device", "cpu") == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("style-a-video: error: ")
    assert err.count("\n") == 1 and out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_result_of_another_length_or_none(two, tmp_path, capsys):
    short = clips.encode(tmp_path / "short.mp4", [clips.quadrants()] * 2)
    command = "report", two[0], short, "--clip", "none", "--device", "cpu"
    assert run(*command) == 2
    told = (
        "in.mp4 goes on: compare clips of the same frames, or say which part of in.mp4 the results "
        "are of (--start S, --end S, --frames 2)."
    )
    assert f"short.mp4 ends after 2 frames but {told}" in capsys.readouterr().err
    assert run(*command, "--frames", "2", "--json", tmp_path / "two.json") == 0
    told = json.loads((tmp_path / "two.json").read_text(encoding="utf-8"))
    assert len(told["times"]) == 2
    assert run(*command, "--frames", "0") == 2
    assert "--frames" in capsys.readouterr().err
    assert run("report", two[0]) == 2
    assert "RESULT" in capsys.readouterr().err


def test_a_result_of_a_part_is_measured_beside_that_part(tmp_path, page, capsys):
    """What `stylize --start 0.4 --end 0.8` makes: four frames, from 0 s on."""
    source = clips.encode(tmp_path / "in.mp4", clips.ramp(12))
    part = clips.encode(tmp_path / "part.mp4", clips.ramp(12)[4:8])
    numbers = tmp_path / "part.json"
    command = "report", source, part, "--clip", "none", "--device", "cpu", "--json", numbers
    for rest in (("--end", "0.8"), ("--frames", "4")):
        assert run(*command, "--start", "0.4", *rest, "--html", page) == 0
        assert "other times" not in capsys.readouterr().err
        told = json.loads(numbers.read_text(encoding="utf-8"))
        assert told["times"] == pytest.approx([0.4, 0.5, 0.6, 0.7])
        assert told["clips"][1]["means"]["strength"] < 0.01
        begins = [video["data-begin"] for video in Page(page.read_text("utf-8")).all("video")]
        assert [float(begin) for begin in begins] == pytest.approx([0.4, 0])
    assert run(*command, "--start", "1.5") == 2
    assert "choose an earlier start" in capsys.readouterr().err


def test_folders_and_broken_files_are_read_as_told(tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(clips.ramp(6)):
        Image.fromarray(image).save(folder / f"{i}.png")
    result = clips.encode(tmp_path / "out.mp4", clips.ramp(6))
    numbers = tmp_path / "r.json"
    options = "--clip", "none", "--device", "cpu", "--json", numbers
    assert run("report", folder, result, "--rate", "10", *options) == 0
    assert json.loads(numbers.read_text("utf-8"))["times"] == [i / 10 for i in range(6)]
    assert "other times" not in capsys.readouterr().err
    assert run("report", folder, result, *options) == 0  # at 25 pictures/s
    assert "out.mp4 shows its frames at other times" in capsys.readouterr().err
    assert run("report", result, result, "--rate", "10", *options) == 2
    assert "a rate is for a folder" in capsys.readouterr().err
    whole = clips.encode(tmp_path / "in.mkv", clips.pan(1, 20), options={"g": "5"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert run("report", cut, cut, *options) == 2
    assert "(--partial)" in capsys.readouterr().err
    assert run("report", cut, cut, "--partial", *options) == 0
    assert "cut.mkv is cut short" in capsys.readouterr().err
