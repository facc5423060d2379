"""Figures of sweeps: each trial where it belongs."""

from __future__ import annotations

import pandas as pd
import pytest

from project.analysis.figures.sweeps import history_figure, importance_figure, progress_figure, slice_figure
from project.analysis.style import to_pixels


@pytest.fixture
def table() -> pd.DataFrame:
    """Four trials: one was pruned, one failed."""
    return pd.DataFrame({
        "trial": [0, 1, 2, 3, 4],
        "state": ["complete", "pruned", "complete", "fail", "complete"],
        "value": [0.5, 0.1, 0.4, None, 0.9],
        "model.lr": [0.1, 0.2, 0.3, 0.4, 0.5],
        "model.width": ["8", "8", "16", "4", "8"],
    })  # fmt: skip


@pytest.mark.parametrize(("mode", "best"), [("max", [0.5, 0.5, 0.9]), ("min", [0.5, 0.4, 0.4])])
def test_the_best_so_far(table, mode, best):
    figure = history_figure(table, "val/accuracy", mode)
    pruned, complete, line = (each.get_xydata().tolist() for each in figure.axes[0].lines)
    assert pruned == [[1, 0.1]]
    assert complete == [[0, 0.5], [2, 0.4], [4, 0.9]]
    assert line == [[trial, value] for trial, value in zip([0, 2, 4], best, strict=True)]
    assert to_pixels(figure).size


def test_the_best_trial_is_drawn_over_the_others():
    figure = progress_figure({0: [0.1, 0.2], 1: [0.3, 0.9], 2: [0.0]}, 1, "val/accuracy")
    lines = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    assert lines == [[[1, 0.1], [2, 0.2]], [[1, 0.0]], [[1, 0.3], [2, 0.9]]]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["trial 1"]
    assert to_pixels(figure).size


def test_a_first_epochs_loss_leaves_the_frame():
    figure = progress_figure({0: [60.0, 0.9, 0.6], 1: [1.0, 0.8, 0.5], 2: [1.1, 0.7]}, 1, "val/loss")
    low, high = figure.axes[0].get_ylim()
    assert low < 0.5
    assert 1.1 < high < 2
    low, high = progress_figure({0: [0.5, 0.5]}, 0, "val/loss").axes[0].get_ylim()
    assert low < 0.5 < high


def test_the_most_important_is_on_top():
    figure = importance_figure({"model.a": 0.2, "model.b": 0.7, "model.c": 0.1})
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["model.b", "model.a", "model.c"]
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.2, 0.1]
    assert axes.yaxis_inverted()
    assert to_pixels(figure).size


def test_a_panel_for_each_option(table):
    figure = slice_figure(table, {"model.lr": True, "model.width": ("4", "8", "16")}, "val/accuracy")
    rates, widths = figure.axes
    assert rates.get_xscale() == "log"
    assert rates.collections[0].get_offsets().tolist() == [[0.1, 0.5], [0.3, 0.4], [0.5, 0.9]]
    assert [label.get_text() for label in widths.get_xticklabels()] == ["4", "8", "16"]
    places = widths.collections[0].get_offsets().tolist()
    assert [(round(place), value) for place, value in places] == [(1, 0.5), (2, 0.4), (1, 0.9)]
    assert places[0][0] != places[2][0]  # beside each other
    assert to_pixels(figure).size


def test_panels_that_nothing_needs_are_hidden(table):
    options = dict.fromkeys(["model.lr", "a", "b", "c"], False)
    figure = slice_figure(table.assign(a=1.0, b=2.0, c=3.0), options, "val/accuracy")
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2
