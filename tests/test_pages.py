"""README and docs: links lead somewhere, commands and options exist, tables name what there is."""

import re
import shlex
from pathlib import Path

import pytest
from style_a_video.pipelines.cli.main import parser
from style_a_video.pipelines.engines.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMAND = ".venv/bin/style-a-video "
OF_OTHERS = {"--depth", "--memory", "--unet"}  # git's, benchmarks'


def name(path):
    return path.relative_to(ROOT).as_posix()


def text(page):
    return page.read_text(encoding="utf-8")


def anchors(page):
    """What GitHub calls the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_can_be_given(page):
    for line in text(page).splitlines():
        if line.startswith(COMMAND):
            words = shlex.split(line.removeprefix(COMMAND), comments=True)
            _, unknown = parser().parse_known_args(words)
            assert not unknown, line


def options():
    commands = next(a for a in parser()._actions if a.choices and not a.option_strings)
    actions = [a for command in commands.choices.values() for a in command._actions]
    return {option for action in actions for option in action.option_strings}


# For who works on the code, and what GitHub shows by its name: in English alone.
OF_DEVELOPERS = {"adding", "decisions", "dead_ends", "figures"}
IN_TWO_LANGUAGES = ["README", *(f"docs/{p.stem}" for p in PAGES if p.parent.name == "docs")]
IN_TWO_LANGUAGES = [stem for stem in IN_TWO_LANGUAGES if not stem.endswith(".zh-CN")]
IN_TWO_LANGUAGES = [s for s in IN_TWO_LANGUAGES if s.rpartition("/")[2] not in OF_DEVELOPERS]


@pytest.mark.parametrize("stem", IN_TWO_LANGUAGES)
def test_a_page_for_users_is_there_in_both_languages(stem):
    """They link to each other, and have as many headings, rows, items and commands."""
    english, chinese = (text(ROOT / f"{stem}{language}.md") for language in ("", ".zh-CN"))
    short = stem.rpartition("/")[2]
    assert f"[中文]({short}.zh-CN.md)" in english and f"[English]({short}.md)" in chinese
    for kind in (r"^#+ ", r"^\|", r"^- ", r"^\d+\. ", r"^\.venv/bin/style-a-video "):
        counts = [len(re.findall(kind, page, re.MULTILINE)) for page in (english, chinese)]
        assert counts[0] == counts[1], kind
    to_english = set(re.findall(r"\]\(([^)\s]+\.md)", chinese)) - {f"{short}.md"}
    lost = [link for link in to_english if not link.endswith(".zh-CN.md")]
    folder = (ROOT / stem).parent
    assert [at for at in lost if (folder / at.replace(".md", ".zh-CN.md")).exists()] == []


@pytest.mark.parametrize("stem", IN_TWO_LANGUAGES)
@pytest.mark.parametrize("language", ["", ".zh-CN"])
def test_options_exist(stem, language):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text(ROOT / f"{stem}{language}.md")))
    assert named - options() <= OF_OTHERS


@pytest.mark.parametrize("language", ["", ".zh-CN"])
def test_tables_name_what_there_is(language):
    engines = text(ROOT / "docs" / f"engines{language}.md")
    assert [kind.name for kind in KINDS if f"| `{kind.name}` |" not in engines] == []
    blocks = text(ROOT / "docs" / f"comfyui{language}.md")
    templates = [path.stem for path in sorted((ROOT / "workflows").glob("*.json"))]
    assert templates and [stem for stem in templates if f"*{stem}*" not in blocks] == []
