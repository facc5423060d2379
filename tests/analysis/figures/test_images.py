"""Images in a grid: each in its place, with its label below it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.analysis.figures import image_figure
from project.analysis.style import to_pixels

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]


def images(count=5, side=4):
    colours = torch.tensor(COLOURS, dtype=torch.uint8)[:count]
    return colours[:, :, None, None].expand(count, 3, side, side)


@pytest.mark.parametrize("side", [4, 200])
def test_images_stand_row_by_row_in_their_colours(side):
    figure = image_figure(images(side=side), ["a", "b", "c", "d", "e"], "Five", columns=3)
    pixels, axes = to_pixels(figure), figure.axes[0]
    height = pixels.shape[0]
    for number, text in enumerate(axes.texts):
        x, y = axes.transData.transform(text.get_position())  # its upper left corner, from the lower left of the figure
        above = pixels[round(height - y) - 40, round(x) + 30]
        assert tuple(above) == COLOURS[number]
    assert axes.get_title(loc="left") == "Five"
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c", "d", "e"]


def test_no_more_than_asked_for_and_labels_may_have_lines_and_dollars():
    figure = image_figure(images(), ["$a$ $b$\nsecond"] * 5, max_images=2)
    assert len(figure.axes[0].images) == 2
    assert not figure.axes[0].texts[0].get_parse_math()
    one = to_pixels(image_figure(images(), ["x"] * 5)).shape
    assert to_pixels(image_figure(images(), ["x\ny"] * 5)).shape[0] > one[0]


def test_without_images_there_is_the_title():
    figure = image_figure(np.zeros((0, 3, 4, 4), np.uint8), [], "No mistakes")
    assert to_pixels(figure).min() < 100
    assert figure.axes[0].get_title(loc="left") == "No mistakes"
