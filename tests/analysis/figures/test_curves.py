"""Learning curves against means worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from project.analysis.figures.curves import curves_figure
from project.analysis.style import COLOURS, to_pixels


def table(values: dict[tuple[str, str, str], list[float]]) -> pd.DataFrame:
    """Of (name, run, metric): a value for each epoch."""
    rows = [
        {"name": name, "run": f"{name}/{run}", "epoch": epoch, "metric": metric, "value": value}
        for (name, run, metric), each in values.items()
        for epoch, value in enumerate(each)
    ]
    return pd.DataFrame(rows, columns=["name", "run", "epoch", "metric", "value"])


SEEDS = table(
    {
        ("a", "0", "val/accuracy"): [0.2, 0.5],
        ("a", "1", "val/accuracy"): [0.4, 0.9],
        ("b", "0", "val/accuracy"): [0.1, 0.3],
        ("b", "0", "train/accuracy"): [0.3, 0.4],
        ("b", "0", "val/loss"): [2.0, 1.0],
    }
)


def lines(axes):
    return {(line.get_color(), line.get_linestyle()): line.get_xydata().tolist() for line in axes.lines}


def test_a_line_is_the_mean_of_the_seeds_by_epochs_done():
    axes = curves_figure(SEEDS, ["accuracy"]).axes[0]
    found = lines(axes)
    assert found.keys() == {(COLOURS[0], "-"), (COLOURS[1], "-"), (COLOURS[1], ":")}
    assert np.allclose(found[COLOURS[0], "-"], [[1, 0.3], [2, 0.7]])
    assert np.allclose(found[COLOURS[1], ":"], [[1, 0.3], [2, 0.4]])


def test_a_band_reaches_from_the_least_to_the_largest_and_one_run_has_none():
    (band,) = curves_figure(SEEDS, ["accuracy"]).axes[0].collections
    corners = band.get_paths()[0].vertices
    for epoch, ends in ((1, (0.2, 0.4)), (2, (0.5, 0.9))):
        heights = corners[corners[:, 0] == epoch][:, 1]
        assert (heights.min(), heights.max()) == pytest.approx(ends)


def test_the_legend_counts_the_runs():
    figure = curves_figure(SEEDS, ["accuracy"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a (2 runs)", "b (1 run)"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["validation", "training"]


def test_a_panel_for_each_metric_that_there_is():
    figure = curves_figure(SEEDS, ["loss", "accuracy", "cider_d"], title="Curves")
    assert [axes.get_title("left") for axes in figure.axes] == ["Curves: loss", "Accuracy"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_an_epoch_that_was_logged_twice_counts_once():
    twice = pd.concat([SEEDS, SEEDS[SEEDS["run"] == "b/0"].assign(value=lambda t: t["value"] / 2)], ignore_index=True)
    found = lines(curves_figure(twice, ["accuracy"]).axes[0])
    assert np.allclose(found[COLOURS[1], "-"], [[1, 0.05], [2, 0.15]])


def test_recipes_by_another_column_and_names_with_dollars():
    named = SEEDS.assign(kind="$x$")
    figure = curves_figure(named, ["accuracy"], by="kind")
    (text,) = figure.legends[0].get_texts()
    assert text.get_text() == "$x$ (3 runs)"
    assert not text.get_parse_math()
    assert to_pixels(figure).shape[2] == 3


def test_no_values_are_an_empty_panel():
    figure = curves_figure(SEEDS, ["bleu_4"])
    assert [axes.get_title("left") for axes in figure.axes] == ["Learning curves: BLEU-4"]
    assert to_pixels(figure).size
