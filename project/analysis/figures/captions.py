"""Captions side by side, and where the network looked for their words.

Shapes: N images of S × S pixels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.caption_pictures import caption_picture
from project.analysis.figures.text import heading
from project.analysis.style import COLOURS, new_figure, picture_axes

_COLUMNS, _CHARACTERS = 2, 42  # images in a row; letters in a line
_WIDTH, _SIDE, _TEXT, _LINE = 4.6, 1.0, 1.95, 0.165  # of an image with its captions, the image, before texts; inches
_SAID, _GREY, _RIGHT = "#20242c", "#60646c", COLOURS[2]


def captions_figure(
    images: Tensor | np.ndarray,
    references: Sequence[str],
    captions: Mapping[str, Sequence[str]],
    title: str = "What each search says",
) -> Figure:
    """Each image with its reference and the caption that each search finds; those that equal it are in green.

    Args:
        images: (N, 3, S, S) uint8.
        references: one of each image.
        captions: one of each image, by the name of the search.
        title: of the whole.
    """
    names = ["reference", *captions]
    said = [[(references[n], _GREY), *((texts[n], _colour(texts[n], references[n])) for texts in captions.values())]
            for n in range(len(images))]  # fmt: skip
    wrapped = [
        [textwrap.wrap(text or "(nothing)", _CHARACTERS, max_lines=2, placeholder=" …") for text, _ in image]
        for image in said
    ]
    heights = [max(_SIDE + 0.1, _LINE * sum(len(lines) + 0.15 for lines in image) + 0.1) for image in wrapped]
    rows = [max(heights[first : first + _COLUMNS]) for first in range(0, len(heights), _COLUMNS)]
    figure, grid = new_figure(_COLUMNS * _WIDTH, sum(rows) + 0.4)
    axes = picture_axes(grid[0, 0])
    for number, picture in enumerate(np.moveaxis(np.asarray(images), 1, -1)):
        left, y = number % _COLUMNS * _WIDTH, sum(rows[: number // _COLUMNS])
        axes.imshow(picture, extent=(left, left + _SIDE, y + _SIDE, y), interpolation="auto")
        style: dict[str, Any] = {"va": "top", "parse_math": False}
        for name, lines, (_, colour) in zip(names, wrapped[number], said[number], strict=True):
            axes.text(left + _SIDE + 0.15, y, name, fontsize=7, color=_GREY, **style)
            axes.text(left + _TEXT, y, "\n".join(lines), fontsize=7.5, color=colour, **style)
            y += _LINE * (len(lines) + 0.15)
    axes.set(xlim=(0, _COLUMNS * _WIDTH), ylim=(sum(rows), 0), aspect="equal")
    heading(axes, title)
    return figure


def _colour(caption: str, reference: str) -> str:
    return _RIGHT if caption == reference else _SAID


def attention_figure(
    images: Tensor | np.ndarray,
    answers: Sequence[Mapping[str, Any]],
    references: Sequence[Sequence[str]],
    title: str = "Where it looked for each word",
) -> Figure:
    """Images side by side, each with its caption, a reference, and the part of the image that each word looked at.

    Args:
        images: (N, 3, S, S) uint8.
        answers: of each image, as `Captioner.answers` gives them; of a captioner without attention there are no maps.
        references: of each image, one or more.
        title: of the whole.
    """
    pages = []
    for image, answer, texts in zip(np.moveaxis(np.asarray(images), 1, -1), answers, references, strict=True):
        looked, words = answer.get("_attention"), [word["word"] for word in answer["words"]]
        maps = looked and np.array(looked["maps"], np.uint8).reshape(-1, looked["height"], looked["width"])
        pages.append(caption_picture(np.ascontiguousarray(image), answer["caption"], list(texts), maps, words))
    page = np.concatenate(pages, axis=1)
    figure, axes = new_figure(page.shape[1] / 110 + 0.1, page.shape[0] / 110 + 0.35)
    picture_axes(axes[0, 0]).imshow(page)
    heading(axes[0, 0], title)
    return figure
