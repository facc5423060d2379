"""Bars of each class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.analysis.figures import class_figure


def bars(figure):
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    return list(zip(names, [bar.get_width() for bar in axes.patches], strict=True))


def test_the_worst_comes_first_with_its_number():
    figure = class_figure(torch.tensor([0.75, 0.25, 0.5]), ["a", "b", "c"], "recall")
    assert bars(figure) == [("b", 0.25), ("c", 0.5), ("a", 0.75)]
    axes = figure.axes[0]
    assert axes.yaxis_inverted()
    assert [text.get_text() for text in axes.texts] == ["0.250", "0.500", "0.750"]
    assert axes.get_title(loc="left") == "Recall of each class"
    assert axes.lines[0].get_xdata() == [0.5, 0.5]
    assert figure.legends[0].get_texts()[0].get_text() == "mean of all classes 0.500"


def test_of_many_the_worst_are_shown_and_the_mean_is_of_all():
    values = np.linspace(0, 1, 50)
    figure = class_figure(values, [str(i) for i in range(50)], max_classes=4)
    assert bars(figure) == [(str(i), pytest.approx(i / 49)) for i in range(4)]
    assert figure.axes[0].get_title(loc="left") == "Accuracy of the worst 4 of 50 classes"
    assert figure.axes[0].lines[0].get_xdata()[0] == pytest.approx(0.5)


def test_a_class_without_a_value_is_left_out():
    assert bars(class_figure(torch.tensor([torch.nan, 0.5]), ["a", "b"])) == [("b", 0.5)]
    assert bars(class_figure(torch.tensor([torch.nan]), ["a"])) == []
