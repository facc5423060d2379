"""A picture with what is said about it underneath."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SIDE, _MARGIN, _LINE, _COLUMNS = 224, 8, 15, 36
_SAID, _REFERENCE = (20, 24, 32), (104, 112, 126)


def caption_picture(image: np.ndarray, caption: str, references: list[str]) -> np.ndarray:
    """An image with its caption and, in grey, a reference, on white.

    Args:
        image: (S, S, 3) uint8.
        caption: as predicted; of an empty one the picture says so.
        references: the first is shown.

    Returns:
        (H, W, 3) uint8, of the same size for all images and captions of up to two lines.
    """
    method = Image.Resampling.NEAREST if image.shape[0] < _SIDE // 3 else Image.Resampling.BICUBIC
    picture = Image.fromarray(image).resize((_SIDE, _SIDE), method)
    page = Image.new("RGB", (_SIDE + 2 * _MARGIN, _SIDE + 3 * _MARGIN + 4 * _LINE), "white")
    page.paste(picture, (_MARGIN, _MARGIN))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    top = _SIDE + 2 * _MARGIN
    for text, colour in ((caption or "(nothing)", _SAID), (references[0] if references else "", _REFERENCE)):
        for number, line in enumerate(textwrap.wrap(text, _COLUMNS, max_lines=2, placeholder=" …")):
            draw.text((_MARGIN, top + number * _LINE), line, colour, font)
        top += 2 * _LINE
    return np.asarray(page)
