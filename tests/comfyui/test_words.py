"""The words of every block: tooltips, both locales, both help pages and their pictures."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from style_a_video.nodes import NODES
from style_a_video.weights.styles import styles

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "web" / "docs"
LANGUAGES = ("en", "zh")
INFO = {info["name"]: info for info in (node.GET_NODE_INFO_V1() for node in NODES)}
EVERY_BLOCK = pytest.mark.parametrize("block", INFO)
EVERY_PAGE = pytest.mark.parametrize("language", LANGUAGES)

TRANSLATED_BY_COMFYUI = {"guidance", "model", "sampling", "video"}
"""Parts of our categories that ComfyUI's own locales know (nodeCategories in its main.json)."""
SAME_IN_CHINESE = {"CLIP", "VAE"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
SRC = re.compile(r"""src=["']([^"']+)""")


def inputs(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the front end calls each input of a block, with `name`, `tooltip` and `slot`.

    Its keys are the widgets' and slots' names with dots as underscores: `resize_max_side` inside a
    DynamicCombo, `conditions_condition_0` for a place that an Autogrow adds (`slot`).
    """
    found: dict[str, dict[str, Any]] = {}

    def add(key: str, name: str, spec: list[Any], slot: bool = False) -> None:
        kind, options = spec[0], spec[1]
        name = options.get("display_name") or name
        found[key] = {"name": name, "tooltip": options.get("tooltip"), "slot": slot}
        if kind == "COMFY_DYNAMICCOMBO_V3":
            for option in options["options"]:
                for name, inner in _specs(option["inputs"]):
                    add(f"{key}_{name}", name, inner)
        if kind == "COMFY_AUTOGROW_V3":
            template = options["template"]
            ((_, inner),) = _specs(template["input"])
            for i in range(template["max"]):
                name = f"{template['prefix']}{i}"
                add(f"{key}_{name}", name, inner, slot=True)

    for name, spec in _specs({k: info["input"].get(k, {}) for k in ("required", "optional")}):
        add(name, name, spec)
    return found


def _specs(sections: dict[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    return [pair for section in sections.values() for pair in section.items()]


def locale(language: str, name: str = "nodeDefs") -> dict[str, Any]:
    path = ROOT / "locales" / language / f"{name}.json"
    words: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return words


def page(block: str, language: str) -> str:
    return (DOCS / block / f"{language}.md").read_text(encoding="utf-8")


def test_ids_are_ours() -> None:
    assert len(INFO) == len(NODES)
    assert all(re.fullmatch(r"StyleAVideo\w+", block) for block in INFO)


@EVERY_BLOCK
def test_schema_explains_itself(block: str) -> None:
    assert INFO[block]["display_name"] and INFO[block]["description"]
    silent = [key for key, words in inputs(INFO[block]).items() if not words["tooltip"]]
    assert not silent, f"inputs without a tooltip: {silent}"


@EVERY_PAGE
def test_locale_names_our_blocks_only(language: str) -> None:
    assert list(locale(language)) == list(INFO)


@EVERY_PAGE
@EVERY_BLOCK
def test_locale_is_complete(block: str, language: str) -> None:
    words, info = locale(language)[block], INFO[block]
    assert set(words) - {"inputs"} == {"display_name", "description", "outputs"}
    assert list(words.get("inputs", {})) == list(inputs(info))
    assert list(words["outputs"]) == [str(i) for i in range(len(info["output"]))]
    for key, text in words.get("inputs", {}).items():
        assert set(text) == {"name", "tooltip"} and all(text.values()), key
    for i, text in words["outputs"].items():
        explained = bool(info["output_tooltips"][int(i)])
        assert set(text) == ({"name", "tooltip"} if explained else {"name"}), i


@EVERY_BLOCK
def test_english_is_the_schema(block: str) -> None:
    words, info = locale("en")[block], INFO[block]
    assert words["display_name"] == info["display_name"]
    assert words["description"] == info["description"]
    for key, given in inputs(info).items():
        assert words["inputs"][key] == {"name": given["name"], "tooltip": given["tooltip"]}
    for i, name in enumerate(info["output_name"]):
        assert words["outputs"][str(i)]["name"] == name
        assert words["outputs"][str(i)].get("tooltip") == info["output_tooltips"][i]


@EVERY_BLOCK
def test_chinese_is_chinese(block: str) -> None:
    def check(text: str) -> None:
        assert text in SAME_IN_CHINESE or CHINESE.search(text), text

    words = locale("zh")[block]
    for text in (words["display_name"], words["description"]):
        check(text)
    for entry in (*words.get("inputs", {}).values(), *words["outputs"].values()):
        for text in entry.values():
            check(text)


@EVERY_PAGE
def test_names_are_plain_messages(language: str) -> None:
    """Names and descriptions pass through vue-i18n, to which these characters are commands."""
    for words in locale(language).values():
        entries = (*words.get("inputs", {}).values(), *words["outputs"].values())
        texts = [words["display_name"], words["description"], *(e["name"] for e in entries)]
        assert not [text for text in texts if re.search(r"[{}@|]", text)]


@EVERY_PAGE
def test_categories_are_named(language: str) -> None:
    parts = {part for info in INFO.values() for part in info["category"].split("/")}
    named = locale(language, "main")["nodeCategories"]
    assert set(named) == parts - TRANSLATED_BY_COMFYUI
    for part, text in named.items():
        if language == "en" or part == "Style-A-Video":
            assert text == part
        else:
            assert CHINESE.search(text), part


@EVERY_PAGE
@EVERY_BLOCK
def test_help_page_is_complete(block: str, language: str) -> None:
    text, words = page(block, language), locale(language)[block]
    assert text.startswith(f"# {words['display_name']}\n")
    for key, given in inputs(INFO[block]).items():
        if given["slot"]:
            continue
        assert f"`{given['name']}`" in text, f"{given['name']} is not explained"
        assert words["inputs"][key]["name"] in text, f"{words['inputs'][key]['name']} is not named"
    for entry in words["outputs"].values():
        assert entry["name"] in text, f"output {entry['name']} is not explained"
    if language == "zh":
        assert len(CHINESE.findall(text)) > 100


def test_styles_are_listed() -> None:
    pages = {language: page("StyleAVideoLoadBuiltIn", language) for language in LANGUAGES}
    for style in styles():
        assert style.name in pages["en"] and style.chinese in pages["zh"]


def test_help_is_for_our_blocks_only() -> None:
    folders = {path.name for path in DOCS.iterdir()} - {"images"}
    assert folders == set(INFO)
    for folder in folders:
        assert {path.name for path in (DOCS / folder).iterdir()} == {"en.md", "zh.md"}


def _links(text: str) -> tuple[set[str], set[str]]:
    """Pictures and other links of a page."""
    found = LINK.findall(text)
    pictures = {target for mark, target in found if mark} | set(SRC.findall(text))
    return pictures, {target for mark, target in found if not mark}


@EVERY_PAGE
@EVERY_BLOCK
def test_links_lead_somewhere(block: str, language: str) -> None:
    """The front end resolves a page's links from docs/, whatever the page's own folder is."""
    pictures, others = _links(page(block, language))
    for target in pictures:
        assert (DOCS / target).is_file(), target
    for target in others:
        assert target.startswith("https://"), f"{target}: a help page can only link the web"


def test_pictures_are_small_and_used() -> None:
    kept = {f"images/{path.name}" for path in (DOCS / "images").iterdir()}
    shown = {p for block in INFO for lang in LANGUAGES for p in _links(page(block, lang))[0]}
    assert kept == shown
    for name in kept:
        assert (DOCS / name).stat().st_size < 100_000, name


def test_comfyui_serves_the_words(server) -> None:
    translations = server.get("/i18n")
    for language in LANGUAGES:
        assert translations[language]["nodeDefs"] == locale(language)
        assert "Style-A-Video" in translations[language]["nodeCategories"]
    base = f"{server.url}/extensions/style-a-video/docs"
    picture = next((DOCS / "images").iterdir()).name
    for path in ("StyleAVideoStylize/en.md", "StyleAVideoStylize/zh.md", f"images/{picture}"):
        with urllib.request.urlopen(f"{base}/{path}", timeout=30) as answer:
            assert answer.read() == (DOCS / path).read_bytes()
