"""What a person does with the page that `style-a-video report --html` writes, in Chromium."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import PATIENCE
from playwright.sync_api import Locator, Page, expect
from style_a_video.pipelines.media import Part, probe
from style_a_video.pipelines.report.charts import AXES
from style_a_video.pipelines.report.measures import measure_videos
from style_a_video.pipelines.report.report import write_page

clips = runpy.run_path(str(Path(__file__).parents[1] / "clips.py"))
COMPARED, RATE = 8, 10


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Two results of 8 frames beside 0.3 s to 1.1 s of a source that goes on to 3 s."""
    folder = tmp_path_factory.mktemp("report")
    frames = clips["pan"](0, 30)
    part = frames[3 : 3 + COMPARED]
    source = clips["encode"](folder / "in.mp4", frames, rate=RATE)
    names = "short.mp4", "anamewithnoplacetobreakitbutmanyletters_refined.mp4"
    results = [clips["encode"](folder / name, part, rate=RATE) for name in names]
    measured = measure_videos(source, results, part=Part.of(0.3, frames=COMPARED))
    write_page(measured, [probe(clip) for clip in (source, *results)], folder / "page.html")
    return folder / "page.html"


@pytest.fixture
def page(browser, written) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1000, "height": 700}, locale="en-GB")
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(written.as_uri())
    opened.wait_for_function("[...document.querySelectorAll('video')].every(v => v.readyState > 1)")
    yield opened
    context.close()
    assert complaints == []


def slider(page: Page) -> Locator:
    return page.get_by_role("slider")


def expect_frame(page: Page, n: int) -> None:
    """All that tells the frame tells this one, from 1 on, and nothing plays."""
    expect(page.locator("#clock")).to_have_text(f"{0.2 + n / RATE:.2f} s · {n} / {COMPARED}")
    expect(slider(page)).to_have_value(str(n - 1))
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    times = page.evaluate("[...document.querySelectorAll('video')].map(v => v.currentTime)")
    assert times == pytest.approx([0.2 + n / RATE, *[(n - 1) / RATE] * 2], abs=0.01)


def playing(page: Page) -> list[bool]:
    return page.evaluate("[...document.querySelectorAll('video')].map(v => !v.paused)")


def test_the_slider_leads_to_the_frame(page):
    expect_frame(page, 1)
    box = slider(page).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert slider(page).input_value() in ("3", "4")
    for key, n in ("End", 8), ("ArrowLeft", 7), ("Home", 1), ("ArrowRight", 2):
        slider(page).press(key)
        expect_frame(page, n)
    page.get_by_role("button", name="Play").click()
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    expect_frame(page, COMPARED)


def test_only_the_compared_frames_are_played_over_and_over(page):
    page.get_by_role("button", name="Play").click()
    seen = page.evaluate("""new Promise(done => {
        const seen = [], began = performance.now();
        const videos = [...document.querySelectorAll("video")];
        const look = () => {
            seen.push([...videos.map(v => v.currentTime), +document.getElementById("scrub").value]);
            performance.now() - began < 2500 ? requestAnimationFrame(look) : done(seen);
        };
        look();
    })""")
    assert all(playing(page))
    source, first, second, frame = zip(*seen, strict=True)
    assert 0.3 <= min(source) and 0.9 < max(source) < 1.3
    assert 0.6 < max(first) and 0.6 < max(second)
    assert set(frame) >= {1, 2, 3, 4, 5, 6} and max(frame) < COMPARED
    for clip in (source, first, second, frame):  # it began anew
        assert sum(after < before - 0.3 for before, after in zip(clip, clip[1:], strict=False)) >= 1


def test_keys_and_pictures_are_controls_too(page):
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect_frame(page, 3)
    page.keyboard.press("ArrowLeft")
    expect_frame(page, 2)
    page.get_by_label("Speed").select_option("¼×")
    rates = page.evaluate("[...document.querySelectorAll('video')].map(v => v.playbackRate)")
    assert rates == [0.25] * 3
    for press in (lambda: page.keyboard.press("Space"), page.locator("video").nth(1).click):
        page.locator("body").evaluate("() => document.activeElement.blur()")
        press()
        assert all(playing(page))
        press()
        assert not any(playing(page))
    small = page.locator("video").nth(2).bounding_box()["width"]
    page.get_by_role("button", name="Larger").nth(2).click()
    assert page.locator("video").nth(2).bounding_box()["width"] > 2 * small
    page.get_by_role("button", name="Smaller").click()
    assert page.locator("video").nth(2).bounding_box()["width"] == small


def test_a_plot_leads_to_its_moment_with_the_players_in_sight(page):
    plot = page.locator(".chart").last
    plot.scroll_into_view_if_needed()
    expect(page.locator("video").first).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Play")).to_be_in_viewport(ratio=1)
    left, _, width, _ = AXES
    box = plot.bounding_box()
    share = left + width * 4.2 / (COMPARED - 1)
    page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    expect_frame(page, 5)
    head = plot.locator("i").bounding_box()["x"] - box["x"]
    assert head / box["width"] == pytest.approx(left + width * 4 / 7, abs=0.01)
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator(".compact")).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 900, 390])
def test_nothing_is_wider_than_the_window_and_names_stay_beside_their_numbers(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    table, name = page.locator(".scroll"), page.locator("tbody th").last
    assert name.evaluate("name => name.scrollWidth <= name.clientWidth")
    if width == 1280:
        assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
    table.scroll_into_view_if_needed()
    before = name.bounding_box()["x"]
    table.evaluate("table => { table.scrollLeft = 1e4 }")
    assert name.bounding_box()["x"] == before
    expect(page.locator("tbody td").last).to_be_in_viewport(ratio=0.9)


def test_the_language_is_remembered(page):
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="并排对比")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="并排对比")).to_be_visible()
    expect(page.get_by_role("heading", name="Side by side")).to_be_hidden()
