"""The confusion matrix as a figure, against counts made here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from project.analysis.figures import confusion_figure
from project.analysis.style import to_pixels


def drawn(figure):
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    return np.asarray(axes.images[0].get_array()), labels, axes


def test_rows_are_shares_of_the_true_class_and_cells_say_how_many():
    random = np.random.default_rng(0)
    truth, said = random.integers(0, 3, 60), random.integers(0, 3, 60)
    shares, labels, axes = drawn(confusion_figure(torch.from_numpy(confusion_matrix(truth, said)), ["a", "b", "c"]))
    np.testing.assert_allclose(shares, confusion_matrix(truth, said, normalize="true"))
    assert labels == ["a", "b", "c"]
    assert [text.get_text() for text in axes.get_xticklabels()] == labels
    cells = {text.get_position(): int(text.get_text()) for text in axes.texts}
    assert cells == {(c, r): ((truth == r) & (said == c)).sum() for r in range(3) for c in range(3)}


def test_a_class_without_samples_has_an_empty_row():
    shares, _, _ = drawn(confusion_figure(np.array([[3, 1], [0, 0]]), ["a", "b"]))
    assert shares.tolist() == [[0.75, 0.25], [0, 0]]


def test_of_many_classes_the_most_confused_are_shown_with_their_shares_of_all():
    matrix = np.diag(np.full(60, 10))
    matrix[7, 50] = 6  # most errors
    matrix[20, 3] = 2
    shares, labels, axes = drawn(confusion_figure(matrix, [f"n{i}" for i in range(60)], max_classes=3))
    assert labels == ["n3", "n7", "n50"]
    np.testing.assert_allclose(shares, [[1, 0, 0], [0, 10 / 16, 6 / 16], [0, 0, 1]])
    assert "3 most confused of 60 classes" in axes.get_title(loc="left")
    assert len(axes.texts) == 4


@pytest.mark.parametrize("name", ["$a$ and $b$", "_hidden", "a\nname of two lines that is also very long", "<b>&"])
def test_names_are_shown_as_they_are(name):
    figure = confusion_figure(np.eye(2, dtype=int), [name, "b"])
    to_pixels(figure)
    label = figure.axes[0].get_yticklabels()[0]
    assert not label.get_parse_math()
    assert label.get_text() == (name if len(name) <= 18 else "a name of two lin…")
