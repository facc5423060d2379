"""A picture with what is said about it, and where the network looked for each word.

Shapes: T words, maps of h × w, images of S × S pixels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from project.text import printable

_SIDE, _MARGIN, _LINE, _COLUMNS = 224, 8, 15, 36
_SMALL, _ROWS, _WORDS_A_ROW = 72, 3, 3
_SAID, _REFERENCE = (20, 24, 32), (104, 112, 126)
_DIM = 0.25  # how much of a place is left where the network did not look


def caption_picture(
    image: np.ndarray, caption: str, references: list[str], maps: np.ndarray | None = None, words: Sequence[str] = ()
) -> np.ndarray:
    """An image with its caption and, in grey, a reference, on white; beneath them what each word looked at.

    Args:
        image: (S, S, 3) uint8.
        caption: as predicted; of an empty one the picture says so.
        references: the first is shown.
        maps: (T, h, w) uint8, how much each part of the image counted for a word, its most 255. The first nine are shown.
        words: the T words.

    Returns:
        (H, W, 3) uint8, of the same size for all images and captions of up to two lines, with maps or without.
    """
    top = _SIDE + 3 * _MARGIN + 4 * _LINE
    page = Image.new("RGB", (_SIDE + 2 * _MARGIN, top + (0 if maps is None else _ROWS * (_SMALL + _LINE))), "white")
    page.paste(_enlarged(image, _SIDE), (_MARGIN, _MARGIN))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for part, (text, colour) in enumerate(
        ((caption or "(nothing)", _SAID), (references[0] if references else "", _REFERENCE))
    ):
        for number, line in enumerate(textwrap.wrap(text, _COLUMNS, max_lines=2, placeholder=" …")):
            draw.text((_MARGIN, _SIDE + 2 * _MARGIN + (2 * part + number) * _LINE), printable(line), colour, font)
    small, font = np.asarray(_enlarged(image, _SMALL), dtype=np.float32), ImageFont.load_default(10)
    shown = () if maps is None else maps[: _ROWS * _WORDS_A_ROW]
    for number, (looked, word) in enumerate(zip(shown, words, strict=False)):
        row, column = divmod(number, _WORDS_A_ROW)
        place = _MARGIN + column * (_SMALL + 4), top + row * (_SMALL + _LINE)
        light = (
            np.asarray(Image.fromarray(looked).resize((_SMALL, _SMALL), Image.Resampling.BILINEAR), np.float32) / 255
        )
        seen = small * (_DIM + (1 - _DIM) * light[..., None])
        page.paste(Image.fromarray(seen.astype(np.uint8)), place)
        name = word if len(word) <= 13 else f"{word[:12]}…"
        draw.text((place[0], place[1] + _SMALL), printable(name), _SAID, font)
    return np.asarray(page)


def _enlarged(image: np.ndarray, side: int) -> Image.Image:
    method = Image.Resampling.NEAREST if image.shape[0] < side // 3 else Image.Resampling.BICUBIC
    return Image.fromarray(image).resize((side, side), method)
