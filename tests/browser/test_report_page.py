"""The report in a real browser: definitions by mouse, keyboard and on narrow screens."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"


@pytest.fixture(scope="module")
def report(_trained_once, tmp_path_factory) -> Path:
    """The page of a finished run."""
    folder = tmp_path_factory.mktemp("reported")
    run = shutil.copytree(_trained_once, folder / "runs" / "r" / "version_0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(sys, "path", list(sys.path))
        options = ["--ckpt_path", str(run), "--sections", "accuracy,calibration,cost"]
        patch.setattr(sys, "argv", [str(SCRIPT), *options])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return run / "report.html"


@pytest.fixture
def opened(page, report):
    """The page, opened."""
    page.goto(report.as_uri())
    return page


def test_it_shows_numbers_pictures_and_definitions(opened):
    assert opened.title().startswith("Report: ")
    assert opened.get_by_role("heading", name="Calibration").is_visible()
    loaded = opened.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert len(loaded) >= 4
    assert all(loaded)
    # the style is allowed by its hash: without it, nothing would be laid out
    assert opened.evaluate("getComputedStyle(document.querySelector('.numbers')).display") == "flex"


def test_a_name_tells_its_definition_and_stops(opened):
    definition = opened.locator("#about-ece")
    assert not definition.is_visible()
    opened.get_by_role("button", name="ECE").click()
    assert definition.is_visible()
    assert "Expected calibration error" in definition.inner_text()
    box = definition.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280
    opened.keyboard.press("Escape")
    assert not definition.is_visible()
    opened.get_by_role("button", name="MCE").focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#about-mce").is_visible()


def test_every_name_has_a_footnote(opened):
    notes = opened.locator(".definitions li").all_inner_texts()
    for button in opened.locator(".term").all():
        number, title = button.get_attribute("data-note"), button.inner_text()
        assert re.sub(r"\s+", " ", notes[int(number) - 1]).startswith(f"{number} {title} ")


def test_links_lead_to_sections(opened):
    opened.get_by_role("link", name="Cost").click()
    assert opened.url.endswith("#cost")
    for link in opened.locator("nav a").all():
        assert opened.locator(link.get_attribute("href")).count() == 1


def test_a_narrow_screen_does_not_scroll_sideways(opened):
    opened.set_viewport_size({"width": 360, "height": 640})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    opened.get_by_role("button", name="ECE").click()
    box = opened.locator("#about-ece").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_dark_and_printed_it_can_be_read(opened):
    colours = "(() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; })()"
    light = opened.evaluate(colours)
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate(colours)
    assert light != dark
    opened.emulate_media(media="print", color_scheme="light")
    assert not opened.locator("nav").is_visible()
    assert opened.evaluate("getComputedStyle(document.querySelector('.term'), '::after').content") != "none"
