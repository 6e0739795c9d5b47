"""What a report comes to in plain words: each threshold, from both sides."""

import re
from pathlib import Path

import pytest
from style_a_video.pipelines.report import verdict
from style_a_video.pipelines.report.measures import ClipMeasures, Measures
from style_a_video.pipelines.report.verdict import verdicts
from style_a_video.pipelines.report.words import MEASURES

SOURCE = {
    "strength": 0.0,
    "sharpness": 0.001,
    "ratio": 1.0,
    "temporal_1": 0.004,
    "temporal_10": 0.02,
    "style": 0.1,
}
CALM = SOURCE | {"strength": 0.1, "ratio": 0.7}


def judged(prompt=None, source=SOURCE, **means):
    clips = [
        ClipMeasures(name, 0.0, {}, dict.fromkeys((m.key for m in MEASURES), None) | of_clip)
        for name, of_clip in (("in", source), ("out", CALM | means))
    ]
    (one,) = verdicts(Measures(clips, [0.0], 8, 8, "dis", prompt))
    assert one.name == "out" and all(words.en and words.zh for words in one.sentences)
    return one


@pytest.mark.parametrize(
    ("changed", "said", "good"),
    [
        (0.01, "Next to nothing", False),
        (0.03, "a little: by 3 %", False),
        (0.05, "clearly: by 5 %", True),
        (0.2, "strongly: by 20 %", True),
    ],
)
def test_without_a_prompt_or_picture_what_was_changed_counts(changed, said, good):
    one = judged(strength=changed)
    assert said in one.style.en and one.good == good
    assert ("For more style" in one.change.en) != good


@pytest.mark.parametrize(
    ("gap", "said", "good"),
    [
        (0.4, "Much of the picture's style came: 60 %", True),
        (0.7, "A part of the picture's style came: 30 %", True),
        (0.9, "Little of the picture's style came: 10 %", False),
        (1.2, "Little of the picture's style came: 0 %", False),
    ],
)
def test_of_a_picture_the_way_that_was_gone(gap, said, good):
    one = judged(gap_gram=gap)
    assert said in one.style.en and one.good == good
    assert "words" not in one.change.en  # there are none
    assert re.findall(r"\d+", one.style.en) == re.findall(r"\d+", one.style.zh)


def test_of_words_clip_is_asked_too():
    assert judged("oil", style=0.3).good and "sees the prompt" in judged("oil", style=0.3).style.en
    away = judged("oil", style=0.05)
    assert "does not see the prompt" in away.style.en and not away.good
    assert "prompt" not in judged(style=0.05).style.en  # nobody said what was asked for


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ({"ratio": 0.7}, "calmer than the source"),
        ({"ratio": 1.2, "temporal_1": 0.01}, "It is calm"),
        ({"ratio": 40.0, "temporal_1": 0.0075}, "It is calm"),  # nobody sees it
        ({"ratio": 2.0, "temporal_1": 0.02}, "flickers a little"),
        ({"ratio": 8.0, "temporal_1": 0.01}, "flickers a little"),
        ({"ratio": 8.0, "temporal_1": 0.02}, "It flickers."),
        ({"ratio": None, "temporal_1": 0.02}, "It flickers."),
        ({"temporal_10": 0.05}, "drift"),
        ({"temporal_10": 0.039}, "calmer"),
        ({"temporal_1": None}, "cannot be said"),
    ],
)
def test_how_calm_it_is(means, said):
    one = judged(**means)
    assert said in one.calm.en
    assert one.good == (not any(word in said for word in ("flickers", "drift")))
    assert ("To make it calmer" in one.change.en) != one.good


def test_calm_that_is_bought_by_blurring_is_said():
    assert "fine detail is mostly gone" in judged(sharpness=0.0002).change.en
    assert judged(sharpness=0.0005).change == verdict.GOOD


@pytest.mark.parametrize("page", ["measures.md", "measures.zh-CN.md"])
def test_the_page_of_measures_explains_the_thresholds(page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    plain = (verdict.NOTHING, verdict.LITTLE, verdict.MUCH, verdict.STEADY, verdict.RESTLESS)
    plain += (verdict.DRIFT_BEYOND, verdict.SOFT)
    numbers = [f"{number:g}" for number in plain]
    numbers += [f"{100 * share:g} %" for share in (verdict.PART, verdict.MOST)]
    numbers += [f"{255 * level:g}/255" for level in (verdict.SEEN, verdict.PLAIN)]
    for number in numbers:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]\d|\d)", rows), number
