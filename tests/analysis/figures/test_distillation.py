"""Figures of distillation: differences, probabilities and costs as they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special

from project.analysis.figures.distillation import cost_figure, gains_figure, matrices_figure, softened_figure
from project.analysis.style import COLOURS, to_pixels


def test_gains_are_paired_by_seed():
    before = pd.DataFrame({"cat": [0.5, 0.6, 0.9], "dog": [0.8, 0.8, 0.1]}, index=[0, 1, 2])
    after = pd.DataFrame({"cat": [0.8, 0.7], "dog": [0.6, 0.8]}, index=[1, 0])  # seed 2 is missing
    axes = gains_figure(before, after, "Gains").axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([20, -10])
    assert [bar.get_facecolor()[:3] for bar in axes.patches] == [pytest.approx(rgb(c)) for c in COLOURS[:2]]
    dots = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert sorted(np.round(dots).tolist()) == [[20, -20], [20, 0]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    assert axes.get_title("left") == "Gains"


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


def test_probabilities_at_each_temperature():
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (2, 4)))
    images = torch.zeros(2, 3, 8, 8).byte()
    figure = softened_figure(images, logits, ["a", "b", "c", "$d$"], (1.0, 5.0))
    panels = np.array(figure.axes).reshape(2, 3)
    for row in range(2):
        for column, temperature in ((1, 1.0), (2, 5.0)):
            heights = [bar.get_height() for bar in panels[row, column].patches]
            assert heights == pytest.approx(special.softmax(logits[row].numpy() / temperature).tolist(), abs=1e-6)
    assert [panel.get_title("left") for panel in panels[0, 1:]] == ["T = 1", "T = 5"]
    assert to_pixels(figure).size


def test_many_classes_are_cut():
    figure = softened_figure(torch.zeros(1, 3, 8, 8).byte(), torch.zeros(1, 50), [str(k) for k in range(50)], (1.0,))
    assert len(figure.axes[1].patches) == 12


def test_matrices_on_their_own_scales():
    one = np.array([[np.nan, 0.5], [0.25, np.nan]])
    figure = matrices_figure({"Seen": one, "Mistaken": torch.tensor([[0, 0], [0, 0]])}, ["a", "b"])
    first, second = (axes.images[0] for axes in figure.axes[:2])
    assert np.ma.filled(first.get_array(), -1).tolist() == [[-1, 0.5], [0.25, -1]]
    assert first.get_clim() == (0, 0.5)
    assert second.get_clim()[1] > 0  # of nothing but zeros
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["Seen", "Mistaken"]
    assert to_pixels(figure).size


def test_costs_are_points_with_the_spread_of_the_seeds():
    table = pd.DataFrame(
        {
            "name": ["teacher", "student"],
            "accuracy": [0.99, 0.95],
            "deviation": [0.01, np.nan],  # one seed
            "parameters": [1e6, 1e4],
            "flops": [1e8, 1e6],
            "milliseconds": [2.0, 1.0],
        }
    )
    figure = cost_figure(table)
    points = [[bars.lines[0].get_xydata()[0].tolist() for bars in axes.containers] for axes in figure.axes]
    assert np.allclose(points[0], [[1e6, 99], [1e4, 95]])
    assert np.allclose(points[2], [[2, 99], [1, 95]])
    spread = [bars.lines[2][0].get_segments()[0][:, 1] for bars in figure.axes[0].containers]
    assert np.allclose(spread, [[98, 100], [95, 95]])
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log", "linear"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["teacher", "student"]
    assert to_pixels(figure).size
