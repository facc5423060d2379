"""The gallery as a person uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from project.analysis.gallery import Tile, Word, write_gallery


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """Four labelled images, of which the third is the least sure."""
    tiles = []
    for number, (title, confidence) in enumerate((("cat", 0.9), ("dog", 0.7), ("cat", 0.2), ("<b>owl</b>", 0.8))):
        image = tmp_path / f"{number}.png"
        Image.new("RGB", (200, 100), (60 * number, 90, 200)).save(image)
        tiles.append(Tile(image, title, confidence, [(title, confidence), ("other", 1 - confidence)]))
    write_gallery(tmp_path / "index.html", tiles, "Predictions")
    return (tmp_path / "index.html").as_uri()


@pytest.fixture
def captions(tmp_path: Path) -> str:
    """One captioned image with a map for each word: `red` in the upper left, `disc` in the lower right."""
    Image.new("RGB", (120, 120), (200, 30, 30)).save(tmp_path / "disc.png")
    maps = [np.array([[255, 0], [0, 0]], np.uint8), np.array([[0, 0], [0, 255]], np.uint8)]
    words = [Word("red", 0.75, maps[0]), Word("disc", 0.5, maps[1])]
    tile = Tile(tmp_path / "disc.png", "red disc", 0.6, [("red disc", 0.4), ("red cross", 1e-7)], words)
    write_gallery(tmp_path / "index.html", [tile], "Captions")
    return (tmp_path / "index.html").as_uri()


def names(page: Page) -> list[str]:
    return page.locator(".grid li:not([hidden]) .name").all_text_contents()


def test_searching_sorting_and_choosing_a_label(page: Page, labels: str) -> None:
    page.goto(labels)
    assert names(page) == ["0.png", "1.png", "2.png", "3.png"]
    page.get_by_label("Order").select_option("Least confident first")
    assert names(page) == ["2.png", "1.png", "3.png", "0.png"]
    page.locator("#label").select_option("cat (2)")
    assert names(page) == ["2.png", "0.png"]
    expect(page.locator("#count")).to_have_text("2 of 4 images")
    page.locator("#label").select_option("All labels")
    page.get_by_role("searchbox").fill("owl")
    assert names(page) == ["3.png"]
    expect(page.locator(".grid li:not([hidden]) .title")).to_have_text("<b>owl</b>")


def test_an_image_opens_and_the_arrows_lead_on(page: Page, labels: str) -> None:
    page.goto(labels)
    page.locator(".grid button").nth(1).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_have_text("dog")
    expect(dialog.locator("#position")).to_have_text("2 of 4")
    # the original in place of the thumbnail
    page.wait_for_function("document.getElementById('picture').src.startsWith('file:')")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("#position")).to_have_text("4 of 4")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("#position")).to_have_text("1 of 4")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".grid button:focus .name")).to_have_text("0.png")


def brightest(page: Page) -> tuple[bool, bool]:
    """Whether the map's brightest pixel is right of its middle, and below it."""
    x, y = page.evaluate("""() => {
        const heat = document.getElementById("heat");
        const data = heat.getContext("2d").getImageData(0, 0, heat.width, heat.height).data;
        let best = 0;
        for (let i = 0; i < data.length; i += 4) if (data[i] + data[i + 1] > data[best] + data[best + 1]) best = i;
        return [(best / 4) % heat.width / heat.width, Math.floor(best / 4 / heat.width) / heat.height];
    }""")
    return x > 0.5, y > 0.5


def test_a_word_shows_where_the_network_looked(page: Page, captions: str) -> None:
    page.goto(captions)
    page.locator(".grid button").click()
    heat, said = page.locator("#heat"), page.locator("#said")
    expect(heat).to_be_hidden()
    page.get_by_role("button", name="red", exact=True).click()
    expect(heat).to_be_visible()
    expect(said).to_have_text("“red” is 75.0% probable here")
    assert brightest(page) == (False, False)
    page.keyboard.press("ArrowRight")
    expect(said).to_have_text("“disc” is 50.0% probable here")
    assert brightest(page) == (True, True)
    page.get_by_role("button", name="No map").click()
    expect(heat).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone(page: Page, labels: str, scheme: str) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.emulate_media(color_scheme=scheme)
    page.goto(labels)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".grid button").first.click()
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_no_file_of_the_page_says_more_than_it_should(page: Page, tmp_path: Path) -> None:
    """A label that is markup, a script or a closing tag runs nothing."""
    Image.new("RGB", (20, 20)).save(tmp_path / "x.png")
    title = "</title></template><script>document.title = 'owned'</script><img src=x onerror=document.title='owned'>"
    write_gallery(tmp_path / "index.html", [Tile(tmp_path / "x.png", title, 0.5, [(title, 0.5)])], title)
    page.goto((tmp_path / "index.html").as_uri())
    page.locator(".grid button").click()
    expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_have_text(title)
    assert page.title() == title
