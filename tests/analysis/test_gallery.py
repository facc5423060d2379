"""The gallery page, parsed as a browser would, and its pictures decoded."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from project.analysis.gallery import Tile, Word, write_gallery
from project.errors import DataError

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


class Page(HTMLParser):
    """What a browser sees: elements with their attributes, and text by the class (or tag) of what encloses it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "input"}:
            self._open.append((tag, dict(attrs).get("class") or tag))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.append((self._open[-1][1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, where: str) -> list[str]:
        return [text for name, text in self.texts if name == where]

    def thumbnails(self) -> list[Image.Image]:
        """The embedded pictures in order, each checked against the size that its element declares."""
        pictures = []
        for attributes in self.all("img"):
            if attributes.get("id") == "picture":
                continue  # the dialog's, which is empty until a tile is pressed
            kind, encoded = attributes["src"].split(",")
            assert kind == "data:image/webp;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
            assert picture.format == "WEBP"
            assert picture.size == (int(attributes["width"]), int(attributes["height"]))
            pictures.append(picture.convert("RGB"))
        return pictures


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.new("RGB", (20, 10), RED).save(path)
    return path


def tile(image: Path, title: str = "cat", confidence: float | None = 0.5) -> Tile:
    return Tile(image, title, confidence, [])


def captioned(image: Path, words: list[Word], title: str = "a cat", **options) -> Tile:
    return Tile(image, title, 0.5, options.pop("details", []), words, **options)


def word_buttons(page: Page) -> list[dict[str, str | None]]:
    return [button for button in page.all("button") if "data-probability" in button]


def map_of(button: dict[str, str | None]) -> np.ndarray:
    """The attention map that the script will draw for a word."""
    values = np.frombuffer(base64.b64decode(button["data-map"], validate=True), dtype=np.uint8)
    return values.reshape(-1, int(button["data-columns"]))


def written(folder: Path, tiles: list[Tile], heading: str = "Predictions", **options) -> Page:
    path = folder / "index.html"
    write_gallery(path, tiles, heading, **options)
    return Page(path)


def is_near(colour: tuple[int, int, int], expected: tuple[int, int, int]) -> bool:
    """Whether they differ by no more than lossy compression makes them."""
    return all(abs(a - b) < 24 for a, b in zip(colour, expected, strict=True))


def test_tiles_keep_their_order_and_show_title_confidence_and_name(tmp_path: Path, image: Path) -> None:
    other = image.with_name("other.png")
    Image.new("RGB", (8, 8), GREEN).save(other)
    page = written(
        tmp_path,
        [tile(image, "zebra", 0.25), tile(other, "ant", 0.987), tile(image, "mole", None)],
        heading="Run 3",
        subtitle="3 images",
    )
    assert page.text("h1") == page.text("title")[:1] == ["Run 3"]
    assert page.text("subtitle") == ["3 images"]
    assert page.text("title")[1:] == ["zebra", "ant", "mole"]
    assert page.text("name") == ["image.png", "other.png", "image.png"]
    assert page.text("percent") == ["25.0%", "98.7%"]
    assert [float(bar["value"]) for bar in page.all("meter")] == [0.25, 0.987]
    red, green, _ = page.thumbnails()
    assert red.getpixel((0, 0)) == RED
    assert green.getpixel((0, 0)) == GREEN
    assert page.text("note") == []


def test_every_tile_is_a_button_with_the_dialogs_content(tmp_path: Path, image: Path) -> None:
    details = [("cat", 0.75), ("dog", 0.2)]
    page = written(tmp_path, [Tile(image, "cat", 0.75, details), tile(image)])
    buttons = [button for button in page.all("button") if "data-original" in button]
    assert len(buttons) == len(page.all("template")) == 2
    assert [button["data-original"] for button in buttons] == [image.absolute().as_uri()] * 2
    assert page.text("label") == ["cat", "dog"]
    assert page.text("percent") == ["75.0%", "75.0%", "20.0%", "50.0%"]  # the tile's, its details', the other tile's
    assert page.text("path") == [str(image)] * 2
    assert len(page.all("dialog")) == 1


def test_untrusted_text_stays_text(tmp_path: Path) -> None:
    name = "<script>alert('name')<&quot;\" onload=x.png"
    label = "</span></template><script>alert('label')</script>{{heading}}"
    Image.new("RGB", (4, 4)).save(tmp_path / name)
    page = written(
        tmp_path,
        [Tile(tmp_path / name, label, 0.5, [(label, 0.5)])],
        heading="</title><script>alert('heading')</script>{{subtitle}}",
        subtitle="<img src=x onerror=alert(1)>",
    )
    assert len(page.all("script")) == 1  # the page's own
    assert len(page.all("img")) == 2  # the thumbnail and the dialog's
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)
    assert page.text("title")[1:] == page.text("label") == [label]
    assert page.text("name") == [name]
    assert page.text("path") == [str(tmp_path / name)]
    assert page.text("h1") == ["</title><script>alert('heading')</script>{{subtitle}}"]
    assert page.text("subtitle") == ["<img src=x onerror=alert(1)>"]


@pytest.mark.skipif(os.name != "posix", reason="only there are file names bytes")
def test_a_file_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    try:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
        Image.new("RGB", (4, 4)).save(path, "PNG")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    page = written(tmp_path, [tile(path)])
    assert page.text("name") == ["caf\\udce9.png"]
    assert page.all("button")[0]["data-original"].endswith("/caf%E9.png")


def test_the_policy_forbids_the_network_and_allows_the_pages_own_script_and_style(tmp_path: Path, image: Path) -> None:
    page = written(tmp_path, [tile(image)])
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: file:"
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    for element in ("script", "style"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{element}-src"] == f"'sha256-{digest}'"
    assert "http:" not in html
    assert "https:" not in html
    assert "{{" not in html
    assert not any("style" in attributes for _, attributes in page.elements)  # the policy would block them


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 320), (160, 80)), ((100, 400), (40, 160)), ((160, 90), (160, 90)), ((28, 28), (28, 28))],
)
def test_thumbnails_fit_160_pixels_and_are_never_enlarged(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    Image.new("RGB", size, GREEN).save(tmp_path / "image.png")
    (thumbnail,) = written(tmp_path, [tile(tmp_path / "image.png")]).thumbnails()
    assert thumbnail.size == expected
    assert is_near(thumbnail.getpixel((0, 0)), GREEN)


def test_a_tiny_image_keeps_every_pixel(tmp_path: Path) -> None:
    noise = Image.frombytes("RGB", (32, 32), bytes(i * 97 % 251 for i in range(32 * 32 * 3)))
    noise.save(tmp_path / "noise.png")
    (thumbnail,) = written(tmp_path, [tile(tmp_path / "noise.png")]).thumbnails()
    assert thumbnail.tobytes() == noise.tobytes()


@pytest.mark.parametrize("side", [100, 800])  # 800: read at a reduced scale
def test_exif_rotation_is_applied(tmp_path: Path, side: int) -> None:
    stored = Image.new("RGB", (2 * side, side), GREEN)
    stored.paste(RED, (0, 0, side, side))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    stored.save(tmp_path / "photo.jpg", exif=exif)
    (thumbnail,) = written(tmp_path, [tile(tmp_path / "photo.jpg")]).thumbnails()
    assert thumbnail.size == (80, 160)
    assert is_near(thumbnail.getpixel((40, 30)), RED)  # left has become top
    assert is_near(thumbnail.getpixel((40, 130)), GREEN)


def test_unusual_modes(tmp_path: Path) -> None:
    images = {
        "clear.png": Image.new("RGBA", (80, 80), (255, 0, 0, 0)),
        "deep.png": Image.new("I;16", (80, 80), 65535),
        "print.jpg": Image.new("CMYK", (80, 80), (0, 255, 255, 0)),
        "palette.gif": Image.new("RGB", (80, 80), GREEN).quantize(4),
    }
    for name, picture in images.items():
        picture.save(tmp_path / name)
    thumbnails = written(tmp_path, [tile(tmp_path / name) for name in images]).thumbnails()
    colours = [thumbnail.getpixel((40, 40)) for thumbnail in thumbnails]
    for colour, expected in zip(colours, [WHITE, WHITE, RED, GREEN], strict=True):
        assert is_near(colour, expected), colours


def test_tiles_over_the_cap_are_counted_but_not_opened(tmp_path: Path, image: Path) -> None:
    absent = tile(tmp_path / "absent.png")
    page = written(tmp_path, [tile(image), tile(image)] + [absent] * 1232, max_tiles=2)
    assert len(page.thumbnails()) == 2
    (note,) = page.text("note")
    assert "showing 2 of 1,234; all are in predictions.jsonl" in note


def test_as_many_tiles_as_the_cap_need_no_sentence(tmp_path: Path, image: Path) -> None:
    page = written(tmp_path, [tile(image), tile(image)], max_tiles=2)
    assert len(page.thumbnails()) == 2
    assert page.text("note") == []


def test_no_tiles_at_all(tmp_path: Path) -> None:
    page = written(tmp_path, [])
    assert page.thumbnails() == []
    assert page.text("h1") == ["Predictions"]


def test_an_unreadable_image_leaves_nothing_behind(tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:40])
    with pytest.raises(DataError, match=r"broken\.png"):
        write_gallery(folder / "index.html", [tile(image), tile(broken)], "Predictions")
    assert list(folder.iterdir()) == []


