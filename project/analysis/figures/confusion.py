"""A confusion matrix that can be read, also of many classes.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.figures.text import heading, plain, shortened
from project.analysis.style import SEQUENTIAL, new_figure

_NUMBERED = 15  # with more classes, numbers in the cells are too small to read


def confusion_figure(matrix: Tensor | np.ndarray, class_names: Sequence[str], max_classes: int = 40) -> Figure:
    """Of the samples of each class, which share was taken for which.

    Args:
        matrix: (K, K) int, samples by true class and prediction.
        class_names: the K classes.
        max_classes: of more, those that are confused most, and the title says so: those with the most samples off the
            diagonal, in their row or column.

    Returns:
        The matrix with each row divided by its sum, that of all K classes; a class without samples has an empty row.
    """
    matrix = np.asarray(matrix)
    errors = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    shown = np.sort(np.argsort(-errors, kind="stable")[:max_classes])
    shares = (matrix / np.maximum(matrix.sum(1, keepdims=True), 1))[np.ix_(shown, shown)]
    side = 2.6 + 0.15 * max(len(shown), 12)
    figure, axes = new_figure(side + 0.6, side)
    axes = axes[0, 0]
    picture = axes.imshow(shares, SEQUENTIAL, vmin=0, vmax=1)
    axes.grid(False)
    labels = [shortened(class_names[number]) for number in shown]
    size = 9 if len(shown) <= 20 else 7
    axes.set_xticks(range(len(shown)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(shown)), labels, fontsize=size)
    plain([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    few = len(shown) < len(matrix)
    heading(axes, f"Confusion of the {len(shown)} most confused of {len(matrix)} classes" if few else "Confusion")
    figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.8).outline.set_visible(False)
    if len(shown) <= _NUMBERED:
        for row, column in zip(*np.nonzero(shares), strict=True):
            share = shares[row, column]
            colour = "white" if share < 0.5 else "black"
            count = matrix[shown[row], shown[column]]
            axes.text(column, row, f"{count:,}", color=colour, ha="center", va="center", fontsize=7)
    return figure
