"""Beams and word classes: each number where it belongs."""

from __future__ import annotations

import math

import pandas as pd

from project.analysis.figures.searches import beam_figure, word_classes_figure
from project.analysis.style import to_pixels


def test_beams_in_order_of_their_size():
    table = pd.DataFrame(
        {
            "beam_size": [5, 1, 10],
            "cider_d": [0.9, 0.7, 0.8],
            "mean_length": [4.0, 5.0, 3.0],
            "seconds": [0.02, 0.01, 0.04],
        }
    )
    figure = beam_figure(table, 4.5)
    curves = [axes.lines[0].get_xydata().tolist() for axes in figure.axes]
    assert curves == [[[1, 0.7], [5, 0.9], [10, 0.8]], [[1, 5], [5, 4], [10, 3]], [[1, 10], [5, 20], [10, 40]]]
    assert figure.axes[1].lines[1].get_ydata() == [4.5, 4.5]
    assert all(axes.get_title("left") for axes in figure.axes)
    assert to_pixels(figure).size


def test_bars_of_word_classes_the_most_frequent_on_top():
    table = pd.DataFrame(
        {
            "class": ["colour", "animal", "number"],
            "said": [3, 4, 0],
            "precision": [0.5, 0.25, math.nan],
            "wanted": [5, 9, 2],
            "recall": [0.4, 0.2, 0.0],
        }
    )
    figure = word_classes_figure(table)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["animal (9)", "colour (5)", "number (2)"]
    precision, recall = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert precision[:2] == [0.25, 0.5]
    assert recall == [0.2, 0.4, 0.0]
    heights = [[bar.get_y() for bar in bars] for bars in axes.containers]
    assert all(upper < lower for upper, lower in zip(*heights, strict=True))
    assert axes.yaxis_inverted()
    assert to_pixels(figure).size
