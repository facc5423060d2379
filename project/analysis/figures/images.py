"""Images side by side, with a line or two below each.

Shapes: N images of S × S pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.figures.text import heading
from project.analysis.style import new_figure, picture_axes

_SIDE, _GAP, _LINE = 1.05, 0.12, 0.16  # inches


def image_figure(
    images: Tensor | np.ndarray, labels: Sequence[str], title: str = "", columns: int = 8, max_images: int = 32
) -> Figure:
    """A grid of labelled images, row by row.

    Args:
        images: (N, 3, S, S) uint8, as batches hold them.
        labels: of each image, of one or more lines, which had better be of 18 characters or less.
        title: of the whole.
        columns: images in a row.
        max_images: how many are shown; of more, the first.
    """
    pictures = np.moveaxis(np.asarray(images), 1, -1)[:max_images]
    labels = list(labels)[: len(pictures)]
    rows, lines = -(-len(pictures) // columns), max((label.count("\n") + 1 for label in labels if label), default=0)
    width, height = _SIDE + _GAP, _SIDE + _GAP + _LINE * lines
    figure, grid = new_figure(columns * width + 0.2, max(rows, 1) * height + 0.4)
    axes = picture_axes(grid[0, 0])
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = number % columns * width, number // columns * height
        axes.imshow(picture, extent=(left, left + _SIDE, top + _SIDE, top), interpolation="auto")
        axes.text(left, top + _SIDE + 0.03, label, fontsize=7, va="top", clip_on=True, parse_math=False)
    axes.set(xlim=(0, columns * width), ylim=(max(rows, 1) * height, 0), aspect="equal")
    heading(axes, title)
    return figure
