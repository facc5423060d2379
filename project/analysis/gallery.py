"""A gallery of predictions: one HTML page that opens from disk, with no server and no network.

The page itself (markup, style and script) is `gallery.html`, next to this file; here it is filled in.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import TextIO

from PIL import Image

from project.data.images import open_rgb

THUMBNAIL_SIDE = 160  # pixels of the longer side; smaller images keep their size
PIXEL_ART_SIDE = 64  # up to here, an image is kept without loss and enlarged as sharp squares


@dataclass(frozen=True)
class Tile:
    """One image of the gallery.

    Attributes:
        image: the image file, of any size and mode that `open_rgb` reads.
        title: the predicted label or a caption.
        confidence: the probability of the prediction, from 0 to 1, or None where there is none to show.
        details: labels with their probabilities, such as the five best, in the order to show.
    """

    image: Path
    title: str
    confidence: float | None
    details: list[tuple[str, float]]


def write_gallery(path: Path, tiles: Iterable[Tile], heading: str, subtitle: str = "", max_tiles: int = 5000) -> None:
    """Writes the gallery page, whole or not at all: on failure, what was at `path` before is still there.

    Tiles are read and written one at a time. Those after the first `max_tiles` are only counted; their images are not
    opened, and a sentence on the page says so.

    Args:
        path: the HTML file to write, in a folder that exists.
        tiles: what to show, in order.
        heading: the page's title.
        subtitle: a line under it.
        max_tiles: how many tiles a page may have: each is about five kilobytes.

    Raises:
        DataError: an image cannot be read.
    """
    before, after = _page_around_tiles(heading, subtitle)
    with _replacing(path) as file:
        file.write(before)
        total = 0
        for tile in tiles:
            total += 1
            if total <= max_tiles:
                file.write(_tile_html(tile))
        file.write(after.replace("{{note}}", _note(total, max_tiles)))


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when the block succeeds and vanishes when it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # a file name may hold bytes that are not UTF-8: Python's stand-ins for them cannot be encoded as they are
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    source, width, height = _thumbnail(tile.image)
    pixels = ' class="pixels"' if max(width, height) <= PIXEL_ART_SIDE else ""
    confidence = "" if tile.confidence is None else f'<span class="confidence">{_bar(tile.confidence)}</span>'
    details = "".join(
        f'<li><span class="label">{escape(label)}</span>{_bar(probability)}</li>' for label, probability in tile.details
    )
    return f"""<li><button type="button" data-original="{escape(tile.image.absolute().as_uri())}">
<img{pixels} src="{source}" width="{width}" height="{height}" alt="" decoding="async">
<span class="title">{escape(tile.title)}</span>
{confidence}
<span class="name">{escape(tile.image.name)}</span>
</button><template><ol class="details">{details}</ol><p class="path">{escape(str(tile.image))}</p></template></li>
"""


def _bar(probability: float) -> str:
    """A bar, whose value the script sorts by, and the same as text, which is all that a screen reader needs."""
    bar = f'<meter value="{probability:.6g}" aria-hidden="true"></meter>'
    return f'{bar}<span class="percent">{probability:.1%}</span>'


def _thumbnail(image: Path) -> tuple[str, int, int]:
    """A small picture of an image file as a data: URI, its width and its height."""
    picture = open_rgb(image, draft_size=THUMBNAIL_SIDE)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    # method 2 takes half the time of the default 4 and makes files 3 % larger
    picture.save(encoded, "WEBP", quality=80, method=2, lossless=max(picture.size) <= PIXEL_ART_SIDE)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode(), *picture.size