def test_a_failure_keeps_the_previous_page(tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    write_gallery(folder / "index.html", [tile(image)], "First")
    before = (folder / "index.html").read_bytes()

    def interrupted() -> Iterator[Tile]:
        yield tile(image)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gallery(folder / "index.html", interrupted(), "Second")
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    assert (folder / "index.html").read_bytes() == before
    write_gallery(folder / "index.html", [tile(image)], "Third")
    assert Page(folder / "index.html").text("h1") == ["Third"]


def test_tiles_are_written_as_they_come(tmp_path: Path) -> None:
    """Memory does not grow with the page: by the last tile, most of the others are on disk."""
    noise = Image.effect_noise((160, 160), 80)
    noise.save(tmp_path / "noise.png")
    on_disk = []

    def tiles() -> Iterator[Tile]:
        for _ in range(20):
            on_disk.append(sum(path.stat().st_size for path in tmp_path.glob(".index.html.*")))
            yield tile(tmp_path / "noise.png")

    write_gallery(tmp_path / "index.html", tiles(), "Predictions")
    assert on_disk[-1] > (tmp_path / "index.html").stat().st_size / 2
    assert on_disk == sorted(on_disk)


def test_a_caption_is_a_row_of_buttons_with_their_maps(tmp_path: Path, image: Path) -> None:
    maps = [np.arange(42, dtype=np.uint8).reshape(6, 7), np.full((6, 7), 255, np.uint8).T]
    words = [Word("a", 0.25, maps[0]), Word("cat", 1.0, maps[1]), Word(".", 1.23456e-5)]
    page = written(tmp_path, [captioned(image, words, crop=0.875)])
    assert page.text("title")[1:] == ["a cat"]
    buttons = word_buttons(page)
    assert [text for text in page.text("button") if text in {"a", "cat", "."}] == ["a", "cat", "."]
    assert [float(button["data-probability"]) for button in buttons] == [0.25, 1.0, 1.235e-5]
    for button, values in zip(buttons, maps, strict=False):
        np.testing.assert_array_equal(map_of(button), values)
    assert "data-map" not in buttons[2]
    (row,) = (attributes for attributes in page.all("div") if attributes.get("class") == "words")
    assert row["data-crop"] == "0.875"
    assert row["role"] == "toolbar"
    assert row["aria-label"]
    assert page.text("facts") == ["Underlined by probability; mean 50.0%"]


def test_other_captions_are_shown_with_their_probabilities_and_the_tiles_own_is_marked(
    tmp_path: Path, image: Path
) -> None:
    details = [("a cat", 0.123), ("a dog", 0.0034), ("the cat", 5.6e-7)]
    page = written(tmp_path, [captioned(image, [Word("a", 1.0), Word("cat", 1.0)], details=details)])
    assert page.text("label") == ["a cat", "a dog", "the cat"]
    assert page.text("percent") == ["50.0%", "12%", "0.34%", "5.6 × 10⁻⁷"]  # the first is the tile's
    assert [attributes.get("class") for attributes in page.all("li")] == ["captioned", "own", None, None]
    assert len(page.all("meter")) == 1  # the tile's: bars of tiny probabilities would all be empty


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(1.0, "100%"), (0.9949, "99%"), (0.0999, "10%"), (0.001, "0.1%"), (9.99e-4, "1.0 × 10⁻³"), (2e-12, "2.0 × 10⁻¹²")],
)
def test_the_probability_of_a_sentence_has_two_digits(
    tmp_path: Path, image: Path, probability: float, shown: str
) -> None:
    page = written(tmp_path, [captioned(image, [Word("a", 1.0)], details=[("a", probability)])])
    assert page.text("percent")[-1] == shown


