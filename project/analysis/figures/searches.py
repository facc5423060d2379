"""Score, length and time of captions against the size of the beam; and by the class of the words."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from project.analysis.figures.text import heading
from project.analysis.style import COLOURS, new_figure


def beam_figure(table: pd.DataFrame, reference_length: float) -> Figure:
    """CIDEr-D, mean length and time of beams of several sizes.

    Args:
        table: a row for each, with the columns `beam_size`, `cider_d`, `mean_length` (words) and `seconds` (an image).
        reference_length: mean words of the references, a dashed line beside the lengths.
    """
    table = table.sort_values("beam_size")
    figure, axes = new_figure(9.0, 2.9, columns=3)
    panels = (
        ("cider_d", "CIDEr-D by beam size"),
        ("mean_length", "Words of a caption"),
        ("seconds", "Milliseconds an image"),
    )
    for panel, (column, title), colour in zip(axes[0], panels, COLOURS, strict=False):
        values = table[column] * (1000 if column == "seconds" else 1)
        panel.plot(table["beam_size"], values, "o-", color=colour, markersize=4)
        panel.set(xlabel="beam size; 1 is greedy", xticks=table["beam_size"])
        heading(panel, title)
    axes[0, 1].axhline(reference_length, color=COLOURS[6], linestyle="--", linewidth=1, label="references")
    axes[0, 1].legend(frameon=False)
    axes[0, 2].set_ylim(bottom=0)
    return figure


def word_classes_figure(table: pd.DataFrame) -> Figure:
    """Precision and recall of words by their class, the most frequent class on top.

    Args:
        table: as `score_word_classes` gives it.
    """
    table = table.sort_values("wanted", ascending=False, kind="stable")
    places = np.arange(len(table))
    figure, axes = new_figure(6.4, 1.2 + 0.34 * len(table))
    axes = axes[0, 0]
    for shift, (column, label) in enumerate(
        (("precision", "of the words said, right"), ("recall", "of the words wanted, said"))
    ):
        axes.barh(places + 0.36 * shift - 0.18, table[column], 0.34, color=COLOURS[shift], label=label)
    axes.set_yticks(places, [f"{row['class']} ({row.wanted})" for _, row in table.iterrows()])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 1), xlabel="share")
    figure.legend(loc="outside lower right", ncols=2, frameon=False)
    heading(axes, "Words by class, and how many the references have")
    return figure
