"""What can be done about an error: every host has words for it, and every word it needs."""

import ast
import pickle
from pathlib import Path
from string import Formatter

import pytest
from style_a_video.pipelines.cli import words as cli
from style_a_video.pipelines.errors import IN_PYTHON, Remedy, StyleAVideoError

ROOT = Path(__file__).resolve().parents[1]


def of_comfyui():
    """nodes/words.py, which cannot be imported without ComfyUI's own modules beside it."""
    tree = ast.parse((ROOT / "nodes" / "words.py").read_text(encoding="utf-8"))
    (table,) = (n.value for n in ast.walk(tree) if isinstance(n, ast.AnnAssign))
    pairs = zip(table.keys, table.values, strict=True)
    return {Remedy[key.attr]: ast.literal_eval(value) for key, value in pairs}


HOSTS = {"Python": IN_PYTHON, "command line": cli.WORDS, "ComfyUI": of_comfyui()}


def raised():
    """Every remedy that is raised anywhere → the names of what its words may tell of."""
    found = {}
    for folder in ("pipelines", "weights", "nodes"):
        for path in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "StyleAVideoError":
                    for remedy in call.args[1:]:
                        assert ast.unparse(remedy).startswith("Remedy."), ast.unparse(call)
                        about = {keyword.arg for keyword in call.keywords}
                        found.setdefault(Remedy[remedy.attr], []).append(about)
    return found


def fields(words):
    return {name for _, name, _, _ in Formatter().parse(words) if name is not None}


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_has_words_for_every_remedy(host):
    words = HOSTS[host]
    assert set(words) == set(Remedy)
    for remedy, places in raised().items():
        for about in places:
            assert fields(words[remedy]) <= about, remedy
    for text in words.values():
        assert text.endswith(".") and "\n" not in text


def test_every_remedy_is_raised_somewhere():
    assert set(raised()) == set(Remedy)


def test_python_and_comfyui_name_no_option_of_the_command_line():
    for remedy in Remedy:
        assert "--" not in IN_PYTHON[remedy].replace("ray start --head", "")
        told = HOSTS["ComfyUI"][remedy].replace("ray start --head", "")
        assert "--" not in told.replace("--force-fp32", "")


def test_an_error_is_worded_by_its_host(monkeypatch):
    error = StyleAVideoError("The cluster is small: ", Remedy.FEWER_WORKERS, count=3)
    assert str(error) == "The cluster is small: ask for 3 workers or fewer."
    assert error.worded(cli.WORDS) == "The cluster is small: give --workers 3 or fewer."
    monkeypatch.setattr(StyleAVideoError, "words", HOSTS["ComfyUI"])
    other = StyleAVideoError("a.mp4 is too large: use a smaller ", Remedy.SMALLER)
    assert str(other) == "a.mp4 is too large: use a smaller max_side."
    assert other.worded(IN_PYTHON) == "a.mp4 is too large: use a smaller size."


def test_without_a_remedy_the_sentence_stands_alone():
    told = "There is no {engine}."  # braces of a user's own are no fields
    assert str(StyleAVideoError(told)) == StyleAVideoError(told).worded(cli.WORDS) == told
    error = StyleAVideoError("", Remedy.COMPARE_PART, source="{0}.mp4", frames=2)
    assert "part of {0}.mp4 the results" in str(error)


def test_an_error_comes_whole_from_a_worker():
    error = StyleAVideoError("There is no room: ", Remedy.FEWER_WORKERS, count=2)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is StyleAVideoError and isinstance(again, ValueError)
    assert str(again) == str(error) and again.worded(cli.WORDS) == error.worded(cli.WORDS)
    assert (again.remedy, again.about) == (Remedy.FEWER_WORKERS, {"count": 2})


def test_half_a_character_can_be_printed():
    assert str(StyleAVideoError("There is no \ud800.mp4.")) == "There is no \\ud800.mp4."