def test_a_caption_without_its_end_has_a_badge_on_the_tile_and_in_the_dialog(tmp_path: Path, image: Path) -> None:
    words = [Word("a", 1.0)]
    assert written(tmp_path, [captioned(image, words)]).text("badge") == []
    assert written(tmp_path, [captioned(image, words, cut_off=True)]).text("badge") == ["cut off", "cut off"]


def test_a_caption_may_be_empty(tmp_path: Path, image: Path) -> None:
    page = written(tmp_path, [Tile(image, "(no words)", None, [("(no words)", 1e-5)], [])])
    assert word_buttons(page) == []
    assert page.text("percent") == ["1.0 × 10⁻⁵"]
    assert page.text("facts") == []


def test_labels_have_nothing_of_captions(tmp_path: Path, image: Path) -> None:
    page = written(tmp_path, [Tile(image, "cat", 0.75, [("cat", 0.75)])])
    classes = {attributes.get("class") for _, attributes in page.elements}
    assert not classes & {"captioned", "words", "badge", "facts", "own"}
    assert word_buttons(page) == []


def test_untrusted_words_stay_text(tmp_path: Path, image: Path) -> None:
    text = "</button></template><script>alert('word')</script>\""
    page = written(tmp_path, [captioned(image, [Word(text, 0.5)], title=text, details=[(text, 0.5)])])
    assert len(page.all("script")) == 1
    assert page.text("title")[1:] == page.text("label") == [text]
    assert page.text("button").count(text) == 1


def test_ten_words_with_maps_add_less_than_two_kilobytes(tmp_path: Path, image: Path) -> None:
    """So a page of 5,000 captions with 7 × 7 maps stays at the size of its thumbnails."""
    generator = np.random.default_rng(0)
    words = [Word("something", 0.12345, generator.integers(256, size=(7, 7), dtype=np.uint8)) for _ in range(10)]
    sizes = []
    for number in (1, 11):
        written(tmp_path, [captioned(image, words)] * number)
        sizes.append((tmp_path / "index.html").stat().st_size)
    plain = []
    for number in (1, 11):
        written(tmp_path, [tile(image)] * number)
        plain.append((tmp_path / "index.html").stat().st_size)
    assert (sizes[1] - sizes[0]) - (plain[1] - plain[0]) < 10 * 2000
