"""A gallery of predictions: one HTML page that opens from disk, with no server and no network.

The page itself (markup, style and script) is `gallery.html`, next to this file; here it is filled in.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from project.data.images import ValueRange, open_rgb
from project.files import atomic_write

THUMBNAIL_SIDE = 160  # pixels of the longer side; smaller images keep their size
PIXEL_ART_SIDE = 64  # up to here, an image is kept without loss and enlarged as sharp squares
CUT_OFF = '<span class="badge" title="It has no end: it is as long as is allowed">cut off</span>'
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Word:
    """One word of a caption.

    Attributes:
        text: the word.
        probability: its probability after the words before it, from 0 to 1.
        attention: uint8 (h, w), how much each part of the square that the network saw counted for the word: 0 is not at
            all, and 255 is the full colour. None where nothing is known of it.
    """

    text: str
    probability: float
    attention: np.ndarray | None = None


@dataclass(frozen=True)
class Tile:
    """One image of the gallery.

    Attributes:
        image: the image file, of any size and mode that `open_rgb` reads.
        title: the predicted label or a caption.
        confidence: the probability of the prediction, or of a caption's words in the mean, from 0 to 1, or None where
            there is none to show.
        details: labels with their probabilities, such as the five best, or captions with theirs, in the order to show.
        words: where the title is a caption, its words; the dialog shows the attention of each on the image.
        crop: the central share of the image's central square that the network saw, above 0 and up to 1.
        cut_off: whether the caption is without its end.
        value_range: see `open_rgb`.
    """

    image: Path
    title: str
    confidence: float | None
    details: list[tuple[str, float]]
    words: list[Word] | None = None
    crop: float = 1.0
    cut_off: bool = False
    value_range: ValueRange | None = None


def write_gallery(path: Path, tiles: Iterable[Tile], heading: str, subtitle: str = "", max_tiles: int = 5000) -> None:
    """Writes the gallery page, whole or not at all: on failure, what was at `path` before is still there.

    Tiles are read and written one at a time. Those after the first `max_tiles` are only counted; their images are not
    opened, and a sentence on the page says so.

    Args:
        path: the HTML file to write, in a folder that exists.
        tiles: what to show, in order.
        heading: the page's title.
        subtitle: a line under it.
        max_tiles: how many tiles a page may have: each is about five kilobytes, and a caption with 7 × 7 maps two
            more.

    Raises:
        DataError: an image cannot be read.
    """
    before, after = _page_around_tiles(heading, subtitle)
    with atomic_write(path) as file:
        file.write(_encoded(before))
        total = 0
        for tile in tiles:
            total += 1
            if total <= max_tiles:
                file.write(_encoded(_tile_html(tile)))
        file.write(_encoded(after.replace("{{note}}", _note(total, max_tiles))))


def _encoded(text: str) -> bytes:
    """UTF-8; the bytes of file names that are not become escapes."""
    return text.encode(errors="backslashreplace")


def _page_around_tiles(heading: str, subtitle: str) -> tuple[str, str]:
    """What comes before the tiles and what comes after them; the latter still has its {{note}}."""
    template = resources.files(__package__).joinpath("gallery.html").read_text(encoding="utf-8")
    before, after = template.split("{{tiles}}")
    values = {
        "heading": escape(heading),
        "subtitle": escape(subtitle),
        # allowed by their hashes, so that no other script or style runs even if one got into the page
        "style_hash": _content_hash(template, "style"),
        "script_hash": _content_hash(template, "script"),
    }
    # in one pass: a heading that holds {{subtitle}} stays as it is
    return re.sub(r"\{\{(\w+)\}\}", lambda placeholder: values[placeholder[1]], before), after


def _content_hash(template: str, element: str) -> str:
    """The hash by which a Content-Security-Policy allows the template's inline <style> or <script>."""
    content = template.split(f"<{element}>")[1].split(f"</{element}>")[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _note(total: int, max_tiles: int) -> str:
    if total <= max_tiles:
        return ""
    return f'<p class="note">This page is showing {max_tiles:,} of {total:,}; all are in predictions.jsonl.</p>'


def _tile_html(tile: Tile) -> str:
    """A button to see, and in its <template> what the dialog adds when the button is pressed."""
    source, width, height = _thumbnail(tile.image, tile.value_range)
    pixels = ' class="pixels"' if max(width, height) <= PIXEL_ART_SIDE else ""
    confidence = "" if tile.confidence is None else f'<span class="confidence">{_bar(tile.confidence)}</span>'
    badge = CUT_OFF if tile.cut_off else ""
    extra = _details_html(tile) if tile.words is None else _caption_html(tile.words, tile, badge)
    return f"""<li{"" if tile.words is None else ' class="captioned"'}>\
<button type="button" data-original="{escape(tile.image.absolute().as_uri())}">
<img{pixels} src="{source}" width="{width}" height="{height}" alt="" decoding="async">
<span class="title">{escape(tile.title)}</span>
{confidence}
<span class="name">{escape(tile.image.name)}</span>{badge}
</button><template>{extra}<p class="path">{escape(str(tile.image))}</p></template></li>
"""


def _details_html(tile: Tile) -> str:
    details = "".join(
        f'<li><span class="label">{escape(label)}</span>{_bar(probability)}</li>' for label, probability in tile.details
    )
    return f'<ol class="details">{details}</ol>'


def _caption_html(words: list[Word], tile: Tile, badge: str) -> str:
    """The caption word by word, and the captions of `details`, of which the tile's own is marked."""
    buttons = " ".join(map(_word_html, words))
    own = ' class="own"'
    captions = "".join(
        f"<li{own if caption == tile.title else ''}>"
        f'<span class="label">{escape(caption)}</span><span class="percent">{_two_digits(probability)}</span></li>'
        for caption, probability in tile.details
    )
    average = "" if tile.confidence is None else f"Underlined by probability; mean {tile.confidence:.1%}"
    found = f'<h3>Best captions found</h3><ol class="details captions">{captions}</ol>' if captions else ""
    return f"""<div class="words" role="toolbar" aria-label="Word by word" data-crop="{tile.crop:.6g}">{buttons}{badge}</div>
<p class="facts">{average}</p>{found}"""


def _word_html(word: Word) -> str:
    """A button that shows the word's map: its values row by row, which the script draws."""
    attention = ""
    if word.attention is not None:
        assert word.attention.dtype == np.uint8, word.attention.dtype
        _, columns = word.attention.shape
        values = base64.b64encode(word.attention.tobytes()).decode()
        attention = f' data-columns="{columns}" data-map="{values}"'
    return f'<button data-probability="{word.probability:.4g}"{attention}>{escape(word.text)}</button>'


def _bar(probability: float) -> str:
    """A bar, whose value the script sorts by, and the same as text, which is all that a screen reader needs."""
    bar = f'<meter value="{probability:.6g}" aria-hidden="true"></meter>'
    return f'{bar}<span class="percent">{probability:.1%}</span>'


def _two_digits(probability: float) -> str:
    """Two digits of a probability that may be tiny, as that of a whole sentence is: 12%, 0.34% or 5.6 × 10⁻⁷."""
    if probability >= 1e-3:
        return f"{100 * probability:.2g}%" if probability < 0.995 else "100%"
    digits, exponent = f"{probability:.1e}".split("e")
    return f"{digits} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def _thumbnail(image: Path, value_range: ValueRange | None) -> tuple[str, int, int]:
    """A small picture of an image file as a data: URI, its width and its height."""
    picture = open_rgb(image, THUMBNAIL_SIDE, value_range)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    # method 2 takes half the time of the default 4 and makes files 3 % larger
    picture.save(encoded, "WEBP", quality=80, method=2, lossless=max(picture.size) <= PIXEL_ART_SIDE)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode(), *picture.size
