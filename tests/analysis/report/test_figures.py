"""Curves of reports: what is drawn is what was given."""

from __future__ import annotations

import math

import numpy as np

from project.analysis.bootstrap import Estimate
from project.analysis.report.figures import attack_figure, corruption_figure, group_figure, score_figure
from project.analysis.style import to_pixels

ESTIMATES = [Estimate(0.9, 0.8, 1.0), Estimate(0.5, 0.4, 0.7), Estimate(0.1, 0.0, 0.2)]


def test_attacks_are_curves_over_the_radius():
    figure = attack_figure((0, 4, 16), {"FGSM": ESTIMATES, "PGD": ESTIMATES[::-1]}, 4)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines["FGSM"].get_xdata().tolist() == [0, 4, 16]
    assert lines["FGSM"].get_ydata().tolist() == [0.9, 0.5, 0.1]
    assert lines["PGD"].get_ydata().tolist() == [0.1, 0.5, 0.9]
    assert set(lines["guessing"].get_ydata()) == {0.25}
    assert len(axes.collections) == 2


def test_each_corruption_has_axes_of_its_own():
    figure = corruption_figure((0, 1, 2), dict.fromkeys("abcdefg", ESTIMATES), columns=5)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in visible] == list("abcdefg")
    assert all(axes.get_lines()[0].get_ydata().tolist() == [0.9, 0.5, 0.1] for axes in visible)
    assert to_pixels(figure).std() > 0


def test_scores_have_bars_and_sizes():
    figure = score_figure([1, 3, 10], ESTIMATES, "Title", "beam", "score", [5, 2000, 7])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\n(5)", "3\n(2,000)", "10\n(7)"]
    (bars,) = [container for container in axes.containers if container.has_yerr]
    segments = np.array(bars.lines[2][0].get_segments())
    np.testing.assert_allclose(segments[:, :, 1], [[0.8, 1.0], [0.4, 0.7], [0.0, 0.2]], atol=1e-12)


def test_groups_are_in_their_order_with_names_as_they_are():
    unknown = Estimate(0.3, math.nan, math.nan)
    figure = group_figure(["$a$ & $b$", "<c>"], [ESTIMATES[0], unknown], [3, 4], "Groups", "accuracy")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["$a$ & $b$ (3)", "<c> (4)"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert to_pixels(figure).std() > 0
